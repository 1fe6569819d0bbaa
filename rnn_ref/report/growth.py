"""Compute how errors grow with steps, in two networks that any correct program can run.

No file has a correct subject's error by step. What it is like is the plainest correct
program's: the reference in float32, each operation rounded by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.doubledouble import DoubleDouble
from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.arithmetic.rounded import RoundedArray
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.parameters import read
from rnn_ref.reference import ACTIVATIONS, forward

REGIMES = ("chaotic", "contracting")
LINE = "tanh L1 D1 bias T60 N1 I4 H16 float32 weights={} input=normal seed=1"


@dataclass(frozen=True)
class Growth:
    """By step, the largest error of a unit end to end, its bound, and the error of one step."""

    case: str
    weights: str
    error: Floats
    bound: Floats
    one_step: Floats


def growth(weights: str) -> Growth:
    """Run the plain program beside the true values, from the input and from its own states."""
    line = LINE.format(weights)
    problem = Case.parse(line).problem()
    true = states(problem, as_exact)
    plain = np.asarray(states(problem, as_rounded).numbers, np.float64)
    bound = states(problem, lambda a: Bounded(a, rounding=problem.rounding)).stored.error
    single = [one_step(problem, plain, t) for t in range(len(plain))]
    return Growth(line, weights, largest(off(plain, true)), largest(bound), np.array(single))


def as_exact(array: Floats) -> Any:
    """Take numbers as true ones."""
    return DoubleDouble(np.asarray(array, np.float64))


def as_rounded(array: Floats) -> Any:
    """Take numbers as float32's."""
    return RoundedArray(array, "float32")


def states(
    problem: Problem,
    number: Callable[[Floats], Any],
    x: Floats | None = None,
    h_0: Floats | None = None,
) -> Any:
    """Run the reference on an array of any number system; return the last layer's states."""
    network = read({name: number(array) for name, array in problem.parameters.items()})
    x = problem.input if x is None else x
    h_0 = np.zeros(problem.h_n_shape) if h_0 is None else h_0
    return forward(number(x), number(h_0), network.layers, ACTIVATIONS["tanh"])[-1]


def one_step(problem: Problem, plain: Floats, t: int) -> float:
    """Measure the error of step t alone, from the state that the plain program had before it."""
    before = plain[t - 1 : t] if t else None
    true = states(problem, as_exact, problem.input[t : t + 1], before)
    return float(off(plain[t : t + 1], true).max())


def off(got: Floats, true: Any) -> Floats:
    """Compute the distance of numbers from true ones."""
    distance: Floats = np.abs(got - true.high - true.low)
    return distance


def largest(array: Floats) -> Floats:
    """Take the largest of each step, (T,), of (T, N, H)."""
    steps: Floats = array.max(axis=(1, 2))
    return steps
