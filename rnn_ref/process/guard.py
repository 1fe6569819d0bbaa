"""Watch the process that a subject runs in, so that the run survives its end.

A subject may end its process, fill its memory, or never come back. Each process writes
what it is about to do into the folder of the run. If the process dies, the pytest-xdist
controller, `rnn-ref verify` or `rnn-ref record` reads there what it was doing, and what
Python's faulthandler saw. faulthandler also ends a call that hangs: its C thread stops even
calls that hold the interpreter's lock.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TextIO

MEMORY = 4 * 2**30
"""The bytes that a property may take beyond what its process has when it starts.

No example needs a hundredth of it. A subject that needs more gets an error from its own
allocation, before the machine has no memory left and ends another process.
"""

SLOWER = 10
"""How many times as long as the longest call before it a call may take."""

ALONE = "alone"
"""The name of a process that no other process started to run properties."""


class RunFolder:
    """The folder in which the processes of a run tell one another what they do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def post(self, name: str, text: str) -> None:
        """Leave a text under a name for all processes of the run; keep an earlier one."""
        with suppress(FileExistsError), (self.path / name).open("x", encoding="utf-8") as file:
            file.write(text)

    def read_post(self, name: str) -> str:
        """Read the text left under a name; empty if there is none."""
        file = self.path / name
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def read_posts(self, prefix: str) -> dict[str, str]:
        """Read all texts whose names begin so, by the rest of their names."""
        found = sorted(self.path.glob(f"{prefix}*"))
        return {f.name.removeprefix(prefix): f.read_text(encoding="utf-8") for f in found}


class How(StrEnum):
    """How a process died."""

    HUNG = "hung"
    ENDED = "ended"
    MEMORY = "memory"


class Death(NamedTuple):
    """What a process was doing when it died: the place, facts about it, and how it died.

    `signal` is the name of the signal, if there was one; `frames` are the files and
    lines that were running, outermost first; `seconds` is the time limit of a call.
    """

    place: str
    facts: dict[str, Any]
    how: How
    signal: str = ""
    frames: list[tuple[str, int]] = []  # noqa: RUF012 - a default that is never changed
    seconds: float = 0.0


class Guard:
    """Watch the subject in this process.

    A call may take `timeout` seconds, or SLOWER times as long as the longest one before
    it in this process: some subjects, and machines, are slow throughout.
    """

    def __init__(self, folder: Path, process: str = ALONE, timeout: float = 20.0) -> None:
        self.process = process
        self.timeout = timeout
        self.place = ""
        self.facts: dict[str, Any] = {}
        self.longest = 0.0
        self.calls = 0
        self.began = 0.0
        self.lock = threading.Lock()
        self.doing = folder / f"{process}.doing"
        self.last = folder / f"{process}.last"
        self.dump: TextIO = (folder / f"{process}.dump").open("w", encoding="utf-8")

    @property
    def apart(self) -> bool:
        """Whether another process started this one to run properties, and can replace it."""
        return self.process != ALONE

    @contextmanager
    def inside(self, place: str, facts: dict[str, Any]) -> Iterator[None]:
        """Note the place that this process is at, and facts about it, until the block ends."""
        self.place, self.facts = place, facts
        faulthandler.enable(self.dump, all_threads=False)
        self.note({})
        try:
            yield
        finally:
            self.doing.unlink(missing_ok=True)
            if sys.__stderr__ is None:
                faulthandler.disable()
            else:
                faulthandler.enable(sys.__stderr__)

    def note(self, facts: dict[str, Any]) -> None:
        """Note more facts about what this process does at its place."""
        doing = {
            "place": self.place, "thread": threading.get_ident(), "facts": {**self.facts, **facts}
        }  # fmt: skip
        self.doing.write_text(json.dumps(doing), encoding="utf-8")

    @property
    def patience(self) -> float:
        """How many seconds a call may take."""
        return max(self.timeout, SLOWER * self.longest)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Watch a call; watch nested or simultaneous calls as one, from first start to last end."""
        with self.lock:
            self.calls += 1
            if self.calls == 1:
                self.began = time.monotonic()
                faulthandler.dump_traceback_later(self.patience, exit=True, file=self.dump)
        try:
            yield
        finally:
            with self.lock:
                self.calls -= 1
                if self.calls == 0:
                    faulthandler.cancel_dump_traceback_later()
                    self.longest = max(self.longest, time.monotonic() - self.began)

    def memory_is_spent(self) -> bool:
        """Tell whether less than a quarter of MEMORY is left to this process."""
        left = memory_left()
        return left is not None and left < MEMORY / 4

    def give_up(self, facts: dict[str, Any]) -> NoReturn:
        """End this process, which has no memory left, with facts about the failure."""
        self.last.write_text(json.dumps({**self.facts, **facts}), encoding="utf-8")
        os._exit(1)

    def close(self) -> None:
        """Close the file of faulthandler's dump."""
        self.dump.close()


def death(folder: Path, process: str = ALONE, status: int | None = None) -> Death | None:
    """Read how a process died, and what it was doing; return None if it had finished.

    `status` is how it ended, where that is known: the negative number of a signal tells of one
    that faulthandler did not see, because the subject has handlers of its own.
    """
    file = folder / f"{process}.doing"
    if not file.exists() or not (text := file.read_text(encoding="utf-8")):
        return None
    doing = json.loads(text)
    last, dump = folder / f"{process}.last", folder / f"{process}.dump"
    if last.exists():
        facts = json.loads(last.read_text(encoding="utf-8"))
        last.unlink()
        return Death(doing["place"], facts, How.MEMORY)
    said = dump.read_text(encoding="utf-8", errors="replace") if dump.exists() else ""
    died = Death(doing["place"], doing["facts"], *read_dump(said, doing["thread"]))
    unseen = died.how == How.ENDED and not died.signal and status is not None and status < 0
    return died._replace(signal=named(-status)) if unseen and status else died


def named(number: int) -> str:
    """Name a signal as a shell does, such as `Segmentation fault`."""
    return signal.strsignal(number) or f"signal {number}"


def read_dump(said: str, thread: int) -> tuple[How, str, list[tuple[str, int]], float]:
    """Read what faulthandler writes: how the process died, the signal, frames, and seconds.

    Its format is CPython's (Python/traceback.c and Modules/faulthandler.c). `thread` is the
    identity of the thread that ran the property.
    """
    stacks = [stack for stack in said.split("\n\n") if 'File "' in stack]
    own = [stack for stack in stacks if f"thread 0x{thread:016x}" in stack.lower()]
    frames = re.findall(r'File "([^"]+)", line (\d+)', [*own, *stacks, ""][0])
    located = [(file, int(line)) for file, line in reversed(frames)]
    if timeout := re.search(r"Timeout \((\d+):(\d+):([\d.]+)\)!", said):
        hours, minutes, seconds = map(float, timeout.groups())
        return How.HUNG, "", located, 3600 * hours + 60 * minutes + seconds
    fatal = re.search(r"(?:Fatal Python error|Windows fatal exception): (.+)", said)
    return How.ENDED, fatal[1] if fatal else "", located, 0.0


def memory_left() -> int | None:
    """Read how many bytes this process may still take; None where there is no limit."""
    if sys.platform != "linux":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if soft == resource.RLIM_INFINITY else soft - memory_taken()


def memory_taken() -> int:
    """Read how many bytes of data this process has (Linux: VmData in /proc)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    taken = re.search(r"^VmData:\s+(\d+) kB$", status, re.MULTILINE)
    return int(taken[1]) * 1024 if taken else 0


@contextmanager
def limited_memory() -> Iterator[None]:
    """Limit this process to MEMORY more bytes in the block, where the system can (Linux)."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_taken() + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
