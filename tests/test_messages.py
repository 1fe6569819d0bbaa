"""What failing runs print, held by text files: a change of a message is seen, and meant."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from rnn_ref.diagnosis import findings
from tests.support.commands import MISBEHAVING, Here

FOLDER = Path(__file__).parent / "snapshots"


class Run(NamedTuple):
    """A subject, and which properties judge it."""

    subject: str
    properties: str
    profile: str = "smoke"


STEPS = "setup or every_step_obeys or within_their_bounds or h_n_is_the_state"
RUNS = {
    "a diagnosis": Run("tests.faults.laws:CentresTheInput", STEPS),
    "a measured constant": Run("tests.faults.laws:ReturnsAnotherHn", STEPS),
    "a layout": Run("tests.faults.laws:ScalesAnUnbatchedOutput", STEPS),
    "an order": Run(f"{MISBEHAVING}:DirectionsSwapped", STEPS),
    "a pair": Run("tests.test_diagnosis:TwoFaults", STEPS),
    "gradients alone": Run(f"{MISBEHAVING}:NoGradientOfH0", STEPS),
    "a failing set-up": Run(f"{MISBEHAVING}:RaisesInLoadStateDict", STEPS),
    "a lacking capability": Run(f"{MISBEHAVING}:RaisesInUnbatchedCall", STEPS),
    "a changed setting": Run("tests.faults.process:LeavesGradientsOff", f"{STEPS} or settings_of"),
    "a variant": Run(f"{MISBEHAVING}:WrongInOneLayout", "setup or arguments_may", "default"),
    "chance": Run("tests.faults.dropout:DropsTheSameInAllSteps", "setup or masks_are_fresh"),
    "a wrong call that is accepted": Run(
        "tests.faults.errors:TakesAnyHiddenSize", "setup or nonsense_is"
    ),
}


def normalised(text: str) -> str:
    """Hide what varies from run to run or by processor: times, versions, the last digits.

    What was got and expected keeps three digits; a ratio, one. Whether there is time to vary all
    fields depends on the machine.
    """
    text = re.sub(r"(needs .*); any .*", r"\1; any ...", text)
    text = re.sub(r"\b\d+ s\b", "# s", text.replace(torch.__version__, "VERSION"))
    text = re.sub(r"((?:got|expected) )(-?\d+\.\d{3,})", shorter(3), text)
    return re.sub(r"()(\d\S*)(?= times the bound)", shorter(1), text)


def shorter(digits: int) -> Callable[[re.Match[str]], str]:
    """Write a number, the second group of a match, in a few digits."""
    return lambda match: f"{match[1]}{float(match[2]):.{digits}g}"


@pytest.fixture
def require_snapshot() -> Callable[[str, str], None]:
    """Compare a text with a file; one that is missing is written, to be looked at."""

    def require(name: str, text: str) -> None:
        file = FOLDER / f"{name.replace(' ', '_')}.txt"
        if not file.exists():
            file.write_text(text, encoding="utf-8")
            pytest.fail(f"{file.name} was written: look at it, and run the test again")
        told = f"if it is meant, delete tests/snapshots/{file.name}, and run the test again"
        assert text == file.read_text(encoding="utf-8"), told

    return require


@pytest.mark.parametrize("name", RUNS)
def test_a_failing_run_prints_what_it_did(
    name: str,
    verify_here: Here,
    require_snapshot: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The causes, each of at most eight lines, and the verdict."""
    monkeypatch.setattr(findings, "SECONDS", 60.0)  # a busy machine finds the same
    subject, properties, profile = RUNS[name]
    done = verify_here("--subject", subject, "--profile", profile, "-k", properties)
    assert done.returncode == 1
    causes, _, end = done.stdout[done.stdout.index("\n1. ") :].strip().partition("\n\ngroup ")
    assert [each for each in causes.split("\n\n") if len(each.splitlines()) > 8] == []
    verdict = re.findall(r"(?:numbers of plain calls hold; )?does not conform: .*?(?=\.)", end)[-1]
    require_snapshot(name, normalised(f"{causes}\n\n{verdict}\n"))
