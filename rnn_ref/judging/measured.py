"""What is measured of a subject before it is judged: how accurate its own tanh is.

A tanh that is less accurate than the bounds assume is one fact. It is measured once a run, one
property judges it, and the bounds of all others take what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnn_ref.arithmetic.array import quietly
from rnn_ref.arithmetic.doubledouble import DoubleDouble
from rnn_ref.arithmetic.dtypes import Floats, Rounding, rounded, ulp
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.cases.random import RandomStream
from rnn_ref.judging.failures import SubjectFault

if TYPE_CHECKING:
    from rnn_ref.judging.subject import Subject

TANH = 4.0
"""How many u a subject's tanh may be off, unless --tanh says another number."""

MOST_TANH = 8.0
"""The most u that the bounds take of a tanh because it was measured."""

MARGIN = 1.1
"""How much worse a tanh is somewhere than in a few thousand places, at most.

Of XLA's, 400,000 arguments in each binade find 4.83 u in float32, and 4,096 in all 4.5.
"""

ROWS, FEATURES, UNITS = 64, 4, 64
"""N, I and H of the step in which tanh is measured."""

ARGUMENTS = ROWS * UNITS
"""How many arguments that are."""

DENSE = (-12, 4)
"""The exponents between which tanh bends: from where it is its argument to where it is 1."""

PLAIN = Case.parse("tanh L1 D1 bias T1 N1 I1 H1 float32 weights=torch input=normal seed=0")
"""The case in which tanh is measured, whatever the dtype."""


@dataclass(frozen=True)
class Accuracy:
    """How far a tanh is off at most: in units of roundoff u, in ULPs, at what argument."""

    units: float
    ulps: float
    argument: float
    got: float
    expected: float

    def __str__(self) -> str:
        return f"{self.units:.2f} u ({self.ulps:.2f} ULP), at {self.argument:.4g}"


@dataclass(frozen=True)
class Measured:
    """What was measured of a subject: its tanh's accuracy, by dtype."""

    tanh: Mapping[str, Accuracy] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Give it as numbers and text, for JSON; an infinite number becomes text."""
        return {
            "tanh": {
                dtype: {name: v if math.isfinite(v) else str(v) for name, v in asdict(a).items()}
                for dtype, a in self.tanh.items()
            }
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Measured:
        """Make it of what `as_dict` gave."""
        tanh = {
            dtype: Accuracy(**{name: float(v) for name, v in each.items()})
            for dtype, each in told["tanh"].items()
        }
        return cls(tanh)

    def told(self, limit: float | None, *, all: bool = False) -> list[str]:
        """Say how accurate tanh is, where it is less so than the limit, or of all."""
        limit = TANH if limit is None else limit
        return [
            f"tanh in {dtype}: within {accuracy}; the bounds take {taken:g} u"
            for dtype, accuracy in self.tanh.items()
            for taken in [self.tanh_units(dtype, limit)]
            if all or accuracy.units > limit
        ]

    def tanh_units(self, dtype: str, limit: float) -> float:
        """Return how many u of a tanh the bounds take: the limit, or more if that was measured.

        That is rounded up to a whole number, with a margin; beyond MOST_TANH it is not taken.
        """
        if dtype not in self.tanh or self.tanh[dtype].units > MOST_TANH:
            return limit
        return max(limit, float(math.ceil(MARGIN * self.tanh[dtype].units)))


NOTHING = Measured()
"""What is known of a subject before."""


def measure(subject: Subject, dtypes: Sequence[str], without: frozenset[str]) -> Measured:
    """Measure a subject in some dtypes; one in which it raises is left out."""
    tanh = {}
    case = replace(PLAIN, bias="bias" not in without)
    for dtype in dtypes if "tanh" not in without else ():
        with suppress(SubjectFault):
            tanh[dtype] = accuracy_of_tanh(subject, replace(case, dtype=dtype))
    return Measured(tanh)


def accuracy_of_tanh(subject: Subject, case: Case) -> Accuracy:
    """Measure how accurate the tanh of a subject is, in one step over its whole range."""
    problem = step_of_products(subject.problem(case), case.seed)
    wide = (a.astype(np.float64) for a in (problem.input[0], problem.parameters["weight_ih_l0"].T))
    arguments = np.matmul(*wide)
    return accuracy(subject.run(problem).output[0], arguments, problem.dtype, problem.rounding)


def step_of_products(problem: Problem, seed: int) -> Problem:
    """Make a problem of a case's options, whose pre-activations are one exact product each.

    Each unit reads one feature of the input, whose numbers are in [1, 2), by a weight that is a
    power of two: no sum and no product is rounded, in whatever order or precision of sums.
    """
    fans = {"weight_ih_l0": (FEATURES,), "weight_hh_l0": (UNITS,)}
    parameters = {name: np.zeros((UNITS, *fans.get(name, ()))) for name in problem.parameters}
    units = np.arange(UNITS)
    signs = np.where(units // FEATURES % 2, -1.0, 1.0)
    parameters["weight_ih_l0"][units, units % FEATURES] = np.ldexp(signs, exponents(problem))
    input = mantissas(problem, seed)
    return replace(
        problem,
        parameters={name: rounded(a, problem.dtype) for name, a in parameters.items()},
        input=rounded(input, problem.dtype)[None],
        h_0=None, grad_output=None, grad_h_n=None,
    )  # fmt: skip


def mantissas(problem: Problem, seed: int) -> NDArray[np.float64]:
    """Draw numbers of the dtype in [1, 2), (ROWS, FEATURES): the ends of the interval first."""
    last = 2 - 2 * problem.rounding.u
    drawn = 1.5 + RandomStream(seed, "tanh").uniform((ROWS, FEATURES)) / 2
    drawn[0], drawn[1] = 1.0, last
    return np.minimum(rounded(drawn, problem.dtype).astype(np.float64), last)


def exponents(problem: Problem) -> NDArray[np.int64]:
    """List the exponents of two, (UNITS,): three in four where tanh bends, one throughout."""
    r = problem.rounding
    ends = math.frexp(r.smallest_normal)[1] - 1, math.frexp(r.largest)[1] - 3
    dense = np.linspace(*DENSE, UNITS * 3 // 4)
    low = max(DENSE[0], ends[0])
    far = np.linspace(*ends, UNITS - len(dense))
    drawn = np.concatenate([np.maximum(dense, low), far])
    return np.array(np.rint(drawn), np.int64)


def accuracy(
    got: Floats, arguments: NDArray[np.float64], dtype: str, rounding: Rounding
) -> Accuracy:
    """Compare tanh of some arguments with its values, to twice float64's precision."""
    upper, lower = tanh(arguments)
    with quietly():
        error = np.abs((got.astype(np.float64) - upper) - lower)
        error = np.where(np.isnan(error), np.inf, np.maximum(error - rounding.underflow, 0))
        units = np.where(error == 0, 0.0, error / np.abs(upper) / rounding.u)
    at = np.unravel_index(int(np.argmax(units)), units.shape)
    unit = ulp(rounded(upper, dtype), dtype)
    values = (units, error / unit, arguments, got, upper)
    return Accuracy(*(float(array[at]) for array in values))


def tanh(a: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute tanh as the sum of two numbers; where |a| < 2^-200 it is a."""
    tiny = np.abs(a) < 2.0**-200
    upper, lower = np.tanh(DoubleDouble(np.clip(np.where(tiny, 1.0, a), -40, 40))).parts
    return np.where(tiny, a, upper), np.where(tiny, 0.0, lower)
