"""Numbers of twice float64's precision: each the unevaluated sum of two of its numbers.

Double-double arithmetic: Dekker, A floating-point technique for extending the available
precision, 1971; the error bounds are those of Joldes, Muller and Popescu, Tight and
rigorous error bounds for basic building blocks of double-word arithmetic, 2017. Sums of
products are those of Ogita, Rump and Oishi, Accurate sum and dot product, 2005, added
up in pairs. A number's parts must stay within 2^+-900: beyond, splitting overflows, or
what is split off underflows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_ref.arithmetic.array import NumberArray

Float64s = NDArray[np.float64]

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


def two_sum(a: Float64s, b: Float64s) -> tuple[Float64s, Float64s]:
    """Add: a + b as it is rounded, and the rest, exactly (Knuth)."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def split(a: Float64s) -> tuple[Float64s, Float64s]:
    """Split a into the sum of two numbers of 26 bits, whose products are exact (Veltkamp)."""
    scaled = (2.0**27 + 1) * a
    upper = scaled - (scaled - a)
    return upper, a - upper


def two_product(a: Float64s, b: Float64s) -> tuple[Float64s, Float64s]:
    """Multiply: a b as it is rounded, and the rest, exactly (Dekker)."""
    product = a * b
    (a_1, a_2), (b_1, b_2) = split(a), split(b)
    return product, ((a_1 * b_1 - product) + a_1 * b_2 + a_2 * b_1) + a_2 * b_2


class DoubleDouble(NumberArray):
    """An array of numbers `high` + `low`, of which `high` is the sum rounded to float64."""

    def __init__(self, high: Any, low: Any = None) -> None:
        high = np.asarray(high, np.float64)
        self.parts = np.empty((2, *high.shape))
        self.parts[0] = high
        self.parts[1] = 0.0 if low is None else low

    @classmethod
    def normalised(cls, high: Float64s, low: Float64s) -> DoubleDouble:
        """Make a number of two parts, of which the first is larger."""
        total = high + low
        return cls.of(np.array([total, low - (total - high)]))

    @classmethod
    def of(cls, parts: Float64s) -> DoubleDouble:
        """Make an array of its two parts."""
        made = cls.__new__(cls)
        made.parts = parts
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

    def remade(self, parts: Float64s) -> DoubleDouble:
        return DoubleDouble.of(parts)

    def like(self, x: Any) -> DoubleDouble:
        return x if isinstance(x, DoubleDouble) else DoubleDouble(x)

    def sum(self, axis: int) -> DoubleDouble:
        """Sum along an axis."""
        return tree(np.moveaxis(self.parts, axis + 1, 1))

    @property
    def stored(self) -> DoubleDouble:
        """Itself: it holds whatever it is given."""
        return self


def tree(parts: Float64s) -> DoubleDouble:
    """Sum parts (2, K, ...) along K, in pairs; the low parts are added up plainly."""
    while parts.shape[1] > 1:
        half = parts.shape[1] // 2
        upper, lower = parts[:, :half], parts[:, half : 2 * half]
        total, rest = two_sum(upper[0], lower[0])
        rest += upper[1] + lower[1]
        odd = parts[:, 2 * half :]
        parts = np.array([total, rest])
        if odd.size:
            parts = np.concatenate([parts, odd], axis=1)
    return DoubleDouble.normalised(parts[0, 0], parts[1, 0])


def add(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Add: accurate also where the two cancel."""
    if a.ndim == b.ndim:
        (total, low), (rest, lowest) = two_sum(a.parts, b.parts)
    else:
        (total, rest), (low, lowest) = two_sum(a.high, b.high), two_sum(a.low, b.low)
    first = DoubleDouble.normalised(total, rest + low)
    return DoubleDouble.normalised(first.high, first.low + lowest)


def multiply(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Multiply elementwise."""
    product, rest = two_product(a.high, b.high)
    return DoubleDouble.normalised(product, rest + (a.high * b.low + a.low * b.high))


def divide(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Divide: a quotient, and the quotient of the remainder."""
    quotient = a.high / b.high
    left = add(a, negative(multiply(b, DoubleDouble(quotient))))
    return DoubleDouble.normalised(quotient, left.high / b.high)


def negative(a: DoubleDouble) -> DoubleDouble:
    """Negate."""
    return DoubleDouble.of(-a.parts)


def matmul(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Multiply matrices (..., K) and (K, M), a block of rows at a time."""
    *rows, K = a.shape
    M = b.shape[1]
    flat, at_a_time = a.reshape(-1, K), max(1, BLOCK // (K * M))
    blocks = []
    for i in range(0, len(flat), at_a_time):
        block, of_k = flat[i : i + at_a_time].T[:, :, None], b[:, None, :]
        product, rest = two_product(block.high, of_k.high)
        rest += block.high * of_k.low
        rest += block.low * of_k.high
        blocks.append(tree(np.array([product, rest])))
    joined = blocks[0] if len(blocks) == 1 else blocks[0].joined(np.concatenate, blocks, 0)
    return joined.reshape(*rows, M)


TWO_FIFTEENTHS = divide(DoubleDouble(2.0), DoubleDouble(15.0))
MINUS_A_THIRD = divide(DoubleDouble(-1.0), DoubleDouble(3.0))

GRID = 2.0**-10
"""The distance of the points at which tanh is tabulated."""


@cache
def table() -> DoubleDouble:
    """Tabulate tanh at 0, GRID, 2 GRID, ... 40, where it is 1 to twice float64's precision."""
    half = small_tanh(DoubleDouble([0.0, GRID / 2]))
    values = sum_of_tanh(half, half)
    while len(values) * GRID <= 40:
        n = len(values)
        last = sum_of_tanh(values[n - 1 : n], values[1:2])
        values = values.joined(np.concatenate, [values, sum_of_tanh(values, last)], 0)
    return values


def small_tanh(r: DoubleDouble) -> DoubleDouble:
    """Compute tanh of |r| <= GRID / 2, by its series at 0; r^11, left out, is below 2^-116 of it.

    r - r^3 / 3 + 2 r^5 / 15 - 17 r^7 / 315 + 62 r^9 / 2835 (DLMF 4.33.3); float64 is
    precise enough for the last two.
    """
    square = multiply(r, r)
    rest = DoubleDouble(square.high * (-17 / 315 + square.high * (62 / 2835)))
    for coefficient in (TWO_FIFTEENTHS, MINUS_A_THIRD):
        rest = multiply(square, add(coefficient, rest))
    return add(r, multiply(r, rest))


def sum_of_tanh(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Compute tanh(x + y) of a = tanh(x) and b = tanh(y)."""
    return divide(add(a, b), add(DoubleDouble(np.ones(a.shape)), multiply(a, b)))


def tanh(a: DoubleDouble) -> DoubleDouble:
    """Compute tanh, from that of the nearest point of the grid and that of the rest."""
    sign = np.copysign(1.0, a.high)
    x = DoubleDouble.of(sign * a.parts)
    beyond = ~(x.high < 40)  # NaN too, which stays one
    nearest = np.where(beyond, 0.0, np.rint(x.high / GRID)).astype(np.intp)
    rest = add(x, DoubleDouble(nearest * -GRID))
    y = sum_of_tanh(table()[nearest], small_tanh(rest)).parts
    if beyond.any():
        y = np.where(beyond, [np.tanh(x.high), np.zeros(x.shape)], y)
    return DoubleDouble.of(sign * y)


def above(a: DoubleDouble, b: DoubleDouble) -> NDArray[np.bool_]:
    """Tell where a > b."""
    larger: NDArray[np.bool_] = (a.high > b.high) | ((a.high == b.high) & (a.low > b.low))
    return larger


def maximum(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Take the larger of the two."""
    larger = above(a, b)
    return DoubleDouble(np.where(larger, a.high, b.high), np.where(larger, a.low, b.low))


DoubleDouble.rules = {
    np.add: add,
    np.subtract: lambda a, b: add(a, negative(b)),
    np.multiply: multiply,
    np.matmul: matmul,
    np.tanh: tanh,
    np.maximum: maximum,
    np.greater: lambda a, b: DoubleDouble(above(a, b)),
}
