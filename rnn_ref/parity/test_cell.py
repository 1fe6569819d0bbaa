"""RNNCell: one step, with and without a batch; and the network that comes of unrolling it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rnn_ref.bridge import TORCH_DTYPES, other_dtype, to_array
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.comparison import (
    Comparison,
    compare_gradients,
    compare_results,
    compare_steps,
    within,
)
from rnn_ref.judging.facts import given, refuses, same_facts, same_order, under, uniform
from rnn_ref.judging.failures import Fact, SubjectFault
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject, described, require_results

holds_for = in_group("cell")

CELL: dict[str, Any] = {
    "num_layers": (1,),
    "directions": (1,),
    "layouts": ("steps", "steps", "unbatched"),
    "needs": ("cell",),
    "far": ("T", "N", "I", "H", "NT"),
}


class Unrolled(nn.Module):
    """A cell called step by step, its parameters under the names of a network of one layer."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.step = [cell]  # in a list it is no submodule, with names of its own
        for name, parameter in cell.named_parameters():
            self.register_parameter(f"{name}_l0", parameter)

    def forward(self, input: Tensor, h_0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return every state, and the last one."""
        h = None if h_0 is None else h_0[0]
        states = []
        for x_t in input:
            h = self.step[0](x_t) if h is None else self.step[0](x_t, h)
            if not isinstance(h, Tensor):
                raise SubjectFault(Fact("the result of the cell", described(h), "a tensor"))
            states.append(h)
        output = torch.stack(states)
        return output, output[-1:]


def make_cell(subject: Subject, *arguments: Any, **options: Any) -> Any:
    """Make a cell of a subject that has one."""
    assert subject.cell is not None
    with subject.calling("constructing the cell"):
        return subject.cell(*arguments, **options)


def unrolled(subject: Subject) -> Subject:
    """Take a subject's cell, unrolled, as a subject."""

    def factory(*arguments: Any, **options: Any) -> Unrolled:
        return Unrolled(make_cell(subject, *arguments, **options))

    return replace(subject, name=subject.cell_name, factory=factory)


@holds_for(
    promises=(
        "cell.equation", "cell.relu", "cell.bias", "cell.zeros", "cell.input", "cell.hidden",
        "cell.output", "cell.result",
    ),
    **CELL,
    at_most=100,
)  # fmt: skip
def test_every_step_of_a_cell_obeys_the_recurrence(
    case: Case, subject: Subject
) -> list[Comparison]:
    """A cell's result is one step of the equation, with and without a batch, a state or a bias."""
    problem = subject.problem(case)
    states = [unrolled(subject).run(problem).output]
    oracle = Oracle(problem)
    return compare_steps(problem, states, oracle.steps(oracle.returned_or_bounded(states)))


@holds_for(
    promises=("cell.equation", "backward.chain_rule"),
    **{**CELL, "needs": ("cell", "gradients")},
    at_most=100,
)
def test_gradients_of_a_cell_are_within_their_bounds(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Gradients through a cell's steps are the chain rule's, up to rounding."""
    problem = subject.problem(case)
    run = unrolled(subject).run(problem, gradients=True)
    return compare_gradients(problem, run.gradients, Oracle(problem).gradients())


@holds_for(promises=("cell.equation", "rnn.equation"), **CELL, at_most=50)
def test_a_network_equals_its_cell_unrolled(case: Case, subject: Subject) -> list[Comparison]:
    """nn.RNN of one layer gives what RNNCell with its weights gives, step by step."""
    problem = subject.problem(case)
    run, steps, oracle = subject.run(problem), unrolled(subject).run(problem), Oracle(problem)
    expected = (
        within(steps.output, oracle.output, oracle.output),
        within(steps.h_n, oracle.h_n, oracle.h_n),
    )
    return compare_results(problem, *run.results, expected)


@holds_for(
    promises=(
        "cell.weight_ih", "cell.weight_hh", "cell.bias_ih", "cell.bias_hh", "cell.initialized",
    ),
    **CELL,
    at_most=30,
)  # fmt: skip
def test_a_cell_has_its_documented_parameters(case: Case, subject: Subject) -> list[Comparison]:
    """Names, order and shapes are as documented, and values uniform in +-1/sqrt(hidden_size)."""
    I, H = case.I, case.H
    options = {} if case.bias else {"bias": False}
    expected: dict[str, tuple[int, ...]] = {"weight_ih": (H, I), "weight_hh": (H, H)}
    if case.bias:
        expected |= {"bias_ih": (H,), "bias_hh": (H,)}
    cell, large = make_cell(subject, I, H, **options), make_cell(subject, 100, 64, **options)
    with subject.calling("reading the cell's parameters"):
        shapes = {name: tuple(parameter.shape) for name, parameter in cell.named_parameters()}
        state = list(cell.state_dict())
        initial = {name: to_array(parameter) for name, parameter in large.named_parameters()}
    comparisons = [
        same_order("the cell's named_parameters", list(shapes), list(expected)),
        same_order("the cell's state_dict", state, list(expected)),
        same_facts("shape of the cell's", shapes, expected),
    ]
    for name, array in initial.items():
        comparisons += uniform(name, array, 64)
    return comparisons


def wrong_calls(problem: Problem, device: str) -> dict[str, tuple[Tensor, ...]]:
    """Make arguments that a cell refuses, by what is wrong."""
    N, I = problem.input.shape[1:]
    zeros = partial(torch.zeros, dtype=TORCH_DTYPES[problem.dtype], device=device)
    return {
        "input of 3 axes": (zeros(1, N, I),),
        "input_size too large": (zeros(N, I + 1),),
        "input_size too small": (zeros(N, I - 1),),
        "input_size too large, without a batch": (zeros(I + 1),),
        "hidden_size of h too small": (zeros(N, I), zeros(N, problem.H - 1)),
        "hidden_size of h too large, without a batch": (zeros(I), zeros(problem.H + 1)),
        "h without a batch": (zeros(problem.H + 1, I), zeros(problem.H)),
        "h of rows for one": (zeros(1, I), zeros(2, problem.H)),
        "another dtype of h": (zeros(N, I), other_dtype(zeros(N, problem.H))),
        "h of 3 axes": (zeros(N, I), zeros(1, N, problem.H)),
        "hidden_size of h too large": (zeros(N, I), zeros(N, problem.H + 1)),
        "h of another batch": (zeros(N + 2, I), zeros(N + 1, problem.H)),
        "h of one row for all": (zeros(N + 1, I), zeros(1, problem.H)),
        "another dtype of input": (other_dtype(zeros(N, I)),),
    }


@holds_for(
    promises=("cell.input", "cell.hidden", "cell.nonlinearity", "unwritten.refusal"),
    **CELL,
    at_most=30,
)
def test_a_wrong_call_of_a_cell_is_refused(case: Case, subject: Subject) -> list[Comparison]:
    """Wrong ranks, sizes and dtypes raise errors; an unknown nonlinearity at the latest here."""
    problem = subject.problem(case)
    module: Any = unrolled(subject).build(problem)
    cell = module.step[0]
    input = torch.zeros(1, case.I, device=subject.device)

    def call_with_sigmoid() -> None:
        make_cell(subject, case.I, case.H, nonlinearity="sigmoid").to(subject.device)(input)

    with torch.no_grad():
        return [
            *(
                refuses(subject, f"a cell's call with {name} ({told})", partial(cell, *arguments))
                for name, arguments in wrong_calls(problem, subject.device).items()
                for told in [given(dict(zip(("input", "hx"), arguments, strict=False)))]
            ),
            refuses(subject, "a cell with nonlinearity sigmoid", call_with_sigmoid),
        ]


@holds_for(
    promises=("cell.input", "cell.hidden", "unwritten.refusal"),
    **CELL,
    at_most=20,
)
def test_a_cell_without_a_batch_takes_no_batch_of_one(
    case: Case, subject: Subject
) -> list[Comparison]:
    """For input without a batch, a state with a batch of one raises an error."""
    problem = subject.problem(case)
    module: Any = unrolled(subject).build(problem)
    zeros = partial(torch.zeros, dtype=TORCH_DTYPES[problem.dtype], device=subject.device)
    arguments = {"input": zeros(case.I), "hx": zeros(1, case.H)}
    call = partial(module.step[0], *arguments.values())
    what = "a cell's call without a batch, hx with a batch of one"
    with torch.no_grad():
        return [refuses(subject, f"{what} ({given(arguments)})", call)]


@holds_for(promises=("unwritten.empty",), **CELL, at_most=20)
def test_a_cell_takes_a_batch_of_none(case: Case, subject: Subject) -> list[Comparison]:
    """With N = 0 a cell gives an empty result of the right shape."""
    problem = subject.problem(case)
    module: Any = unrolled(subject).build(problem)
    empty = torch.zeros(0, case.I, dtype=TORCH_DTYPES[problem.dtype], device=subject.device)
    with subject.calling("the cell's call with an empty batch"):
        shape = tuple(module.step[0](empty).shape)
    return [same_facts("shape of", {"an empty result": shape}, {"an empty result": (0, case.H)})]


@holds_for(promises=("unwritten.keywords", "cell.zeros", "cell.hidden"), **CELL, at_most=30)
def test_a_cells_arguments_may_be_named_and_its_state_none(
    case: Case, subject: Subject
) -> list[Comparison]:
    """cell(input, hx=h), cell(input=x) and cell(x, None) give one step of the equation."""
    problem = subject.problem(replace(case, T=1))
    module: Any = unrolled(subject).build(problem)
    leaves, oracle, comparisons = subject.leaves(problem), Oracle(problem), []
    x, h = leaves["input"][0], leaves["h_0"][0] if "h_0" in leaves else None
    calls: dict[str, Callable[[Any], Any]] = {
        "hx by name": lambda cell: cell(x, hx=h),
        "both by name": lambda cell: cell(hx=h, input=x),
        "both by position": lambda cell: cell(x, h),
    }
    for how, call in calls.items():
        with torch.no_grad(), subject.calling(f"the cell's call with {how}"):
            state = call(module.step[0])
        if not isinstance(state, Tensor):
            raise SubjectFault(Fact("the result of the cell", described(state), "a tensor"))
        results = require_results(subject, problem, (state[None], state[None]))
        got = subject.arrays(problem, *results)
        comparisons += under(how, compare_results(problem, *got, oracle.results))
    return comparisons
