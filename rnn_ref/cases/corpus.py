"""The cases that a record is made of: `corpus.txt`, a line each, with the reason above it.

A change to any line is a new version: records of different ones are not compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_ref.cases.case import Case
from rnn_ref.cases.selection import outside, restrict

FILE = Path(__file__).parent / "corpus.txt"


class ArraysDiffer(Exception):
    """This platform makes other arrays of the cases; the message is one sentence."""


@dataclass(frozen=True)
class Corpus:
    """Cases, the version of their list, and the SHA-256 of all their arrays (`digest`)."""

    version: int
    sha256: str
    cases: tuple[Case, ...]

    def check(self) -> None:
        """Raise ArraysDiffer unless the cases' arrays are the same here, to the bit."""
        if (got := digest(self.cases)) != self.sha256:
            raise ArraysDiffer(
                f"corpus: expected arrays with the SHA-256 {self.sha256[:16]}...,"
                f" this platform makes others, {got[:16]}...: its records mean nothing elsewhere"
            )


def cases_to_record(
    dtypes: Sequence[str], without: Iterable[str], case: Case | None = None
) -> list[Case]:
    """List the corpus's cases of some dtypes, less what a subject lacks; or the one case given."""
    if case is not None:
        return [case]
    domain = restrict({"dtypes": dtypes}, without)
    return [case for case in read_corpus().cases if not outside(case, domain)]


@cache
def digest(cases: tuple[Case, ...]) -> str:
    """Compute the SHA-256 of all arrays of some cases, as little-endian bytes."""
    sha = hashlib.sha256()
    for case in cases:
        p = case.problem()
        for array in (*p.parameters.values(), p.input, p.h_0, p.grad_output, p.grad_h_n):
            if array is not None:
                sha.update(as_bytes(array))
    return sha.hexdigest()


def as_bytes(array: NDArray[Any]) -> bytes:
    """Write an array's numbers, little-endian, in the order of its axes."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


@cache
def read_corpus() -> Corpus:
    """Read the corpus of this package."""
    first, *lines = FILE.read_text(encoding="utf-8").splitlines()
    match = re.fullmatch(r"# corpus (\d+), SHA-256 of its arrays (\w+)", first)
    if not match:
        raise ValueError(f"corpus: expected a version and a checksum, got {first!r}")
    cases = tuple(Case.parse(line) for line in lines if line and not line.startswith("#"))
    return Corpus(int(match[1]), match[2], cases)
