"""Numbers that carry how far a correct computation may be from them.

A `Bounded` array holds, in float64, the value of an exact computation as the check
itself computes it and, beside each element, a rigorous bound on the distance between it
and what any correct subject may have stored there (running error analysis: Higham,
Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.3). It stands in for
an array in NumPy's operators, so that the reference's own lines derive the bounds.

What is assumed of a subject: sums of products and biases in some order; each product
and addition rounded once, or fused; gradual underflow; a tanh of stated accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_ref.arithmetic.array import NumberArray, Rule
from rnn_ref.arithmetic.dtypes import ROUNDING, Rounding, gamma

Float64s = NDArray[np.float64]

CHECK = 2.0**-53
"""The unit roundoff of float64, in which the values and the bounds are computed."""

CHECK_TANH = 4.0
"""How many CHECK np.tanh may be off in float64, relatively; `tests` measure at most 2."""


class Bounded(NumberArray):
    """An array of numbers with their bounds: stored numbers, or sums not yet used.

    A stored number has two parts, `value` and `error`: a correct subject's number is within
    `error` of `value`. A sum that is not yet used has a third one, `magnitude`, the sum of
    its terms' absolute values, each at its largest, and `terms`, how many there are. Its
    rounding is charged once, when something other than a sum uses it (`stored`): k terms
    meet at most k roundings each, whatever the order of summation. An infinite error says
    that anything may come, as where a partial sum may overflow.

    `whole` says that every value is a whole number, known exactly. Sums of products of
    those are exact in every order while their magnitude stays within 1/u.
    """

    rounding: Rounding
    terms: int
    whole: bool
    parts: NDArray[Any]

    def __init__(
        self, value: Any, error: Any = None, *, rounding: Rounding, whole: bool | None = None
    ) -> None:
        value = np.asarray(value, np.float64)
        self.parts = np.empty((2, *value.shape))
        self.parts[0] = value
        self.parts[1] = 0.0 if error is None else error
        self.rounding, self.terms = rounding, 1
        if whole is None:
            whole = error is None and bool((value == np.rint(value)).all())
        self.whole = whole

    @classmethod
    def of(cls, parts: Float64s, rounding: Rounding, terms: int, *, whole: bool) -> Bounded:
        """Make an array of its parts: two of stored numbers, three of sums of so many terms."""
        made = cls.__new__(cls)
        made.parts, made.rounding, made.terms, made.whole = parts, rounding, terms, whole
        return made

    def remade(self, parts: Float64s) -> Bounded:
        return Bounded.of(parts, self.rounding, self.terms, whole=self.whole)

    @property
    def value(self) -> Float64s:
        """The values, as the check itself computes them."""
        value: Float64s = self.parts[0]
        return value

    @property
    def error(self) -> Float64s:
        """How far a correct subject's numbers may be from the values."""
        error: Float64s = self.parts[1]
        return error

    @property
    def is_sum(self) -> bool:
        """Whether these are sums that are not yet used."""
        return len(self.parts) == 3

    @cached_property
    def size(self) -> Float64s:
        """The absolute values."""
        return np.abs(self.value)

    @cached_property
    def high(self) -> Float64s:
        """The largest absolute value that a stored number may have."""
        return self.size + self.error

    @cached_property
    def exact(self) -> bool:
        """Whether every stored number is known without error."""
        return not self.parts[1].any()

    @cached_property
    def summand(self) -> Float64s:
        """The three parts with which it enters a sum: its magnitude is the largest it may be."""
        if self.is_sum:
            return self.parts
        parts = np.empty((3, *self.shape))
        parts[:2] = self.parts
        parts[2] = self.high
        return parts

    @cached_property
    def left(self) -> Float64s:
        """What stands on the left in a product of matrices: value, error, high, size."""
        return np.array([self.parts[0], self.parts[1], self.high, self.size])

    @cached_property
    def right(self) -> Float64s:
        """What stands on the right of it: value, high, high, error."""
        return np.array([self.parts[0], self.high, self.high, self.parts[1]])

    @cached_property
    def stored(self) -> Bounded:
        """The numbers as a subject stores them: a sum with its rounding charged."""
        if not self.is_sum:
            return self
        r, k = self.rounding, self.terms
        value, error, magnitude = self.parts
        largest = magnitude.max() if magnitude.size else 0.0
        if self.whole and largest * r.u <= 1:
            return Bounded(value, rounding=r, whole=True)
        stores = 3 * r.u if r.ua < r.u else 0.0  # of two partial sums, then of their sum
        roundings = gamma(k, r.ua) + stores
        # Sums of zeros are exact; but float64's own products may underflow to a 0 here.
        products = magnitude > 0 if r.eta > ROUNDING["float64"].eta else 1.0
        parts = np.empty((2, *self.shape))
        parts[0] = value
        np.add(error, scaled(roundings + gamma(k, CHECK), magnitude), out=parts[1])
        parts[1] += k * r.underflow * products
        parts[1] *= 1 + gamma(k + 8, CHECK)
        if not largest * (1 + roundings) <= r.largest:
            fits = scaled(1 + roundings, magnitude) <= r.largest
            parts[0] = np.where(fits, parts[0], 0.0)
            parts[1] = np.where(fits, parts[1], np.inf)
        return Bounded.of(parts, r, 1, whole=False)

    def like(self, x: Any) -> Bounded:
        """Take x itself, or a number or array as one that is known exactly."""
        if isinstance(x, int):  # the 0 of relu, the 1 of tanh's slope
            return Bounded.of(np.array([x, 0.0]), self.rounding, 1, whole=True)
        if not isinstance(x, Bounded):
            return Bounded(x, rounding=self.rounding)
        if x.rounding is not self.rounding and x.rounding != self.rounding:
            raise ValueError("expected one rounding model in a computation, got two")
        return x

    def sum(self, axis: int) -> Bounded:
        """Sum along an axis, as one sum of all its terms."""
        terms = self.terms * self.shape[axis]
        return Bounded.of(self.summand.sum(axis=axis + 1), self.rounding, terms, whole=self.whole)

    def joined(self, f: Rule, arrays: Sequence[Bounded], axis: int) -> Bounded:
        sums = any(x.is_sum for x in arrays)
        parts = f([x.summand if sums else x.parts for x in arrays], axis=axis + 1)
        terms = max(x.terms for x in arrays)
        return Bounded.of(parts, self.rounding, terms, whole=all(x.whole for x in arrays))

    def __repr__(self) -> str:
        return f"Bounded({self.value!r}, error={self.stored.error!r})"


def scaled(factor: float, magnitude: Float64s) -> Float64s:
    """Multiply magnitudes by a factor, which may be infinite: 0 stays 0."""
    if factor < np.inf:
        return factor * magnitude
    return np.where(magnitude > 0, np.inf, 0.0)


def aligned(a: Float64s, b: Float64s) -> tuple[Float64s, Float64s]:
    """Give parts of arrays with fewer axes further ones, so that their shapes broadcast."""
    while a.ndim < b.ndim:
        a = a[:, None]
    while b.ndim < a.ndim:
        b = b[:, None]
    return a, b


# The rules: what each operation does to values and bounds.


def total(a: Bounded, b: Bounded, sign: float) -> Bounded:
    """Add a and sign b. Nothing is rounded yet."""
    x, y = aligned(a.summand, b.summand)
    parts = x + y
    if sign < 0:
        parts[0] = x[0] - y[0]
    return Bounded.of(parts, a.rounding, a.terms + b.terms, whole=a.whole and b.whole)


def product(a: Bounded, b: Bounded) -> Bounded:
    """Multiply elementwise: sums of one product each."""
    a, b = a.stored, b.stored
    error = a.error * b.high + a.size * b.error
    parts = np.array([a.value * b.value, error, a.high * b.high])
    return Bounded.of(parts, a.rounding, 1, whole=a.whole and b.whole)


def matmul(a: Bounded, b: Bounded) -> Bounded:
    """Multiply matrices (..., K) and (K, M): sums of K products of stored numbers each.

    value = a b, error = error_a high_b + |a| error_b, magnitude = high_a high_b.
    """
    a, b = a.stored, b.stored
    factors = 3 if b.exact else 4
    left, right = aligned(a.left[:factors], b.right[:factors])
    parts = left @ right
    if factors == 4:
        parts[1] += parts[3]
    return Bounded.of(parts[:3], a.rounding, a.shape[-1], whole=a.whole and b.whole)


def tanh(a: Bounded) -> Bounded:
    """Take tanh of a stored number: its error times the steepest slope there, and tanh's own."""
    a, r = a.stored, a.rounding
    y = np.tanh(a.value)
    nearest_to_0 = np.maximum(a.size - a.error, 0)
    slope = np.cosh(nearest_to_0) ** -2.0
    error = slope * a.error * (1 + r.tanh * r.u)
    error += np.abs(y) * (r.tanh * r.u + CHECK_TANH * CHECK) + r.underflow
    error *= 1 + gamma(32, CHECK)  # of which cosh, squared, may take 10
    error = np.where(a.error < np.inf, np.minimum(error, range_of_tanh(y, r)), np.inf)
    return Bounded.of(np.array([y, error]), r, 1, whole=False)


def range_of_tanh(y: Float64s, rounding: Rounding) -> Float64s:
    """Return the error at which a tanh may be anything in [-1, 1]: it is left open."""
    return (1 + np.abs(y) + rounding.tanh * rounding.u) * (1 + gamma(4, CHECK))


def maximum(a: Bounded, b: Bounded) -> Bounded:
    """Take relu of a stored number, which rounds nothing; b is 0."""
    a = a.stored
    error = np.where(a.value + a.error > b.value, a.error, 0.0)
    parts = np.array([np.maximum(a.value, b.value), error])
    return Bounded.of(parts, a.rounding, 1, whole=a.whole)


def greater(a: Bounded, b: Bounded) -> Bounded:
    """Compare a stored number with b, which is 0: 1 above it, else 0; open where it may be both."""
    a = a.stored
    decided = (np.abs(a.value - b.value) > a.error) | (a.error == 0)
    error = np.where(decided, 0.0, np.inf)
    return Bounded(a.value > b.value, error, rounding=a.rounding, whole=bool(decided.all()))


Bounded.rules = {
    np.add: lambda a, b: total(a, b, 1.0),
    np.subtract: lambda a, b: total(a, b, -1.0),
    np.multiply: product,
    np.matmul: matmul,
    np.tanh: tanh,
    np.maximum: maximum,
    np.greater: greater,
}
