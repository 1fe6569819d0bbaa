"""Ways of running nn.RNN by groups of properties: `rnn-ref matrix`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnn_ref.report import ratio
from rnn_ref.ways import WAYS, Way

GROUPS = (
    "setup", "bounds", "results", "laws", "gradients", "packed", "packing", "cell", "dropout",
    "memory", "values", "errors", "state", "process",
)  # fmt: skip


class Judged(NamedTuple):
    """A way, and what a run of the properties found, as `verify --json` writes it."""

    name: str
    way: Way
    found: dict[str, Any] | None


def judge(names: Sequence[str], profile: str) -> Iterator[Judged]:
    """Run the properties in each way, one after another."""
    for name in names:
        way = WAYS[name]
        if way.missing:
            yield Judged(name, way, None)
            continue
        command = [sys.executable, "-W", "ignore", "-m", "rnn_ref.cli", "verify"]
        command += ["--profile", profile, "--subject", way.subject]
        command += ["--timeout", "200"]  # some compile what they are called with
        command += [word for lacking in way.without for word in ("--without", lacking)]
        command += [word for dtype in way.dtypes for word in ("--dtype", dtype)]
        words = " or ".join(f"test_{group}.py" for group in way.only)
        words = words or " and ".join(f"not {word}" for word in way.passed_over)
        command += ["-k", words] if words else []
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "found.json"
            subprocess.run([*command, "--json", str(file)], capture_output=True, check=False)
            found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        yield Judged(name, way, found)


def cell(judged: Judged, group: str) -> str:
    """The worst of a group's verdicts: FAILS, known, or the worst ratio; - where none applies."""
    if judged.found is None:
        return "crash"
    rows = [row for row in judged.found["properties"] if row["group"] == group]
    verdicts = {row["verdict"] for row in rows}
    if "FAILS" in verdicts:
        return "FAILS"
    if "known" in verdicts:
        return "known"
    if "holds" not in verdicts:
        return "-"
    return ratio(max(row["worst"] or 0.0 for row in rows))


def lines(judged: Sequence[Judged]) -> Iterator[str]:
    """The table, what is known or fails, and why what is not judged is not."""
    yield " " * 20 + "".join(group.rjust(10) for group in GROUPS)
    for each in judged:
        if each.way.missing:
            yield f"{each.name:22} not installed: {', '.join(each.way.missing)}"
            continue
        yield each.name.ljust(20) + "".join(cell(each, group).rjust(10) for group in GROUPS)
    yield ""
    for each in judged:
        rows = each.found["properties"] if each.found else []
        told = {
            f"{each.name}: {row['verdict']}: {row['message'].splitlines()[0]}"
            for row in rows
            if row["verdict"] in ("FAILS", "known")
        }
        yield from sorted(told)
        reasons = {**each.way.without, **each.way.passed_over}
        if each.way.only:
            yield f"{each.name}: judged in {', '.join(each.way.only)} alone: {each.way.because}"
        if reasons:
            told_of = ", ".join(f"{word} ({reason})" for word, reason in reasons.items())
            yield f"{each.name}: not judged: {told_of}"
