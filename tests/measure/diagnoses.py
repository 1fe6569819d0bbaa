"""Diagnose correct subjects as if they had failed: no sentence may ever be stated.

    python -m tests.measure.diagnoses [CASES [SECONDS]]

CASES (default 1,000) drawn cases of each subject, turn by turn, SECONDS (default 0.3) each. A
line is printed for each sentence stated, and one for all cases so far after each hundred.
"""

from __future__ import annotations

import sys
import time

import hypothesis
import torch

from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.diagnose import diagnose
from rnn_ref.judging.subject import Subject
from rnn_ref.process.settings import restoring_settings
from rnn_ref.strategies import cases
from tests.subjects.correct import CORRECT

SUBJECTS = [Subject(each.__name__, each) for each in (torch.nn.RNN, *CORRECT)]


def drawn(number: int) -> list[Case]:
    """Draw cases of all forms, the same in every run."""
    found: list[Case] = []

    @hypothesis.seed(0)
    @hypothesis.settings(
        max_examples=number, deadline=None, database=None, phases=[hypothesis.Phase.generate]
    )
    @hypothesis.given(cases())
    def draw(case: Case) -> None:
        found.append(case)

    draw()
    return found


def stated(subject: Subject, case: Case, seconds: float) -> bool:
    """Whether a correct subject is said to be wrong on a case's form; print what is said."""
    with restoring_settings():
        diagnosis = diagnose(subject, case, seconds=seconds)
    if diagnosis is not None:
        print(f"{subject.name}, {case}: {diagnosis}", flush=True)
    return diagnosis is not None


if __name__ == "__main__":
    torch.set_num_threads(1)
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 0.3
    wrong, start = 0, time.monotonic()
    for done, case in enumerate(drawn(number), 1):
        wrong += sum(stated(subject, case, seconds) for subject in SUBJECTS)
        if done % 100 == 0:
            took = time.monotonic() - start
            print(
                f"{done} cases of {len(SUBJECTS)} subjects, {wrong} blamed, {took:.0f} s",
                flush=True,
            )
