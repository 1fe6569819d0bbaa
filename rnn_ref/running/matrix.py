"""Judge nn.RNN in each way of running it, or other frameworks, by group of properties.

This is `rnn-ref matrix`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any, NamedTuple

from rnn_ref.running.rows import ratio
from rnn_ref.ways import Way

GROUPS = (
    "setup", "bounds", "sizes", "halves", "results", "laws", "gradients", "packed", "packing",
    "cell", "dropout", "memory", "values", "errors", "calling", "state", "process", "histories",
)  # fmt: skip
"""The columns of the table."""


class Judged(NamedTuple):
    """A way, and the result of a run of the properties, as `verify --json` writes it."""

    name: str
    way: Way
    result: dict[str, Any] | None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The properties that were judged."""
        return self.result["properties"] if self.result else []


def judge_ways(
    ways: Mapping[str, Way], profile: str, limit: float | None = None
) -> Iterator[Judged]:
    """Judge the properties in each way, one after another, each in so many seconds."""
    for name, way in ways.items():
        if way.missing:
            yield Judged(name, way, None)
            continue
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "result.json"
            command = [*verify_command(way, profile), "--json", str(file)]
            command += [] if limit is None else ["--limit", f"{limit:g}"]
            subprocess.run(command, capture_output=True, check=False)
            result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        yield Judged(name, way, result)


def verify_command(way: Way, profile: str) -> list[str]:
    """Write the command that judges one way."""
    command = [sys.executable, "-W", "ignore", "-m", "rnn_ref", "verify"]
    command += ["--profile", profile, "--subject", way.subject]
    command += ["--timeout", "200", *way.options]  # some ways compile on the first call
    options = {
        "--without": way.without,
        "--dtype": way.dtypes,
        "--group": way.groups,
        "--omit": way.omitted,
    }
    for option, values in options.items():
        for value in values:
            command += [option, value]
    return command


def cell(judged: Judged, group: str) -> str:
    """Write a group's worst verdict: FAILS, known, or the worst ratio; - if nothing was judged."""
    if judged.result is None:
        return "crash"
    rows = [row for row in judged.rows if row["group"] == group]
    verdicts = {row["verdict"] for row in rows}
    for verdict in ("FAILS", "known"):
        if verdict in verdicts:
            return verdict
    return ratio(max(row["worst"] or 0.0 for row in rows)) if "holds" in verdicts else "-"


def lines(judged: Sequence[Judged]) -> Iterator[str]:
    """Write the table; below it, known deviations, failures, and what is not judged and why."""
    yield " " * 20 + "".join(group.rjust(10) for group in GROUPS)
    for each in judged:
        if each.way.missing:
            yield f"{each.name:22} not installed: {', '.join(each.way.missing)}"
            continue
        yield each.name.ljust(20) + "".join(cell(each, group).rjust(10) for group in GROUPS)
    yield ""
    for each in judged:
        first_lines = {
            (row["verdict"], row["message"].splitlines()[0])
            for row in each.rows
            if row["verdict"] in ("FAILS", "known")
        }
        for verdict, line in sorted(first_lines):
            yield f"{each.name}: {line}" if verdict == "known" else f"{each.name}: FAILS: {line}"
        yield from (f"{each.name}: {reason}" for reason in reasons(each.way))


def reasons(way: Way) -> Iterator[str]:
    """Write which properties are not judged in a way, and why."""
    if way.groups:
        yield f"judged only in {', '.join(way.groups)}: {way.because}"
    by_reason: dict[str, list[str]] = {}
    for what, reason in {**way.without, **way.omitted}.items():
        by_reason.setdefault(reason, []).append(what)
    for reason, names in by_reason.items():
        yield f"not judged: {', '.join(names)}: {reason}"


def listed(ways: Mapping[str, Way]) -> Iterator[str]:
    """Write the ways, the subject of each, and what is not judged of it."""
    for name, way in ways.items():
        yield f"{name} ({way.subject})"
        yield from (f"  {reason}" for reason in reasons(way))


def verdicts(judged: Sequence[Judged]) -> Iterator[str]:
    """Write a table in Markdown: the verdict on each framework, the time, and the causes."""
    yield "| framework | verdict | time | causes |"
    yield "|---|---|---|---|"
    for each in judged:
        if each.way.missing:
            told = f"not installed: {', '.join(each.way.missing)}", "-", "-"
        elif each.result is None:
            told = "crash", "-", "-"
        else:
            sentences = [cause["sentence"] for cause in each.result["causes"]]
            causes = "<br>".join(f"{i}. {text}" for i, text in enumerate(sentences, 1))
            told = verdict(each.result), f"{each.result['seconds']:.0f} s", causes or "none"
        yield f"| {' | '.join([versioned(each), *told])} |"


def verdict(result: Mapping[str, Any]) -> str:
    """Say in a few words how a run ended."""
    if result["conforms"]:
        return "conforms"
    if result["causes"]:
        return f"does not conform: {len(result['causes'])}"
    return "not finished, nothing failed"


def versioned(judged: Judged) -> str:
    """Name a framework with the version that is installed."""
    if judged.way.missing or not judged.way.requires:
        return judged.name
    (package, *_) = packages_distributions().get(judged.way.requires[0], [""])
    return f"{judged.name} ({package} {version(package)})" if package else judged.name
