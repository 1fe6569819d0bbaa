"""How accurate a subject is on a case: its errors, in ULPs, in units of the bound, and in norm.

An error is the distance from the true value, which is the reference's own lines run on
double-doubles. In float64 the same lines have about 2^49 times the error (the ratio of
the unit roundoffs). Where the two differ by more than 2^-10 of the value, the true value
itself may be off by 2^-59 of it, a sixty-fourth of float64's unit in the last place: the
element counts as unresolved.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_ref.arithmetic.array import quietly
from rnn_ref.arithmetic.bounded import range_of_tanh
from rnn_ref.arithmetic.doubledouble import DoubleDouble
from rnn_ref.arithmetic.dtypes import Floats, ulp
from rnn_ref.arithmetic.rounded import RoundedArray
from rnn_ref.cases.case import Case
from rnn_ref.cases.corpus import as_bytes, cases_to_record, read_corpus
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.failures import SubjectFault, is_subjects, raised, sentence
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Run, Subject, visible_states
from rnn_ref.process.environment import environment
from rnn_ref.recording.record import COLUMNS, MEASURED, Recorder
from rnn_ref.reference import Array, final

UNRESOLVED = 2.0**-10
"""The relative distance of float64 from double-double beyond which neither is trusted."""


class Exact(Oracle):
    """The true results of one problem; the states that a subject returned are taken as exact."""

    def known(self, array: Floats) -> Any:
        return DoubleDouble(np.asarray(array, np.float64))

    def as_read(self, y: Floats) -> Any:
        return self.known(y)

    def states_for_backward(self, states: Sequence[Any], stepped: Sequence[Any]) -> list[Any]:  # noqa: ARG002
        return list(states)

    def for_gradients(self, a: Array) -> Array:
        return a


class Float64(Exact):
    """The same results as float64 gives them."""

    def known(self, array: Floats) -> Any:
        return RoundedArray(array, "float64")


class PlainProgram(Exact):
    """The results of the plainest correct program: each operation is rounded by itself."""

    def known(self, array: Floats) -> Any:
        return RoundedArray(array, self.problem.dtype)

    def states_for_backward(self, states: Sequence[Any], stepped: Sequence[Any]) -> list[Any]:  # noqa: ARG002
        """Take slopes of the unrounded states, as a program that uses pre-activations does."""
        return list(stepped)


@dataclass(frozen=True)
class Observed:
    """What a subject did on a problem: its run, and its layers' states, None where hidden."""

    run: Run
    visible: Sequence[Floats | None]


Arrays = dict[str, list[Any]]
"""By quantity: `output`, `h_n`, `gradient of input`, `gradient of weight_ih` and so on.

Each quantity has a list of arrays, one for each layer and direction.
"""


def by_quantity(output: list[Any], h_n: Any, gradients: Mapping[str, Any]) -> Arrays:
    """Group results by quantity."""
    arrays = {"output": output, "h_n": [h_n]}
    for name in sorted(gradients):
        kind = name if name == "h_0" else name.partition("_l")[0]
        arrays.setdefault(f"gradient of {kind}", []).append(gradients[name])
    return arrays


def results(measured: str, observed: Observed) -> Arrays:
    """Return a subject's results; for one step, output is the visible states of all layers."""
    run = observed.run
    output: list[Any] = [run.output]
    if measured == "step":
        output = [y for y in observed.visible if y is not None]
    return by_quantity(output, run.h_n, run.gradients)


def expected(measured: str, oracle: Oracle, observed: Observed) -> Arrays:
    """Return an oracle's results: from a subject's own states, or from the input alone."""
    differentiated = bool(observed.run.gradients)
    if measured == "end_to_end":
        gradients = oracle.gradients_end_to_end if differentiated else {}
        return by_quantity([oracle.output], oracle.h_n, gradients)
    states = oracle.returned_or_bounded(observed.visible)
    stepped = oracle.steps(states)
    output = [y for y, seen in zip(stepped, observed.visible, strict=True) if seen is not None]
    gradients = {}
    if differentiated:
        gradients = oracle.gradients(oracle.states_for_backward(states, stepped))
    return by_quantity(output, final(stepped, oracle.problem.D).stored, gradients)


def row(arrays: Sequence[Any], part: str) -> NDArray[np.float64]:
    """Join the attribute `part` of several arrays, flattened."""
    return np.concatenate([np.asarray(getattr(a, part), np.float64).ravel() for a in arrays])


@dataclass(frozen=True)
class Errors:
    """Signed errors of results, positive where the magnitude is too large, and true values.

    NaN where unresolved; infinite where a result is not finite.
    """

    errors: NDArray[np.float64]
    true: NDArray[np.float64]

    @classmethod
    def of(
        cls, result: Array, true: DoubleDouble, in_float64: RoundedArray, largest: float
    ) -> Errors:
        """Measure one array; `in_float64` is the true one as float64 gives it."""
        apart = np.abs(in_float64.numbers - true.high)
        resolved = (apart <= UNRESOLVED * np.abs(true.high)) & (np.abs(true.high) <= largest)
        got = np.asarray(result, np.float64)
        error = np.where(np.isfinite(got), got - true.high - true.low, np.inf)
        away = np.where(true.high < 0, -error, error)
        return cls(np.where(resolved, away, np.nan).ravel(), true.high.ravel())

    def in_norm(self, u: float) -> tuple[float, float] | None:
        """Compute COLUMNS["norm"], the error and the bias; None if all true values are 0."""
        here = np.isfinite(self.errors)
        errors, true = self.errors[here], self.true[here]
        if not true.any():
            return None
        largest = np.abs(true).max()
        scaled, of = errors / largest, true / largest  # whose squares do not underflow
        error = np.sqrt((scaled**2).sum() / (of**2).sum())
        return float(error / u), float(scaled.sum() / np.abs(of).sum() / u)


def mean_in_norm(errors: Sequence[Errors], u: float) -> list[float] | None:
    """Average several arrays' errors and biases in norm; None if there are none."""
    pairs = [pair for e in errors if (pair := e.in_norm(u)) is not None]
    return digits(np.mean(pairs, axis=0)) if pairs else None


def summary(errors: Floats) -> list[float] | None:
    """Compute COLUMNS["ulp"] or COLUMNS["bound"]; None if there are no errors."""
    if not errors.size:
        return None
    sizes = np.abs(errors)
    return digits((sizes.max(), percentile_99(sizes), sizes.mean(), errors.mean()))


def percentile_99(numbers: Floats) -> float:
    """Compute np.quantile(numbers, 0.99), which takes ten times as long for a few numbers."""
    last = numbers.size - 1
    below = int(0.99 * last)
    ends = [below, min(below + 1, last)]
    lower, upper = np.partition(numbers, ends)[ends]
    return float(lower + (upper - lower) * (0.99 * last - below))


def digits(numbers: Sequence[Any]) -> list[float]:
    """Round numbers to four digits; more digits mean nothing."""
    return [float(f"{number:.4g}") for number in numbers]


def describe(
    problem: Problem, results: list[Any], expected: Mapping[str, list[Any]], *, tanh: bool
) -> dict[str, Any]:
    """Compute the numbers of COLUMNS for a quantity; `tanh` says that it is output of tanh.

    `expected` has the arrays of the true values, of float64, of the plainest program, and
    of the bounds.
    """
    r = problem.rounding
    true = list(zip(expected["true"], expected["float64"], strict=True))
    errors = [Errors.of(a, *t, r.largest) for a, t in zip(results, true, strict=True)]
    plain = [Errors.of(a, *t, r.largest) for a, t in zip(expected["plain"], true, strict=True)]
    flat, bound = row(errors, "errors"), row(expected["bound"], "error")
    open_ = ~np.isfinite(bound)
    lost = np.isinf(flat) & ~open_  # an infinite result is not lost where the bound is infinite
    if tanh:
        open_ |= bound >= range_of_tanh(row(expected["bound"], "value"), r)
    in_bounds = np.where(open_, np.nan, np.where(flat == 0, 0.0, flat / bound))
    in_ulps = flat / ulp(row(errors, "true"), problem.dtype)
    return {
        "ulp": summary(in_ulps[np.isfinite(in_ulps)]),
        "bound": summary(in_bounds[np.isfinite(in_bounds)]),
        "norm": mean_in_norm(errors, r.u),
        "plain": mean_in_norm(plain, r.u),
        "counts": [
            flat.size,
            int(np.isnan(flat).sum()),
            int(open_.sum()),
            int((np.abs(in_bounds) > 1).sum()),
            int(lost.sum()),
        ],
    }


def digest(arrays: Sequence[Floats]) -> str:
    """Compute a digest of the bits of some arrays."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(as_bytes(array))
    return sha.hexdigest()[:16]


def oracles_of(problem: Problem) -> dict[str, Oracle]:
    """Make the oracles that a subject's results are compared with, by what they tell."""
    return {
        "true": Exact(problem),
        "float64": Float64(problem),
        "plain": PlainProgram(problem),
        "bound": Oracle(problem),
    }


def measure(
    subject: Subject, oracles: Mapping[str, Oracle], *, gradients: bool = True
) -> dict[str, Any]:
    """Measure each of a subject's results: a digest of its bits, its errors by quantity.

    The oracles are those of one problem, made by `oracles_of`. They keep what no subject changes.
    """
    problem = oracles["bound"].problem
    run = subject.run(problem, gradients=gradients)
    observed = Observed(run, visible_states(subject, problem, run))
    whole = results("end_to_end", observed)
    entry: dict[str, Any] = {"bits": {name: digest(arrays) for name, arrays in whole.items()}}
    with quietly():
        for measured in MEASURED:
            by_oracle = {of: expected(measured, o, observed) for of, o in oracles.items()}
            entry[measured] = {
                name: describe(
                    problem,
                    arrays,
                    {of: quantities[name] for of, quantities in by_oracle.items()},
                    tanh=problem.nonlinearity == "tanh" and name in ("output", "h_n"),
                )
                for name, arrays in results(measured, observed).items()
            }
    return entry


def measure_case(
    subject: Subject,
    case: Case,
    without: Iterable[str] = (),
    make_oracles: Callable[[Problem], Mapping[str, Oracle]] = oracles_of,
) -> dict[str, Any]:
    """Measure a subject on a case; return its fault, as one sentence, if there is one."""
    try:
        oracles = make_oracles(subject.problem(case))
        lacking = {*without, *subject.lacks}
        return measure(subject, oracles, gradients="gradients" not in lacking)
    except SubjectFault as fault:
        return {"fault": str(fault)}
    except Exception as error:
        if not is_subjects(error):
            raise
        return {"fault": sentence(raised("recording the subject", error))}


def recorder(
    subject: Subject,
    dtypes: Sequence[str],
    without: Iterable[str] = (),
    case: Case | None = None,
    entry: Callable[[Case], dict[str, Any]] | None = None,
) -> Recorder:
    """Make the Recorder of a subject on the corpus's cases of some dtypes, or on one case.

    `without` names what the subject lacks; `entry` measures a case (default:
    `measure_case`). Raises ArraysDiffer if this platform makes other arrays of the corpus.
    """
    read_corpus().check()
    cases = cases_to_record(dtypes, without, case)
    here = partial(measure_case, subject, without=without)
    return Recorder(read_corpus(), cases, describe_subject(subject, cases, without), entry or here)


def describe_subject(
    subject: Subject, cases: Sequence[Case], without: Iterable[str]
) -> dict[str, Any]:
    """Describe what is recorded, as the first line of a record does."""
    return {
        "subject": subject.name,
        "source": source(subject.factory),
        "device": subject.device,
        "dtypes": list(dict.fromkeys(case.dtype for case in cases)),
        "without": sorted(set(without)),
        "columns": COLUMNS,
        "environment": environment(subject.device),
    }


def source(factory: Any) -> str:
    """Compute a digest of a subject's source file; empty if it has no Python source."""
    try:
        text = Path(inspect.getsourcefile(inspect.unwrap(factory)) or "").read_bytes()
    except (TypeError, OSError):
        return ""
    return hashlib.sha256(text).hexdigest()[:16]
