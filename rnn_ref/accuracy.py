"""How accurate a subject is on a case: its errors, in ULPs, in units of the bound, and in norm.

An error is the distance from the true value, which is the reference's own lines run on
double-doubles. Run on float64 they are off by about 2^49 times as much (the ratio of the
unit roundoffs); where the two differ by more than 2^-10 of the value, the true one may be
off by 2^-59 of it, a sixty-fourth of float64's unit in the last place, and is counted
as unresolved.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_ref.bounded import ROUNDING, range_of_tanh
from rnn_ref.case import Case, Problem
from rnn_ref.corpus import as_bytes, read_corpus
from rnn_ref.domain import outside, restrict
from rnn_ref.doubledouble import DoubleDouble
from rnn_ref.environment import environment
from rnn_ref.oracle import Oracle
from rnn_ref.plain import Plain
from rnn_ref.record import COLUMNS, WAYS, Recorder
from rnn_ref.reference import Array, final
from rnn_ref.subject import Run, Subject, SubjectFault

Floats = NDArray[np.floating[Any]]

UNRESOLVED = 2.0**-10
"""The relative distance of float64 from double-double beyond which neither is trusted."""


class Exact(Oracle):
    """The true results of one problem, through a subject's own states as they are."""

    def take(self, array: Floats) -> Any:
        return DoubleDouble(np.asarray(array, np.float64))

    def seen(self, y: Floats) -> Any:
        return self.take(y)

    def behind(self, own: Sequence[Any], steps: Sequence[Any]) -> list[Any]:  # noqa: ARG002
        return list(own)

    def for_sums_over_time(self, a: Array) -> Array:
        return a


class Twin(Exact):
    """The same results as float64 gives them."""

    def take(self, array: Floats) -> Any:
        return Plain(array, "float64")


class Yardstick(Exact):
    """The results of the plainest correct program."""

    def take(self, array: Floats) -> Any:
        return Plain(array, self.problem.dtype)

    def behind(self, own: Sequence[Any], steps: Sequence[Any]) -> list[Any]:  # noqa: ARG002
        """As a program that takes slopes from pre-activations: not from what was rounded."""
        return list(steps)


@dataclass(frozen=True)
class Observed:
    """What a subject did on a problem: its run, and the states of its layers, None where hidden."""

    run: Run
    shown: Sequence[Floats | None]


Arrays = dict[str, list[Any]]
"""By quantity: `output`, `h_n`, `gradient of input`, `gradient of weight_ih` and so on.

The arrays of a quantity are several: those of all layers and directions.
"""


def by_quantity(output: list[Any], h_n: Any, gradients: Mapping[str, Any]) -> Arrays:
    """Results by quantity."""
    found = {"output": output, "h_n": [h_n]}
    for name in sorted(gradients):
        of = name if name == "h_0" else name.partition("_l")[0]
        found.setdefault(f"gradient of {of}", []).append(gradients[name])
    return found


def came(way: str, observed: Observed) -> Arrays:
    """A subject's own results: of one step, the states of all layers that are shown."""
    run = observed.run
    shown = [y for y in observed.shown if y is not None]
    return by_quantity(shown if way == "step" else [run.output], run.h_n, run.gradients)


def due(way: str, oracle: Oracle, observed: Observed) -> Arrays:
    """An oracle's results, given a subject's own states, or nothing of it."""
    differentiated = bool(observed.run.gradients)
    if way == "end_to_end":
        gradients = oracle.gradients() if differentiated else {}
        return by_quantity([oracle.output], oracle.h_n, gradients)
    own = oracle.own(observed.shown)
    stepped = oracle.steps(own)
    shown = [y for y, seen in zip(stepped, observed.shown, strict=True) if seen is not None]
    gradients = oracle.gradients(oracle.behind(own, stepped)) if differentiated else {}
    return by_quantity(shown, final(stepped, oracle.problem.D).stored, gradients)


def row(arrays: Sequence[Any], part: str) -> NDArray[np.float64]:
    """One part of each of several arrays, as one row of numbers."""
    return np.concatenate([np.asarray(getattr(a, part), np.float64).ravel() for a in arrays])


def ulp(x: Floats, dtype: str) -> Floats:
    """One unit in the last place at each x: the distance of the dtype's numbers there.

    Muller et al., Handbook of Floating-Point Arithmetic, 2nd ed., section 2.3.2.
    """
    r = ROUNDING[dtype]
    power = np.frexp(np.abs(x))[1]
    unit: Floats = np.where(x == 0, r.eta, np.maximum(np.ldexp(2 * r.u, power - 1), r.eta))
    return unit


@dataclass(frozen=True)
class Errors:
    """Errors of results, away from zero, beside their true values.

    NaN where unresolved; infinite where a result is not finite.
    """

    errors: NDArray[np.float64]
    true: NDArray[np.float64]

    @classmethod
    def of(cls, result: Array, true: DoubleDouble, twin: Plain, largest: float) -> Errors:
        """Those of one array; `twin` is the true one as float64 gives it."""
        apart = np.abs(twin.numbers - true.high)
        resolved = (apart <= UNRESOLVED * np.abs(true.high)) & (np.abs(true.high) <= largest)
        came = np.asarray(result, np.float64)
        off = np.where(np.isfinite(came), came - true.high - true.low, np.inf)
        away = np.where(true.high < 0, -off, off)
        return cls(np.where(resolved, away, np.nan).ravel(), true.high.ravel())

    def in_norm(self, u: float) -> tuple[float, float] | None:
        """The error and the bias of COLUMNS; None if there is no true value but 0."""
        here = np.isfinite(self.errors)
        errors, true = self.errors[here], self.true[here]
        if not true.any():
            return None
        largest = np.abs(true).max()
        scaled, of = errors / largest, true / largest  # whose squares do not underflow
        error = np.sqrt((scaled**2).sum() / (of**2).sum())
        return float(error / u), float(scaled.sum() / np.abs(of).sum() / u)


def mean_in_norm(errors: Sequence[Errors], u: float) -> list[float] | None:
    """The mean of several arrays' errors and biases in norm; None if there are none."""
    found = [pair for e in errors if (pair := e.in_norm(u)) is not None]
    return digits(np.mean(found, axis=0)) if found else None


def summary(errors: Floats) -> list[float] | None:
    """The four numbers of COLUMNS; None of no errors."""
    if not errors.size:
        return None
    sizes = np.abs(errors)
    return digits((sizes.max(), np.quantile(sizes, 0.99), sizes.mean(), errors.mean()))


def digits(numbers: Sequence[Any]) -> list[float]:
    """Numbers to four digits, which is what they are worth."""
    return [float(f"{number:.4g}") for number in numbers]


def describe(
    problem: Problem, own: list[Any], due: Mapping[str, list[Any]], *, tanh: bool
) -> dict[str, Any]:
    """What COLUMNS says of a quantity; `tanh` says that it is a state of a tanh network."""
    r = ROUNDING[problem.dtype]
    true = list(zip(due["true"], due["twin"], strict=True))
    errors = [Errors.of(a, *t, r.largest) for a, t in zip(own, true, strict=True)]
    plain = [Errors.of(a, *t, r.largest) for a, t in zip(due["plain"], true, strict=True)]
    flat, bound = row(errors, "errors"), row(due["bound"], "error")
    open_ = ~np.isfinite(bound)
    lost = np.isinf(flat) & ~open_  # a sum that may overflow is open
    if tanh:
        open_ |= bound >= range_of_tanh(row(due["bound"], "value"), r)
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
    """A digest of the bits of some arrays."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(as_bytes(array))
    return sha.hexdigest()[:16]


def measure(subject: Subject, problem: Problem, *, gradients: bool = True) -> dict[str, Any]:
    """A digest of the bits of each of a subject's results, and by way and quantity its errors."""
    run = subject.run(problem, gradients=gradients)
    observed = Observed(run, subject.shown_states(problem, run))
    oracles = {
        "true": Exact(problem),
        "twin": Twin(problem),
        "plain": Yardstick(problem),
        "bound": Oracle(problem),
    }
    whole = came("end_to_end", observed)
    found: dict[str, Any] = {"bits": {name: digest(arrays) for name, arrays in whole.items()}}
    with np.errstate(all="ignore"):
        for way in WAYS:
            by_oracle = {name: due(way, oracle, observed) for name, oracle in oracles.items()}
            found[way] = {
                name: describe(
                    problem,
                    own,
                    {of: arrays[name] for of, arrays in by_oracle.items()},
                    tanh=problem.nonlinearity == "tanh" and name in ("output", "h_n"),
                )
                for name, own in came(way, observed).items()
            }
    return found


def recorder(
    subject: Subject, dtypes: Sequence[str], without: Iterable[str] = (), case: Case | None = None
) -> Recorder:
    """What records a subject on the corpus's cases of some dtypes, or on one case.

    `without` names what the subject lacks. Raises OtherArrays if this platform makes
    other arrays of the corpus.
    """
    corpus = read_corpus()
    corpus.check()
    lacking = sorted(set(without))
    domain = restrict({"dtypes": dtypes}, lacking)
    cases = [case] if case else [case for case in corpus.cases if not outside(case, domain)]

    def found(case: Case) -> dict[str, Any]:
        try:
            return measure(subject, case.problem(), gradients="gradients" not in lacking)
        except SubjectFault as fault:
            return {"fault": str(fault)}

    described = {
        "subject": subject.name,
        "source": source(subject.factory),
        "device": subject.device,
        "dtypes": list(dict.fromkeys(case.dtype for case in cases)),
        "without": lacking,
        "columns": COLUMNS,
        "environment": environment(subject.device),
    }
    return Recorder(corpus, cases, described, found)


def source(factory: Any) -> str:
    """A digest of the file that a subject is written in, if it is Python's."""
    try:
        written = Path(inspect.getsourcefile(factory) or "").read_bytes()
    except (TypeError, OSError):
        return ""
    return hashlib.sha256(written).hexdigest()[:16]
