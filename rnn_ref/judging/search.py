"""Search for a case for which a property fails, near by and far out, and shrink it."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import hypothesis
from hypothesis import Phase
from hypothesis.strategies import SearchStrategy

from rnn_ref.cases.case import Case
from rnn_ref.cases.selection import DEEPEST, Domain, reached
from rnn_ref.judging.deviations import Deviation
from rnn_ref.judging.failures import Failure
from rnn_ref.judging.outcome import Outcome, TimeIsUp, Violation
from rnn_ref.judging.properties import Property
from rnn_ref.judging.shares import examples_of, far_of
from rnn_ref.strategies import cases

NEAR_BY = 10
"""How many small cases are tried where a case far out has failed."""


class Judging(Protocol):
    """What a search knows of a judge."""

    @property
    def examples(self) -> int:
        """How many examples the properties get that get all."""

    @property
    def seed(self) -> int:
        """The seed of what is drawn."""

    @property
    def shrinks(self) -> bool:
        """Whether a case that fails is made as small as it can be."""

    def judge_case(self, declared: Property, case: Case, outcome: Outcome) -> float:
        """Return the worst ratio of a property on a case; raise Violation if it fails."""


def search_settings(most: int, *, climbs: bool, shrinks: bool) -> hypothesis.settings:
    """Return the settings of a search of at most so many examples, which keeps no database."""
    phases = [Phase.generate, Phase.target] if climbs else [Phase.generate]
    return hypothesis.settings(
        max_examples=most,
        phases=[*phases, Phase.shrink] if shrinks else phases,
        deadline=None,
        database=None,
        derandomize=False,
        report_multiple_bugs=False,
        print_blob=False,
        # A subject may be slow, and a ledger may leave few cases: neither is a fault.
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def draw(
    judge: Judging,
    declared: Property,
    structure: str,
    domain: Domain,
    known: Sequence[Deviation],
    outcome: Outcome,
) -> None:
    """Let Hypothesis search for a case that fails, and shrink it; raise Violation for it.

    The last examples are far out, each along one axis. What fails far out is looked for near by
    before it is shrunk: a large case takes long, and most faults show in small ones too.
    """

    def is_unknown(case: Case) -> bool:
        return not any(deviation.covers(case) for deviation in known)

    shrinks = judge.shrinks and declared.shrinks
    most = min(examples_of(declared.name, judge.examples), declared.at_most)
    far = far_examples(declared, structure, domain, most, judge.seed)
    near = most - far.total()
    near_ones = cases(**domain).filter(is_unknown)
    if near:
        climbs = "steps" not in domain
        search_among(near_ones, near, judge, declared, outcome, climbs=climbs, shrinks=shrinks)
    for axis, examples in far.items():
        far_out = cases(**domain, far=(axis,)).filter(is_unknown).filter(is_no_point)
        try:
            search_among(far_out, examples, judge, declared, outcome)
        except Violation:
            if not shrinks:
                raise
            search_among(near_ones, NEAR_BY, judge, declared, outcome, shrinks=True)
            search_among(far_out, examples, judge, declared, outcome, shrinks=True)
            raise


def far_examples(
    declared: Property, structure: str, domain: Domain, most: int, seed: int
) -> Counter[str]:
    """Count, by axis, how many of so many examples are far out along it.

    A few, of one axis or several: of every axis over the properties of a run, and over its seeds.
    """
    axes = reached(declared.far_axes(structure), domain)
    if not axes:
        return Counter()
    far = most if declared.only_far else far_of(most)
    start = seed ^ zlib.crc32(declared.name.encode())
    return Counter(axes[(start + i) % len(axes)] for i in range(far))


def is_no_point(case: Case) -> bool:
    """Tell whether a case is more than one number a layer, which every search tries first."""
    return max(case.T, case.N, case.I, case.H) > 1 or case.L > DEEPEST


def search_among(
    strategy: SearchStrategy[Case],
    most: int,
    judge: Judging,
    declared: Property,
    outcome: Outcome,
    *,
    climbs: bool = False,
    shrinks: bool = False,
) -> None:
    """Judge at most so many cases of a strategy; raise Violation for one that fails.

    With `climbs`, the search goes on from cases whose errors are large; else it tries others.
    With `shrinks`, the case that fails is made as small as it can be.
    """
    failures: list[Failure] = []

    @hypothesis.seed(judge.seed ^ zlib.crc32(declared.name.encode()))
    @search_settings(most, climbs=climbs, shrinks=shrinks)
    @hypothesis.given(strategy)
    def holds(case: Case) -> None:
        try:
            ratio = judge.judge_case(declared, case, outcome)
        except Violation as violation:
            failures.append(violation.failure)
            raise
        # At 0, Hypothesis would only repeat the simplest case.
        if climbs and ratio > 0:
            hypothesis.target(ratio)

    # The key of a database, which is not kept; Hypothesis would compute it from the source.
    holds._hypothesis_internal_database_key = None  # type: ignore[attr-defined] # noqa: SLF001
    try:
        holds()
    except TimeIsUp:
        if not failures:
            raise
        raise Violation(failures[-1]) from None  # it may be smaller yet
    except hypothesis.errors.Flaky as flaky:
        if not failures:
            raise
        raise Violation(replace(failures[-1], repeatable=False)) from flaky
