"""What may be rounded too much in a backward pass: gradients, or tanh's slope."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import (
    NEAR,
    BackwardChange,
    Hypothesis,
    changed_backward,
    error_of,
    replaced,
    value_of,
)
from rnn_ref.diagnosis.hypotheses.products import TF32, coarser
from rnn_ref.diagnosis.hypotheses.slope import sloped
from rnn_ref.diagnosis.places import KINDS
from rnn_ref.judging.oracle import Oracle
from rnn_ref.reference import Array

LARGEST_ERROR = 2.0**-15
"""The largest relative error that is taken for one of tanh's slope."""


FEW_PRODUCTS = 0.002
"""The ratio that errors must reach where the products of one gradient are rounded alone.

The bounds are those of a backward pass that is rounded throughout.
"""


def precise_gradients(p: Problem) -> list[Hypothesis]:
    """List losses of precision in the backward pass; of those that fit, the first is meant."""
    return [
        *rounded_gradients(p),
        *inexact_gradients(p, {"float32's rounding": "float32"}),
        *inaccurate_slopes(p),
        *inexact_gradients(p, {"products in TF32 or in 16 bits": "bfloat16"}),
    ]


def inaccurate_slopes(p: Problem) -> Iterator[Hypothesis]:
    """List slopes of tanh that are less accurate than a subject's may be."""
    error = 16 * p.rounding.u
    while p.nonlinearity == "tanh" and error <= LARGEST_ERROR:
        slope = partial(inexact_slope, relative=error)
        change = BackwardChange(differentiates=partial(sloped, slope=slope))
        yield changed_backward(
            f"tanh's slope, or the gradient times it, has a relative error of up to {error:.2g}",
            change,
        )._replace(widens=True, spreads=True)
        error *= 2


def inexact_slope(y: Array, relative: float) -> Array:
    """Give tanh's slope a relative error."""
    slope = 1 - y * y
    return replaced(slope, value_of(slope), error_of(slope) + relative * np.abs(value_of(slope)))


def groups(p: Problem) -> dict[str, frozenset[str] | None]:
    """List which gradients may be rounded, by words: those of one kind, of several, or all."""
    kinds = KINDS if p.bias else KINDS[:2]
    of = {kind: frozenset(n for n in p.parameters if n.startswith(kind)) for kind in kinds}
    found: dict[str, frozenset[str] | None] = {
        f"the gradient of {kind}": names for kind, names in of.items()
    }
    found |= {
        f"the gradient of {name}": frozenset([name]) for name in p.parameters if p.L * p.D > 1
    }
    found["the gradient of weight_ih and weight_hh"] = of[KINDS[0]] | of[KINDS[1]]
    if p.bias:
        found["the gradient of the biases"] = of[KINDS[2]] | of[KINDS[3]]
    found["the gradient of the parameters"] = frozenset(p.parameters)
    found |= {f"the gradient of {name}": frozenset([name]) for name in p.arguments}
    return found | {"gradients": None}


def rounded_gradients(p: Problem) -> Iterator[Hypothesis]:
    """List roundings of finished gradients: those that are wrong show it in their digits.

    The first are those of all.
    """
    for name in reversed([name for name in coarser(p) if name in ROUNDING]):
        for words, names in reversed(groups(p).items()):
            verb = "are" if names is None else "is"
            yield of_size(f"{words} {verb} rounded to {name}", name, names)._replace(
                few_digits=name
            )


def inexact_gradients(p: Problem, sizes: dict[str, str]) -> Iterator[Hypothesis]:
    """List errors of gradients that are as large as a coarser format's rounding.

    The first are those of few gradients: a loss of precision further up would show in all.
    """
    for of, name in sizes.items():
        for words, names in groups(p).items() if name in coarser(p) else ():
            verb = "have" if names is None else "has"
            yield of_size(f"{words} {verb} errors of the size of {of}", name, names)


def of_size(sentence: str, name: str, names: frozenset[str] | None) -> Hypothesis:
    """Make a hypothesis of gradients that are rounded as in a coarser format."""

    def expected(oracle: Oracle) -> dict[str, Any]:
        inexact = rounded_as(oracle, name)
        return {
            n: inexact[n] if names is None or n in names else right
            for n, right in oracle.gradients_end_to_end.items()
        }

    least = NEAR if names is None else FEW_PRODUCTS
    return Hypothesis(sentence, expected, names, widens=True, both_signs=True, least=least)


def rounded_as(oracle: Oracle, name: str) -> dict[str, Any]:
    """Compute the bounds of gradients that are rounded as in a coarser format."""
    own, coarse = oracle.rounding, TF32 if name == "TF32" else ROUNDING[name]
    rounding = replace(own, u=coarse.u, ua=coarse.u, eta=max(own.eta, coarse.eta))
    states = [Bounded(y.value, y.error, rounding=rounding) for y in oracle.states]
    return Oracle(replace(oracle.problem, rounding=rounding)).gradients(states)
