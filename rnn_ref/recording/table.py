"""Write a comparison of two records as text: verdict, differences, groups, worst cases."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from rnn_ref.judging.replay import command
from rnn_ref.recording.compare import Group, Regression

MARKS = {"same bits": "same", "within noise": "noise", "better": "better", "worse": "WORSE"}
"""The word for each verdict in a cell of the table."""

GRADIENTS = ("input", "h_0", "weight_ih", "weight_hh", "bias_ih", "bias_hh")
QUANTITIES = ("output", "h_n", *(f"gradient of {name}" for name in GRADIENTS))
"""The columns of the table."""


def comparison_lines(regression: Regression, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Write a comparison of two records, whose headers are given, as lines."""
    worse = regression.of("worse")
    counts = ", ".join(
        f"{len(groups)} {verdict}" for verdict in MARKS if (groups := regression.of(verdict))
    )
    left_out = (
        f"; {regression.left_out} cases are only in one record" if regression.left_out else ""
    )
    among = f"{regression.cases} cases in {len(regression.groups)} groups"
    lines = [f"{regression.verdict}: {among}, {counts}{left_out}", ""]
    lines += [*differences(old, new), *cells(regression.groups)]
    for case, fault in list(regression.faults.items())[:5]:
        lines += ["", f"worse: a new fault: {fault}", *replaying(case, new)]
    for group in sorted(worse, key=lambda group: min(sign.p for sign in group.signs))[:5]:
        lines += ["", f"worse: {group.name}", *reasons(group), *replaying(group.worst, new)]
    if len(worse) > 5:
        lines += ["", f"and {len(worse) - 5} more groups (--json FILE has all)"]
    if regression.verdict != "same bits":
        lines += ["", *textwrap.wrap(TEST.format(regression.level), 100)]
    return lines


TEST = (
    "WORSE: in more cases than chance explains, the new error (or the new bias) is larger than"
    " the old one, and larger than that of the plainest correct program, which sums from the"
    " first term to the last (sign test, level {:.0e} for each group and number). If the new"
    " build is as accurate as the old one, at most 1 of 1,000 comparisons says worse."
)


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Write what differs between the headers of two records, a line for each difference."""
    before, after = ({**header["environment"], **header} for header in (old, new))
    names = [name for name in before if name not in ("environment", "date", "dtypes")]
    lines = [f"{n}: {before[n]} -> {after.get(n)}" for n in names if before[n] != after.get(n)]
    return [*lines, ""] if lines else []


def cells(groups: Sequence[Group]) -> list[str]:
    """Write the table of verdicts, with a column for each quantity.

    A row is a dtype, a kind of network and a way of measuring. The kinds tanh and relu always
    have rows; the others (deep, bidirectional, wide) only where a verdict is better or worse.
    """
    marks = {(g.dtype, g.kind, g.measured, g.quantity): MARKS[g.verdict] for g in groups}
    rows: dict[tuple[str, str, str], bool] = {}
    for g in groups:
        shown = g.kind in ("tanh", "relu") or g.verdict in ("better", "worse")
        rows[g.dtype, g.kind, g.measured] = rows.get((g.dtype, g.kind, g.measured), False) or shown
    there = {group.quantity for group in groups}
    quantities = [name for name in QUANTITIES if name in there]
    states = [name for name in quantities if not name.startswith("gradient")]
    above = " " * (33 + 10 * len(states))
    if len(states) < len(quantities):
        above += "gradient of".rjust(14)
    short = [name.removeprefix("gradient of ").rjust(10) for name in quantities]
    lines = [above.rstrip(), " " * 33 + "".join(short)]
    for row, shown in rows.items():
        if shown:
            title = f"{row[0]:8} {row[1]:13} {row[2].replace('_', ' ')}".ljust(33)
            lines.append(title + "".join(marks.get((*row, q), "-").rjust(10) for q in quantities))
    return lines


def reasons(group: Group) -> list[str]:
    """Write why a group is worse, in lines."""
    lines = []
    if n := group.newly_invalid:
        lines.append(f"  newly over the bound or not finite in {n} case{'s' * (n > 1)}")
    return lines + [
        f"  {s.statistic:5} {s.old} -> {s.new} units of roundoff (plainest correct program:"
        f" {s.plain}), larger in {s.cases} of {s.of} changed cases, p = {s.p:.0e}"
        for s in group.signs
    ]


def replaying(case: str, header: dict[str, Any]) -> list[str]:
    """Write the command that records one case again."""
    again = command(
        "record", "-", "--case", case, subject=header["subject"], device=header["device"]
    )
    return [f"  replay: {again}"]
