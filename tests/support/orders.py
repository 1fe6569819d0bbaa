"""Float arithmetic whose every sum is added up in a chosen order, as a kernel might.

`Ordered` arrays run through the reference like any others: one subject for each order.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Self

import numpy as np

from rnn_ref.arithmetic.rounded import RoundedArray


def sequential(terms: np.ndarray) -> np.ndarray:
    """Terms along the last axis, from the first to the last."""
    total = terms[..., 0]
    for k in range(1, terms.shape[-1]):
        total = total + terms[..., k]
    return total


def pairwise(terms: np.ndarray) -> np.ndarray:
    """Neighbours in pairs, then the pairs."""
    while terms.shape[-1] > 1:
        odd = terms[..., terms.shape[-1] // 2 * 2 :]
        paired = terms[..., 0 : terms.shape[-1] - 1 : 2] + terms[..., 1::2]
        terms = np.concatenate([paired, odd], axis=-1)
    return terms[..., 0]


def blocked(terms: np.ndarray) -> np.ndarray:
    """Blocks of four, each from its first to its last, then the blocks."""
    blocks = [sequential(terms[..., k : k + 4]) for k in range(0, terms.shape[-1], 4)]
    return sequential(np.stack(blocks, axis=-1))


def ascending(terms: np.ndarray) -> np.ndarray:
    """Sorted by value, which keeps opposite signs apart for as long as can be."""
    return sequential(np.sort(terms, axis=-1))


ORDERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sequential": sequential,
    "reversed": lambda terms: sequential(terms[..., ::-1]),
    "pairwise": pairwise,
    "blocked": blocked,
    "sorted": ascending,
    "fused": sequential,
}


def fused(a: np.ndarray, b: np.ndarray) -> Any:
    """a @ b with each product fused into the sum: rounded once a term, by exact fractions."""
    total = Fraction(0)
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        total = Fraction(a.dtype.type(float(Fraction(x) * Fraction(y) + total)).item())
    return a.dtype.type(float(total))


class Ordered(RoundedArray):
    """An array of a dtype's numbers whose sums are added up in the named order."""

    def __init__(self, numbers: Any, dtype_name: str, order: str) -> None:
        super().__init__(numbers, dtype_name)
        self.order = order

    def of(self, numbers: Any) -> Self:
        return type(self)(numbers, self.dtype_name, self.order)

    def product(self, other: Self) -> Self:
        if self.order != "fused":
            return super().product(other)
        accumulate = np.float32 if self.dtype_name in ("float16", "bfloat16") else self.dtype
        rows = self.numbers.reshape(-1, self.shape[-1]).astype(accumulate)
        columns = other.numbers.T.astype(accumulate)
        sums = np.array([[fused(row, column) for column in columns] for row in rows], accumulate)
        return self.of(sums.reshape(*self.shape[:-1], other.shape[1]))

    def add_up(self, terms: np.ndarray) -> np.ndarray:
        return ORDERS[self.order](np.moveaxis(terms, 0, -1))


def ordered(array: np.ndarray, order: str, dtype_name: str) -> Ordered:
    """An array of the named dtype's numbers that adds up in the named order."""
    return Ordered(array, dtype_name, order)
