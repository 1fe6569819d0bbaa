"""The verdict on all results: causes, a closing line; or the same as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rnn_ref.diagnosis.causes import Cause, cause_of
from rnn_ref.judging.failures import Failure, assumed
from rnn_ref.judging.measured import TANH
from rnn_ref.running.rows import plural, ratio
from rnn_ref.running.summary import cause_lines
from rnn_ref.vectors.explained import explain, is_plain
from rnn_ref.vectors.judged import Judged, in_file, is_gradient

FEW = 10
"""The most causes that are printed."""


@dataclass(frozen=True)
class Verdict:
    """The judged vectors, and the causes of what is wrong: the widest first, numbers before all."""

    judged: Sequence[Judged]
    causes: Sequence[Cause]

    @property
    def conforms(self) -> bool:
        """Whether all results are there and within their bounds."""
        return all(each.conforms for each in self.judged)

    def line(self, name: str) -> str:
        """Say the verdict in one line; `name` says whose it is."""
        wrong = sum(not each.conforms for each in self.judged)
        compared = [c for each in self.judged for c in each.comparisons]
        ratios = [c.ratio for each in self.judged for c in (*each.comparisons, *each.closer)]
        numbers = [r for r in ratios if math.isfinite(r)]
        left_open = sum(c.open for c in compared)
        told = [
            plural(len(self.judged), "case", "cases"),
            f"{wrong:,} wrong" if wrong else "",
            plural(sum(c.elements for c in compared), "element", "elements"),
            f"{left_open:,} left open" if left_open else "",
            f"worst error {ratio(max(numbers))} of its bound" if numbers else "",
            *self.allowed(),
        ]
        how = f"does not conform: {plural(len(self.causes), 'cause', 'causes')}"
        return f"{name}: {how if wrong else 'conforms'}. {', '.join(filter(None, told))}"

    def allowed(self) -> list[str]:
        """Say with which options the vectors were written that allow more than others."""
        rounding = [each.vector.problem.rounding for each in self.judged]
        units = max((each.tanh for each in rounding), default=TANH)
        flushed = any(each.flush for each in rounding)
        words = [] if units == TANH else [f"vectors --tanh {units:g}"]
        return [*words, *(["vectors --subnormals flushed"] if flushed else [])]

    def lines(self, name: str, width: int) -> list[str]:
        """Write each cause in a few lines, and the closing line."""
        lines = []
        for number, cause in enumerate(self.causes[:FEW], 1):
            lines += [*cause_lines(number, cause, width), ""]
        if len(self.causes) > FEW:
            lines += [f"and {len(self.causes) - FEW} more causes (--json FILE has all)", ""]
        return [*lines, self.line(name)]

    def as_dict(self, name: str) -> dict[str, Any]:
        """Give it for JSON."""
        return {
            "schema": 1,
            "conforms": self.conforms,
            "summary": self.line(name),
            "causes": [cause.as_dict() for cause in self.causes],
            "cases": [
                {
                    "file": each.vector.file,
                    "case": str(each.vector.case),
                    "conforms": each.conforms,
                    "wrong": [failure.as_dict() for failure in each.failures()],
                }
                for each in self.judged
            ],
        }


def verdict(judged: Sequence[Judged]) -> Verdict:
    """Explain what is wrong, and group it: by its explanation, else by the array that is wrong."""
    explain(judged)
    groups: dict[tuple[Any, ...], list[tuple[Judged, Failure]]] = {}
    for each in judged:
        for failure in each.failures():
            groups.setdefault(key(each, failure), []).append((each, failure))
    causes = [cause_of_group(group, len(judged)) for group in groups.values()]
    widest = sorted(zip(groups, causes, strict=True), key=lambda pair: -len(groups[pair[0]]))
    widest.sort(key=lambda pair: pair[0][0])
    return Verdict(judged, [cause for _, cause in widest])


def key(judged: Judged, failure: Failure) -> tuple[Any, ...]:
    """Say what failures of one cause have in common; a fact comes after all numbers."""
    if failure.fact:
        about_file = failure.fact.what == judged.vector.file
        return (2, failure.fact.got) if about_file else (2, failure.fact.what, "array")
    if judged.explained:
        return 0, *judged.explained["sentences"]
    first = failure.comparisons[0]
    array = in_file(first.name).partition("_l")[0]
    return 1, array, first.note, first.worst is not None and math.isnan(first.worst.got)


def cause_of_group(group: Sequence[tuple[Judged, Failure]], cases: int) -> Cause:
    """Make one cause of failures that have a key in common.

    The smallest case is told of, of those in plain regimes whose results are wrong, if any are.
    """
    plainest = min(rank(*each) for each in group)
    entries = [
        {
            "name": "",
            "group": "",
            "failure": failure.as_dict(),
            "findings": {"diagnosis": each.explained} if each.explained else {},
            "setup": False,
        }
        for each, failure in group
        if rank(each, failure) == plainest
    ]
    cause = cause_of(entries)
    told = next(each for each, _ in group if str(each.vector.case) == cause.case)
    near = [assumed(failure, see="rnn-ref vectors --tanh") for _, failure in group]
    ratios = [c.ratio for _, failure in group for c in failure.comparisons]
    where = f"in {len(group):,} of {plural(cases, 'case', 'cases')}, as in {told.place()}"
    return replace(
        cause,
        properties=(),
        groups=(),
        worst=max(ratios, default=None),
        evidence=[where, *(near[0] if all(near) else []), *cause.evidence],
    )


def rank(judged: Judged, failure: Failure) -> tuple[bool, bool]:
    """Order the failures of one cause: results in plain regimes tell most."""
    gradients_alone = all(map(is_gradient, failure.comparisons))
    return gradients_alone and bool(failure.comparisons), not is_plain(judged.vector.case)
