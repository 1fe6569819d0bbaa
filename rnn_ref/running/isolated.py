"""Measure a subject in a process of its own, which is replaced when the subject ends it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rnn_ref.cases.case import Case
from rnn_ref.judging.failures import what_is_wrong
from rnn_ref.process.environment import set_threads
from rnn_ref.process.guard import Guard, death, limited_memory
from rnn_ref.running.workers import PATIENCE, cost, failure_of

if TYPE_CHECKING:
    from rnn_ref.judging.subject import Subject

PROCESS = "recorder"
"""The name of the process that measures."""


class Ended(Exception):
    """The subject ended the process; the message is one sentence."""


class Here:
    """What the measuring process has; `begin` fills it in."""

    folder: Path
    name: str
    device: str
    timeout: float


def begin(folder: Path, name: str, device: str, timeout: float) -> None:
    """Make the measuring process ready; it ends with the one that started it."""
    set_threads()
    os.dup2(2, 1)  # what the subject prints stays out of the record
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's interrupt ends the other process
    threading.Thread(target=end_with_parent, daemon=True).start()
    Here.folder, Here.name, Here.device, Here.timeout = folder, name, device, timeout


@cache
def loaded() -> tuple[Subject, Guard]:
    """Load the subject, and what watches it; raise CannotLoad if it can't be loaded."""
    from rnn_ref.judging.loading import load

    guard = Guard(Here.folder, PROCESS, Here.timeout)
    with guard.inside("loading", {}):
        return load(Here.name, Here.device, watch=guard), guard


def end_with_parent() -> None:
    """End this process when the one that started it has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def describe(cases: Sequence[Case], without: Sequence[str]) -> dict[str, Any]:
    """Describe the subject, as the first line of a record does."""
    from rnn_ref.recording.measure import describe_subject

    subject, _ = loaded()
    return describe_subject(subject, cases, without)


def measure(case: Case, without: Sequence[str]) -> dict[str, Any]:
    """Measure the subject on a case, within the limits of the guard."""
    from rnn_ref.process.settings import restoring_settings
    from rnn_ref.recording.measure import measure_case

    subject, guard = loaded()
    limit = limited_memory() if subject.device == "cpu" else nullcontext()
    with guard.inside("recording", {"case": str(case)}), limit, restoring_settings():
        entry = measure_case(subject, case, without)
        if guard.memory_is_spent():
            guard.give_up({"case": str(case)})
        return entry


class Isolated:
    """A subject in a process of its own; use it as a context.

    `measure` returns the entry of a case. A crash or a hang is that case's fault, and a new
    process measures the next one, until PATIENCE seconds were lost so.
    """

    def __init__(self, folder: Path, name: str, device: str, timeout: float = 20.0) -> None:
        self.folder = folder
        self.arguments = (folder, name, device, timeout)
        self.name = name
        self.lost = 0.0
        self.start()

    def start(self) -> None:
        """Start a process."""
        self.pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), begin, self.arguments
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def describe(self, cases: Sequence[Case], without: Iterable[str]) -> dict[str, Any]:
        """Describe the subject; raise CannotLoad or Ended if it can't be loaded."""
        try:
            return self.pool.submit(describe, cases, sorted(set(without))).result()
        except BrokenProcessPool:
            raise Ended(self.why_not_loaded()) from None

    def why_not_loaded(self) -> str:
        """Say why the process never became ready."""
        died = death(self.folder, PROCESS)
        how = what_is_wrong(failure_of(died)) if died else "the subject could not be loaded"
        return f"subject: while {self.name} was loaded, {how}"

    def measure(self, case: Case, without: Iterable[str]) -> dict[str, Any]:
        """Measure a case, or return the fault by which the subject ended the process."""
        if self.lost >= PATIENCE:
            return {"fault": "not measured: the subject has ended too many processes"}
        try:
            return self.pool.submit(measure, case, sorted(set(without))).result()
        except BrokenProcessPool:
            self.pool.shutdown()
            died = death(self.folder, PROCESS)
            if died is None:
                return {"fault": "the process of the subject ended between two cases"}
            self.lost += cost(died)
            (self.folder / f"{PROCESS}.doing").unlink(missing_ok=True)
            self.start()
            return {"fault": what_is_wrong(failure_of(died))}
