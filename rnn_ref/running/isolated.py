"""Measure a subject in processes of its own, which are replaced when the subject ends them."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from functools import cache
from multiprocessing.context import BaseContext
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rnn_ref.cases.case import Case
from rnn_ref.judging.failures import what_is_wrong
from rnn_ref.process.environment import importing_torch, set_threads
from rnn_ref.process.guard import Guard, death, limited_memory
from rnn_ref.running.workers import PATIENCE, cost, failure_of

if TYPE_CHECKING:
    from rnn_ref.judging.subject import Subject


Given = TypeVar("Given")


class Ended(Exception):
    """The subject ended the process; the message is one sentence."""


class Here:
    """What the measuring process has; `begin` fills it in."""

    folder: Path
    process: str
    name: str
    device: str
    timeout: float


def fresh() -> BaseContext:
    """Return the way to start processes that share nothing with this one.

    Where there is one, they are forked from a server that has imported torch, and has not
    called it: a subject that ends many processes need not wait for torch each time.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rnn_ref.judging.loading", "rnn_ref.recording.measure"])
    return context


def begin(folder: Path, process: str, name: str, device: str, timeout: float) -> None:
    """Make the measuring process ready; it ends with the one that started it."""
    atexit.register(os._exit, 0)  # to leave torch in order takes a quarter of a second
    os.dup2(2, 1)  # what the subject prints stays out of the record
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's interrupt ends the other process
    threading.Thread(target=end_with_parent, daemon=True).start()
    Here.folder, Here.process = folder, process
    Here.name, Here.device, Here.timeout = name, device, timeout


@cache
def loaded() -> tuple[Subject, Guard]:
    """Load the subject, and what watches it; raise CannotLoad if it can't be loaded."""
    guard = Guard(Here.folder, Here.process, Here.timeout)
    with guard.inside("loading", {}), importing_torch():
        from rnn_ref.judging.loading import load

        return load(Here.name, Here.device, watch=guard), guard


def end_with_parent() -> None:
    """End this process when the one that started it has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def load_subject() -> None:
    """Load the subject."""
    loaded()


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
    """A subject in a process of its own.

    `measure` returns the entry of a case. A crash or a hang is that case's fault, and a new
    process measures the next one, until PATIENCE seconds were lost so.
    """

    def __init__(
        self, folder: Path, process: str, name: str, device: str, timeout: float = 20.0
    ) -> None:
        self.folder = folder
        self.process = process
        self.arguments = (folder, process, name, device, timeout)
        self.name = name
        self.lost = 0.0
        self.processes: list[Any] = []
        self.start()

    def start(self) -> None:
        """Start a process, which has its environment from this one."""
        set_threads()
        self.pool = ProcessPoolExecutor(1, fresh(), begin, self.arguments)

    def submit(self, task: Callable[..., Given], *arguments: Any) -> Future[Given]:
        """Let the process do a task, and keep hold of the process, to see how it ends."""
        future = self.pool.submit(task, *arguments)
        started = self.pool._processes or {}  # noqa: SLF001 - nothing else tells how one ended
        self.processes = list(started.values()) or self.processes
        return future

    def get_ready(self) -> None:
        """Load the subject before it is needed; what comes of it, the next call tells."""
        self.submit(load_subject)

    @property
    def status(self) -> int | None:
        """How the process ended; None if it did not."""
        for process in self.processes:
            process.join(1)
            status: int | None = process.exitcode
            return status
        return None

    def describe(self, cases: Sequence[Case], without: Iterable[str]) -> dict[str, Any]:
        """Describe the subject; raise CannotLoad or Ended if it can't be loaded."""
        try:
            return self.submit(describe, cases, sorted(set(without))).result()
        except BrokenProcessPool:
            raise Ended(self.why_not_loaded()) from None

    def why_not_loaded(self) -> str:
        """Say why the process never became ready."""
        died = death(self.folder, self.process, self.status)
        how = what_is_wrong(failure_of(died)) if died else "the subject could not be loaded"
        return f"subject: while {self.name} was loaded, {how}"

    def measure(self, case: Case, without: Iterable[str]) -> dict[str, Any]:
        """Measure a case, or return the fault by which the subject ended the process."""
        if self.lost >= PATIENCE:
            return {"fault": "not measured: the subject has ended too many processes"}
        try:
            return self.submit(measure, case, sorted(set(without))).result()
        except BrokenProcessPool:
            self.pool.shutdown()
            died = death(self.folder, self.process, self.status)
            if died is None:
                return {"fault": "the process of the subject ended between two cases"}
            self.lost += cost(died)
            (self.folder / f"{self.process}.doing").unlink(missing_ok=True)
            self.start()
            return {"fault": what_is_wrong(failure_of(died))}

    def end(self) -> None:
        """End the process."""
        self.pool.shutdown(cancel_futures=True)


class Team:
    """A subject in several processes, which measure cases side by side; use it as a context.

    `measure` returns the entry of a case; the cases behind it are measured meanwhile, those of
    most steps first, so that no process ends long after the others.
    """

    def __init__(self, members: Sequence[Isolated], cases: Sequence[Case], without: Any) -> None:
        self.members = members
        self.cases = list(cases)
        self.without = without
        self.free: Queue[Isolated] = Queue()
        for member in members:
            self.free.put(member)
        self.threads = ThreadPoolExecutor(len(members))
        self.entries: dict[Case, Future[dict[str, Any]]] = {}

    def __enter__(self) -> Self:
        for member in self.members:
            member.get_ready()
        return self

    def __exit__(self, *exception: object) -> None:
        self.threads.shutdown(cancel_futures=True)
        for member in self.members:
            member.end()

    def measure(self, case: Case) -> dict[str, Any]:
        """Return the entry of a case, and begin with the cases behind it."""
        if case not in self.entries:
            left = self.cases[self.cases.index(case) :]
            for later in sorted(left, key=lambda case: -case.T * case.L * case.D):
                self.entries[later] = self.threads.submit(self.measure_now, later)
        return self.entries[case].result()

    def measure_now(self, case: Case) -> dict[str, Any]:
        """Measure a case in a process that is free."""
        member = self.free.get()
        try:
            return member.measure(case, self.without)
        finally:
            self.free.put(member)
