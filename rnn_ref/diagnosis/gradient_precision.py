"""What may be rounded too much in a backward pass: gradients, or tanh's slope."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import ROUNDING, Rounding
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import BackwardChange, Hypothesis, error_of, replaced, value_of
from rnn_ref.diagnosis.gradient_hypotheses import changed
from rnn_ref.diagnosis.precision_hypotheses import coarser
from rnn_ref.diagnosis.slope_hypotheses import sloped
from rnn_ref.judging.oracle import Oracle
from rnn_ref.reference import Array

LARGEST_ERROR = 2.0**-15
"""The largest relative error that is taken for one of tanh's slope."""


def precise_gradients(p: Problem) -> list[Hypothesis]:
    """List losses of precision in the backward pass; of those that fit, the first is meant."""
    return [*rounded_gradients(p), *inaccurate_slopes(p)]


def inaccurate_slopes(p: Problem) -> Iterator[Hypothesis]:
    """List slopes of tanh that are less accurate than a subject's may be."""
    error = 16 * p.rounding.u
    while p.nonlinearity == "tanh" and error <= LARGEST_ERROR:
        slope = partial(inexact_slope, relative=error)
        change = BackwardChange(differentiates=partial(sloped, slope=slope))
        yield changed(
            f"tanh's slope, or the gradient times it, has a relative error of up to {error:.2g}",
            change,
        )._replace(widens=True)
        error *= 2


def inexact_slope(y: Array, relative: float) -> Array:
    """Give tanh's slope a relative error."""
    slope = 1 - y * y
    return replaced(slope, value_of(slope), error_of(slope) + relative * np.abs(value_of(slope)))


def rounded_gradients(p: Problem) -> Iterator[Hypothesis]:
    """List roundings of gradients: those that are wrong show it in their digits."""
    for dtype in reversed(coarser(p)):
        yield Hypothesis(
            f"gradients are rounded to {dtype}",
            lambda oracle, r=ROUNDING[dtype]: rounded_as(oracle, r),  # type: ignore[misc]
            widens=True,
            both_signs=True,
            few_digits=dtype,
        )
    if p.dtype == "float64":
        yield Hypothesis(
            "gradients have errors of the size of float32's rounding",
            lambda oracle: rounded_as(oracle, ROUNDING["float32"]),
            widens=True,
            both_signs=True,
        )


def rounded_as(oracle: Oracle, coarse: Rounding) -> dict[str, Any]:
    """Compute the bounds of gradients that are rounded as in a coarser dtype."""
    own = oracle.rounding
    rounding = replace(own, u=coarse.u, ua=coarse.u, eta=max(own.eta, coarse.eta))
    states = [Bounded(y.value, y.error, rounding=rounding) for y in oracle.states]
    return Oracle(replace(oracle.problem, rounding=rounding)).gradients(states)
