"""The plainest arithmetic that a correct subject may use: a yardstick for accuracy.

Every product and every addition is rounded by itself, a step's sum is one running sum from
its first term to its last, and tanh is rounded once from float64's. Kernels that add up in
blocks, or fuse products into sums, are as accurate or better. 16-bit products are added
up in float32, and each sum of them is rounded to the dtype.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self

import numpy as np

from rnn_ref.arithmetic.array import NumberArray
from rnn_ref.arithmetic.dtypes import ARRAY_DTYPES, ROUNDING, Floats, rounded

NUMPYS = {np.dtype(name): name for name in ARRAY_DTYPES if name != "bfloat16"}
"""The names of the dtypes that NumPy has: an array of one needs no rounding to it."""


class RoundedArray(NumberArray):
    """An array of numbers of a dtype, to which it is rounded after every operation."""

    def __init__(self, numbers: Any, dtype_name: str) -> None:
        self.dtype_name = dtype_name
        numbers = np.asarray(numbers)
        if NUMPYS.get(numbers.dtype) != dtype_name:
            numbers = rounded(numbers.astype(np.float64), dtype_name)
        self.parts = numbers[None]
        self.terms: Any = None

    @cached_property
    def parts(self) -> Floats:  # type: ignore[override] # it is written to, as cached ones may be
        """The numbers; a product's are added up when something other than a sum needs them."""
        return self.of(self.add_up(self.terms)).parts

    def of(self, numbers: Any) -> Self:
        """Round other numbers as these are."""
        return type(self)(numbers, self.dtype_name)

    @property
    def numbers(self) -> Floats:
        """The numbers."""
        numbers: Floats = self.parts[0]
        return numbers

    def remade(self, parts: Floats) -> Self:
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__, parts=parts, terms=None)
        return made

    def like(self, x: Any) -> Self:
        return x if isinstance(x, type(self)) else self.of(x)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Floats:
        return np.asarray(self.numbers, dtype)

    def product(self, other: Self) -> Self:
        """Multiply matrices (..., K) and (K, M), added up in the precision of sums."""
        r = ROUNDING[self.dtype_name]
        accumulate: Any = np.float32 if r.ua < r.u else self.dtype
        a = self.numbers.astype(accumulate, copy=False)
        b = other.numbers.astype(accumulate, copy=False)
        of_k = b.reshape(len(b), *[1] * (a.ndim - 1), -1)
        by_k = a.transpose(-1, *range(a.ndim - 1))[..., None]
        terms = np.multiply(by_k, of_k, order="C")
        if r.ua < r.u:
            return self.of(self.add_up(terms))
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__, terms=terms)
        del made.parts
        return made

    def plus(self, other: Self) -> Self:
        """Add; a product that has just been made goes on with the sum so far."""
        if other.terms is None:
            return self.of(self.numbers + other.numbers)
        terms = other.terms.copy()
        terms[0] += self.numbers
        return self.of(self.add_up(terms))

    def add_up(self, terms: Floats) -> Floats:
        """Sum along the first axis, from the first term to the last.

        np.add.reduce does so, except where the terms of one sum lie side by side: there it adds
        in pairs (numpy.sum, "Notes").
        """
        if terms[0].size == 1:
            return np.asarray(terms.cumsum(axis=0)[-1])
        return np.asarray(np.add.reduce(terms, axis=0))

    def sum(self, axis: int) -> Self:  # noqa: ARG002 - it is 0
        """Sum along the first axis, as a product with ones."""
        total: Self = (self.of(np.ones((1, len(self)))) @ self)[0]
        return total

    @property
    def stored(self) -> Self:
        """Itself: its sums are rounded as they are made."""
        return self


RoundedArray.rules = {
    np.add: lambda a, b: a.plus(b),
    np.subtract: lambda a, b: a.of(a.numbers - b.numbers),
    np.multiply: lambda a, b: a.of(a.numbers * b.numbers),
    np.matmul: lambda a, b: a.product(b),
    np.tanh: lambda a: a.of(np.tanh(a.numbers.astype(np.float64))),
    np.maximum: lambda a, b: a.of(np.maximum(a.numbers, b.numbers)),
    np.greater: lambda a, b: a.of(a.numbers > b.numbers),
}
