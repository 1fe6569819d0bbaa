"""Tell whether wrong gradients follow from a changed forward pass, by differences.

A program whose forward pass has a fault has the gradients of that pass, if its backward pass
is right. What a hypothesis says of results is a function of the arguments; its slope in one
direction of each argument is compared with the gradient that the program wrote. This decides
in which entry a wrong gradient stands; no verdict depends on it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnn_ref.arithmetic.array import quietly
from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.problem import Problem
from rnn_ref.cases.random import RandomStream
from rnn_ref.diagnosis.changes import Hypothesis, Plain
from rnn_ref.diagnosis.trial import Trial

STEP = 2.0**-20
"""How far an argument is moved, in units of large numbers: its own, or those of all arguments."""

NEAR = 1e-3
ROUNDINGS = 16
"""How far a slope may be from the gradient's, in units of the sum of absolute terms: so far for
its own error, and so many units of roundoff for that of the gradient."""


def follow(trial: Trial, hypothesis: Hypothesis) -> bool:
    """Tell whether wrong gradients are those of the results that a hypothesis expects."""
    p = trial.oracle.problem
    wrong = [name for name, mask in trial.wrong.items() if mask.any()]
    largest = max(np.abs(a).max(initial=1.0) for a in p.arguments.values())
    with quietly():
        return all(
            any(
                is_slope(p, hypothesis, name, trial.got[name], STEP * float(scale))
                for scale in (np.abs((p.arguments | p.parameters)[name]).max(initial=1.0), largest)
            )
            for name in wrong
        )


def is_slope(p: Problem, hypothesis: Hypothesis, name: str, gradient: Floats, step: float) -> bool:
    """Tell whether a gradient for one argument has the slope of the loss in one direction."""
    own = (p.arguments | p.parameters)[name].astype(np.float64)
    direction = RandomStream(0, name).uniform(own.shape)
    above, below = (
        loss(moved(p, name, own + sign * step * direction), hypothesis) for sign in (1, -1)
    )
    terms = gradient.astype(np.float64) * direction
    slope = (above - below) / (2 * step)
    near = NEAR + ROUNDINGS * p.rounding.u
    return bool(np.abs(terms.sum() - slope) <= near * np.abs(terms).sum())


def moved(p: Problem, name: str, array: Floats) -> Problem:
    """Put another array in the place of an argument or a parameter."""
    if name in p.parameters:
        return replace(p, parameters={**p.parameters, name: array})
    return replace(p, input=array) if name == "input" else replace(p, h_0=array)


def loss(p: Problem, hypothesis: Hypothesis) -> float:
    """Compute the loss whose upstream gradients a problem has, of expected results."""
    expected = hypothesis.expected(Plain(p))
    upstream = {"output": p.grad_output, "h_n": p.grad_h_n}
    return float(sum((expected[n] * a).sum() for n, a in upstream.items() if a is not None))
