"""What keeps a subject that misbehaves from taking the run with it.

A subject may end its process or never come back. So each process notes in a folder, the
trail, what it is about to do; who comes after it, a pytest-xdist controller or
`rnn-ref verify`, reads there what it was at, and what Python's faulthandler said last.
"""

from __future__ import annotations

import faulthandler
import os
import re
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from math import inf
from pathlib import Path
from threading import Thread
from typing import ClassVar, NoReturn, TextIO

MEMORY = 4 * 2**30
"""What a property may take beyond what its process has when it starts, in bytes.

No example needs a hundredth of it; a subject that needs more is told so by its own
allocation, before the machine ends something else.
"""

PATIENCE = 60.0
"""How many seconds may be lost to processes that ended before the rest is not judged."""

SLOWER = 10
"""How many times as long as any before it a call may take, and an example as a call."""

HUNG = "did not come back"
"""What is said of a process in which an example took longer than the timeout."""

RAN_OUT = "ran out of memory"
"""What is said of a process that has none left."""

ALONE = "alone"
"""What a process is called that no other one started to run properties."""

END = "-- what was said last --\n"


class Trail:
    """The folder of a run; `timeout` is how many seconds a call of the subject may take.

    Or SLOWER times as long as the longest one before it in this process: some subjects,
    and machines, are slow throughout. All of an example may take SLOWER times as long.
    """

    current: ClassVar[Trail | None] = None
    """The one on which this process notes where it is."""

    def __init__(self, folder: Path, process: str = ALONE, timeout: float = 20.0) -> None:
        self.folder = folder
        self.process = process
        self.timeout = timeout
        self.place = ""
        self.began = inf
        self.longest = 0.0
        self.notes: TextIO | None = None

    def say(self, subject: str, word: str) -> None:
        """Leave word of something for all processes of the run; the first word stays."""
        with suppress(FileExistsError), (self.folder / subject).open("x", encoding="utf-8") as file:
            file.write(word)

    def said(self, subject: str) -> str:
        """The word that was left of something, or nothing."""
        file = self.folder / subject
        return file.read_text(encoding="utf-8") if file.exists() else ""

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Note that this process is at a place, until it leaves it."""
        self.place, Trail.current = place, self
        self.begin("")
        try:
            yield
        finally:
            Trail.current = None
            self.end()

    def begin(self, what: str) -> None:
        """Note what this process does there."""
        if self.notes is None:
            self.notes = (self.folder / f"{self.process}.notes").open("w", encoding="utf-8")
            Thread(target=self.watch, args=[self.notes], daemon=True).start()
        faulthandler.enable(self.notes, all_threads=False)
        self.notes.seek(0)
        self.notes.truncate()
        self.notes.write(f"{self.place}\n{what}\n{END}")
        self.notes.flush()
        # One that holds the interpreter's lock is ended by faulthandler, whose thread needs none.
        faulthandler.dump_traceback_later(SLOWER * self.patience, exit=True, file=self.notes)

    @property
    def patience(self) -> float:
        """How many seconds a call of the subject may take."""
        return max(self.timeout, SLOWER * self.longest)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """A call of the subject, for which it has so long."""
        self.began = time.monotonic()
        try:
            yield
        finally:
            self.longest = max(self.longest, time.monotonic() - self.began)
            self.began = inf

    def watch(self, notes: TextIO) -> None:
        """End this process when a call has taken too long."""
        while not notes.closed:
            time.sleep(0.25)
            if time.monotonic() - self.began > self.patience:
                notes.write(f"Timeout ({timedelta(seconds=self.patience)})!\n")
                notes.flush()
                faulthandler.dump_traceback(notes)
                os._exit(1)

    def end(self) -> None:
        """Note that this process is done with what it did."""
        faulthandler.cancel_dump_traceback_later()
        if sys.__stderr__ is None:
            faulthandler.disable()
        else:
            faulthandler.enable(sys.__stderr__)
        if self.notes is not None:
            self.notes.seek(0)
            self.notes.truncate()

    def give_up(self, why: str) -> NoReturn:
        """End this process, which is of no more use."""
        if self.notes is not None:
            self.notes.write(why)
            self.notes.flush()
        os._exit(1)

    def close(self) -> None:
        """Note nothing more."""
        if self.notes is not None:
            self.notes.close()
            self.notes = None

    def ended(self, process: str = ALONE) -> tuple[str, str] | None:
        """Where a process was when it ended, and what to say of that; nothing if it was done."""
        file = self.folder / f"{process}.notes"
        notes = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        head, end, last = notes.partition(END)
        place, _, what = head.partition("\n")
        return (place, f"the subject {last_words(last)}\n{what.strip()}".strip()) if end else None


def timed() -> AbstractContextManager[None]:
    """A call of the subject, which may take only so long where it can be ended."""
    return nullcontext() if Trail.current is None else Trail.current.timed()


def apart() -> bool:
    """Whether this is a process that another one started to run properties, and sees to."""
    return Trail.current is not None and Trail.current.process != ALONE


def last_words(dump: str) -> str:
    """How a process ended, from what faulthandler wrote of it."""
    threads = dump.strip().split("\n\n")
    threads = [thread for thread in threads if "examination.py" in thread] or threads
    frames = re.findall(r'File "([^"]+)", line (\d+)', threads[-1])
    library = (sysconfig.get_path("stdlib"), str(Path(__file__).parent))
    theirs = [f for f in frames if not f[0].startswith(library) and "/torch/" not in f[0]]
    where = "".join(f" ({Path(file).name}:{line})" for file, line in (theirs[:1] or frames[:1]))
    if hung := re.search(r"Timeout \((\S+)\)!", dump):
        return f"{HUNG} within {seconds(hung[1]):g} s{where}"
    if fatal := re.search(r"(?:Fatal Python error|Windows fatal exception): (.+)", dump):
        return f"ended the process: {fatal[1]}{where}"
    if RAN_OUT in dump:
        return dump.strip()
    return "ended the process without a word (os._exit, or killed from outside)"


def seconds(clock: str) -> float:
    """Hours, minutes and seconds, as in 0:00:20, in seconds."""
    hours, minutes, rest = map(float, clock.split(":"))
    return 3600 * hours + 60 * minutes + rest


def cost(said: str, timeout: float) -> float:
    """The seconds that went with a process: its wait, or the new one's start, or its 4 GiB."""
    return timeout if HUNG in said else 10 if RAN_OUT in said else 5


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or what it came of, says that no memory is left."""
    if error is None:
        return False
    said = re.search(r"out of memory|can.?t allocate memory|bad_alloc", str(error), re.IGNORECASE)
    return isinstance(error, MemoryError) or bool(said) or is_out_of_memory(error.__cause__)


@contextmanager
def limited_memory() -> Iterator[None]:
    """Let this process take no more than MEMORY meanwhile, where the system can see to it."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    taken = re.search(r"^VmData:\s+(\d+) kB$", status, re.MULTILINE)
    if taken and soft == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_DATA, (int(taken[1]) * 1024 + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
