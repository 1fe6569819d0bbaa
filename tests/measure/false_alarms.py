"""Judge correct subjects for long: not one of them may be blamed.

    python -m tests.measure.false_alarms [SUBJECT ...]

Each subject is judged in the thorough profile, in a process of its own; a line for each
gives the examples and the worst error in units of its bound.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rnn_ref.ways import WAYS
from tests.subjects.correct import CORRECT

ONEDNN_OFF = WAYS["eager, no oneDNN"]
NAMED = [f"{each.__module__}:{each.__name__}" for each in CORRECT]
SUBJECTS = ["torch.nn:RNN", "torch.nn:RNN", ONEDNN_OFF.subject, *NAMED]


def worst_of(row: dict[str, Any]) -> float:
    """The worst error of a property in units of its bound; null stands for an infinite one."""
    return math.inf if row["worst"] is None else float(row["worst"])


def judge(subject: str) -> str:
    """One subject's line."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        command = [sys.executable, "-m", "rnn_ref", "verify", "--profile", "thorough"]
        command += ["--subject", subject, "--json", str(file)]
        if subject == ONEDNN_OFF.subject:
            command += [f"--omit={name}" for name in ONEDNN_OFF.omitted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = json.loads(file.read_text(encoding="utf-8"))
    rows = found["properties"]
    examples, worst = sum(r["examples"] for r in rows), max(worst_of(r) for r in rows)
    verdict = "conforms" if found["conforms"] else "BLAMED\n" + done.stdout
    took = f"{found['seconds']:.0f} s, seed {found['run']['seed']}"
    return f"{subject:36} {examples:8,} examples, worst {worst:.4f}, {took}: {verdict}"


if __name__ == "__main__":
    for name in sys.argv[1:] or SUBJECTS:
        print(judge(name), flush=True)
