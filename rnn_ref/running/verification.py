"""`rnn-ref verify`: run pytest on the properties in a process of its own."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rnn_ref.process.environment import THREADS
from rnn_ref.process.guard import RunFolder, death
from rnn_ref.recording.record import UnusableFile
from rnn_ref.running.options import OPTIONS
from rnn_ref.running.session import FINISHED
from rnn_ref.running.workers import failure_of

PARITY = Path(__file__).parent.parent / "parity"

AUTO = "auto"
"""As many processes as xdist counts cores."""

EXIT_STATUS: dict[int, int] = {
    pytest.ExitCode.INTERRUPTED: 130,
    pytest.ExitCode.USAGE_ERROR: 2,
    pytest.ExitCode.NO_TESTS_COLLECTED: 2,
}
"""pytest's exit statuses, and what they are here where that differs."""


def verify(options: argparse.Namespace, to_pytest: Sequence[str]) -> int:
    """Run pytest on the properties; return the exit status of `rnn-ref verify`."""
    number = processes(options.n, options.case, options.k)
    with tempfile.TemporaryDirectory() as scratch:
        command = [*pytest_command(options, number), f"--rnn-folder={scratch}", *to_pytest]
        status = call(command, env=environment(scratch, number), seconds=options.limit)
        folder = RunFolder(Path(scratch))
        died = death(folder.path, status=status)
        if died and not folder.read_post(FINISHED):
            print(f"\nrnn-ref: {failure_of(died)}", file=sys.stderr)
            return 1
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        which = "" if options.k is None else f" with -k {options.k!r}"
        print(f"rnn-ref: nothing was judged: the options leave no property{which}", file=sys.stderr)
    if status < 0:
        print(f"rnn-ref: the subject ended the run by signal {-status}", file=sys.stderr)
        return 1
    if status == pytest.ExitCode.INTERRUPTED and options.limit is not None:
        return 2
    return EXIT_STATUS.get(status, status)


TWICE = 1.0
"""Within how many seconds a second signal is the first once more: `timeout` sends two."""

GRACE = 10.0
"""How many seconds after its time is up a run is interrupted, if it goes on."""


def call(command: Sequence[str], *, env: dict[str, str], seconds: float | None) -> int:
    """Run a command to its end; return its exit status.

    It is interrupted, once, when this process is interrupted (Ctrl-C) or terminated, and when
    its time is up: it then prints what it has. It has a process group of its own, so that a
    terminal's Ctrl-C does not reach its workers, which would tell of it as the subject's. A
    second signal kills it, unless it comes at once.
    """
    own_group: dict[str, Any] = {} if os.name == "nt" else {"process_group": 0}
    process = subprocess.Popen(command, env=env, **own_group)
    interrupted = 0.0

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        if interrupted and time.monotonic() - interrupted < TWICE:
            return
        process.send_signal(signal.SIGTERM if interrupted else signal.SIGINT)
        interrupted = time.monotonic()

    with forwarding(interrupt):
        try:
            process.wait(None if seconds is None else seconds + GRACE)
        except subprocess.TimeoutExpired:
            interrupt()
        status = process.wait()
    return pytest.ExitCode.INTERRUPTED if interrupted and status < 0 else status


@contextmanager
def forwarding(interrupt: Callable[..., None]) -> Iterator[None]:
    """Call a function for every signal that interrupts or terminates this process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no other thread may handle signals
        return
    before = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def pytest_command(options: argparse.Namespace, number: str) -> list[str]:
    """Write the command that runs pytest with the options, and a configuration of its own."""
    command = [sys.executable, "-m", "pytest", str(PARITY), "-c", str(PARITY / "pytest.ini")]
    command += ["-p", "rnn_ref.plugin", "-p", "no:cacheprovider", "-qq", "-rN"]
    command += ["--tb=no", "--disable-warnings"]  # the causes say what failed
    command += ["--assert=plain"]  # a failure's text is made by us, and rewriting takes a second
    for name in OPTIONS:
        value = getattr(options, name)
        values = value if isinstance(value, list) else [value]
        command += [f"--rnn-{name}={each}" for each in values if each is not None]
    if options.verbose:
        command.append("--rnn-verbose")
    if options.x:
        command.append("-x")
    if options.k is not None:
        command += ["-k", options.k]
    if number != "0":
        command += [f"-n{number}", "--maxschedchunk=1", "--max-worker-restart=1000"]
    return command


def environment(scratch: str, number: str) -> dict[str, str]:
    """Make the environment of the run's processes; the caller's own comes first."""
    ours = {**THREADS, "HYPOTHESIS_STORAGE_DIRECTORY": scratch}
    if number not in ("0", "1"):
        cores = os.cpu_count() or 1
        ours["OMP_NUM_THREADS"] = "1" if number == AUTO else str(max(1, cores // int(number)))
    theirs = dict(os.environ)
    theirs.pop("PYTEST_ADDOPTS", None)  # meant for the caller's own tests
    return ours | theirs


def processes(number: int | None, case: str | None, expression: str | None) -> str:
    """Choose in how many processes the properties run: as xdist's option -n takes it.

    By default in as many as there are cores, one case in none of its own, and one property,
    by its whole name, in one. Raises UnusableFile for a number that can't be had.
    """
    installed = importlib.util.find_spec("xdist") is not None
    if number and not installed:
        raise UnusableFile("-n: pytest-xdist is not installed (it comes with rnn_ref[isolated])")
    if number is not None and number < 0:
        raise UnusableFile(f"-n: expected 0 or more processes, got {number}")
    if number is not None:
        return str(number)
    if case is not None or not installed:
        return "0"
    return "1" if expression is not None and re.fullmatch(r"test_\w+", expression) else AUTO
