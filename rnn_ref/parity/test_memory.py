"""Memory: where arguments lie, and what a call leaves behind, does not change results."""

import gc
import itertools
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.calls import rows_apart
from rnn_ref.judging.comparison import (
    Comparison,
    compare_gradients,
    compare_results,
    counted,
    same_results,
)
from rnn_ref.judging.facts import read, same_arrays, under
from rnn_ref.judging.failures import require
from rnn_ref.judging.life import no_warnings
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Run, Subject, read_gradients
from rnn_ref.process.memory import memory_in_use

holds_for = in_group("memory")


def of_nans(size: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Make a tensor of NaN, to put other tensors into."""
    return torch.full(size, torch.nan, dtype=like.dtype, device=like.device)


def every_other_element(tensor: torch.Tensor) -> torch.Tensor:
    """Put a tensor into every other element of a tensor of NaN, along every axis."""
    wider = of_nans(tuple(2 * n for n in tensor.shape), tensor)
    view = wider[tuple(slice(1, None, 2) for _ in tensor.shape)]
    return view.copy_(tensor)


def offset(tensor: torch.Tensor) -> torch.Tensor:
    """Put a tensor behind 3 elements of NaN, and before one more."""
    longer = of_nans((tensor.numel() + 4,), tensor)
    view = longer[3 : 3 + tensor.numel()].view(tensor.shape)
    return view.copy_(tensor)


def transposed(tensor: torch.Tensor) -> torch.Tensor:
    """Store a tensor with its axes in reverse order in memory."""
    backwards = tuple(reversed(range(tensor.ndim)))
    return tensor.permute(backwards).contiguous().permute(backwards)


def odd_strides(tensor: torch.Tensor) -> torch.Tensor:
    """Give a tensor odd strides along axes of size 1, where a stride leads to no element."""
    strides = [7 if n == 1 else s for n, s in zip(tensor.shape, tensor.stride(), strict=True)]
    return tensor.as_strided(tensor.shape, strides)


class Arrangement(NamedTuple):
    """How a tensor is laid out so, and what is then so of it, in words."""

    arrange: Callable[[torch.Tensor], torch.Tensor]
    words: str


ARRANGEMENTS = {
    "every-other-element": Arrangement(
        every_other_element, "is every other element of a larger tensor"
    ),
    "offset": Arrangement(offset, "begins inside of a longer memory"),
    "transposed": Arrangement(transposed, "has its axes in reverse order in memory"),
    "odd-strides": Arrangement(odd_strides, "has odd strides along axes of size 1"),
    "rows-apart": Arrangement(rows_apart, "has rows that lie apart in memory"),
}
"""Ways in which the same numbers may lie in memory, by the names of variants."""


@holds_for(
    promises=("unwritten.memory",),
    needs=("gradients",),
    variants=tuple(ARRANGEMENTS),
)
def test_arguments_may_lie_in_any_way(case: Case, subject: Subject) -> list[Comparison]:
    """Strided, offset or transposed arguments give right results and gradients, and no warning."""
    problem, (arrange, words) = subject.problem(case), ARRANGEMENTS[case.variant]

    def compared(*names: str) -> list[Comparison]:
        leaves = subject.leaves(problem)
        for name in leaves:
            leaves[name] = arrange(leaves[name]) if name in names else leaves[name]
            leaves[name].requires_grad_()
        return compare_all(subject, problem, subject.build(problem), leaves)

    with no_warnings("a call with arguments that lie otherwise"):
        together = compared(*problem.arguments)
        if any(each.over for each in together):  # which of them is it?
            for name in problem.arguments:
                alone = compared(name)
                if any(each.over for each in alone):
                    return under(f"where {name} alone {words}", alone)
        return together


@holds_for(
    promises=("unwritten.memory",),
    needs=("gradients",),
    variants=tuple(ARRANGEMENTS),
)
def test_parameters_may_lie_in_any_way(case: Case, subject: Subject) -> list[Comparison]:
    """Strided, offset or transposed parameters give results and gradients within bounds."""
    problem, arrange = subject.problem(case), ARRANGEMENTS[case.variant].arrange
    module = subject.build(problem)
    with subject.calling("exchanging the data of the parameters"):
        for parameter in module.parameters():
            parameter.data = arrange(parameter.data)
    return compare_all(subject, problem, module, subject.leaves(problem, gradients=True))


def compare_all(
    subject: Subject, problem: Problem, module: torch.nn.Module, leaves: dict[str, torch.Tensor]
) -> list[Comparison]:
    """Go forward and backward, and judge results and gradients by the reference's.

    The results are judged under no_grad too, where a subject may take another way.
    """
    oracle = Oracle(problem)
    with torch.no_grad():
        alone = subject.forward(problem, module, {n: leaf.detach() for n, leaf in leaves.items()})
    inferred = compare_results(problem, *subject.arrays(problem, *alone), oracle.results)
    output, h_n = subject.forward(problem, module, leaves)
    subject.backward(problem, output, h_n)
    gradients = read_gradients(subject, problem, module, leaves)
    return [
        *compare_results(problem, *subject.arrays(problem, output, h_n), oracle.results),
        *compare_gradients(problem, gradients, oracle.gradients()),
        *under("under no_grad", inferred),
    ]


@holds_for(
    promises=("rnn.hx", "unwritten.memory"),
    needs=("gradients", "h_0"),
    initial_states=(True,),
    layouts=("steps", "batch_first"),
)
def test_an_expanded_state_is_every_rows_own(case: Case, subject: Subject) -> list[Comparison]:
    """One h_0 expanded to all rows acts as a copy for each; its gradient is the sum of theirs."""
    problem = subject.problem(case)
    N = problem.input.shape[1]
    one = problem.arguments["h_0"][:, :1]
    problem = replace(problem, h_0=np.repeat(one, N, axis=1))
    module, oracle = subject.build(problem), Oracle(problem)
    leaves = subject.leaves(replace(problem, h_0=one), gradients=True)
    expanded = leaves["h_0"].expand(-1, N, -1)
    output, h_n = subject.forward(problem, module, {**leaves, "h_0": expanded})
    subject.backward(problem, output, h_n)
    expected = oracle.gradients()
    of_all_rows = expected["h_0"].swapaxes(0, 1).sum(axis=0)
    expected["h_0"] = of_all_rows.stored.reshape(*one.shape)
    gradients = read_gradients(subject, problem, module, leaves)
    return [
        *compare_results(problem, *subject.arrays(problem, output, h_n), oracle.results),
        *under("h_0 is one row, expanded", compare_gradients(problem, gradients, expected)),
    ]


@holds_for(promises=("unwritten.memory",))
def test_two_identical_calls_agree_to_the_bit(case: Case, subject: Subject) -> list[Comparison]:
    """The same module with the same arguments gives the same bits."""
    problem = subject.problem(case)
    module = subject.build(problem)
    first = subject.run(problem, module)
    second = subject.run(problem, module)
    return same_results(problem, "of a second call", second.results, first.results)


@holds_for(promises=("unwritten.pure",))
def test_results_do_not_change_after_they_are_returned(
    case: Case, subject: Subject
) -> list[Comparison]:
    """A later call with other input leaves the tensors of the first as they were."""
    problem = subject.problem(case)
    module = subject.build(problem)
    other = replace(problem, input=-problem.input[::-1])
    with torch.no_grad():
        results = subject.forward(problem, module, subject.leaves(problem))
        before = subject.arrays(problem, *results)
        subject.forward(other, module, subject.leaves(other))
    after = subject.arrays(problem, *results)
    return same_results(problem, "after another call", after, before)


@holds_for(promises=("unwritten.pure",))
def test_results_share_no_memory_with_arguments(case: Case, subject: Subject) -> list[Comparison]:
    """Writing into output and h_n leaves input, h_0, weights and each other as they are."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem)
    with torch.no_grad():
        output, h_n = subject.forward(problem, module, leaves)
        before = read(subject, problem, module, leaves)
        _, h_n_before = subject.arrays(problem, output, h_n)
        with subject.calling("writing into output"):
            output.fill_(3)
        _, h_n_after = subject.arrays(problem, output, h_n)
        with subject.calling("writing into h_n"):
            h_n.fill_(5)
        output_after, _ = subject.arrays(problem, output, h_n)
        after = read(subject, problem, module, leaves)
    got, expected = (output_after, h_n_after), (np.full(output_after.shape, 3.0), h_n_before)
    return [
        *same_results(problem, "after the other result is written into", got, expected),
        *same_arrays("after writing into output and h_n", after, before, problem.rounding),
    ]


@holds_for(promises=("unwritten.memory",))
def test_stale_memory_is_not_read(case: Case, subject: Subject) -> list[Comparison]:
    """Memory that was full of NaN before the call leaves no NaN in the results."""
    problem = subject.problem(case)
    expected = Oracle(problem).results
    module, leaves = subject.build(problem), subject.leaves(problem)
    sizes = [problem.H * 2**k for k in range(12)] + [leaf.numel() for leaf in leaves.values()]
    with torch.no_grad():
        stale = [of_nans((size,), leaves["input"]) for size in sizes]
        del stale
        output, h_n = subject.forward(problem, module, leaves)
    return compare_results(problem, *subject.arrays(problem, output, h_n), expected)


@holds_for(promises=("unwritten.threads",), at_most=30)
def test_threads_that_share_a_module_do_not_disturb_one_another(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Four threads that run one module at once, on two inputs, get what one thread gets."""
    problem = subject.problem(case)
    problems = [problem, replace(problem, input=-problem.input)]
    expected = [Oracle(each).results for each in problems]
    module = subject.build(problem)

    def run(i: int) -> Run:
        return subject.run(problems[i % 2], module)

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(run, range(8)))
    return [
        comparison
        for i, each in enumerate(runs)
        for comparison in under(
            f"call {i} of {len(runs)} in 4 threads",
            compare_results(problem, *each.results, expected[i % 2]),
        )
    ]


@holds_for(promises=("threads.sets",), at_most=50)
def test_the_number_of_threads_changes_no_more_than_rounding(
    case: Case, subject: Subject
) -> list[Comparison]:
    """With one thread and with four, results are within their bounds."""
    problem = subject.problem(case)
    module, expected = subject.build(problem), Oracle(problem).results
    comparisons: list[Comparison] = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            run = subject.run(problem, module)
            compared = compare_results(problem, *run.results, expected)
            comparisons += under(f"torch.set_num_threads({threads})", compared)
    finally:
        torch.set_num_threads(before)
    return comparisons


def call_and_forget(
    subject: Subject, problem: Problem, module: torch.nn.Module
) -> dict[str, weakref.ref[torch.Tensor]]:
    """Go forward and backward; return weak references to the arguments and the results."""
    leaves = subject.leaves(problem, gradients=True)
    output, h_n = subject.forward(problem, module, leaves)
    subject.backward(problem, output, h_n)
    named = {**leaves, "output": output, "h_n": h_n}
    return {name: weakref.ref(tensor) for name, tensor in named.items()}


@holds_for(promises=("unwritten.forgotten",), needs=("gradients",))
def test_nobody_holds_what_a_call_was_given_and_returned(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Arguments and results are freed once their caller drops them, before any other call."""
    problem = subject.problem(case)
    module = subject.build(problem)
    references = call_and_forget(subject, problem, module)
    if any(reference() is not None for reference in references.values()):
        gc.collect()  # they may lie in a cycle, which is no leak
    held = [name for name, reference in references.items() if reference() is not None]
    require("arguments and results that are still held", ", ".join(held) or "none", "none")
    return [counted("arguments and results that are freed", len(references))]


FILLING = 40
"""After how many calls more a pool of buffers is full."""

CALLS = 6
"""After each of how many calls the memory in use is looked at."""


def growth_with_calls(
    subject: Subject,
    problem: Problem,
    module: torch.nn.Module,
    collect: Callable[[], Any] = lambda: None,
) -> list[int]:
    """List how many bytes more are in use after each of some calls."""
    collect()
    in_use = [memory_in_use(subject.device)]
    for _ in range(CALLS):
        call_and_forget(subject, problem, module)
        collect()
        in_use.append(memory_in_use(subject.device))
    return [after - before for before, after in itertools.pairwise(in_use)]


@holds_for(promises=("unwritten.forgotten",), needs=("gradients",), at_most=10)
def test_memory_does_not_grow_with_calls(case: Case, subject: Subject) -> list[Comparison]:
    """Of calls with 16 rows and 64 units, most leave less in use than one state takes."""
    problem = subject.problem(replace(case, N=1 if case.unbatched else 16, H=64, T=min(case.T, 5)))
    module = subject.build(problem)
    for _ in range(2):  # the first calls may set up what later ones need
        call_and_forget(subject, problem, module)
    growth = growth_with_calls(subject, problem, module)
    one_state = problem.input.shape[1] * problem.H * problem.input.itemsize
    if median(growth) >= one_state:  # what lies in cycles, or in a pool of buffers, is no leak
        for _ in range(FILLING):
            call_and_forget(subject, problem, module)
        growth = growth_with_calls(subject, problem, module, collect=gc.collect)
    typical = median(growth)  # one call may also free what others of this process had left
    got = f"{typical:.0f} bytes more" if typical >= one_state else "less than one"
    what = f"memory in use after one of {CALLS} calls (one state has {one_state} bytes)"
    require(what, got, "less than one")
    return [counted("calls that leave nothing in use", CALLS)]
