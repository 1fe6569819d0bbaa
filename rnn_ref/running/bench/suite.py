"""What the suite itself costs: examples a second by property, and where a run's time goes."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import rnn_ref

PACKAGE = str(Path(rnn_ref.__file__).parent)
PLACES = {
    "/torch/": "the subject's calls, and all else in torch",
    f"{PACKAGE}/arithmetic/": "the reference on Bounded",
    f"{PACKAGE}/reference.py": "the reference on Bounded",
    f"{PACKAGE}/cases/": "making a case's arrays",
    f"{PACKAGE}/bridge.py": "between arrays and tensors",
    f"{PACKAGE}/judging/subject.py": "the subject's calls, and all else in torch",
    f"{PACKAGE}/judging/comparison.py": "comparing",
    f"{PACKAGE}/judging/chance.py": "chance",
    f"{PACKAGE}/process/": "reading and restoring settings",
    f"{PACKAGE}/strategies.py": "drawing",
    "/hypothesis/": "drawing",
}
"""What a file is for; the innermost frame that is in one of these says what is being done."""

REST = "the rest"
EVERY = 0.001  # seconds between two looks


def place(frame: FrameType | None) -> str:
    """Say what a thread does, by its stack."""
    while frame is not None:
        file = frame.f_code.co_filename
        for part, what in PLACES.items():
            if part in file:
                return what
        frame = frame.f_back
    return REST


@contextmanager
def watched() -> Iterator[Counter[str]]:
    """Look every millisecond at what this thread does, and count it."""
    counts: Counter[str] = Counter()
    here, stop = threading.get_ident(), threading.Event()

    def look() -> None:
        while not stop.wait(EVERY):
            counts[place(sys._current_frames().get(here))] += 1  # noqa: SLF001 - documented

    interval, watcher = sys.getswitchinterval(), threading.Thread(target=look, daemon=True)
    sys.setswitchinterval(EVERY / 10)
    watcher.start()
    try:
        yield counts
    finally:
        stop.set()
        watcher.join()
        sys.setswitchinterval(interval)


def time_suite(options: Mapping[str, Any]) -> dict[str, Any]:
    """Judge torch.nn.RNN by each property on a few examples; return rates and shares."""
    from rnn_ref.judging.judge import Judge
    from rnn_ref.judging.loading import load
    from rnn_ref.parity import properties
    from rnn_ref.process.environment import environment
    from rnn_ref.process.settings import restoring_settings
    from rnn_ref.running.options import DTYPES

    subject = load("torch.nn:RNN", "cpu", None)
    judge = Judge(
        subject, DTYPES, options["examples"], without=subject.lacks, around=restoring_settings
    )
    rows = []
    with watched() as counts:
        for name, declared in properties().items():
            if declared.baseline:
                continue
            start, examples = time.perf_counter(), 0
            for structure in declared.domains:
                examples += judge.judge(declared, structure).examples
            seconds = time.perf_counter() - start
            row = {"property": name, "group": declared.group, "examples": examples}
            rows.append({**row, "seconds": seconds})
    shares = {what: number / counts.total() for what, number in counts.most_common()}
    return {"environment": environment("cpu"), "properties": rows, "shares": shares}
