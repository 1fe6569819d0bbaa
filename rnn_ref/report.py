"""What a run says in the end: a table, a row per property, and one line; or the same as JSON."""

from __future__ import annotations

import math
import os
import platform
import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Row:
    """One property: what was compared, the worst error in units of its bound, the verdict.

    `verdict` is "holds", "FAILS" or "not judged", `message` the failure's text or the
    reason why it was not judged, `drawn` how often each regime was drawn.
    """

    name: str
    verdict: str
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
    return "FAILS" not in verdicts and "holds" in verdicts


def closing_line(run: Run, rows: Sequence[Row], seconds: float) -> str:
    """The verdict in one line, such as `torch 2.13.0, cpu, float32: conforms. 32 properties...`."""
    import torch

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
    skipped = len(rows) - len(judged)
    if skipped:
        parts.insert(1, f"{skipped} not judged")
    on = f"{subject}torch {torch.__version__}, {run.device}, {' '.join(run.dtypes)}"
    return f"{on}: {verdict}. {', '.join(parts)}"


def environment() -> dict[str, Any]:
    """What the numbers may depend on: versions, processor, threads."""
    import hypothesis
    import numpy as np
    import torch

    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "hypothesis": hypothesis.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "onednn": bool(torch.backends.mkldnn.enabled),
    }


def as_json(run: Run, rows: Sequence[Row], seconds: float) -> dict[str, Any]:
    """What the table and the line say, for a program to read; an infinite `worst` is null."""
    return {
        "schema": 1,
        "conforms": conforms(rows),
        "summary": closing_line(run, rows, seconds),
        "run": asdict(run),
        "environment": environment(),
        "seconds": round(seconds, 1),
        "properties": [
            asdict(row) | {"worst": row.worst if math.isfinite(row.worst) else None} for row in rows
        ],
    }
