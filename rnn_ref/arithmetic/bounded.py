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
from functools import cache, cached_property
from typing import Any, NamedTuple

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
    cut: tuple[Bounded, Any] | None = None
    """The array of sums that these were taken from, and their index: all are charged at once."""

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

    def __getitem__(self, index: Any) -> Bounded:
        item = super().__getitem__(index)
        if self.is_sum and not self.whole:
            item.cut = self, index
        return item

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
    def exact(self) -> bool:
        """Whether every stored number is known without error."""
        return not np.count_nonzero(self.parts[1])

    @property
    def summand(self) -> Float64s:
        """The three parts with which it enters a sum: its magnitude is the largest it may be."""
        if self.is_sum:
            return self.parts
        parts = np.empty((3, *self.shape))
        parts[:2] = self.parts
        np.abs(self.parts[0], out=parts[2, ...])
        parts[2] += self.parts[1]
        return parts

    @property
    def factors(self) -> Float64s:
        """What stands on the left of a product: value, error, largest absolute value, absolute."""
        factors = np.empty((4, *self.shape))
        factors[:2] = self.parts
        np.abs(self.parts[0], out=factors[3, ...])
        np.add(factors[3], self.parts[1], out=factors[2, ...])
        return factors

    @cached_property
    def right(self) -> Float64s:
        """What stands on the right of it: value, largest absolute value, that again, error."""
        right = np.empty((4, *self.shape))
        right[0::3] = self.parts
        np.abs(self.parts[0], out=right[1, ...])
        right[1] += self.parts[1]
        right[2] = right[1]
        return right

    @property
    def stored(self) -> Bounded:
        """The numbers as a subject stores them: a sum with its rounding charged."""
        return self.charged if len(self.parts) == 3 else self

    @cached_property
    def charged(self) -> Bounded:
        """A sum with its rounding charged; kept, but for no number that is stored already.

        What kept itself would be in a circle, and stay until such circles are looked for.
        """
        if self.cut is not None:
            whole, index = self.cut
            return whole.stored[index]
        r, magnitude = self.rounding, self.parts[2]
        largest = np.maximum.reduce(magnitude, axis=None, initial=0.0)
        if self.whole and largest * r.u <= 1:
            return Bounded(self.value, rounding=r, whole=True)
        charge = charge_of_sum(self.terms, r)
        parts = self.parts[:2].copy()
        value, error = parts[0, ...], parts[1, ...]  # views, of a single number too
        error += scaled(charge.share, magnitude)
        # Sums of zeros are exact; but float64's own products may underflow to a 0 here.
        products = r.eta > ROUNDING["float64"].eta
        error += np.sign(magnitude) * charge.underflow if products else charge.underflow
        error *= charge.check
        if largest != 0 and not largest * (1 + charge.roundings) <= r.largest:
            fits = scaled(1 + charge.roundings, magnitude) <= r.largest
            value[~fits], error[~fits] = 0.0, np.inf
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
    """Multiply magnitudes by a factor, which may be infinite: 0 stays 0.

    A magnitude of NaN is that of 0 times what is open, of which nothing is known either.
    """
    if factor < np.inf:
        return factor * magnitude
    return np.where(magnitude == 0, 0.0, np.inf)


class Charge(NamedTuple):
    """What is charged for the rounding of a sum of so many terms.

    `roundings` is the most that they change the sum, by its magnitude; `share` adds to that
    the check's own, and `underflow` is what is lost where products underflow. `check` is a
    factor, for the check's own arithmetic with the bound.
    """

    roundings: float
    share: float
    underflow: float
    check: float


@cache
def charge_of_sum(k: int, r: Rounding) -> Charge:
    """Compute the charge for a sum of k terms."""
    # A plain loop stores both products, then their sum, and again with each bias added.
    stores = 5 * r.u if r.ua < r.u else 0.0
    roundings = gamma(k, r.ua) + stores
    return Charge(roundings, roundings + gamma(k, CHECK), k * r.underflow, 1 + gamma(k + 8, CHECK))


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
    """Multiply elementwise: sums of one product each, with the parts that matmul has."""
    a, b = a.stored, b.stored
    left, right = aligned(a.factors, b.right)
    parts = left * right
    parts[1] += parts[3]
    return Bounded.of(parts[:3], a.rounding, 1, whole=a.whole and b.whole)


def matmul(a: Bounded, b: Bounded) -> Bounded:
    """Multiply matrices (..., K) and (K, M): sums of K products of stored numbers each.

    value = a b, error = error_a high_b + |a| error_b, magnitude = high_a high_b, where high is
    the largest absolute value that a number may have.
    """
    a, b = a.stored, b.stored
    factors = 3 if b.exact else 4
    left, right = aligned(a.factors[:factors], b.right[:factors])
    parts = left @ right
    if factors == 4:
        parts[1] += parts[3]
    return Bounded.of(parts[:3], a.rounding, a.shape[-1], whole=a.whole and b.whole)


def tanh(a: Bounded) -> Bounded:
    """Take tanh of a stored number: its error times the steepest slope there, and tanh's own.

    The slope is 1 / cosh^2, and steepest at the number nearest to 0.
    """
    a, r = a.stored, a.rounding
    parts = np.empty((2, *a.shape))
    y, error = parts[0, ...], parts[1, ...]
    np.tanh(a.value, out=y)
    steepness = np.cosh(np.maximum(np.abs(a.value) - a.error, 0.0))
    np.divide(a.error * (1 + r.tanh * r.u), steepness * steepness, out=error)
    error += np.abs(y) * (r.tanh * r.u + CHECK_TANH * CHECK)
    error += r.underflow
    error *= 1 + gamma(32, CHECK)  # of which cosh, squared, may take 10
    if not np.maximum.reduce(error, axis=None, initial=0.0) < 1:
        error[...] = np.where(a.error < np.inf, np.minimum(error, range_of_tanh(y, r)), np.inf)
    return Bounded.of(parts, r, 1, whole=False)


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
