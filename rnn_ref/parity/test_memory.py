"""Memory: where arguments lie changes nothing, and nothing that a call leaves behind does."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rnn_ref.bridge import to_array
from rnn_ref.case import Case, Problem
from rnn_ref.examination import holds_for
from rnn_ref.judge import Comparison, compare_gradients, compare_results, counted
from rnn_ref.oracle import Oracle
from rnn_ref.subject import Run, Subject, SubjectFault

Lay = Callable[[torch.Tensor], torch.Tensor]


def among_nans(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """A tensor of NaN, in which others are to lie."""
    return torch.full(shape, torch.nan, dtype=like.dtype, device=like.device)


def every_other(tensor: torch.Tensor) -> torch.Tensor:
    """In every other element of a tensor of NaN, along every axis."""
    room = among_nans(tuple(2 * n for n in tensor.shape), tensor)
    view = room[tuple(slice(1, None, 2) for _ in tensor.shape)]
    return view.copy_(tensor)


def offset(tensor: torch.Tensor) -> torch.Tensor:
    """Behind 3 elements of NaN, and before one more."""
    room = among_nans((tensor.numel() + 4,), tensor)
    view = room[3 : 3 + tensor.numel()].view(tensor.shape)
    return view.copy_(tensor)


def transposed(tensor: torch.Tensor) -> torch.Tensor:
    """With its axes in memory in reverse order."""
    backwards = tuple(reversed(range(tensor.ndim)))
    return tensor.permute(backwards).contiguous().permute(backwards)


def odd_strides(tensor: torch.Tensor) -> torch.Tensor:
    """With odd strides along axes of size 1, which no element is reached by."""
    strides = [7 if n == 1 else s for n, s in zip(tensor.shape, tensor.stride(), strict=True)]
    return tensor.as_strided(tensor.shape, strides)


LAYS: dict[str, Lay] = {
    "every other element": every_other,
    "an offset": offset,
    "transposed": transposed,
    "odd strides on axes of size 1": odd_strides,
}
"""Ways in which the same numbers may lie in memory."""


def laid(case: Case) -> Lay:
    """The way that a case is run with."""
    return list(LAYS.values())[case.seed % len(LAYS)]


@holds_for(needs=("gradients",))
def test_arguments_may_lie_in_any_way(case: Case, subject: Subject) -> list[Comparison]:
    """Strided, offset or transposed input and h_0 give the same results, and get gradients.

    Promise: unwritten.memory.
    """
    problem, lay = case.problem(), laid(case)
    module, oracle = subject.build(problem), Oracle(problem)
    plain = subject.leaves(problem)
    leaves = {name: lay(leaf).requires_grad_() for name, leaf in plain.items()}
    output, h_n = subject.forward(problem, module, leaves)
    subject.pull(problem, output, h_n)
    return hold(problem, oracle, output, h_n, subject.gradients(problem, module, leaves))


@holds_for(needs=("gradients",))
def test_parameters_may_lie_in_any_way(case: Case, subject: Subject) -> list[Comparison]:
    """Parameters that are strided, offset or transposed views are read and differentiated.

    Promise: unwritten.memory.
    """
    problem, lay = case.problem(), laid(case)
    module, oracle = subject.build(problem), Oracle(problem)
    for parameter in module.parameters():
        parameter.data = lay(parameter.data)
    leaves = subject.leaves(problem, gradients=True)
    output, h_n = subject.forward(problem, module, leaves)
    subject.pull(problem, output, h_n)
    return hold(problem, oracle, output, h_n, subject.gradients(problem, module, leaves))


@holds_for(needs=("gradients", "h_0"), initial_states=(True,), layouts=("steps", "batch_first"))
def test_an_expanded_state_is_every_rows_own(case: Case, subject: Subject) -> list[Comparison]:
    """One h_0 for all rows, with a stride of 0, acts as copies, and gathers all their gradients.

    Promise: rnn.hx, unwritten.memory.
    """
    problem = case.problem()
    assert problem.h_0 is not None
    one = problem.h_0[:, :1]
    problem = replace(problem, h_0=np.repeat(one, problem.input.shape[1], axis=1))
    module, oracle = subject.build(problem), Oracle(problem)
    leaves = subject.leaves(replace(problem, h_0=one), gradients=True)
    expanded = leaves["h_0"].expand(-1, problem.input.shape[1], -1)
    output, h_n = subject.forward(problem, module, {**leaves, "h_0": expanded})
    subject.pull(problem, output, h_n)
    due = oracle.gradients()
    due["h_0"] = due["h_0"].swapaxes(0, 1).sum(axis=0).stored.reshape(*one.shape)
    came = subject.gradients(problem, module, leaves)
    return [
        *compare_results(problem, *arrays(problem, output, h_n), (oracle.output, oracle.h_n)),
        *compare_gradients(problem, came, due),
    ]


def arrays(problem: Problem, output: torch.Tensor, h_n: torch.Tensor) -> tuple[Any, Any]:
    """Results without their layout."""
    return problem.layout.to_steps(to_array(output)), problem.layout.to_rows(to_array(h_n))


def hold(
    problem: Problem, oracle: Oracle, output: torch.Tensor, h_n: torch.Tensor, gradients: Any
) -> list[Comparison]:
    """Compare results and gradients with the reference's."""
    return [
        *compare_results(problem, *arrays(problem, output, h_n), (oracle.output, oracle.h_n)),
        *compare_gradients(problem, gradients, oracle.gradients()),
    ]


def unlike(first: Run, second: Run) -> bool:
    """Whether two runs differ in any bit."""
    pairs = zip((first.output, first.h_n), (second.output, second.h_n), strict=True)
    return not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


@holds_for()
def test_two_identical_calls_agree_to_the_bit(case: Case, subject: Subject) -> list[Comparison]:
    """The same module with the same arguments gives the same bits.

    Promise: unwritten.memory.
    """
    problem = case.problem()
    module = subject.build(problem)
    first, second = (subject.run(problem, module) for _ in range(2))
    if unlike(first, second):
        raise SubjectFault("two identical calls gave different bits")
    return [counted("elements of output and h_n", first.output.size + first.h_n.size)]


@holds_for()
def test_results_do_not_change_after_they_are_returned(
    case: Case, subject: Subject
) -> list[Comparison]:
    """A later call with other input leaves the tensors of the first as they were.

    Promise: unwritten.pure.
    """
    problem = case.problem()
    module = subject.build(problem)
    with torch.no_grad():
        results = subject.forward(problem, module, subject.leaves(problem))
        before = [to_array(tensor) for tensor in results]
        other = replace(problem, input=-problem.input[::-1])
        subject.forward(other, module, subject.leaves(other))
    for name, tensor, array in zip(("output", "h_n"), results, before, strict=True):
        if not np.array_equal(to_array(tensor), array, equal_nan=True):
            raise SubjectFault(f"{name} of an earlier call changed in a later one")
    return [counted("elements of output and h_n", sum(array.size for array in before))]


@holds_for()
def test_results_share_no_memory_with_arguments(case: Case, subject: Subject) -> list[Comparison]:
    """Writing into output and h_n leaves input, h_0, weights and each other as they are.

    Promise: unwritten.pure.
    """
    problem = case.problem()
    module, leaves = subject.build(problem), subject.leaves(problem)
    with torch.no_grad():
        output, h_n = subject.forward(problem, module, leaves)
        others = {**leaves, **dict(module.named_parameters())}
        before = {name: to_array(tensor) for name, tensor in others.items()}
        kept = to_array(h_n)
        output.fill_(3)
        if not np.array_equal(to_array(h_n), kept, equal_nan=True):
            raise SubjectFault("writing into output changes h_n")
        h_n.fill_(5)
    for name, tensor in others.items():
        if not np.array_equal(to_array(tensor), before[name], equal_nan=True):
            raise SubjectFault(f"writing into a result changes {name}")
    if not bool((output == 3).all()):
        raise SubjectFault("writing into h_n changes output")
    return [counted("elements of arguments", sum(array.size for array in before.values()))]


@holds_for()
def test_stale_memory_is_not_read(case: Case, subject: Subject) -> list[Comparison]:
    """Memory that was full of NaN before the call leaves no NaN in the results.

    Promise: unwritten.memory.
    """
    problem, oracle = case.problem(), Oracle(case.problem())
    module, leaves = subject.build(problem), subject.leaves(problem)
    sizes = [problem.H * 2**k for k in range(12)] + [leaf.numel() for leaf in leaves.values()]
    with torch.no_grad():
        rooms = [among_nans((size,), leaves["input"]) for size in sizes]
        del rooms
        output, h_n = subject.forward(problem, module, leaves)
    return compare_results(problem, *arrays(problem, output, h_n), (oracle.output, oracle.h_n))


@holds_for(at_most=30)
def test_threads_that_share_a_module_do_not_disturb_one_another(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Four threads that run one module at once, on other inputs, get what one thread gets.

    Promise: unwritten.threads.
    """
    problem = case.problem()
    problems = [problem, replace(problem, input=-problem.input)]
    oracles = [Oracle(each) for each in problems]
    module = subject.build(problem)

    def run(i: int) -> Run:
        return subject.run(problems[i % 2], module)

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(run, range(8)))
    return [
        comparison
        for i, each in enumerate(runs)
        for comparison in compare_results(
            problem, each.output, each.h_n, (oracles[i % 2].output, oracles[i % 2].h_n)
        )
    ]


@holds_for(at_most=50)
def test_the_number_of_threads_changes_no_more_than_rounding(
    case: Case, subject: Subject
) -> list[Comparison]:
    """With one thread and with four, results are within their bounds.

    Promise: threads.sets.
    """
    problem = case.problem()
    module, oracle, before, found = (
        subject.build(problem), Oracle(problem), torch.get_num_threads(), [],
    )  # fmt: skip
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            run = subject.run(problem, module)
            found += compare_results(problem, run.output, run.h_n, (oracle.output, oracle.h_n))
    finally:
        torch.set_num_threads(before)
    return found
