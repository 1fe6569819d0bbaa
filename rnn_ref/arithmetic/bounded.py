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

from collections.abc import Callable, Sequence
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

    A stored number has `value` and `error`: a correct subject's number is within `error`
    of `value`. A sum that is not yet used also has `magnitude`, the sum of its terms'
    absolute values, each at its largest, and `terms`, how many there are. Its rounding
    is charged once, when something other than a sum uses it (`stored`): k terms meet
    at most k roundings each, whatever the order of summation. An infinite error says
    that anything may come, as where a partial sum may overflow.

    `whole` says that every value is a whole number, known exactly. Sums of products of
    those are exact in every order while their magnitude stays within 1/u.
    """

    def __init__(
        self,
        value: Any,
        error: Any = None,
        *,
        rounding: Rounding,
        magnitude: Float64s | None = None,
        terms: int = 1,
        whole: bool | None = None,
    ) -> None:
        self.value: Float64s = np.asarray(value, np.float64)
        self.error: Float64s = np.zeros(self.value.shape) if error is None else np.asarray(error)
        self.rounding = rounding
        self.magnitude = magnitude
        self.terms = terms
        if whole is None:
            whole = error is None and bool((self.value == np.rint(self.value)).all())
        self.whole = whole

    @property
    def lead(self) -> Float64s:
        return self.value

    @cached_property
    def high(self) -> Float64s:
        """The largest absolute value that a stored number may have."""
        return np.abs(self.value) + self.error

    @cached_property
    def exact(self) -> bool:
        """Whether every stored number is known without error."""
        return not self.error.any()

    @cached_property
    def stored(self) -> Bounded:
        """The numbers as a subject stores them: a sum with its rounding charged."""
        if self.magnitude is None:
            return self
        r, k, magnitude = self.rounding, self.terms, self.magnitude
        if self.whole and magnitude.max(initial=0.0) * r.u <= 1:
            return Bounded(self.value, rounding=r, whole=True)
        stores = 3 * r.u if r.ua < r.u else 0.0  # of two partial sums, then of their sum
        rounded = scaled(gamma(k, r.ua) + gamma(k, CHECK) + stores, magnitude)
        # Sums of zeros are exact; but float64's own products may underflow to a 0 here.
        products = magnitude > 0 if r.eta > ROUNDING["float64"].eta else 1.0
        error = (self.error + rounded + k * r.underflow * products) * (1 + gamma(k + 8, CHECK))
        fits = scaled(1 + gamma(k, r.ua) + stores, magnitude) <= r.largest
        value, error = np.where(fits, self.value, 0.0), np.where(fits, error, np.inf)
        return Bounded(value, error, rounding=r, whole=False)

    def like(self, x: Any) -> Bounded:
        """Take x itself, or a number or array as one that is known exactly."""
        if not isinstance(x, Bounded):
            return Bounded(x, rounding=self.rounding)
        if x.rounding != self.rounding:
            raise ValueError("expected one rounding model in a computation, got two")
        return x

    def sum(self, axis: int) -> Bounded:
        """Sum along an axis, as one sum of all its terms."""
        total = self.rearrange(lambda a: a.sum(axis=axis), of=self.summand)
        total.terms *= self.shape[axis]
        return total

    @property
    def summand(self) -> Float64s:
        """Its contribution to the magnitude of a sum."""
        return self.high if self.magnitude is None else self.magnitude

    def rearrange(self, f: Rule, of: Float64s | None = None) -> Bounded:
        """Apply f, which moves or adds elements, to every part."""
        magnitude = self.magnitude if of is None else of
        return Bounded(
            f(self.value),
            f(self.error),
            rounding=self.rounding,
            magnitude=None if magnitude is None else f(magnitude),
            terms=self.terms,
            whole=self.whole,
        )

    def join(self, f: Rule, others: Sequence[Bounded]) -> Bounded:
        sums = any(part.magnitude is not None for part in others)
        return Bounded(
            f([part.value for part in others]),
            f([part.error for part in others]),
            rounding=self.rounding,
            magnitude=f([part.summand for part in others]) if sums else None,
            terms=max(part.terms for part in others),
            whole=all(part.whole for part in others),
        )

    def __repr__(self) -> str:
        return f"Bounded({self.value!r}, error={self.stored.error!r})"


def scaled(factor: float, magnitude: Float64s) -> Float64s:
    """Multiply magnitudes by a factor, which may be infinite: 0 stays 0."""
    if factor < np.inf:
        return factor * magnitude
    return np.where(magnitude > 0, np.inf, 0.0)


# The rules: what each operation does to values and bounds.


def total(a: Bounded, b: Bounded, sign: float) -> Bounded:
    """Add a and sign b. Nothing is rounded yet."""
    return Bounded(
        a.value + sign * b.value,
        a.error + b.error,
        rounding=a.rounding,
        magnitude=a.summand + b.summand,
        terms=a.terms + b.terms,
        whole=a.whole and b.whole,
    )


def product(
    a: Bounded, b: Bounded, times: Callable[[Float64s, Float64s], Float64s], terms: int
) -> Bounded:
    """Multiply, elementwise or as matrices: a sum of so many products of stored numbers."""
    a, b = a.stored, b.stored
    value, magnitude = times(a.value, b.value), times(a.high, b.high)
    error = np.zeros(value.shape) if a.exact else times(a.error, b.high)
    if not b.exact:
        error = error + times(np.abs(a.value), b.error)
    return Bounded(
        value, error, rounding=a.rounding, magnitude=magnitude, terms=terms,
        whole=a.whole and b.whole,
    )  # fmt: skip


def tanh(a: Bounded) -> Bounded:
    """Take tanh of a stored number: its error times the steepest slope there, and tanh's own."""
    a, r = a.stored, a.rounding
    y = np.tanh(a.value)
    slope = 1 / np.cosh(np.maximum(np.abs(a.value) - a.error, 0)) ** 2
    carried = slope * a.error
    own = r.tanh * r.u * (np.abs(y) + carried) + CHECK_TANH * CHECK * np.abs(y) + r.underflow
    error = (carried + own) * (1 + gamma(32, CHECK))  # of which cosh, squared, may take 10
    error = np.minimum(error, range_of_tanh(y, r))
    return Bounded(y, np.where(np.isfinite(a.error), error, np.inf), rounding=r, whole=False)


def range_of_tanh(y: Float64s, rounding: Rounding) -> Float64s:
    """Return the error at which a tanh may be anything in [-1, 1]: it is left open."""
    return (1 + np.abs(y) + rounding.tanh * rounding.u) * (1 + gamma(4, CHECK))


def maximum(a: Bounded, b: Bounded) -> Bounded:
    """Take relu of a stored number, which rounds nothing; b is 0."""
    a = a.stored
    error = np.where(a.value + a.error > b.value, a.error, 0.0)
    return Bounded(np.maximum(a.value, b.value), error, rounding=a.rounding, whole=a.whole)


def greater(a: Bounded, b: Bounded) -> Bounded:
    """Compare a stored number with b, which is 0: 1 above it, else 0; open where it may be both."""
    a = a.stored
    decided = (np.abs(a.value - b.value) > a.error) | (a.error == 0)
    error = np.where(decided, 0.0, np.inf)
    return Bounded(a.value > b.value, error, rounding=a.rounding, whole=bool(decided.all()))


Bounded.rules = {
    np.add: lambda a, b: total(a, b, 1.0),
    np.subtract: lambda a, b: total(a, b, -1.0),
    np.multiply: lambda a, b: product(a, b, np.multiply, 1),
    np.matmul: lambda a, b: product(a, b, np.matmul, a.shape[-1]),
    np.tanh: tanh,
    np.maximum: maximum,
    np.greater: greater,
}
