"""The end of a run: one row for each property, a table, a closing line; or the same as JSON."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from rnn_ref.diagnosis.causes import CAPABILITY, Cause
from rnn_ref.judging.failures import Failure, Kind, claim_of
from rnn_ref.judging.replay import DEFAULT_SUBJECT
from rnn_ref.running.options import RunOptions


@dataclass
class Row:
    """One property: what was compared, the worst error in units of its bound, the verdict.

    verdict: "holds", "FAILS", "known" (a known deviation) or "not judged".
    message: the failure's text, or the reason why it was not judged.
    failure: the failure as data.
    open: how many elements the bound says nothing about.
    drawn: how often each regime of weights and of inputs was drawn.
    setup: whether it is the set-up property, without which no other is judged.
    findings: what was found out of the failure, by rnn_ref.diagnosis.
    cut: whether it was not judged, or not in full, because the run ended before.
    """

    name: str
    verdict: str
    group: str = ""
    message: str = ""
    examples: int = 0
    elements: int = 0
    open: int = 0
    worst: float = 0.0
    drawn: dict[str, dict[str, int]] = field(default_factory=dict)
    failure: dict[str, Any] | None = None
    setup: bool = False
    findings: dict[str, Any] = field(default_factory=dict)
    cut: bool = False

    @property
    def claim(self) -> str:
        """The property's name as words, such as `every step obeys the recurrence, deep`."""
        name, bracket, structure = self.name.partition("[")
        return claim_of(name) + (f", {structure.removesuffix(']')}" if bracket else "")


def row_of(entry: dict[str, Any], outcome: str, text: str) -> Row:
    """Make a row of what a property's report carries, pytest's outcome, and pytest's text.

    pytest's text is used where the report carries no failure, as for an error in a fixture.
    """
    known, failure = entry.get("known", []), entry.get("failure")
    numbers = {name: entry[name] for name in NUMBERS if name in entry}
    verdict, message = "holds", ""
    if outcome == "failed":
        failure = failure or Failure(Kind.OURS, entry["name"], "", "", how=text).as_dict()
        verdict, message = "FAILS", failure["text"]
    elif known:
        verdict, message = "known", "known deviation: " + "; ".join(known)
    elif outcome == "skipped":
        verdict, message = "not judged", entry.get("not_judged", "") or text
    return Row(
        entry["name"],
        verdict,
        entry["group"],
        message,
        **numbers,
        failure=failure,
        setup=entry["setup"],
        findings=entry.get("findings", {}),
        cut=entry.get("cut", False),
    )


def row_not_reached(entry: dict[str, Any], reason: str) -> Row:
    """Make a row of a property that the run did not come to, or not to the end of."""
    name, group, setup = (entry[key] for key in ("name", "group", "setup"))
    return Row(name, "not judged", group, reason, setup=setup, cut=True)


def row_of_probe(name: str, found: dict[str, Any]) -> Row:
    """Make a row of a capability that probes found lacking."""
    failure, findings = found["failure"], found["findings"]
    return Row(
        CAPABILITY + name,
        "FAILS",
        "capabilities",
        failure["text"],
        failure=failure,
        findings=findings,
    )


NUMBERS = ("examples", "elements", "open", "worst", "drawn")
"""The numbers of a row that a property's report carries."""


def ratio(worst: float) -> str:
    """Format a ratio in at most 7 characters; it is rounded away from 1, as the verdict is."""
    if worst >= 1000:
        return f"{worst:.0e}"
    hundredths = math.floor(worst * 100) if worst <= 1 else math.ceil(worst * 100)
    return f"{hundredths / 100:.2f}"


def table(rows: Sequence[Row], width: int) -> list[str]:
    """Write the rows as lines of at most `width` characters (72 at least)."""
    numbers = "{:>8} {:>11} {:>8}  {:<10}"
    claim = max(30, min(width, 120) - 42)
    lines = [
        "claim".ljust(claim) + " " + numbers.format("examples", "elements", "error /", "verdict")
    ]
    lines += [" " * claim + " " + numbers.format("", "", "bound", "")]
    for row in rows:
        first, *others = textwrap.wrap(row.claim, claim, subsequent_indent="  ")
        judged = row.elements > row.open
        cells = numbers.format(
            f"{row.examples:,}" if row.examples else "-",
            f"{row.elements - row.open:,}" if judged else "-",
            ratio(row.worst) if judged else "-",
            row.verdict,
        )
        lines += [f"{first.ljust(claim)} {cells}".rstrip(), *others]
    return [line.rstrip() for line in lines]


def conforms(rows: Sequence[Row]) -> bool:
    """Tell whether no property fails, some hold, and the run was not cut."""
    verdicts = {row.verdict for row in rows}
    if any(row.cut for row in rows):
        return False
    return "FAILS" not in verdicts and bool(verdicts & {"holds", "known"})


def closing_line(
    run: RunOptions,
    rows: Sequence[Row],
    found: Sequence[Cause],
    seconds: float,
    torch: str,
    left_out: int = 0,
) -> str:
    """Say the verdict in one line: `torch 2.13.0, cpu, float32: conforms. 32 properties...`.

    `left_out` counts the properties that -k leaves out: they are not judged either.
    """
    subject = "" if run.subject == DEFAULT_SUBJECT else f"{run.subject}, "
    judged = [row for row in rows if row.verdict != "not judged"]
    failing = [row for row in judged if row.verdict == "FAILS"]
    verdict = "conforms"
    if not judged:
        verdict = "nothing was judged"
    elif failing:
        about = dict.fromkeys(name for cause in found for name in cause.about)
        verdict = f"does not conform: {plural(len(found), 'cause', 'causes')} in {', '.join(about)}"
        verdict = ("numbers of plain calls hold; " if numbers_hold(judged) else "") + verdict
    elif any(row.cut for row in rows):
        verdict = "not finished, nothing failed"
    known = sum(row.verdict == "known" for row in rows)
    counts = [
        plural(len(judged), "property", "properties"),
        f"{len(failing)} failed" if failing else "",
        not_judged(rows, left_out),
        plural(known, "known deviation", "known deviations") if known else "",
        plural(sum(row.examples for row in judged), "example", "examples"),
        worst_error(judged),
        f"{seconds:.0f} s",
    ]
    on = f"{subject}torch {torch}, {run.device}, {' '.join(run.dtypes)}"
    on += f", {shlex.join(run.words)}" if run.words else ""
    return f"{on}: {verdict}. {', '.join(filter(None, counts))}"


def not_judged(rows: Sequence[Row], left_out: int) -> str:
    """Count what was not judged, and how much of it because the run was cut; empty if nothing."""
    missing = sum(row.verdict == "not judged" for row in rows) + left_out
    cut = {row.message.partition(":")[0] for row in rows if row.cut}
    count = sum(row.cut for row in rows)
    text = f"{missing} not judged" if missing else ""
    some = f"{count} of them: " if count < missing else ""
    return f"{text} ({some}{', '.join(sorted(cut))})" if cut else text


def worst_error(rows: Sequence[Row]) -> str:
    """Say the worst error in units of its bound, and where one has no such measure."""
    finite = [row.worst for row in rows if math.isfinite(row.worst)]
    text = f"worst error {ratio(max(finite, default=0.0))} of its bound"
    if others := len(rows) - len(finite):
        count = plural(others, "property", "properties")
        text += f" (in {count} NaN, or unequal where numbers must be equal)"
    return text


PLAIN_CALLS = ("bounds", "gradients", "halves", "laws", "results", "sizes")
"""The groups that compare the numbers of plain calls."""


def numbers_hold(rows: Sequence[Row]) -> bool:
    """Tell whether the properties that compare numbers of plain calls were judged, and hold."""
    failing = {row.group for row in rows if row.verdict == "FAILS"}
    judged = {row.verdict for row in rows if row.group == "bounds"}
    return judged == {"holds"} and not failing.intersection(PLAIN_CALLS)


def plural(number: int, one: str, many: str) -> str:
    """Write a number and its noun."""
    return f"{number:,} {one if number == 1 else many}"


def as_json(
    run: RunOptions,
    rows: Sequence[Row],
    found: Sequence[Cause],
    line: str,
    seconds: float,
    environment: dict[str, Any],
) -> dict[str, Any]:
    """Give what the table and the line say, for a program; an infinite `worst` is null."""
    return {
        "schema": 2,
        "conforms": conforms(rows),
        "summary": line,
        "causes": [cause.as_dict() for cause in found],
        "run": asdict(run),
        "environment": {**environment, "hypothesis": version("hypothesis")},
        "seconds": round(seconds, 1),
        "properties": [
            asdict(row) | {"worst": row.worst if math.isfinite(row.worst) else None} for row in rows
        ],
    }
