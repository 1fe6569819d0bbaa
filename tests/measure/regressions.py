"""Count false alarms of `rnn-ref compare`, and find the smallest error that it calls worse.

    python -m tests.measure.regressions [TRIES]

A try is a corpus of other arrays (all seeds moved on), recorded with 1 and 2 threads and
with oneDNN on and off; every pair is compared each way. Then every tanh is made too large
by less and less, on the corpus itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.cases.case import Case
from rnn_ref.cases.corpus import read_corpus
from rnn_ref.judging.subject import Subject
from rnn_ref.recording.compare import compare_records
from rnn_ref.recording.measure import measure, oracles_of
from rnn_ref.recording.record import Record
from tests.subjects.correct import Loop

WAYS = {
    "2 threads": (2, True),
    "1 thread": (1, True),
    "2 threads, no oneDNN": (2, False),
    "1 thread, no oneDNN": (1, False),
}
SIZES = [m * 10.0**e for e in range(-6, -20, -1) for m in (5, 2, 1)]
"""Relative errors, from the largest down."""


def record(factory: Any, cases: Sequence[Case]) -> Record:
    """A record of a subject on some cases."""
    subject = Subject("tests:subject", factory)
    header = {"corpus": {"version": 1, "sha256": ""}}
    return Record(
        header, {str(case): measure(subject, oracles_of(case.problem())) for case in cases}
    )


def alarms(tries: int) -> None:
    """Print how many comparisons said `worse`, by pair of ways."""
    corpus = [case for case in read_corpus().cases if case.T < 1000 and case.H < 500]
    said: dict[tuple[str, str], list[str]] = {pair: [] for pair in permutations(WAYS, 2)}
    for k in range(1, tries + 1):
        cases = [replace(case, seed=case.seed + 10_000 * k) for case in corpus]
        records = {}
        for name, (threads, onednn) in WAYS.items():
            torch.set_num_threads(threads)
            torch.backends.mkldnn.enabled = onednn  # type: ignore[assignment]
            records[name] = record(torch.nn.RNN, cases)
        for (old, new), verdicts in said.items():
            verdicts.append(compare_records(records[old], records[new]).verdict)
        print(f"try {k} of {tries}:", sorted({v[-1] for v in said.values()}), flush=True)
    for (old, new), verdicts in said.items():
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        print(f"{old} -> {new}: {counts}")


def too_large(by: float) -> Any:
    """An RNN whose tanh is computed in a wider format, too large by a share, rounded once."""

    class TanhTooLarge(Loop):
        def activate(self, a: Tensor) -> Tensor:
            y = super().activate(a)
            wide = np.tanh(a.detach().numpy().astype(np.longdouble)) * (1 + np.longdouble(by))
            return y + (torch.from_numpy(wide.astype(a.detach().numpy().dtype)) - y).detach()

    return TanhTooLarge


def smallest(dtype: str) -> float:
    """The smallest of SIZES that is called worse, as all larger ones are, from 32 u down."""
    cases = [c for c in read_corpus().cases if (c.dtype, c.nonlinearity) == (dtype, "tanh")]
    old, found = record(torch.nn.RNN, cases), np.inf
    for by in (size for size in SIZES if size < 32 * ROUNDING[dtype].u):
        if compare_records(old, record(too_large(by), cases)).verdict != "worse":
            return found
        found = by
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    for dtype in ("float32", "float64"):
        print(f"smallest relative error of tanh called worse, {dtype}: {smallest(dtype):.0e}")
    alarms(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
