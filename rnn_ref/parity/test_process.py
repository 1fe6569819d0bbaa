"""The process: what a subject shares with its caller, and leaves as it was."""

import math
import mmap
import os
import random
import signal
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.comparison import Comparison, compare_results, counted
from rnn_ref.judging.facts import same_settings, under
from rnn_ref.judging.failures import Fact, SubjectFault, require
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject
from rnn_ref.process.settings import (
    generator_states,
    move_settings,
    restoring_settings,
    settings,
    stdout_of,
)

holds_for = in_group("process")

FEW: dict[str, Any] = {"at_most": 30}

TORCHS = "the state of torch's random numbers"
"""The generator that construction may draw from, by its name in `generator_states`."""


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
    """No call changes the default dtype or device, grad mode, threads, or other settings of all.

    They are judged as they are, and elsewhere: what sets one to its usual value is seen there.
    """
    problem = subject.problem(case)
    before = settings()
    module, leaves = subject.build(problem), subject.leaves(problem)
    built = same_settings("constructing the module", before)
    subject.forward(problem, module, leaves)
    called = same_settings("the call", before)
    with restoring_settings():
        move_settings()
        moved = settings()
        subject.forward(problem, module, leaves)
        elsewhere = same_settings("a call with other settings", moved)
    return [built, called, elsewhere]


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


@holds_for(promises=("unwritten.process",), **FEW, needs=("dropout", "deep"), num_layers=(2,))
def test_dropout_draws_from_torchs_generator_alone(
    case: Case, subject: Subject
) -> list[Comparison]:
    """A call in training leaves NumPy's and Python's generators as they were."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem, dropout=0.5), subject.leaves(problem)
    others = {name: state for name, state in stirred(case).items() if name != TORCHS}
    subject.forward(problem, module, leaves)
    return [same_generators("a call with dropout", others)]


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
    """After calls in the parent, a child made by os.fork gets results within their bounds."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem)
    started = time.monotonic()
    with torch.no_grad():
        results = subject.forward(problem, module, leaves)
    limit = PATIENCE + 10 * (time.monotonic() - started)
    shared = [shared_array(problem.output_shape), shared_array(problem.h_n_shape)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of forks beside other threads
        child = os.fork()
    if child == 0:
        in_child(replace(subject, watch=None), problem, module, leaves, shared)
    status = ended(child, time.monotonic() + limit)
    got = {None: f"nothing in {limit:.0f} s", 1: "an exception"}.get(status, f"status {status}")
    if status != 0:
        raise SubjectFault(Fact("a call in a forked child", got, "its results"))
    expected = Oracle(problem).results
    found = compare_results(problem, shared[0], shared[1], expected)
    own = compare_results(problem, *subject.arrays(problem, *results), expected)
    return [*own, *under("in a forked child", found)]


def shared_array(shape: tuple[int, ...]) -> Floats:
    """Make an array that a forked child can write to."""
    memory = mmap.mmap(-1, max(1, math.prod(shape)) * np.dtype(np.float64).itemsize)
    return np.frombuffer(memory, np.float64, math.prod(shape)).reshape(shape)


def in_child(
    subject: Subject,
    problem: Problem,
    module: torch.nn.Module,
    leaves: dict[str, torch.Tensor],
    shared: Sequence[Floats],
) -> None:
    """Call the module with one thread, leave its results in shared arrays, and end this process.

    The status is 0, or 1 if it raises. With more threads, torch's own products may hang in a
    child of a process that has used them, where OpenMP is GNU's (pytorch/pytorch#17199); with
    one, they may have other bits than the parent's.
    """
    status = 1
    try:
        torch.set_num_threads(1)
        with torch.no_grad():
            results = subject.forward(problem, module, leaves)
        for array, result in zip(shared, subject.arrays(problem, *results), strict=True):
            array[...] = result
        status = 0
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
