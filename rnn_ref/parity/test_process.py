"""The process: what a subject shares with its caller, and leaves as it was."""

import random
from typing import Any

import numpy as np

from rnn_ref.case import Case
from rnn_ref.examination import holds_for
from rnn_ref.judge import Comparison, counted
from rnn_ref.subject import Subject, SubjectFault
from rnn_ref.surroundings import chance, settings, stdout_of

FEW: dict[str, Any] = {"at_most": 30}


def require_unchanged(doing: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise SubjectFault for the first of what changed."""
    for name, value in before.items():
        if now[name] != value:
            told = "" if name.startswith("the state") else f" from {value} to {now[name]}"
            raise SubjectFault(f"{doing} changed {name}{told}")


@holds_for(**FEW)
def test_settings_of_the_process_are_left_as_they_were(
    case: Case, subject: Subject
) -> list[Comparison]:
    """No call changes the default dtype or device, grad mode, threads, or other settings of all.

    Promise: unwritten.process.
    """
    problem, before = case.problem(), settings()
    module = subject.build(problem)
    require_unchanged("constructing the module", before, settings())
    output, h_n = subject.forward(problem, module, subject.leaves(problem, gradients=True))
    require_unchanged("the call", before, settings())
    subject.pull(problem, output, h_n)
    require_unchanged("backward", before, settings())
    return [counted("settings", 3 * len(before))]


@holds_for(**FEW)
def test_a_call_without_dropout_draws_nothing(case: Case, subject: Subject) -> list[Comparison]:
    """Construction draws from torch's generator alone, and a call without dropout from none.

    Promise: unwritten.process.
    """
    random.seed(case.seed)  # to where no subject would put them
    np.random.seed(case.seed)  # noqa: NPY002
    problem, before = case.problem(), chance()
    module, built = subject.build(problem), chance()
    drawn = {name: state for name, state in before.items() if "torch" not in name}
    require_unchanged("constructing the module", drawn, built)
    subject.run(problem, module, gradients=True)
    require_unchanged("the call, with backward,", built, chance())
    return [counted("generators", 2 * len(before))]


@holds_for(**FEW)
def test_nothing_is_printed(case: Case, subject: Subject) -> list[Comparison]:
    """Neither construction nor a call with backward writes to standard output.

    Promise: unwritten.process.
    """
    written: list[str] = []
    with stdout_of(written):
        subject.run(case.problem(), gradients=True)
    if written[0]:
        raise SubjectFault(f"standard output got {written[0][:60]!r}")
    return [counted("silence", 1)]
