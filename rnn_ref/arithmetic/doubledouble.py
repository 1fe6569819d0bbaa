"""Numbers of twice float64's precision: each the unevaluated sum of two of its numbers.

Double-double arithmetic: Dekker, A floating-point technique for extending the available
precision, 1971; the error bounds are those of Joldes, Muller and Popescu, Tight and
rigorous error bounds for basic building blocks of double-word arithmetic, 2017. Sums of
products are those of Ogita, Rump and Oishi, Accurate sum and dot product, 2005, added
up in pairs. A number's parts must stay within 2^+-900: beyond, splitting overflows, or
what is split off underflows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_ref.arithmetic.array import NumberArray

Float64s = NDArray[np.float64]
Parts = tuple[Float64s, Float64s] | Float64s
"""Numbers as their upper parts and their lower ones."""

Halves = tuple[Float64s, Float64s | None]
"""Numbers of 26 bits, and what is left of a number beside each; None if that is nothing."""

ROUNDOFF = 2.0**-102
"""The most that an operation is off, relative to the sum of its terms' magnitudes.

A sum of two is off by at most 3 * 2^-106, a product by 7 * 2^-106 (Joldes et al.,
theorems 3.1 and 5.1); a sum of k products, in a tree of d levels, by (d + 3)^2 * 2^-106,
which is below k * 2^-102 for every k.
"""

TANH = 2.0**-96
"""The most that tanh is off, relatively; `tests` measure it against `arb`."""

BLOCK = 2**16
"""How many products are formed at a time: their parts stay in the processor's cache."""


def two_sum(a: Any, b: Any) -> Parts:
    """Add: a + b as it is rounded, and the rest, exactly (Knuth)."""
    total = a + b
    of_b = total - a
    lost = total - of_b
    lost -= a
    rest = b - of_b
    rest -= lost
    return total, rest


def quick_sum(a: Any, b: Any) -> Parts:
    """Add likewise, where |a| >= |b| or a is 0 (Dekker)."""
    total = a + b
    return total, b - (total - a)


def split(a: Float64s) -> tuple[Float64s, Float64s]:
    """Split a into the sum of two numbers of 26 bits, whose products are exact (Veltkamp)."""
    scaled = (2.0**27 + 1) * a
    upper = scaled - (scaled - a)
    return upper, a - upper


def two_product(a: Float64s, b: Float64s, halves: Halves | None = None) -> Parts:
    """Multiply: a b as it is rounded, and the rest, exactly (Dekker); `halves` are those of b."""
    product = a * b
    (a_1, a_2), (b_1, b_2) = split(a), halves or split(b)
    rest = a_1 * b_1
    rest -= product
    for half_of_a, half_of_b in ((a_1, b_2), (a_2, b_1), (a_2, b_2)):
        if half_of_b is not None:
            rest += half_of_a * half_of_b
    return product, rest


class DoubleDouble(NumberArray):
    """An array of numbers `high` + `low`, of which `high` is the sum rounded to float64."""

    def __init__(self, high: Any, low: Any = None) -> None:
        high = np.asarray(high, np.float64)
        self.parts = np.empty((2, *high.shape))
        self.parts[0] = high
        self.parts[1] = 0.0 if low is None else low

    @classmethod
    def of(cls, parts: Float64s | Parts) -> DoubleDouble:
        """Make an array of its two parts."""
        made = cls.__new__(cls)
        made.parts = parts if isinstance(parts, np.ndarray) else np.array(parts)
        return made

    @property
    def high(self) -> Float64s:
        """The numbers rounded to float64."""
        high: Float64s = self.parts[0]
        return high

    @property
    def low(self) -> Float64s:
        """What is left of them."""
        low: Float64s = self.parts[1]
        return low

    @cached_property
    def halves(self) -> Halves:
        """The upper parts, split: a matrix is multiplied by at every step."""
        upper, lower = split(self.high)
        return upper, lower if np.count_nonzero(lower) else None

    @cached_property
    def exact(self) -> bool:
        """Whether every number is its upper part, as a weight is."""
        return not np.count_nonzero(self.low)

    def remade(self, parts: Float64s) -> DoubleDouble:
        return DoubleDouble.of(parts)

    def like(self, x: Any) -> DoubleDouble:
        return x if isinstance(x, DoubleDouble) else DoubleDouble(x)

    def sum(self, axis: int) -> DoubleDouble:
        """Sum along an axis."""
        return tree(*np.moveaxis(self.parts, axis + 1, 1))

    @property
    def stored(self) -> DoubleDouble:
        """Itself: it holds whatever it is given."""
        return self


def tree(high: Float64s, low: Float64s) -> DoubleDouble:
    """Sum parts (K, ...) along K, in pairs; the low parts are added up plainly."""
    while (K := len(high)) > 1:
        half = K // 2
        total, rest = two_sum(high[:half], high[half : 2 * half])
        rest += low[:half] + low[half : 2 * half]
        if K % 2:
            total = np.concatenate([total, high[-1:]])
            rest = np.concatenate([rest, low[-1:]])
        high, low = total, rest
    return DoubleDouble.of(quick_sum(high[0], low[0]))


def sum_of(a: Parts, b: Parts, two_sum: Callable[..., Parts] = two_sum) -> Parts:
    """Add: accurate also where the two cancel; `two_sum` adds the parts."""
    (total, rest), (low, lowest) = two_sum(a[0], b[0]), two_sum(a[1], b[1])
    total, rest = quick_sum(total, rest + low)
    return quick_sum(total, rest + lowest)


def product_of(a: Parts, b: Parts, halves: Halves | None = None) -> Parts:
    """Multiply elementwise; `halves` are those of b's upper parts."""
    product, rest = two_product(a[0], b[0], halves)
    return quick_sum(product, rest + (a[0] * b[1] + a[1] * b[0]))


def quotient_of(a: Parts, b: Parts) -> Parts:
    """Divide: a quotient, and the quotient of the remainder, whose upper parts cancel exactly."""
    quotient = a[0] / b[0]
    taken, rest = two_product(b[0], quotient)
    taken, rest = quick_sum(taken, rest + b[1] * quotient)
    low, lowest = two_sum(a[1], -rest)
    left, rest = quick_sum(a[0] - taken, low)
    return quick_sum(quotient, (left + (rest + lowest)) / b[0])


def matmul(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Multiply matrices (..., K) and (K, M), a block of the result at a time."""
    *rows, K = a.shape
    M = b.shape[1]
    left = a.reshape(-1, K)
    width = max(1, min(M, BLOCK // K))
    height = max(1, BLOCK // (K * width))
    if len(left) <= height and width >= M:
        return block_of(left, b).reshape(*rows, M)
    parts = np.empty((2, len(left), M))
    for j in range(0, M, width):
        columns = b[:, j : j + width]
        for i in range(0, len(left), height):
            block = block_of(left[i : i + height], columns)
            parts[:, i : i + height, j : j + width] = block.parts
    return DoubleDouble.of(parts).reshape(*rows, M)


def block_of(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Multiply matrices (R, K) and (K, M) whose products are formed all at once."""
    high, low = np.ascontiguousarray(a.parts.transpose(0, 2, 1))[..., None]
    of_k, (upper, lower) = b.high[:, None], b.halves
    halves = upper[:, None], None if lower is None else lower[:, None]
    product, rest = two_product(high, of_k, halves)
    if not b.exact:
        rest += high * b.low[:, None]
    rest += low * of_k
    return tree(product, rest)


TWO_FIFTEENTHS, MINUS_A_THIRD = (
    quotient_of((np.array([n]), np.zeros(1)), (np.array([of]), np.zeros(1)))
    for n, of in ((2.0, 15.0), (-1.0, 3.0))
)

GRID = 2.0**-10
"""The distance of the points at which tanh is tabulated."""


@cache
def table() -> Float64s:
    """Tabulate tanh at 0, GRID, 2 GRID, ... 40, where it is 1 to twice float64's precision."""
    half = small_tanh((np.array([0.0, GRID / 2]), np.zeros(2)))
    values = np.array(sum_of_tanh(half, half))
    while (n := values.shape[1]) * GRID <= 40:
        last = sum_of_tanh(values[:, n - 1 : n], values[:, 1:2])
        values = np.concatenate([values, sum_of_tanh(last, values)], axis=1)
    return values


def small_tanh(r: Parts) -> Parts:
    """Compute tanh of |r| <= GRID / 2, by its series at 0; r^11, left out, is below 2^-116 of it.

    r - r^3 / 3 + 2 r^5 / 15 - 17 r^7 / 315 + 62 r^9 / 2835 (DLMF 4.33.3); float64 is
    precise enough for the last two. The parts of a coefficient are larger than those of
    what is added to it.
    """
    halves = split(r[0])
    square = product_of(r, r, halves)
    square_halves = split(square[0])
    rest: Any = square[0] * (-17 / 315 + square[0] * (62 / 2835)), 0.0
    for coefficient in (TWO_FIFTEENTHS, MINUS_A_THIRD):
        rest = product_of(sum_of(coefficient, rest, quick_sum), square, square_halves)
    return sum_of(r, product_of(rest, r, halves))


def sum_of_tanh(a: Parts, b: Parts) -> Parts:
    """Compute tanh(x + y) = (a + b) / (1 + a b) of a = tanh(x) and b = tanh(y)."""
    product, low = product_of(a, b)
    divisor, rest = quick_sum(1.0, product)
    return quotient_of(sum_of(a, b), quick_sum(divisor, rest + low))


def tanh(a: DoubleDouble) -> DoubleDouble:
    """Compute tanh, from that of the nearest point of the grid and that of the rest."""
    sign = np.copysign(1.0, a.high)
    high, low = sign * a.parts
    beyond = ~(high < 40)  # NaN too, which stays one
    some = np.count_nonzero(beyond)
    nearest = np.rint((np.where(beyond, 0.0, high) if some else high) / GRID)
    rest = quick_sum(high - nearest * GRID, low)
    y = np.array(sum_of_tanh(table()[:, nearest.astype(np.intp)], small_tanh(rest)))
    if some:
        y = np.where(beyond, [np.tanh(high), np.zeros(high.shape)], y)
    y *= sign
    return DoubleDouble.of(y)


def above(a: DoubleDouble, b: DoubleDouble) -> NDArray[np.bool_]:
    """Tell where a > b."""
    larger: NDArray[np.bool_] = (a.high > b.high) | ((a.high == b.high) & (a.low > b.low))
    return larger


def maximum(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Take the larger of the two."""
    larger = above(a, b)
    return DoubleDouble(np.where(larger, a.high, b.high), np.where(larger, a.low, b.low))


DoubleDouble.rules = {
    np.add: lambda a, b: DoubleDouble.of(sum_of(a.parts, b.parts)),
    np.subtract: lambda a, b: DoubleDouble.of(sum_of(a.parts, -b.parts)),
    np.multiply: lambda a, b: DoubleDouble.of(product_of(a.parts, b.parts)),
    np.matmul: matmul,
    np.tanh: tanh,
    np.maximum: maximum,
    np.greater: lambda a, b: DoubleDouble(above(a, b)),
}
