"""What a run prints at its end: each cause in a few lines, and each group in a row."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from rnn_ref.diagnosis.causes import Cause, declared_by
from rnn_ref.running.rows import Row, plural, ratio

MARGIN = "   "

MOST = 8
"""The most lines of a cause; evidence that is left out, the last first, stands in -v and JSON."""

LONGEST = 4
"""The most lines of its sentence."""

GROUPS = 4
"""The most groups that it names."""

UNTOLD = "(-v tells the rest)"

COLUMNS = "{:<14}{:>11}{:>11}{:>13}{:>14}  {}"


def cause_lines(number: int, cause: Cause, width: int, *, verbose: bool = False) -> list[str]:
    """Write a cause as an entry of at most eight lines, its sentence wrapped, if it is long."""
    sentence = f"{number}. {cause.sentence}{shown_in(cause)}"
    lines = textwrap.wrap(sentence, max(width, 72), subsequent_indent=MARGIN)
    if len(lines) > LONGEST and not verbose:
        lines[LONGEST - 1 :] = [MARGIN + UNTOLD]
    told = cause.replay or (f"case: {cause.case}" if cause.case else "")  # a replay has the case
    if cause.capabilities:
        options = " ".join(declared_by(name) for name in cause.capabilities)
        told += f"  # tries it again; {options} declares it lacking"
    last = [MARGIN + told] if told else []
    evidence = [MARGIN + line for line in cause.evidence]
    if verbose:
        return [*lines, *evidence, *(MARGIN + name for name in cause.properties), *last]
    return [*lines, *evidence[: MOST - len(lines) - len(last)], *last]


def shown_in(cause: Cause) -> str:
    """Say in how many properties of which groups a cause shows, or what is lacking for it."""
    if cause.capabilities:
        return f"; lacking: {', '.join(cause.capabilities)}"
    if not cause.properties:
        return ""
    count = plural(len(cause.properties), "property", "properties")
    groups = (
        ", ".join(cause.groups) if len(cause.groups) <= GROUPS else f"{len(cause.groups)} groups"
    )
    return f"; in {count} ({groups})"


def group_lines(rows: Sequence[Row]) -> list[str]:
    """Write a row for each group: properties, examples, elements, worst error, verdict.

    Where some fail, the groups that do not are named in a line.
    """
    by_group = {row.group: [each for each in rows if each.group == row.group] for row in rows}
    failing = [g for g, own in by_group.items() if any(row.verdict == "FAILS" for row in own)]
    head = ("group", "properties", "examples", "elements", "error / bound", "verdict")
    lines = [COLUMNS.format(*head)]
    lines += [group_line(group, by_group[group]) for group in failing or by_group]
    if failing:
        holding = [g for g, own in by_group.items() if any(row.verdict == "holds" for row in own)]
        lines += named("holding", [g for g in holding if g not in failing])
        by_reason: dict[str, list[str]] = {}
        for group in (g for g in by_group if g not in (*failing, *holding)):
            by_reason.setdefault(reason(by_group[group]), []).append(group)
        lines += named("not judged", [", ".join(of) + why for why, of in by_reason.items()], "; ")
    return lines


def reason(own: Sequence[Row]) -> str:
    """Say why a group is not judged, where all its properties have one reason."""
    reasons = {row.message for row in own}
    return f" ({reasons.pop()})" if len(reasons) == 1 and all(reasons) else ""


def reason_lines(rows: Sequence[Row]) -> list[str]:
    """Count the properties that were not judged, by reason: the most frequent first."""
    counts = Counter(row.message for row in rows if row.verdict == "not judged")
    return [
        f"not judged: {plural(count, 'property', 'properties')}: {why}"
        for why, count in counts.most_common()
    ]


def named(how: str, groups: Sequence[str], between: str = ", ") -> list[str]:
    """Name the groups that ended in one way."""
    return textwrap.wrap(f"{how}: {between.join(groups)}", 79) if groups else []


def group_line(group: str, own: Sequence[Row]) -> str:
    """Write the row of one group."""
    judged = [row for row in own if row.elements > row.open]
    return COLUMNS.format(
        group,
        len(own),
        f"{sum(row.examples for row in own):,}",
        f"{sum(row.elements - row.open for row in own):,}",
        ratio(max(row.worst for row in judged)) if judged else "-",
        verdict_of(own),
    )


def verdict_of(rows: Sequence[Row]) -> str:
    """Say how the properties of a group ended."""
    counts = {v: sum(row.verdict == v for row in rows) for v in ("FAILS", "known", "not judged")}
    told = []
    if counts["FAILS"]:
        told.append(f"{counts['FAILS']} of {len(rows)} FAIL")
    elif counts["not judged"] < len(rows):
        told.append("holds")
    told += [f"{counts['known']} known"] if counts["known"] else []
    told += [f"{counts['not judged']} not judged"] if counts["not judged"] else []
    return ", ".join(told)
