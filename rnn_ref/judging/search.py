"""Judge one property: search for a case that fails, shrink it, count what was compared."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import hypothesis
from hypothesis import Phase
from hypothesis.strategies import SearchStrategy

from rnn_ref.cases.case import Case
from rnn_ref.cases.selection import (
    DEEPEST,
    Domain,
    emptied,
    in_their_place,
    outside,
    reached,
    restrict,
)
from rnn_ref.judging.comparison import Comparison
from rnn_ref.judging.deviations import Deviation
from rnn_ref.judging.failures import (
    Failure,
    Kind,
    Raised,
    SubjectFault,
    is_subjects,
    raised,
)
from rnn_ref.judging.measured import TANH
from rnn_ref.judging.properties import Property
from rnn_ref.judging.replay import DEFAULT_CELL, DEFAULT_SUBJECT, command
from rnn_ref.judging.shares import examples_of, far_of
from rnn_ref.judging.subject import Subject
from rnn_ref.strategies import cases

CAST = frozenset({"float32", "float64"})
"""The dtypes between which a history may cast a module."""


NEAR_BY = 10
"""How many small cases are tried where a case far out has failed."""


class TimeIsUp(BaseException):
    """Ends a search at the deadline of the run; no Exception, which would be a failing case."""


class Violation(Exception):
    """Ends the judgement of a case for which a property does not hold."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass
class Outcome:
    """How a property ended: what was compared, and the failure, if there is one.

    `worst` is the worst error in units of its bound, `drawn` how often each regime was
    drawn; `known` lists the known deviations, `not_judged` says why nothing was judged, and `cut`
    that the time of the run was up.
    """

    examples: int = 0
    elements: int = 0
    open: int = 0
    worst: float = 0.0
    drawn: dict[str, dict[str, int]] = field(default_factory=lambda: {"weights": {}, "input": {}})
    failure: Failure | None = None
    known: list[str] = field(default_factory=list)
    not_judged: str = ""
    cut: bool = False

    def add(self, case: Case, comparisons: Sequence[Comparison]) -> None:
        """Count an example."""
        self.examples += 1
        for name, counts in self.drawn.items():
            regime = getattr(case, name)
            counts[regime] = counts.get(regime, 0) + 1
        for comparison in comparisons:
            self.elements += comparison.elements
            self.open += comparison.open
            self.worst = max(self.worst, comparison.ratio)

    def as_dict(self) -> dict[str, Any]:
        """Give it as numbers and text, for a report to carry."""
        failure = self.failure.as_dict() if self.failure else None
        return {**asdict(replace(self, failure=None)), "failure": failure}


@dataclass(frozen=True)
class Judge:
    """How the properties of one run are judged: the subject, and what is drawn for it.

    `omitted` and `groups` choose properties by name and by group (empty: all); `lacking`
    are those capabilities of `without` that probes found missing, undeclared;
    `around` is entered for each case, and puts back what a case may change. Without
    `shrinks`, the first case that fails is the one reported. `declared` are the words with
    which the run was narrowed, for replays; at `deadline`, in seconds since the epoch, it ends.
    """

    subject: Subject
    dtypes: Sequence[str]
    examples: int
    seed: int = 0
    without: frozenset[str] = frozenset()
    case: Case | None = None
    deviations: Sequence[Deviation] = ()
    groups: frozenset[str] = frozenset()
    omitted: frozenset[str] = frozenset()
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    shrinks: bool = True
    explains: bool = False
    lacking: frozenset[str] = frozenset()
    declared: Sequence[str] = ()
    deadline: float | None = None

    def judge(self, declared: Property, structure: str = "") -> Outcome:
        """Judge a property on drawn cases of a structure, or on `self.case` if there is one."""
        domain = self.domain(declared, structure)
        outcome = Outcome(not_judged=self.passed_over(declared, domain))
        if outcome.not_judged:
            return outcome
        try:
            if self.case is None:
                self.search(declared, structure, domain, outcome)
            else:
                for case in variants_of(self.case, declared):
                    self.judge_case(declared, case, outcome)
        except Violation as violation:
            outcome.failure = violation.failure
        except TimeIsUp:
            outcome.cut = True
            outcome.not_judged = f"cut after {outcome.examples} examples"
        said = outcome.cut or outcome.failure or outcome.known
        if not said and outcome.elements == outcome.open:
            self.nothing_compared(declared, outcome)
        return outcome

    def domain(self, declared: Property, structure: str) -> Domain:
        """Return a property's cases of a structure, of the dtypes judged, less what is lacking.

        Where one dtype is judged alone, no history casts a module to another.
        """
        domain = restrict(declared.domain(structure), self.without)
        if declared.setup:  # what has no tanh, or no bias, is wired as well
            domain |= in_their_place(domain, self.without)
        dtypes = domain.get("dtypes", self.dtypes)
        domain["dtypes"] = tuple(dtype for dtype in self.dtypes if dtype in dtypes)
        if self.case is None and "steps" in domain and not CAST.issubset(self.dtypes):
            domain["steps"] = tuple(word for word in domain["steps"] if word != "cast")
        return domain

    def passed_over(self, declared: Property, domain: Domain) -> str:
        """Say why a property can't be judged in this run; return an empty text if it can."""
        if declared.name in self.omitted:
            return f"--omit {declared.name}"
        if self.groups and declared.group not in self.groups:
            return "--group leaves it out"
        missing = [name for name in declared.needs_dtypes if name not in self.dtypes]
        if missing and self.case is None:
            return f"needs {', '.join(missing)}, which is not judged"
        if not domain["dtypes"]:
            return f"not defined for {', '.join(dict.fromkeys(self.dtypes))}"
        lacking = self.without.intersection(declared.needs)
        names = sorted(lacking or emptied(domain, self.without))
        known = self.subject.not_judged
        if reasons := [known[name] for name in names if name in known]:
            return reasons[0]
        if names:
            how = "lacks" if self.lacking.intersection(names) else "--without"
            return f"{how} {', '.join(names)}"
        if self.case is not None:
            fields = {outside(case, domain) for case in variants_of(self.case, declared)}
            return f"the case has another {fields.pop()}" if "" not in fields else ""
        return ""

    def nothing_compared(self, declared: Property, outcome: Outcome) -> None:
        """End a property in which no element was compared: that is not a success."""
        how = (
            f"nothing was compared: {outcome.examples} examples, {outcome.elements} elements,"
            " all left open"
        )
        if self.case is not None:
            outcome.not_judged = "nothing to compare in this case"
        else:
            outcome.failure = Failure(Kind.NOTHING, declared.name, "", "", how=how)

    def search(self, declared: Property, structure: str, domain: Domain, outcome: Outcome) -> None:
        """Draw cases that are not known to deviate; raise Violation for one that fails."""
        known = self.known(declared, domain)
        outcome.known = [str(deviation) for deviation in known]
        if all(deviation.where for deviation in known):
            draw(self, declared, structure, domain, known, outcome)

    def known(self, declared: Property, domain: Domain) -> list[Deviation]:
        """Replay and list a domain's known deviations; raise Violation if one no longer occurs."""
        known = []
        for deviation in self.deviations:
            if not deviation.names(declared.name, declared.group):
                continue
            if not set(self.dtypes).intersection(deviation.where.get("dtype", self.dtypes)):
                continue
            for case in deviation.cases:
                whole = list(variants_of(case, declared))
                anywhere = domain | {"dtypes": (case.dtype,)}
                if all(outside(each, anywhere) for each in whole):
                    continue
                if not any(fails(self, declared, each) for each in whole):
                    if self.subject.name not in deviation.subjects:
                        continue  # a subclass of torch.nn.RNN that does better
                    raise Violation(stale(deviation, declared, case, self.replay(declared, case)))
                if deviation not in known:
                    known.append(deviation)
        return known

    def judge_case(self, declared: Property, case: Case, outcome: Outcome) -> float:
        """Return the worst ratio of a property on a case; raise Violation if it fails."""
        if self.deadline is not None and time.time() >= self.deadline:
            raise TimeIsUp
        failure = Failure(
            Kind.NUMBERS, declared.name, str(case), self.replay(declared, case), case.variant,
            tanh=self.subject.rounding(case.dtype).tanh if case.nonlinearity == "tanh" else 0.0,
        )  # fmt: skip
        watch = self.subject.watch
        if watch is not None:
            names = ("property", "case", "replay", "variant")
            watch.note({name: getattr(failure, name) for name in names})
        try:
            with self.around():
                comparisons = declared.claim(case, self.subject)
        except Exception as error:
            failure = because_of(failure, error)
            spent = failure.kind == Kind.MEMORY or (watch and watch.memory_is_spent())
            if watch is not None and spent and not self.explains:
                watch.give_up(replace(failure, kind=Kind.MEMORY).as_dict())
            raise Violation(failure) from error
        outcome.add(case, comparisons)
        over = tuple(comparison for comparison in comparisons if comparison.over)
        if over:
            raise Violation(replace(failure, comparisons=over))
        return max((comparison.ratio for comparison in comparisons), default=0.0)

    def replay(self, declared: Property, case: Case) -> str:
        """Write the command that judges a property on a case again."""
        subject = self.subject
        units = subject.rounding(case.dtype).tanh
        if declared.judges_measured or case.nonlinearity != "tanh":
            units = subject.tanh
        options = [] if units == TANH else ["--tanh", f"{units:g}"]
        flushed = case.dtype in subject.measured.flushed and not declared.judges_measured
        options += ["--subnormals", "flushed"] if flushed else []
        words = ["verify", *self.words, *options, "-k", declared.name, "--case", str(case)]
        return command(*words, subject=subject.name, device=subject.device)

    @property
    def words(self) -> list[str]:
        """The options that every replay repeats."""
        subject = self.subject
        own = DEFAULT_CELL if subject.name == DEFAULT_SUBJECT else ""
        options = ["--cell", subject.cell_name] if subject.cell_name not in ("", own) else []
        options += ["--subnormals", "flushed"] if subject.flushes else []
        return [*options, *self.declared]


def variants_of(case: Case, declared: Property) -> Iterator[Case]:
    """Yield a case once for each variant to judge: its own variant, else all of the property's."""
    if case.variant or not declared.variants:
        yield case
        return
    for variant in declared.variants:
        yield replace(case, variant=variant)


def because_of(failure: Failure, error: Exception) -> Failure:
    """Add to a failure the exception that the claim raised."""
    if isinstance(error, SubjectFault):
        if isinstance(error.cause, Raised):
            kind = Kind.MEMORY if error.out_of_memory else Kind.EXCEPTION
            return replace(failure, kind=kind, raised=error.cause)
        return replace(failure, kind=Kind.FACT, fact=error.cause)
    if isinstance(error, MemoryError):
        return replace(failure, kind=Kind.MEMORY, raised=raised("judging the result", error))
    kind = Kind.EXCEPTION if is_subjects(error) else Kind.OURS
    return replace(failure, kind=kind, raised=raised("judging the subject", error))


def fails(judge: Judge, declared: Property, case: Case) -> bool:
    """Tell whether a property fails for a case."""
    try:
        judge.judge_case(declared, case, Outcome())
    except Violation:
        return True
    return False


def stale(deviation: Deviation, declared: Property, case: Case, replay: str) -> Failure:
    """Make the failure for a ledger entry that is out of date: its case no longer fails."""
    how = (
        f"this known deviation no longer occurs: {deviation.why}\n"
        "the property holds for its case; remove the case, or the entry, from the ledger"
    )
    return Failure(Kind.STALE, declared.name, str(case), replay, how=how)


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
    judge: Judge,
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

    most = min(examples_of(declared.name, judge.examples), declared.at_most)
    far = far_examples(declared, structure, domain, most, judge.seed)
    near = most - far.total()
    near_ones = cases(**domain).filter(is_unknown)
    if near:
        climbs = "steps" not in domain
        search_among(near_ones, near, judge, declared, outcome, climbs=climbs)
    for axis, examples in far.items():
        far_out = cases(**domain, far=(axis,)).filter(is_unknown).filter(is_no_point)
        try:
            search_among(
                far_out, examples, replace(judge, shrinks=False), declared, outcome, climbs=False
            )
        except Violation:
            if not (judge.shrinks and declared.shrinks):
                raise
            search_among(near_ones, NEAR_BY, judge, declared, outcome, climbs=False)
            search_among(far_out, examples, judge, declared, outcome, climbs=False)
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
    judge: Judge,
    declared: Property,
    outcome: Outcome,
    *,
    climbs: bool = True,
) -> None:
    """Judge at most so many cases of a strategy; shrink one that fails, raise Violation for it.

    With `climbs`, the search goes on from cases whose errors are large; else it tries others.
    """
    failures: list[Failure] = []

    @hypothesis.seed(judge.seed ^ zlib.crc32(declared.name.encode()))
    @search_settings(most, climbs=climbs, shrinks=judge.shrinks and declared.shrinks)
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
