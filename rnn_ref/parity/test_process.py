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
    subject.forward(problem, module, subject.leaves(problem))
    require_unchanged("the call", before, settings())
    return [counted("settings", 2 * len(before))]


@holds_for(**FEW)
def test_a_call_without_dropout_draws_nothing(case: Case, subject: Subject) -> list[Comparison]:
    """Construction draws from torch's generator alone, and a call without dropout from none.

    Promise: unwritten.process.
    """
    problem, before = case.problem(), stirred(case)
    module, built = subject.build(problem), chance()
    drawn = {name: state for name, state in before.items() if "torch" not in name}
    require_unchanged("constructing the module", drawn, built)
    subject.forward(problem, module, subject.leaves(problem))
    require_unchanged("the call", built, chance())
    return [counted("generators", 2 * len(before))]


@holds_for(**FEW)
def test_nothing_is_printed(case: Case, subject: Subject) -> list[Comparison]:
    """Neither construction nor a call writes to standard output.

    Promise: unwritten.process.
    """
    with stdout_of([]) as written:
        subject.run(case.problem())
    require_silence(written)
    return [counted("silence", 1)]


@holds_for(**FEW, needs=("gradients",))
def test_backward_leaves_the_process_as_it_was(case: Case, subject: Subject) -> list[Comparison]:
    """Backward changes no setting, draws nothing and prints nothing.

    Promise: unwritten.process.
    """
    problem = case.problem()
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    results = subject.forward(problem, module, leaves)
    before = {**settings(), **stirred(case)}
    with stdout_of([]) as written:
        subject.pull(problem, *results)
    require_unchanged("backward", before, {**settings(), **chance()})
    require_silence(written)
    return [counted("settings and generators", len(before) + 1)]


def stirred(case: Case) -> dict[str, Any]:
    """The states of the generators, put where no subject would put them."""
    random.seed(case.seed)
    np.random.seed(case.seed)  # noqa: NPY002
    return chance()


def require_silence(written: list[str]) -> None:
    """Raise SubjectFault if something was written to standard output."""
    if any(written):
        raise SubjectFault(f"standard output got {''.join(written)[:60]!r}")
