"""What a run says in the end: a table, a row per property, and one line; or the same as JSON."""

from __future__ import annotations

import math
import re
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from rnn_ref.regression import Group, Regression


@dataclass
class Row:
    """One property: what was compared, the worst error in units of its bound, the verdict.

    `verdict` is "holds", "FAILS", "known" (a known deviation) or "not judged", `message`
    the failure's text or the reason why it was not judged, `drawn` how often each regime
    was drawn, `group` the file that the property stands in.
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

    @property
    def claim(self) -> str:
        """The property's name as words, such as `every step obeys the recurrence, deep`."""
        words = self.name.removeprefix("test_").replace("_", " ")
        words = re.sub(r"\b(h) ([n0])\b|\b(batch) (first)\b", r"\1\3_\2\4", words)
        return words.replace("[", ", ").removesuffix("]")


@dataclass(frozen=True)
class Run:
    """What was run: the subject, on what, how much of it, and from which seed."""

    subject: str
    device: str
    dtypes: Sequence[str]
    profile: str
    seed: int
    without: Sequence[str]
    subnormals: str = "kept"
    case: str | None = None


def ratio(worst: float) -> str:
    """A ratio in at most 7 characters; never rounded across 1, which is where the verdict turns."""
    if worst >= 1000:
        return f"{worst:.0e}"
    hundredths = math.floor(worst * 100) if worst <= 1 else math.ceil(worst * 100)
    return f"{hundredths / 100:.2f}"


def table(rows: Sequence[Row], width: int) -> list[str]:
    """The rows as lines of at most `width` characters (72 at least)."""
    numbers = "{:>8} {:>11} {:>8}  {:<10}"
    claim = max(30, min(width, 120) - 42)
    lines = [
        "claim".ljust(claim) + " " + numbers.format("examples", "elements", "error /", "verdict")
    ]
    lines += [" " * claim + " " + numbers.format("", "", "bound", "")]
    for row in rows:
        first, *rest = textwrap.wrap(row.claim, claim, subsequent_indent="  ")
        judged = row.elements > row.open
        cells = numbers.format(
            f"{row.examples:,}" if row.examples else "-",
            f"{row.elements - row.open:,}" if judged else "-",
            ratio(row.worst) if judged else "-",
            row.verdict,
        )
        lines += [f"{first.ljust(claim)} {cells}".rstrip(), *rest]
    return lines


def conforms(rows: Sequence[Row]) -> bool:
    """Whether no property fails, and some hold."""
    verdicts = {row.verdict for row in rows}
    return "FAILS" not in verdicts and bool(verdicts & {"holds", "known"})


def closing_line(run: Run, rows: Sequence[Row], seconds: float, torch: str) -> str:
    """The verdict in one line, such as `torch 2.13.0, cpu, float32: conforms. 32 properties...`."""
    subject = "" if run.subject == "torch.nn:RNN" else f"{run.subject}, "
    judged = [row for row in rows if row.verdict != "not judged"]
    failing = [row for row in judged if row.verdict == "FAILS"]
    if not judged:
        verdict = "nothing was judged"
    elif failing:
        verdict = f"does not conform, {len(failing)} of {len(judged)} failed"
    else:
        verdict = "conforms"
    worst = max((row.worst for row in judged), default=0.0)
    parts = [
        f"{len(judged)} {'property' if len(judged) == 1 else 'properties'}",
        f"{sum(row.examples for row in judged):,} examples",
        f"worst error {ratio(worst)} of its bound",
        f"{seconds:.0f} s",
    ]
    known = sum(row.verdict == "known" for row in rows)
    if known:
        parts.insert(1, f"{known} known {'deviation' if known == 1 else 'deviations'}")
    skipped = len(rows) - len(judged)
    if skipped:
        parts.insert(1, f"{skipped} not judged")
    on = f"{subject}torch {torch}, {run.device}, {' '.join(run.dtypes)}"
    return f"{on}: {verdict}. {', '.join(parts)}"


def as_json(
    run: Run, rows: Sequence[Row], seconds: float, environment: dict[str, Any]
) -> dict[str, Any]:
    """What the table and the line say, for a program to read; an infinite `worst` is null."""
    return {
        "schema": 1,
        "conforms": conforms(rows),
        "summary": closing_line(run, rows, seconds, environment["torch"]),
        "run": asdict(run),
        "environment": {**environment, "hypothesis": version("hypothesis")},
        "seconds": round(seconds, 1),
        "properties": [
            asdict(row) | {"worst": row.worst if math.isfinite(row.worst) else None} for row in rows
        ],
    }


MARKS = {"same bits": "same", "within noise": "noise", "better": "better", "worse": "WORSE"}
"""What a cell of a comparison's table says of a group."""

GRADIENTS = ("input", "h_0", "weight_ih", "weight_hh", "bias_ih", "bias_hh")
QUANTITIES = ("output", "h_n", *(f"gradient of {name}" for name in GRADIENTS))
"""What a comparison's table has across."""


def comparison_lines(found: Regression, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Two records compared, in lines: the verdict, what differs, the groups, the worst cases."""
    worse = found.of("worse")
    counts = ", ".join(
        f"{len(groups)} {verdict}" for verdict in MARKS if (groups := found.of(verdict))
    )
    left_out = f"; {found.left_out} cases are in one record alone" if found.left_out else ""
    lines = [
        f"{found.verdict}: {found.cases} cases in {len(found.groups)} groups, {counts}{left_out}",
        "",
    ]
    lines += [*differences(old, new), *cells(found.groups)]
    for case, fault in list(found.faults.items())[:5]:
        lines += ["", f"worse: a fault that was not there: {fault}", *replaying(case, new)]
    for group in sorted(worse, key=lambda group: min(sign.p for sign in group.signs))[:5]:
        lines += ["", f"worse: {group.name}", *reasons(group), *replaying(group.worst, new)]
    if len(worse) > 5:
        lines += ["", f"and {len(worse) - 5} more groups (--json FILE has all)"]
    if found.verdict != "same bits":
        lines += ["", *textwrap.wrap(TEST.format(found.level), 100)]
    return lines


TEST = (
    "WORSE: in more cases than chance explains, the new error, or bias, is above the old one and"
    " above that of the plainest correct program (sign test, level {:.0e} a group and number)."
    " A build that is as accurate is called worse in at most 1 of 1,000 comparisons."
)


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What was recorded, where the two differ, line by line."""
    before, after = ({**header["environment"], **header} for header in (old, new))
    names = [name for name in before if name not in ("environment", "date", "dtypes")]
    told = [f"{n}: {before[n]} -> {after.get(n)}" for n in names if before[n] != after.get(n)]
    return [*told, ""] if told else []


def cells(groups: Sequence[Group]) -> list[str]:
    """The groups' verdicts: dtype, kind and way down, quantities across.

    Kinds other than nonlinearities, which cut across those, have rows where they differ.
    """
    marks = {(g.dtype, g.kind, g.way, g.quantity): MARKS[g.verdict] for g in groups}
    rows: dict[tuple[str, str, str], bool] = {}
    for g in groups:
        tells = g.kind in ("tanh", "relu") or g.verdict in ("better", "worse")
        rows[g.dtype, g.kind, g.way] = rows.get((g.dtype, g.kind, g.way), False) or tells
    there = {group.quantity for group in groups}
    quantities = [name for name in QUANTITIES if name in there]
    states = sum(not name.startswith("gradient") for name in quantities)
    above = " " * (33 + 10 * states) + "gradient of".rjust(14) * (states < len(quantities))
    short = [name.removeprefix("gradient of ").rjust(10) for name in quantities]
    lines = [above.rstrip(), " " * 33 + "".join(short)]
    for row, tells in rows.items():
        if tells:
            title = f"{row[0]:8} {row[1]:13} {row[2].replace('_', ' ')}".ljust(33)
            lines.append(title + "".join(marks.get((*row, q), "-").rjust(10) for q in quantities))
    return lines


def reasons(group: Group) -> list[str]:
    """Why a group is worse, in lines."""
    n = group.gone_wrong
    cases = "1 case that was" if n == 1 else f"{n} cases that were"
    wrong = f"  over the bound, or not finite, in {cases} not"
    return [wrong] * bool(group.gone_wrong) + [
        f"  {s.statistic:5} {s.old} -> {s.new} units of roundoff (plainest correct program:"
        f" {s.plain}), larger in {s.cases} of {s.of} changed cases, p = {s.p:.0e}"
        for s in group.signs
    ]


def replaying(case: str, header: dict[str, Any]) -> list[str]:
    """The command that records one case again."""
    again = command(
        "record", "-", "--case", case, subject=header["subject"], device=header["device"]
    )
    return [f"  replay: {again}"]


def command(*words: str, subject: str, device: str) -> str:
    """A command line of ours, for a subject on a device."""
    options = [] if subject == "torch.nn:RNN" else ["--subject", subject]
    options += [] if device == "cpu" else ["--device", device]
    return shlex.join(["rnn-ref", words[0], *options, *words[1:]])
