"""Tell a CI service what a run found: GitHub's job summary and annotations, and a badge."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from rnn_ref.diagnosis.causes import Cause
from rnn_ref.running.rows import Row, conforms, plural
from rnn_ref.running.summary import cause_lines, group_lines

WIDTH = 100
"""The characters to which a cause is wrapped in a summary."""


def write_job_summary(line: str, found: Sequence[Cause], rows: Sequence[Row]) -> None:
    """Append verdict, causes and groups to the summary of a GitHub job, where there is one."""
    file = os.environ.get("GITHUB_STEP_SUMMARY")
    if file:
        with Path(file).open("a", encoding="utf-8") as summary:
            summary.write(job_summary(line, found, rows))


def job_summary(line: str, found: Sequence[Cause], rows: Sequence[Row]) -> str:
    """Write a run's end in Markdown; what a subject says stands in code blocks."""
    parts = [f"### rnn_ref\n\n{escaped(line)}\n"]
    for number, cause in enumerate(found, 1):
        parts.append(fenced(cause_lines(number, cause, WIDTH)))
    parts.append(fenced(group_lines(rows)))
    return "\n".join(parts) + "\n"


def fenced(lines: Sequence[str]) -> str:
    """Put lines into a code block that nothing in them can end."""
    text = "\n".join(lines)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}\n"


def escaped(text: str) -> str:
    """Keep Markdown and HTML from reading a text as markup."""
    for character in "\\`*_<>[]#|":
        text = text.replace(character, "\\" + character)
    return text


def error_annotations(found: Sequence[Cause]) -> list[str]:
    """Write GitHub's workflow commands, one error a cause; none outside GitHub Actions."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return []
    lines = []
    for number, cause in enumerate(found, 1):
        _, *others = cause_lines(number, cause, WIDTH)
        title, text = command_value(cause.sentence, title=True), command_value("\n".join(others))
        lines.append(f"::error title={title}::{text}")
    return lines


def command_value(text: str, *, title: bool = False) -> str:
    """Escape a value of a workflow command (GitHub's toolkit, packages/core/src/command.ts)."""
    for character, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
        text = text.replace(character, code)
    return text.replace(":", "%3A").replace(",", "%2C") if title else text


def write_badge(file: str, found: Sequence[Cause], rows: Sequence[Row]) -> None:
    """Write the verdict as JSON for the endpoint badge of shields.io."""
    good = conforms(rows)
    message = "conforms" if good else plural(len(found), "cause", "causes")
    badge = {
        "schemaVersion": 1,
        "label": "torch.nn.RNN parity",
        "message": message,
        "color": "brightgreen" if good else "red",
    }
    Path(file).write_text(json.dumps(badge) + "\n", encoding="utf-8")
