"""The process: what a subject shares with its caller, and leaves as it was."""

import random
from typing import Any

import numpy as np

from rnn_ref.cases.case import Case
from rnn_ref.judging.comparison import Comparison, counted
from rnn_ref.judging.facts import same_facts
from rnn_ref.judging.failures import require
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject
from rnn_ref.process.settings import generator_states, settings, stdout_of

holds_for = in_group("process")

FEW: dict[str, Any] = {"at_most": 30}

TORCHS = "the state of torch's random numbers"
"""The generator that construction may draw from, by its name in `generator_states`."""


def same_settings(doing: str, before: dict[str, Any]) -> Comparison:
    """Raise SubjectFault for the first setting that is not as before; else count them."""
    return same_facts(f"after {doing},", settings(), before)


def same_generators(doing: str, before: dict[str, Any]) -> Comparison:
    """Raise SubjectFault for the first generator that is not as before; else count them."""
    now = generator_states()
    for name, state in before.items():
        require(
            f"after {doing}, {name}", "another" if now[name] != state else "as before", "as before"
        )
    return counted(f"generators after {doing}", len(before))


def stirred(case: Case) -> dict[str, Any]:
    """Put the generators where no subject would put them, and read their states."""
    random.seed(case.seed)
    np.random.seed(case.seed % 2**32)  # noqa: NPY002
    return generator_states()


def silent(doing: str, written: list[str]) -> Comparison:
    """Raise SubjectFault if something was written to standard output."""
    for text in written:
        require(f"standard output of {doing}", repr(text[:60]) if text else "nothing", "nothing")
    return counted(f"standard output of {doing}", len(written))


@holds_for(promises=("unwritten.process",), **FEW)
def test_settings_of_the_process_are_left_as_they_were(
    case: Case, subject: Subject
) -> list[Comparison]:
    """No call changes the default dtype or device, grad mode, threads, or other settings of all."""
    problem = subject.problem(case)
    before = settings()
    module = subject.build(problem)
    built = same_settings("constructing the module", before)
    subject.forward(problem, module, subject.leaves(problem))
    return [built, same_settings("the call", before)]


@holds_for(promises=("unwritten.process",), **FEW)
def test_a_call_without_dropout_draws_nothing(case: Case, subject: Subject) -> list[Comparison]:
    """Construction draws from torch's generator alone, and a call without dropout from none."""
    problem = subject.problem(case)
    others = {name: state for name, state in stirred(case).items() if name != TORCHS}
    module = subject.build(problem)
    built = same_generators("constructing the module", others)
    before = generator_states()
    subject.forward(problem, module, subject.leaves(problem))
    return [built, same_generators("the call", before)]


@holds_for(promises=("unwritten.process",), **FEW)
def test_nothing_is_printed(case: Case, subject: Subject) -> list[Comparison]:
    """Neither construction nor a call writes to standard output."""
    problem = subject.problem(case)
    with stdout_of([]) as written:
        subject.run(problem)
    return [silent("construction and call", written)]


@holds_for(promises=("unwritten.process",), **FEW, needs=("gradients",))
def test_backward_leaves_the_process_as_it_was(case: Case, subject: Subject) -> list[Comparison]:
    """Backward changes no setting, draws nothing and prints nothing."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    results = subject.forward(problem, module, leaves)
    generators = stirred(case)
    before = settings()
    with stdout_of([]) as written:
        subject.backward(problem, *results)
    return [
        same_settings("backward", before),
        same_generators("backward", generators),
        silent("backward", written),
    ]
