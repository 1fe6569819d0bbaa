"""The plugin in a stranger's project: by --pyargs, beside their tests, and out of their way."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.commands import Done, Here

LIGHT = """
import sys
import rnn_ref, rnn_ref.plugin
heavy = {"torch", "hypothesis"} & set(sys.modules)
assert not heavy, heavy
"""


PYARGS = ("--pyargs", "rnn_ref.parity")


def pytest_in(folder: Path, *options: str) -> Done:
    """Run pytest in a folder, in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def pytest_here(here: Here, capfd: pytest.CaptureFixture[str]) -> Here:  # noqa: ARG001
    """Run pytest in a folder of its own, in this process."""

    def run(*options: str) -> Done:
        status = pytest.main(["-p", "no:cacheprovider", *options])
        return Done(options, int(status), *capfd.readouterr())

    return run


def test_importing_the_package_and_the_plugin_imports_neither_torch_nor_hypothesis() -> None:
    """The plugin is loaded in every pytest run of an environment, and must cost it little."""
    subprocess.run([sys.executable, "-c", LIGHT], check=True)


@pytest.mark.parametrize("processes", ["0", "1"])
def test_properties_judge_a_strangers_module_by_pyargs(
    tmp_path: Path, pytest_here: Here, processes: str
) -> None:
    """From any folder, in one process or more, the installed properties print the table."""
    (tmp_path / "mine.py").write_text("from torch.nn import RNN\n", encoding="utf-8")
    run = pytest_here if processes == "0" else partial(pytest_in, tmp_path)
    options = ["--rnn-subject=mine:RNN", "--rnn-profile=smoke", "-n", processes]
    done = run(*PYARGS, *options, "-k", "h_n_is or within_their_bounds and not cell")
    assert done.returncode == 0, done.stdout
    assert "mine:RNN, torch " in done.stdout
    assert re.search(r"conforms\. 9 properties, \d+ not judged, 27 examples", done.stdout)


def test_a_strangers_own_tests_are_left_alone(tmp_path: Path) -> None:
    """A run without properties has no table, no subject and no line of ours."""
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n", encoding="utf-8")
    done = pytest_in(tmp_path)
    assert done.returncode == 0
    assert "1 passed" in done.stdout
    assert "judging" not in done.stdout
    assert "conforms" not in done.stdout


def test_a_subject_that_cannot_be_loaded_is_a_usage_error(pytest_here: Here) -> None:
    """pytest itself ends with its status for a wrong command line, and one sentence."""
    done = pytest_here(*PYARGS, "--rnn-subject=nowhere:RNN")
    assert done.returncode == 4
    assert "subject: importing nowhere raised ModuleNotFoundError" in done.stderr


def test_nothing_else_is_judged_when_the_set_up_fails(tmp_path: Path, pytest_here: Here) -> None:
    """A fault in the wiring is one failure, not thirty."""
    (tmp_path / "mine.py").write_text("def RNN(*args):\n    return 3\n", encoding="utf-8")
    done = pytest_here(*PYARGS, "--rnn-subject=mine:RNN")
    assert done.returncode == 1
    assert re.search(r"1 failed, \d+ skipped", done.stdout)
    assert "test_setup_weights_arrive_and_two_tensors_come_back" in done.stdout
