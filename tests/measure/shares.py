"""Measure how many examples each property needs until it finds each of its planted faults.

    python -m tests.measure.shares [FILE]

For each fault and each of five seeds: the number of the first example that fails, in the
structure that needs the fewest. Written to FILE as JSON, by property and fault.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rnn_ref.cases.case import Case
from rnn_ref.judging.judge import Judge
from rnn_ref.judging.outcome import Outcome, Violation
from rnn_ref.judging.properties import Property
from rnn_ref.process.settings import restoring_settings
from tests.faults import FAULTS, Fault
from tests.support.judging import PROPERTIES, dtypes_of

SEEDS = range(5)
MOST = 200
"""The examples that are drawn at most."""


class FirstFailure(BaseException):
    """Ends a search at its first failure; Hypothesis shrinks no BaseException."""


class Enough(BaseException):
    """Ends a search that needs no fewer examples than another structure's did."""


@dataclass(frozen=True)
class FirstFailureJudge(Judge):
    """A judge that stops at the first failure, or after so many examples."""

    limit: int = MOST

    def judge_case(self, declared: Property, case: Case, outcome: Outcome) -> float:
        if outcome.examples >= self.limit:
            raise Enough
        try:
            return super().judge_case(declared, case, outcome)
        except Violation as violation:
            raise FirstFailure(outcome.examples + 1) from violation


def needed(fault: Fault, seed: int) -> int | None:
    """The number of the first example that fails; None if none does."""
    subject, fewest = fault.plant(), None
    declared = PROPERTIES[fault.found_by]
    for structure in reversed(declared.domains):
        limit = MOST if fewest is None else fewest - 1
        judge = FirstFailureJudge(
            subject,
            dtypes_of(declared),
            MOST,
            seed,
            subject.lacks,
            around=restoring_settings,
            limit=limit,
        )
        try:
            judge.judge(declared, structure)
        except FirstFailure as failure:
            fewest = int(str(failure))
        except Enough:
            continue
    return fewest


def measure(faults: Sequence[Fault]) -> dict[str, dict[str, list[int | None]]]:
    """The numbers by property and fault, a number for each seed."""
    by_property: dict[str, dict[str, list[int | None]]] = {}
    for fault in faults:
        numbers = [needed(fault, seed) for seed in SEEDS]
        by_property.setdefault(fault.found_by, {})[fault.name] = numbers
        print(f"{fault.found_by}: {fault.name}: {numbers}", flush=True)
    return by_property


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = measure(FAULTS)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
