"""What may be wrong with the nonlinearity: another one is applied, or none, or one with a limit."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import error_of, replaced, stored, unit_of, value_of
from rnn_ref.reference import ACTIVATIONS, Activation, Array


def about_activation(p: Problem) -> list[tuple[str, Callable[[Activation], Activation]]]:
    """List changes of the nonlinearity."""
    other = "relu" if p.nonlinearity == "tanh" else "tanh"
    values: list[tuple[str, Callable[[Array], Array]]] = [
        (f"{other} is applied in place of {p.nonlinearity}", ACTIVATIONS[other].value),
        (f"{p.nonlinearity} is missing", stored),
    ]
    if p.nonlinearity == "tanh":
        values += [
            ("tanh is applied twice", lambda a: np.tanh(np.tanh(a))),
            ("a sigmoid is applied in place of tanh", sigmoid),
            ("tanh is NaN where exp(2a) overflows", partial(overflowing, factor=2, sides=1)),
            ("tanh is NaN where exp(|a|) overflows", partial(overflowing, factor=1, sides=2)),
            ("tanh is replaced by its argument, clipped to [-1, 1]", partial(clipped, low=-1, c=1)),
            (
                "a softsign, a / (1 + |a|), is applied in place of tanh",
                partial(curved, of=softsign),
            ),
        ]
        for c in LIMITS:
            beyond = partial(saturated, c=c)
            values += [(f"tanh is 1, or -1, where its argument is beyond {c:g}", beyond)]
            limited = partial(of_limited, c=c)
            values += [(f"tanh's argument is clipped to [-{c:g}, {c:g}]", limited)]
    else:
        values += [
            (f"relu is clipped at {c:g}", partial(clipped, low=0, c=c))
            for c in (1, 6, 10, 20, 50, 100, 1000, 1e4, 65504, 1e5, 1e6)
        ]
        values += [
            (f"relu is leaky: its slope below 0 is {s:g}", partial(leaky, s=s))
            for s in (1e-3, 1e-2, 0.1, 0.2, 11 / 48)
        ]
        values += [
            (f"{name} is applied in place of relu", partial(curved, of=of))
            for name, of in CURVES.items()
        ]
    return [(sentence, partial(with_value, value=value)) for sentence, value in values]


LIMITS = (1, 2, 3, 4, 5, 6, 7, 8)
"""Where others may cut tanh short; beyond 9 it is 1 in float32."""


def with_value(own: Activation, value: Callable[[Array], Array]) -> Activation:
    """Replace what an activation computes."""
    return own._replace(value=value)


def sigmoid(a: Array) -> Array:
    """Compute 1 / (1 + exp(-a)) as (1 + tanh(a/2)) / 2, and leave room for another way."""
    half = stored(np.tanh(a * 0.5))
    value = 0.5 + 0.5 * value_of(half)
    return replaced(half, value, 0.5 * error_of(half) + 8 * unit_of(half) * value)


def softsign(a: Floats) -> Floats:
    """Compute a / (1 + |a|)."""
    y: Floats = a / (1 + np.abs(a))
    return y


def gelu(a: Floats) -> Floats:
    """Compute a times the normal distribution function of a."""
    y: Floats = a * np.vectorize(lambda a: 0.5 * math.erfc(-a / math.sqrt(2)))(a)
    return y


CURVES: dict[str, Callable[[Floats], Floats]] = {
    "softplus": lambda a: np.logaddexp(0, a),
    "elu": lambda a: np.where(a > 0, a, np.expm1(np.minimum(a, 0))),
    "silu": lambda a: a / (1 + np.exp(-a)),
    "gelu": gelu,
    "the absolute value": np.abs,
}
"""Functions that others have in the place of relu, whose slopes are at most 1.2."""


def curved(a: Array, of: Callable[[Floats], Floats]) -> Array:
    """Apply a function of floats, of slopes up to 1.2, and leave room for another way."""
    value, error = value_of(a), error_of(a)
    y = of(value)
    return replaced(a, y, 1.2 * error + 8 * unit_of(a) * (np.abs(y) + np.abs(value)))


def overflowing(a: Array, factor: int, sides: int) -> Array:
    """Compute tanh from exponentials, which overflow for large sums of one sign or of both."""
    largest = a.rounding.largest if isinstance(a, Bounded) else np.inf
    y, sums = np.tanh(stored(a)), value_of(a)
    over = factor * (sums if sides == 1 else np.abs(sums)) > np.log(largest)
    return replaced(y, np.where(over, np.nan, value_of(y)), error_of(y) + 8 * unit_of(y))


def saturated(a: Array, c: float) -> Array:
    """Compute tanh, but 1 or -1 for sums beyond c; both where a sum may be either."""
    y, sums, error = np.tanh(stored(a)), value_of(a), error_of(a)
    beyond, unsure = np.abs(sums) > c, np.abs(np.abs(sums) - c) <= error
    value = np.where(beyond, np.sign(sums), value_of(y))
    gap = np.where(unsure, 1 - np.tanh(c), 0.0)
    return replaced(y, value, np.where(beyond & ~unsure, 0.0, error_of(y) + gap))


def of_limited(a: Array, c: float) -> Array:
    """Compute tanh of sums that are clipped to [-c, c]."""
    return np.tanh(stored(clipped(stored(a), low=-c, c=c)))


def clipped(a: Array, low: float, c: float) -> Array:
    """Bring numbers into [low, c]; what is outside for certain has no error."""
    value, error = value_of(a), error_of(a)
    outside = (value - error >= c) | (value + error <= low)
    return replaced(a, np.clip(value, low, c), np.where(outside, 0.0, error))


def leaky(a: Array, s: float) -> Array:
    """Multiply numbers below 0 by s."""
    value, error = value_of(a), error_of(a)
    sloped = np.where(value < 0, s * value, value)
    rounding = np.where(value - error < 0, 2 * unit_of(a) * np.abs(sloped), 0.0)
    return replaced(a, sloped, np.where(value + error < 0, s, 1.0) * error + rounding)
