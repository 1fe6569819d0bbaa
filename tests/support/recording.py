"""Record in this process, where what two subjects are compared with is computed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from rnn_ref.cases.case import Case
from rnn_ref.judging.loading import load
from rnn_ref.judging.oracle import Oracle
from rnn_ref.recording.measure import describe_subject, measure_case, oracles_of


@cache
def oracles(case: Case) -> Mapping[str, Oracle]:
    """The oracles of a case, which keep what all subjects are compared with."""
    return oracles_of(case.problem())


class InThisProcess:
    """Stands in for `isolated.Isolated`, for tests in which no subject ends its process."""

    def __init__(self, folder: Path, process: str, name: str, device: str, timeout: float) -> None:  # noqa: ARG002
        self.subject = load(name, device)

    def get_ready(self) -> None:
        pass

    def describe(self, cases: Sequence[Case], without: Iterable[str]) -> dict[str, Any]:
        return describe_subject(self.subject, cases, without)

    def measure(self, case: Case, without: Iterable[str]) -> dict[str, Any]:
        return measure_case(self.subject, case, without, lambda _: oracles(case))

    def end(self) -> None:
        pass
