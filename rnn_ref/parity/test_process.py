"""The process: what a subject shares with its caller, and leaves as it was."""

import os
import random
import signal
import time
import warnings
from typing import Any

import numpy as np
import torch

from rnn_ref.cases.case import Case
from rnn_ref.judging.comparison import Comparison, compare_results, counted
from rnn_ref.judging.facts import same_facts
from rnn_ref.judging.failures import Fact, SubjectFault, require
from rnn_ref.judging.oracle import Oracle
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


PATIENCE = 3.0
"""The seconds that a child may take, beside ten times its parent's: it may wait for a core."""


@holds_for(promises=("unwritten.forked",), at_most=4, needs=("fork",), shrinks=False)
def test_a_call_in_a_forked_child_comes_back(case: Case, subject: Subject) -> list[Comparison]:
    """After calls in the parent, a child made by os.fork gets the parent's bits."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem)
    started = time.monotonic()
    with torch.no_grad():
        results = subject.forward(problem, module, leaves)
    limit = PATIENCE + 10 * (time.monotonic() - started)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of forks beside other threads
        child = os.fork()
    if child == 0:
        in_child(module, leaves, results)
    status = ended(child, time.monotonic() + limit)
    got = {0: "its parent's bits", 1: "other bits", None: f"nothing in {limit:.0f} s"}
    found = got.get(status, f"status {status}")
    if status != 0:
        raise SubjectFault(Fact("a call in a forked child", found, got[0]))
    return compare_results(problem, *subject.arrays(problem, *results), Oracle(problem).results)


def in_child(
    module: torch.nn.Module, leaves: dict[str, torch.Tensor], results: tuple[torch.Tensor, ...]
) -> None:
    """Call the module with one thread, and end this process.

    The status is 0 if it gets the same bits, 1 if not, 2 if it raises. With more threads,
    torch's own products may hang in a child of a process that has used them, where OpenMP is
    GNU's (pytorch/pytorch#17199).
    """
    status = 2
    try:
        torch.set_num_threads(1)
        with torch.no_grad():
            again = module(*leaves.values())
        both = zip(again, results, strict=True)
        status = 0 if all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in both) else 1
    finally:
        os._exit(status)


def ended(child: int, end: float) -> int | None:
    """Wait for a child; return its exit status, or None, and kill it, when the time is over."""
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
