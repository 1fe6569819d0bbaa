"""One property, held to many cases: what to draw, what to count, what to say of a failure."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import hypothesis
import pytest
from hypothesis import Phase

from rnn_ref.bounded import ROUNDING
from rnn_ref.case import Case
from rnn_ref.corpus import OtherArrays
from rnn_ref.domain import STRUCTURES, Domain, outside, restrict
from rnn_ref.isolation import RAN_OUT, Trail, is_out_of_memory
from rnn_ref.judge import Comparison, verdict
from rnn_ref.ledger import Deviation
from rnn_ref.record import Record, Unusable, parse, totals
from rnn_ref.regression import compare_records
from rnn_ref.report import command, comparison_lines
from rnn_ref.strategies import cases
from rnn_ref.subject import TORCHS, Subject, SubjectFault
from rnn_ref.surroundings import kept

KNOWN = "known deviation: "
"""How the message of a property begins of which a deviation is known."""

Claim = Callable[[Case, Subject], Sequence[Comparison]]


class Violation(AssertionError):
    """A property that does not hold for a case; the message is all that a person needs."""


@dataclass(frozen=True)
class Property:
    """A claim, the capabilities without which it says nothing, and its domains by structure.

    `at_most` is how many examples are drawn at most, for a claim that takes long.
    """

    claim: Claim
    needs: Sequence[str]
    domains: dict[str, Domain]
    at_most: int


def holds_for(
    *,
    needs: Sequence[str] = (),
    structures: bool = False,
    at_most: int = 10**9,
    **domain: Sequence[Any],
) -> Callable[[Claim], Callable[..., None]]:
    """Turn a claim about a case and a subject into a test over many drawn cases.

    `domain` narrows the cases, as `strategies.cases` takes it; `needs` names capabilities
    without which the claim says nothing; `at_most` limits the examples; with
    `structures` the test is made four times, for single, deep, bidirectional and deep
    bidirectional networks.
    """

    def decorate(claim: Claim) -> Callable[..., None]:
        domains = {name: domain | STRUCTURES[name] for name in STRUCTURES} if structures else {}
        held = Property(claim, needs, domains or {"": domain}, at_most)

        def by_structure(rnn_examination: Examination, structure: str) -> None:
            rnn_examination.examine(held, structure)

        def at_once(rnn_examination: Examination) -> None:
            rnn_examination.examine(held, "")

        test: Callable[..., None] = at_once
        if structures:
            test = pytest.mark.parametrize("structure", STRUCTURES)(by_structure)
        test.__name__, test.__doc__ = claim.__name__, claim.__doc__
        test.__module__ = claim.__module__
        test.rnn_property = held  # type: ignore[attr-defined]
        return test

    return decorate


@dataclass
class Tally:
    """What was compared for one property."""

    examples: int = 0
    elements: int = 0
    open: int = 0
    worst: float = 0.0
    drawn: dict[str, dict[str, int]] = field(default_factory=lambda: {"weights": {}, "input": {}})

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


@dataclass
class Examination:
    """How the properties of one run are examined: the subject, and what is drawn for it."""

    subject: Subject
    dtypes: tuple[str, ...]
    examples: int
    seed: int
    without: frozenset[str]
    case: Case | None = None
    baseline: Record | None = None
    deviations: Sequence[Deviation] = ()
    record: Callable[[dict[str, Any]], None] = lambda found: None
    trail: Trail | None = None

    def examine(self, held: Property, structure: str) -> None:
        """Hold a claim to the cases of a domain, or to the one given; fail or skip the test."""
        claim, domain = held.claim, restrict(held.domains[structure], self.without)
        dtypes = domain.get("dtypes", self.dtypes)
        domain["dtypes"] = tuple(dtype for dtype in self.dtypes if dtype in dtypes)
        if not domain["dtypes"]:
            pytest.skip(f"it says nothing of {', '.join(self.dtypes)}")
        lacking = sorted(self.without.intersection(held.needs))
        if lacking or not all(domain.values()):
            pytest.skip(f"--without {', '.join(lacking or sorted(self.without))}")
        tally, violation, known = Tally(), "", []
        try:
            if self.case is None:
                known = self.known(claim, domain)
                if any(not deviation.where for deviation in known):
                    pytest.skip(KNOWN + "; ".join(map(str, known)))
                self.draw(claim, domain, min(self.examples, held.at_most), known, tally)
            elif outside(self.case, domain):
                pytest.skip(f"the case has another {outside(self.case, domain)}")
            else:
                self.hold(claim, self.case, tally)
        except Violation as found:
            violation = str(found)
        finally:
            self.record(
                asdict(tally) | ({"message": KNOWN + "; ".join(map(str, known))} if known else {})
            )
        if not violation and tally.elements == tally.open:
            if self.case is not None:
                pytest.skip("every element of the case is left open")
            violation = (
                f"nothing was judged: {tally.examples} examples,"
                f" {tally.elements} elements, all left open"
            )
        if violation:
            pytest.fail(violation, pytrace=False)

    def known(self, claim: Claim, domain: Domain) -> list[Deviation]:
        """The known deviations of a claim in a domain, each replayed; a Violation if it is gone."""
        found = []
        for deviation in self.deviations:
            case = Case.parse(deviation.case)
            of_these = set(self.dtypes).intersection(deviation.where.get("dtype", self.dtypes))
            anywhere = domain | {"dtypes": (case.dtype,)}
            if deviation.property != claim.__name__ or not of_these or outside(case, anywhere):
                continue
            try:
                self.hold(claim, case, Tally())
            except Violation:
                found.append(deviation)
            else:
                raise Violation(
                    f"remove this entry: it is a known deviation that {deviation.why}\n"
                    f"but the property holds for its case: {case}"
                )
        return found

    def hold_to_baseline(self) -> None:
        """Record the subject on the baseline's dtypes; fail the test if it is worse."""
        from rnn_ref.accuracy import recorder

        old = self.baseline
        if old is None or self.case is not None:
            pytest.skip("a baseline is compared with on all of the corpus")
        try:
            without = self.without - self.subject.lacks  # a record says nothing of those
            recording = recorder(self.subject, old.header["dtypes"], without)

            def measure(case: Case) -> dict[str, Any]:
                if self.trail:
                    self.trail.begin(f"case: {case}")
                return recording.measure(case)

            if not recording.cases:
                pytest.skip("the options leave no case of the baseline")
            noting = replace(recording, measure=measure)
            new = parse("this run", list(noting.lines([])))
            found = compare_records(old, new)
        except (Unusable, OtherArrays) as error:
            pytest.fail(f"baseline: {error}", pytrace=False)
        self.record({"examples": found.cases} | totals(new))
        if found.verdict == "worse":
            pytest.fail("\n".join(comparison_lines(found, old.header, new.header)), pytrace=False)

    def draw(
        self,
        claim: Claim,
        domain: Domain,
        examples: int,
        known: Sequence[Deviation],
        tally: Tally,
    ) -> None:
        """Let Hypothesis look for a case that the claim does not hold for, and shrink it."""

        def unknown(case: Case) -> bool:
            return not any(deviation.covers(case) for deviation in known)

        seen: list[Violation] = []

        @hypothesis.seed(self.seed ^ zlib.crc32(claim.__name__.encode()))
        @hypothesis.settings(
            max_examples=examples,
            phases=[Phase.generate, Phase.target, Phase.shrink],
            deadline=None,
            database=None,
            derandomize=False,
            report_multiple_bugs=False,
            print_blob=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(cases(**domain).filter(unknown))
        def holds(case: Case) -> None:
            try:
                hypothesis.target(self.hold(claim, case, tally))
            except Violation as violation:
                seen.append(violation)
                raise

        try:
            holds()
        except hypothesis.errors.Flaky as flaky:
            raise Violation(
                f"{seen[-1]}\nnot repeatable: the subject's results differ between identical runs"
            ) from flaky

    def hold(self, claim: Claim, case: Case, tally: Tally) -> float:
        """The worst ratio of the claim's comparisons for one case; a Violation if it fails."""
        if self.trail:
            self.trail.begin(self.message(claim, case, ""))
        try:
            with kept():
                comparisons = claim(case, self.subject)
        except (SubjectFault, MemoryError) as fault:
            if self.trail and is_out_of_memory(fault):
                self.trail.give_up(f"{RAN_OUT}: {fault}")
            raise Violation(self.message(claim, case, str(fault))) from fault
        tally.add(case, comparisons)
        if said := verdict(comparisons):
            raise Violation(self.message(claim, case, said))
        return max((comparison.ratio for comparison in comparisons), default=0.0)

    def message(self, claim: Claim, case: Case, said: str) -> str:
        """What a failure says: what and where, how far, the case, and how to replay it."""
        name, cell = self.subject.name, self.subject.cell_name
        given = ["--cell", cell] if cell and name != TORCHS else []
        given += ["--subnormals", "flushed"] if ROUNDING[case.dtype].flush else []
        again = command(
            "verify", *given, "-k", claim.__name__, "--case", str(case),
            subject=name, device=self.subject.device,
        )  # fmt: skip
        return f"{said}\ncase: {case}\nreplay: {again}".strip()
