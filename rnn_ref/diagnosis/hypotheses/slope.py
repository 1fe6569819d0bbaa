"""What may be wrong with the slope of a nonlinearity, in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import (
    Differential,
    Differentiate,
    Run,
    error_of,
    replaced,
    stored,
    value_of,
)
from rnn_ref.reference import Array, previous, project


def about_slope(p: Problem) -> Iterator[tuple[str, Differentiate]]:
    """List changes of the nonlinearity's slope, as functions of its result."""
    slopes: dict[str, Callable[[Array], Array]] = {
        f"the slope of {p.nonlinearity} is taken as 1": lambda y: 1 - y * 0,
    }
    if p.nonlinearity == "tanh":
        slopes |= {
            "tanh's slope is 1 - y in place of 1 - y^2": lambda y: 1 - y,
            "tanh's slope is 1 + y^2 in place of 1 - y^2": lambda y: 1 + y * y,
            "tanh's slope is 1 - tanh(y)^2: that of a second tanh": lambda y: (
                1 - np.tanh(y) * np.tanh(y)
            ),
            "tanh's slope is y (1 - y): that of a sigmoid": lambda y: y * (1 - y),
            "tanh's slope is that of relu": lambda y: y > 0,
        }
    else:
        slopes["relu's slope is that of tanh"] = lambda y: 1 - y * y
    for sentence, slope in slopes.items():
        yield sentence, partial(sloped, slope=slope)
    if p.nonlinearity == "relu":
        yield (
            "relu's slope at 0 is 0.5, as that of a maximum of two, in place of 0",
            partial(tied, c=0.5),
        )
        yield "relu's slope at 0 is 1 in place of 0", partial(tied, c=1.0)
    else:
        yield "tanh's slope is 1 - a^2, of its argument a, in place of 1 - y^2", of_argument


def arguments(r: Run) -> Array:
    """Compute what the nonlinearity is applied to."""
    return project(r.x, r.w) + previous(r.y, r.h_0) @ r.w.W_hh.T


def tied(r: Run, c: float) -> Differential:
    """Take a number for relu's slope where its argument is exactly 0."""
    slope = r.activation.slope(r.y)
    at_zero = (value_of(arguments(r)) == 0) & (value_of(slope) == 0) & (error_of(slope) == 0)
    other = replaced(1 - r.y * 0, np.where(at_zero, c, value_of(slope)), error_of(slope))
    return sloped(r, lambda _: other)


def of_argument(r: Run) -> Differential:
    """Take tanh's slope as if its argument were its result."""
    a = stored(arguments(r))
    return sloped(r, lambda _: 1 - a * a)


def sloped(r: Run, slope: Callable[[Array], Array]) -> Differential:
    """Take another slope."""
    return r._replace(activation=r.activation._replace(slope=slope)).differentiated()
