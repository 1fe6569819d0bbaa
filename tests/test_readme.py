"""README shows only what is really printed."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rnn_ref.cases.corpus import read_corpus
from rnn_ref.cases.selection import CAPABILITIES
from tests.faults import FAULTS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
WALKTHROUGH = README[README.index("## The walkthrough") : README.index("## How it judges")]
FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
CONSOLE = [text for kind, text in FENCE.findall(README) if kind == "console"]


def without_numbers(text: str) -> list[str]:
    """Lines with every number masked and spaces folded: these differ from machine to machine."""
    masked = re.sub(r"-?\d[\d.,]*(e[+-]\d+)?", "#", text)
    return [" ".join(line.split()) for line in masked.strip().splitlines() if line.strip()]


def run(command: str, folder: Path) -> str:
    """What a command of README's prints, run in a folder."""
    _, *options = shlex.split(command)
    whole = [sys.executable, "-m", "rnn_ref", *options]
    done = subprocess.run(whole, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout


def test_walkthrough_prints_what_it_shows() -> None:
    """The walkthrough's code, run in order, prints the text below each piece of it."""
    names: dict[str, object] = {}
    shown: list[str] = []
    printed: list[str] = []
    for kind, text in FENCE.findall(WALKTHROUGH):
        if kind == "text":
            shown.append(text)
            continue
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(text, names)
        printed.append(out.getvalue())
    assert [without_numbers(text) for text in printed] == [without_numbers(t) for t in shown]
    shapes = [re.findall(r"\(\d[\d, ]*\)", text) for text in printed]
    assert shapes == [re.findall(r"\(\d[\d, ]*\)", text) for text in shown]
    assert shapes[1:] == [
        ["(1, 10, 8)", "(1, 1, 8)"],
        ["(1, 10, 8)", "(2, 1, 8)"],
        ["(1, 10, 16)", "(4, 1, 8)"],
    ]


def test_a_bias_that_is_never_added_is_told_from_rounding() -> None:
    """The walkthrough's slip is far over its bound, in every state, and the right loop within."""
    first = next(text for kind, text in FENCE.findall(WALKTHROUGH) if kind == "text")
    assert re.search(r"^conforms: 80 elements", first, re.MULTILINE)
    assert re.search(r"over their bound: output of layer 0: 80 of 80$", first, re.MULTILINE)
    ratio = re.search(r"ratio (\S+)$", first, re.MULTILINE)
    assert ratio
    assert float(ratio[1]) > 1e10


@pytest.mark.parametrize("shown", CONSOLE, ids=["verify", "fault"])
def test_commands_print_what_readme_shows(shown: str, tmp_path: Path) -> None:
    """The first screen's commands print the same lines, numbers apart."""
    subject = next(text for kind, text in FENCE.findall(README) if "# mylib.py" in text)
    (tmp_path / "mylib.py").write_text(subject, encoding="utf-8")
    command, _, output = shown.removeprefix("$ ").partition("\n")
    printed = run(command + " --profile quick", tmp_path).replace(
        "quick profile", "default profile"
    )
    assert without_numbers(printed) == without_numbers(output)


def test_readme_counts_and_lists_what_is_there() -> None:
    """The number of planted faults, and the capabilities, are those of the code."""
    assert f"lists {len(FAULTS)} planted faults" in README
    assert f"runs the corpus, {len(read_corpus().cases)} cases" in README
    assert f"the corpus (version {read_corpus().version})" in README
    assert ", ".join(f"`{name}`" for name in CAPABILITIES) in README


def test_readme_names_files_that_are_there() -> None:
    """Every link to a file leads to one."""
    for target in re.findall(r"\]\(((?:rnn_ref|tests)/[^)]+)\)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
