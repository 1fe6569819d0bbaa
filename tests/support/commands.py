"""Run the command line, in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from rnn_ref import cli

ROOT = Path(__file__).parents[2]
MISBEHAVING = "tests.subjects.misbehaving"

Done = subprocess.CompletedProcess[str]
Here = Callable[..., Done]


def run(folder: Path, *command: str, **environment: str) -> Done:
    """Run a command in a folder, where this repository's tests can be imported."""
    settled = {
        "PYTHONWARNINGS": "error::DeprecationWarning",
        **os.environ,
        "PYTHONPATH": str(ROOT),
        **environment,
    }
    return subprocess.run(
        command, cwd=folder, env=settled, capture_output=True, text=True, check=False
    )


def verify(folder: Path, *options: str, **environment: str) -> Done:
    """Run `rnn-ref verify` in a folder, quickly and from a fixed seed unless told otherwise."""
    command = [sys.executable, "-m", "rnn_ref", "verify", "--profile", "smoke", "--seed", "1"]
    return run(folder, *command, *options, **environment)


def run_here(capfd: pytest.CaptureFixture[str], *arguments: str) -> Done:
    """Run `rnn-ref` in this process."""
    try:
        status = cli.main(arguments)
    except SystemExit as exit:
        status = int(str(exit.code))
    return Done(arguments, status, *capfd.readouterr())


def verify_unseen(command: list[str], **_: object) -> None:
    """Run `rnn-ref verify` in this process, unseen, as subprocess.run would in another."""
    words = command[command.index("verify") :]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cli.main([*words, "-n", "0"])


def call_here(command: list[str], **_: object) -> int:
    """Run pytest in this process, as subprocess.call would run it in another."""
    return int(pytest.main(command[3:]))
