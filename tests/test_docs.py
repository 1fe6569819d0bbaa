"""README and the docs show only what is really printed, and name only what is there."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rnn_ref.cases.corpus import read_corpus
from rnn_ref.cases.selection import CAPABILITIES
from rnn_ref.running import isolated, matrix
from rnn_ref.running.options import OPTIONS, PROFILES
from tests.support.commands import Here, verify_unseen
from tests.support.commands import run as run_apart
from tests.support.recording import InThisProcess

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "rnn_ref" / "docs"
PAGES = {
    page.name: page.read_text(encoding="utf-8")
    for page in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LEFT_OUT = "[...]"
END = "-- end of a fence --"
PINNED = re.findall(r"torch==([\d.]+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))[0]
ENDING = {"crashing:RNN"}
"""Subjects of the pages that end the process they are judged in."""

NEEDED = {
    "findings.md": ("brevitas", "keras", "mlx", "onnx", "onnxruntime", "paddle"),
    "subjects.md": ("jax",),
}
"""Modules beyond the pinned ones, without which a page's fence that imports one is not run."""


def fences(page: str, *kinds: str) -> list[tuple[str, str]]:
    """The fences of some kinds on a page, in order: kind and text."""
    return [(kind, text) for kind, text in FENCE.findall(PAGES[page]) if kind in kinds]


def masked(text: str) -> list[str]:
    """Lines with every number masked and spaces folded: these differ from machine to machine."""
    hidden = re.sub(r"-?\d[\d.,]*(e[+-]?\d+)?|\binf\b", "#", text)
    return [" ".join(line.split()) for line in hidden.strip().splitlines() if line.strip()]


def matches(shown: list[str], printed: list[str]) -> bool:
    """Whether shown lines are the printed ones, `[...]` standing for any number of them."""
    if not shown:
        return not printed
    if shown[0] == LEFT_OUT:
        return any(matches(shown[1:], printed[i:]) for i in range(len(printed) + 1))
    return bool(printed) and shown[0] == printed[0] and matches(shown[1:], printed[1:])


@pytest.fixture
def run(here: Here, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Run a command of a page; what it prints to standard output.

    It runs in this process, but for a subject that ends its own.
    """
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(isolated, "Isolated", InThisProcess)
    monkeypatch.setattr(matrix, "subprocess", SimpleNamespace(run=verify_unseen))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)

    def printed(command: str) -> str:
        program, *options = shlex.split(command)
        assert program == "rnn-ref"
        if ENDING.intersection(options):
            return run_apart(Path(), sys.executable, "-m", "rnn_ref", *options).stdout
        if options[0] == "verify":
            options += ["-n", "0"]
        return here(*options).stdout

    return printed


@pytest.mark.parametrize("page", [page for page in PAGES if fences(page, "console")])
def test_commands_print_what_a_page_shows(
    page: str, tmp_path: Path, run: Callable[[str], str]
) -> None:
    """Every console block's commands print the lines shown, numbers and times apart."""
    cannot_run = []
    for _, text in fences(page, "python"):
        if name := re.match(r"# (\w+)\.py\n", text):
            (tmp_path / f"{name[1]}.py").write_text(text, encoding="utf-8")
            cannot_run += [f" {name[1]}:"] if needs_more(page, text) else []
    for _, block in fences(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            if any(subject in command for subject in cannot_run):
                continue
            printed = run(command)
            assert matches(masked(shown), masked(printed)), f"$ {command}\n{printed}"


@pytest.mark.parametrize("page", [page for page in PAGES if fences(page, "text")])
def test_code_prints_what_a_page_shows(page: str, tmp_path: Path) -> None:
    """Python fences, run in order, print the text fence below each, numbers in it masked."""
    if page == "findings.md" and not torch.__version__.startswith(PINNED):
        pytest.skip(f"the findings are shown as torch {PINNED} prints them")
    code, shown, block = [], [], ""
    for kind, text in fences(page, "python", "text"):
        if kind == "python":
            block = "" if needs_more(page, text) else text
        elif block:
            code.append(f"{block}\nprint({END!r})\n")
            shown.append(text)
    program = tmp_path / "page.py"
    program.write_text("\n".join(code), encoding="utf-8")
    command = [sys.executable, "-W", "ignore", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    printed = done.stdout.split(END + "\n")[:-1]
    assert len(printed) == len(shown), done.stderr
    assert [masked(text) for text in printed] == [masked(text) for text in shown]
    shapes = [[re.findall(r"\(\d[\d, ]*\)", text) for text in texts] for texts in (printed, shown)]
    assert shapes[0] == shapes[1]


def needs_more(page: str, text: str) -> bool:
    """Whether a fence imports a module beyond the pinned ones that is not installed."""
    missing = [name for name in NEEDED.get(page, ()) if not importlib.util.find_spec(name)]
    return any(re.search(rf"^(import|from) .*\b{name}\b", text, re.MULTILINE) for name in missing)


def test_a_bias_that_is_never_added_is_told_from_rounding() -> None:
    """The walkthrough's slip is far over its bound, in every state, and the right loop within."""
    _, first = fences("walkthrough.md", "text")[0]
    assert re.search(r"^conforms: 80 elements", first, re.MULTILINE)
    assert re.search(r"^over their bound: output of layer 0: 80 of 80$", first, re.MULTILINE)
    ratio = re.search(r"ratio (\S+)$", first, re.MULTILINE)
    assert ratio
    assert float(ratio[1]) > 1e10


def test_every_option_and_capability_is_described() -> None:
    """docs/subjects.md has each option, and each capability with its meaning."""
    page = PAGES["subjects.md"]
    assert [name for name in OPTIONS if f"--{name}" not in page] == []
    for name, capability in CAPABILITIES.items():
        assert f"| `{name}` | {capability.meaning} |" in page


def test_numbers_that_are_told_are_those_of_the_code() -> None:
    """The profiles' examples and the corpus are as README and the docs say."""
    for name, examples in PROFILES.items():
        assert re.search(rf"`(--profile )?{name}` \(?(at most )?{examples:,}\b", PAGES["README.md"])
        assert re.search(rf"{name}` \((at most )?{examples:,}\b", PAGES["subjects.md"])
    assert f"{len(read_corpus().cases)} cases" in PAGES["README.md"]
    assert f"{len(read_corpus().cases)} cases" in PAGES["numerics.md"]
    assert f"the corpus (version {read_corpus().version})" in PAGES["changes.md"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_what_is_there(page: str) -> None:
    """Every link to a file leads to one, and every anchor to a heading."""
    folder = ROOT if page == "README.md" else DOCS
    for target, anchor in re.findall(r"\]\(([^)#:]+)(#[^)]+)?\)", PAGES[page]):
        file = folder / target
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = ["#" + re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in slugs


def test_readme_fits_on_a_few_screens() -> None:
    """README has about 130 lines."""
    assert len(PAGES["README.md"].splitlines()) <= 140
