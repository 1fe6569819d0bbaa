"""How accurate a subject is on a case: its errors, in units of the bound and in ULPs.

An error is the distance from the true value, which is the reference's own lines run on
float64 or, where those leave a sixty-fourth of an ULP open, on double-doubles, and is known
with a bound of its own. What is not known well enough is counted as unresolved.

One unit in the last place of x is the distance of the dtype's numbers at x (Muller et al.,
Handbook of Floating-Point Arithmetic, 2nd ed., definition 2.6: Goldberg's, for reals).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_ref.bounded import EXACT, ROUNDING, Bounded, range_of_tanh
from rnn_ref.case import Problem
from rnn_ref.doubledouble import DoubleDouble
from rnn_ref.oracle import Oracle
from rnn_ref.plain import Plain
from rnn_ref.reference import Array, final
from rnn_ref.subject import Run, Subject

Floats = NDArray[np.floating[Any]]

RESOLVED = 2.0**-6
"""The most of a unit that a true value may be off for errors to be counted in that unit."""

COLUMNS = ("max", "p99", "mean", "bias")
"""What is said of errors: of their absolute values, and, positive if results are too large
in magnitude, of their signed mean."""

WAYS = ("step", "end_to_end")
"""Errors of one step, or of the gradients, given the subject's own states; or since the input."""


class Truth(Oracle):
    """The true values of one problem, each with a bound on how far it may be from being true."""

    def __init__(self, problem: Problem, *, wide: bool) -> None:
        super().__init__(problem)
        self.rounding, self.wide = EXACT, wide

    def take(self, array: Floats) -> Bounded:
        numbers = DoubleDouble(np.asarray(array, np.float64)) if self.wide else array
        return Bounded(numbers, rounding=self.rounding)

    def seen(self, y: Floats) -> Bounded:
        return self.take(y)

    def behind(self, own: Sequence[Any], stepped: Any) -> list[Any]:  # noqa: ARG002 - as they are
        return list(own)


class Yardstick(Oracle):
    """The results of the plainest correct program."""

    def take(self, array: Floats) -> Any:
        return Plain(array, self.problem.dtype)

    def seen(self, y: Floats) -> Any:
        return self.take(y)

    def behind(self, own: Sequence[Any], stepped: Any) -> list[Any]:  # noqa: ARG002 - as they are
        return list(own)

    def for_sums_over_time(self, a: Array) -> Array:
        return a


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
    if way == "end_to_end":
        return by_quantity([oracle.output], oracle.h_n, oracle.gradients())
    own = oracle.own(observed.shown)
    stepped = oracle.steps(own)
    shown = [y for y, seen in zip(stepped, observed.shown, strict=True) if seen is not None]
    gradients = oracle.gradients(oracle.behind(own, stepped[-1]))
    return by_quantity(shown, final(stepped, oracle.problem.D).stored, gradients)


def row(arrays: Sequence[Any], part: str = "") -> Floats:
    """Several arrays, or one part of each, as one row of numbers."""
    parts = [getattr(a, part) if part else a for a in arrays]
    return np.concatenate([np.asarray(a, np.float64).ravel() for a in parts])


def ulp(x: Floats, dtype: str) -> Floats:
    """One unit in the last place at each x, as the dtype's numbers lie."""
    r = ROUNDING[dtype]
    power = np.frexp(np.abs(x))[1]
    unit: Floats = np.maximum(np.ldexp(2 * r.u, power - 1), r.eta)
    return unit


def summary(errors: Floats) -> list[float] | None:
    """Errors in four numbers, as COLUMNS says, to four digits; None of none."""
    if not errors.size:
        return None
    sizes = np.abs(errors)
    numbers = (sizes.max(), np.quantile(sizes, 0.99), sizes.mean(), errors.mean())
    return [float(f"{number:.4g}") for number in numbers]


def known(true: Sequence[Bounded]) -> tuple[Floats, Floats, Floats]:
    """True values as the sum of two numbers each, and how far that may be from them."""
    values = [b.value if isinstance(b.value, DoubleDouble) else DoubleDouble(b.value) for b in true]
    return row(values, "high"), row(values, "low"), row(true, "error")


def resolved(arrays: Arrays, dtype: str) -> bool:
    """Whether all values are known well enough to count ULPs."""
    rows = (known(true) for true in arrays.values())
    return all(bool((off <= RESOLVED * ulp(high, dtype)).all()) for high, _, off in rows)


def errors(
    problem: Problem,
    own: Sequence[Floats],
    true: Sequence[Bounded],
    allowed: Sequence[Bounded],
    plain: Sequence[Floats],
    *,
    tanh: bool,
) -> dict[str, Any]:
    """The errors of one quantity; `tanh` says that it is a state of a tanh network."""
    high, low, off = known(true)
    bound, unit = row(allowed, "error"), ulp(high, problem.dtype)
    value = row(own)
    outward = np.where(high < 0, -1.0, 1.0)
    error, of_plain = ((a - high - low) * outward for a in (value, row(plain)))
    open_ = np.isinf(bound) | ~(off <= RESOLVED * bound)
    if tanh:
        open_ |= bound >= range_of_tanh(
            row(allowed, "value").astype(np.float64), ROUNDING[problem.dtype]
        )
    exact = ~open_ & (bound == 0)
    in_bounds, plain_in_bounds = (
        np.where(exact, np.where(e == 0, 0.0, np.inf), e / bound) for e in (error, of_plain)
    )
    lost = ~np.isfinite(in_bounds) & ~open_
    unresolved = ~(off <= RESOLVED * unit) | ~np.isfinite(error)
    both = ~open_ & ~lost & np.isfinite(plain_in_bounds)
    return {
        "bound": summary(in_bounds[~open_ & ~lost]),
        "ulp": summary((error / unit)[~unresolved]),
        "plain": summary(plain_in_bounds[both]),
        "elements": value.size,
        "open": int(open_.sum()),
        "unresolved": int(unresolved.sum()),
        "over": int((~open_ & ~(np.abs(in_bounds) <= 1)).sum()),
    }


def digest(arrays: Sequence[Floats]) -> str:
    """A digest of the bits of some arrays."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return sha.hexdigest()[:16]


def measure(subject: Subject, problem: Problem) -> dict[str, Any]:
    """All errors of a subject on a problem, by way and quantity, and digests of its bits.

    Of each quantity: its errors in units of the bound and in ULPs (COLUMNS), those of the
    plainest correct program in units of the bound, and how many elements there are, are
    left open by the bound, are unresolved in ULPs, and are over the bound.
    """
    run = subject.run(problem, gradients=True)
    observed = Observed(run, subject.shown_states(problem, run))
    bounds, yardstick = Oracle(problem), Yardstick(problem)
    narrow, wide = Truth(problem, wide=False), Truth(problem, wide=True)
    found: dict[str, Any] = {
        "bits": {name: digest(own) for name, own in came("end_to_end", observed).items()}
    }
    for way in WAYS:
        with np.errstate(all="ignore"):
            allowed, plain = (due(way, oracle, observed) for oracle in (bounds, yardstick))
            true = due(way, narrow, observed)
            if not resolved(true, problem.dtype):
                true = due(way, wide, observed)
            found[way] = {
                name: errors(
                    problem,
                    own,
                    true[name],
                    allowed[name],
                    plain[name],
                    tanh=problem.nonlinearity == "tanh" and name in ("output", "h_n"),
                )
                for name, own in came(way, observed).items()
            }
    return found
