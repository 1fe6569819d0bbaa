"""How a property ended: what was compared, the failure, and what ends a search before its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rnn_ref.cases.case import Case
from rnn_ref.judging.comparison import Comparison
from rnn_ref.judging.failures import Failure


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
