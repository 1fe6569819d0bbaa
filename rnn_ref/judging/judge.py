"""Judge one property: on drawn cases or on one, its known deviations first."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from rnn_ref.cases.case import Case
from rnn_ref.cases.selection import Domain, emptied, in_their_place, outside, restrict
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
from rnn_ref.judging.outcome import Outcome, TimeIsUp, Violation
from rnn_ref.judging.properties import Property
from rnn_ref.judging.replay import DEFAULT_CELL, DEFAULT_SUBJECT, command
from rnn_ref.judging.search import draw
from rnn_ref.judging.subject import Subject

TURNS = 10
"""How often a property's examples are drawn anew while they leave every element open.

Three examples may all be of one row, where a property asks about the other rows.
"""

CAST = frozenset({"float32", "float64"})
"""The dtypes between which a history may cast a module."""


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
        """Draw cases that are not known to deviate; raise Violation for one that fails.

        Each structure has cases of its own: what is rare in one is met in another.
        """
        known = self.known(declared, domain)
        outcome.known = [str(deviation) for deviation in known]
        if not all(deviation.where for deviation in known):
            return
        own = self.seed ^ zlib.crc32(structure.encode())
        for turn in range(TURNS):
            drawing = replace(self, seed=own + (turn << 32))
            draw(drawing, declared, structure, domain, known, outcome)
            if outcome.elements > outcome.open:
                break

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
