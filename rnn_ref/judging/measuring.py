"""Measure what a subject's own arithmetic is like, by single steps of networks made for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_ref.arithmetic.array import quietly
from rnn_ref.arithmetic.doubledouble import DoubleDouble
from rnn_ref.arithmetic.dtypes import Floats, Rounding, rounded, ulp
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.cases.random import RandomStream
from rnn_ref.judging.failures import SubjectFault
from rnn_ref.judging.measured import Accuracy, Measured
from rnn_ref.judging.subject import Subject

ROWS, UNITS = 128, 64
"""N and H of the steps in which tanh is measured: each has 8,192 arguments."""

DENSE = (-12, 4)
"""The exponents between which tanh bends: from where it is its argument to where it is 1."""

PLAIN = Case.parse("tanh L1 D1 bias T1 N1 I1 H1 float32 weights=torch input=normal seed=0")
"""The case in which tanh is measured, whatever the dtype."""


def measure(
    subject: Subject,
    dtypes: Sequence[str],
    without: frozenset[str],
    *,
    units: bool = True,
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Measured:
    """Measure a subject in some dtypes, one in which it raises left out; `units` are tanh's.

    `around` is entered for each measurement, and puts back what the subject may change.
    """
    tanh, loses_nan = {}, False
    flushed: list[str] = []
    case = replace(PLAIN, bias="bias" not in without)
    for dtype in dtypes:
        case = replace(case, dtype=dtype)
        with suppress(SubjectFault):
            if units and "tanh" not in without:
                with around():
                    tanh[dtype] = accuracy_of_tanh(subject, case)
            if not subject.rounding(dtype).flush:
                with around():
                    lost = lost_subnormals(subject, of_any(case, without))
                flushed += [dtype] if lost else []
            if "relu" not in without:
                with around():
                    relu = relu_of_nan(subject, replace(case, nonlinearity="relu"))
                loses_nan |= not np.isnan(relu)
    return Measured(tanh, tuple(flushed), loses_nan)


def of_any(case: Case, without: frozenset[str]) -> Case:
    """Give a case a nonlinearity that a subject has."""
    return replace(case, nonlinearity="relu" if "tanh" in without else "tanh")


def of_inputs(problem: Problem, numbers: Sequence[float]) -> Problem:
    """Make a problem of one step and one unit, whose pre-activations are these numbers."""
    zero = {name: np.zeros_like(a) for name, a in problem.parameters.items()}
    parameters = {**zero, "weight_ih_l0": np.ones_like(zero["weight_ih_l0"])}
    input = np.array(numbers, problem.input.dtype).reshape(1, -1, 1)
    return replace(
        problem, parameters=parameters, input=input, h_0=None, grad_output=None, grad_h_n=None
    )


TIMES = 8
"""How often a number is tried: some programs take it for zero in a whole vector alone."""


def lost_subnormals(subject: Subject, case: Case) -> list[float]:
    """List those subnormal numbers that a step with a weight of 1 takes for zero, at least once.

    None, if it takes normal numbers for zero too: that is no flushing.
    """
    problem = subject.problem(case)
    r = problem.rounding
    numbers = [2 * r.smallest_normal, *(r.smallest_normal * 2.0**-k for k in range(2, 9))]
    numbers = [number for number in numbers if number > r.eta]
    output = subject.run(of_inputs(problem, numbers * TIMES)).output.reshape(TIMES, -1)
    kept = np.all(output != 0, axis=0).tolist()
    return (
        [] if not kept[0] else [n for n, is_kept in zip(numbers, kept, strict=True) if not is_kept]
    )


def relu_of_nan(subject: Subject, case: Case) -> float:
    """Compute relu of NaN as a subject does."""
    (y,) = subject.run(of_inputs(subject.problem(case), [np.nan])).output.ravel()
    return float(y)


def accuracy_of_tanh(subject: Subject, case: Case) -> Accuracy:
    """Measure how accurate the tanh of a subject is, in three steps.

    The first has arguments in its whole range, the second in the four binades where it was
    worst, and the third in the worst of those.
    """
    problem = subject.problem(case)
    mantissas = 1.5 + RandomStream(case.seed, "tanh").uniform((ROWS, UNITS)) / 2
    steps = [step(subject, problem, mantissas, exponents(problem))]
    powers = np.frexp(steps[0].arguments)[1] - 1
    by_power = {int(power): steps[0].units[powers == power].max() for power in np.unique(powers)}
    worst = sorted(by_power, key=by_power.__getitem__)[-4:]
    steps.append(step(subject, problem, mantissas, np.resize(worst, UNITS)))
    _, power = np.frexp(steps[-1].accuracy.argument)
    steps.append(step(subject, problem, 3 - mantissas, np.full(UNITS, power - 1)))
    return max((each.accuracy for each in steps), key=lambda accuracy: accuracy.units)


def step(
    subject: Subject, problem: Problem, mantissas: NDArray[np.float64], powers: NDArray[np.int64]
) -> Errors:
    """Measure tanh of numbers, (ROWS, UNITS) in [1, 2], times powers of two, (UNITS,)."""
    problem = step_of_products(problem, mantissas, powers)
    diagonal = np.diag(problem.parameters["weight_ih_l0"]).astype(np.float64)
    arguments = problem.input[0].astype(np.float64) * diagonal
    return errors(subject.run(problem).output[0], arguments, problem.dtype, problem.rounding)


def step_of_products(
    problem: Problem, mantissas: NDArray[np.float64], powers: NDArray[np.int64]
) -> Problem:
    """Make a problem of a case's options, whose pre-activations are one exact product each.

    Each unit reads a feature of its own by a weight that is a power of two: no sum and no
    product is rounded, in whatever order or precision of sums. The first rows are the ends of
    a binade.
    """
    last = 2 - 2 * problem.rounding.u
    input = np.minimum(rounded(mantissas, problem.dtype).astype(np.float64), last)
    input[0], input[1] = mantissas.min() if mantissas.min() > 1.25 else 1.0, last
    parameters = {
        name: np.zeros((UNITS, UNITS) if "weight" in name else UNITS) for name in problem.parameters
    }
    signs = np.where(np.arange(UNITS) % 8 < 4, 1.0, -1.0)
    np.fill_diagonal(parameters["weight_ih_l0"], np.ldexp(signs, powers))
    return replace(
        problem,
        parameters={name: rounded(a, problem.dtype) for name, a in parameters.items()},
        input=rounded(input, problem.dtype)[None],
        h_0=None, grad_output=None, grad_h_n=None,
    )  # fmt: skip


def exponents(problem: Problem) -> NDArray[np.int64]:
    """List the exponents of two, (UNITS,): three in four where tanh bends, one throughout."""
    r = problem.rounding
    ends = math.frexp(r.smallest_normal)[1] - 1, math.frexp(r.largest)[1] - 3
    dense = np.linspace(*DENSE, UNITS * 3 // 4)
    low = max(DENSE[0], ends[0])
    far = np.linspace(*ends, UNITS - len(dense))
    drawn = np.concatenate([np.maximum(dense, low), far])
    return np.array(np.rint(drawn), np.int64)


@dataclass(frozen=True)
class Errors:
    """How far tanh of some arguments is off: in units of roundoff and in ULPs, each an array."""

    arguments: NDArray[np.float64]
    got: Floats
    expected: NDArray[np.float64]
    units: NDArray[np.float64]
    ulps: NDArray[np.float64]

    @property
    def worst(self) -> tuple[Any, ...]:
        """The index of the worst."""
        return np.unravel_index(int(np.argmax(self.units)), self.units.shape)

    @property
    def accuracy(self) -> Accuracy:
        """What is worst."""
        arrays = (self.units, self.ulps, self.arguments, self.got, self.expected)
        return Accuracy(*(float(array[self.worst]) for array in arrays))


def errors(got: Floats, arguments: NDArray[np.float64], dtype: str, rounding: Rounding) -> Errors:
    """Compare tanh of some arguments with its values, to twice float64's precision."""
    upper, lower = tanh(arguments)
    with quietly():
        error = np.abs((got.astype(np.float64) - upper) - lower)
        error = np.where(np.isnan(error), np.inf, np.maximum(error - rounding.underflow, 0))
        units = np.where(error == 0, 0.0, error / np.abs(upper) / rounding.u)
        ulps = error / ulp(rounded(upper, dtype), dtype)
    return Errors(arguments, got, upper, units, ulps)


def tanh(a: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute tanh as the sum of two numbers; where |a| < 2^-200 it is a."""
    tiny = np.abs(a) < 2.0**-200
    upper, lower = np.tanh(DoubleDouble(np.clip(np.where(tiny, 1.0, a), -40, 40))).parts
    return np.where(tiny, a, upper), np.where(tiny, 0.0, lower)
