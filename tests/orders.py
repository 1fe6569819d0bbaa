"""Float arithmetic whose every sum is added up in a chosen order, as a kernel might.

`Ordered` arrays run through the reference like any others: one subject for each order.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from rnn_ref.case import ARRAY_DTYPES, rounded


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


class Ordered(np.ndarray):
    """An array of a dtype's numbers; `order` and `name` say how it adds up and rounds."""

    order: str
    name: str

    def __array_finalize__(self, source: Any) -> None:
        self.order, self.name = getattr(source, "order", ""), getattr(source, "name", "")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, Ordered) else x for x in inputs]
        if ufunc is np.matmul:
            result = self.product(*plain)
        else:
            result = getattr(ufunc, method)(*plain, **options)
        return self.store(result) if result.dtype != bool else result

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a @ b, 16-bit numbers accumulated in float32."""
        accumulate = np.float32 if self.name in ("float16", "bfloat16") else a.dtype
        a, b = a.astype(accumulate), b.astype(accumulate)
        if self.order == "fused":
            rows = a.reshape(-1, a.shape[-1])
            sums = np.array([[fused(row, column) for column in b.T] for row in rows], accumulate)
            return sums.reshape(*a.shape[:-1], b.shape[1])
        return ORDERS[self.order](a[..., :, None, :] * b.T)

    def sum(self, axis: int) -> Any:  # type: ignore[override]  # noqa: ARG002 - it is 0
        """The sum along the first axis, in the same order as a product's."""
        return (np.ones((1, self.shape[0]), self.dtype) @ self)[0]

    def store(self, values: np.ndarray) -> Ordered:
        """Numbers as the dtype holds them."""
        return ordered(rounded(values.astype(np.float64), self.name), self.order, self.name)


def ordered(array: np.ndarray, order: str, name: str) -> Ordered:
    """An array of the named dtype's numbers that adds up in the named order."""
    made = array.astype(ARRAY_DTYPES[name]).view(Ordered)
    made.order, made.name = order, name
    return made
