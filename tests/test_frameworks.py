"""The adapters over other frameworks: short, in the table, and right where theirs is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rnn_ref import cli, frameworks, parity
from rnn_ref.cases.case import Case
from rnn_ref.cases.selection import CAPABILITIES
from rnn_ref.frameworks import FRAMEWORKS
from rnn_ref.judging.loading import load
from rnn_ref.running.matrix import GROUPS, Judged, lines, verdicts, verify_command
from rnn_ref.ways import Way
from tests.support.judging import failure_of

FOLDER = Path(frameworks.__file__).parent
PLAIN = "tanh L1 D1 bias T3 N2 I3 H4 float32 weights=torch input=normal h_0 seed=1"
LINES = 40
"""The most lines of an adapter, blank ones apart."""


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_an_adapter_is_short_and_in_the_table(name: str) -> None:
    """Its module is there, and has at most forty lines; what is not judged of it is known."""
    way = FRAMEWORKS[name]
    module, _, _ = way.subject.partition(":")
    file = FOLDER / f"{module.rpartition('.')[2]}.py"
    assert sum(bool(line.strip()) for line in file.read_text().splitlines()) <= LINES
    assert name.lower().replace(" ", "").startswith(way.requires[0])  # its version is shown
    assert set(way.groups) <= set(GROUPS)
    assert way.without.keys() <= CAPABILITIES.keys()
    assert way.omitted.keys() <= parity.properties().keys()


def test_every_adapter_is_in_the_table() -> None:
    """No module of the folder is left out, but what the adapters share."""
    named = {way.subject.partition(":")[0].rpartition(".")[2] for way in FRAMEWORKS.values()}
    assert {file.stem for file in FOLDER.glob("*.py")} - named == {"__init__", "tensors"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_framework_takes_a_step_as_the_equation_says(name: str) -> None:
    """In float32, of normal size, by the adapter that ships."""
    way = FRAMEWORKS[name]
    if way.missing:
        pytest.skip(f"not installed: {', '.join(way.missing)}")
    subject, case = load(way.subject), Case.parse(PLAIN)
    failure = failure_of(subject, "every_step_obeys_the_recurrence", case=case)
    assert failure is None, str(failure)


def test_what_is_not_installed_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """In both tables; and it is no failure."""
    way = Way("nowhere:rnn", requires=("no_such_framework",))
    judged = [Judged("It", way, None)]
    assert list(lines(judged))[1].split(None, 1)[1] == "not installed: no_such_framework"
    assert list(verdicts(judged))[2:] == ["| It | not installed: no_such_framework | - | - |"]
    assert cli.main(["matrix", "--frameworks", "--list"]) == 0
    assert "MLX (rnn_ref.frameworks.mlx:rnn)" in capsys.readouterr().out


def test_the_verdict_on_a_framework_has_its_causes_and_the_time() -> None:
    """A line in Markdown for each, with the version that is installed."""
    result: dict[str, Any] = {"conforms": False, "seconds": 12.3}
    causes = [{"sentence": "h_0 is ignored"}, {"sentence": "tanh is off"}]
    way = Way("numpy:rnn", requires=("pytest",))
    failed, right, cut = (
        result | {"causes": causes},
        result | {"causes": [], "conforms": True},
        result | {"causes": []},
    )
    told = list(verdicts([Judged("It", way, each) for each in (failed, right, cut, None)]))[2:]
    version = f"It (pytest {pytest.__version__})"
    assert told == [
        f"| {version} | does not conform: 2 | 12 s | 1. h_0 is ignored<br>2. tanh is off |",
        f"| {version} | conforms | 12 s | none |",
        f"| {version} | not finished, nothing failed | 12 s | none |",
        f"| {version} | crash | - | - |",
    ]


def test_a_slow_framework_gets_few_forms_of_cases() -> None:
    """Its own profile comes after that of the command, and counts."""
    command = verify_command(FRAMEWORKS["Flax"], "quick")
    profiles = [command[i + 1] for i, word in enumerate(command) if word == "--profile"]
    assert profiles == ["quick", "smoke"]
