"""RNNCell: one step, with and without a batch; and the network that comes of unrolling it."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rnn_ref.bridge import TORCH_DTYPES
from rnn_ref.case import Case, Problem
from rnn_ref.examination import holds_for
from rnn_ref.judge import Comparison, compare_gradients, compare_results, counted, within
from rnn_ref.oracle import Oracle
from rnn_ref.parity.test_bounds import compare_steps
from rnn_ref.parity.test_errors import other_dtype, refuses
from rnn_ref.parity.test_state import require, require_uniform
from rnn_ref.subject import Subject, SubjectFault, blaming

CELL: dict[str, Any] = {
    "num_layers": (1,),
    "directions": (1,),
    "layouts": ("steps", "steps", "unbatched"),
    "needs": ("cell",),
}


class Unrolled(nn.Module):
    """A cell called step by step, its parameters under the names of a network of one layer."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.step = [cell]  # in a list it is no submodule, with names of its own
        for name, parameter in cell.named_parameters():
            self.register_parameter(f"{name}_l0", parameter)

    def forward(self, input: Tensor, h_0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Every state, and the last one."""
        h, states = None if h_0 is None else h_0[0], []
        for x_t in input:
            h = self.step[0](x_t) if h is None else self.step[0](x_t, h)
            if not isinstance(h, Tensor):
                raise SubjectFault(f"the cell returned a {type(h).__name__}, not a tensor")
            states.append(h)
        output = torch.stack(states)
        return output, output[-1:]


def unrolled(subject: Subject) -> Subject:
    """The cell, unrolled, as a subject."""

    def factory(*arguments: Any, **options: Any) -> Unrolled:
        return Unrolled(subject.make_cell(*arguments, **options))

    return Subject(subject.cell_name, factory, subject.device)


@holds_for(**CELL, at_most=100)
def test_every_step_of_a_cell_obeys_the_recurrence(
    case: Case, subject: Subject
) -> list[Comparison]:
    """A cell's result is one step of the equation, with and without a batch, a state or a bias.

    Promise: cell.equation, cell.relu, cell.bias, cell.zeros, cell.input, cell.hidden, cell.output,
    cell.result.
    """
    problem = case.problem()
    run, oracle = unrolled(subject).run(problem), Oracle(problem)
    return compare_steps(problem, [run.output], oracle.steps(oracle.own([run.output])))


@holds_for(**{**CELL, "needs": ("cell", "gradients")}, at_most=100)
def test_gradients_of_a_cell_are_within_their_bounds(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Gradients through a cell's steps are the chain rule's, up to rounding.

    Promise: cell.equation, backward.chain_rule.
    """
    problem = case.problem()
    run = unrolled(subject).run(problem, gradients=True)
    return compare_gradients(problem, run.gradients, Oracle(problem).gradients())


@holds_for(**CELL, at_most=50)
def test_a_network_equals_its_cell_unrolled(case: Case, subject: Subject) -> list[Comparison]:
    """nn.RNN of one layer gives what RNNCell with its weights gives, step by step.

    Promise: cell.equation, rnn.equation.
    """
    problem = case.problem()
    run, steps, oracle = subject.run(problem), unrolled(subject).run(problem), Oracle(problem)
    expected = (
        within(steps.output, oracle.output, oracle.output),
        within(steps.h_n, oracle.h_n, oracle.h_n),
    )
    return compare_results(problem, run.output, run.h_n, expected)


@holds_for(**CELL, at_most=30)
def test_a_cell_has_its_documented_parameters(case: Case, subject: Subject) -> list[Comparison]:
    """Names, order and shapes are as documented, and values uniform in +-1/sqrt(hidden_size).

    Promise: cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh, cell.initialized.
    """
    I, H = case.I, case.H
    options = {} if case.bias else {"bias": False}
    cell, large = subject.make_cell(I, H, **options), subject.make_cell(100, 64, **options)
    shapes = {"weight_ih": (H, I), "weight_hh": (H, H), "bias_ih": (H,), "bias_hh": (H,)}
    due = dict(list(shapes.items())[: 4 if case.bias else 2])
    require("parameters", {n: tuple(p.shape) for n, p in cell.named_parameters()}, due)
    require("the names of state_dict", list(cell.state_dict()), list(due))
    found = []
    for name, parameter in large.named_parameters():
        found += require_uniform(name, parameter.detach().double().numpy(), 64)
    return [counted("names and shapes", 2 * len(due)), *found]


def wrong_calls(problem: Problem, device: str) -> dict[str, tuple[Tensor, ...]]:
    """Arguments that a cell refuses, by what is wrong."""
    N, I = problem.input.shape[1:]
    zeros = partial(torch.zeros, dtype=TORCH_DTYPES[problem.dtype], device=device)
    return {
        "input of 3 axes": (zeros(1, N, I),),
        "input_size too large": (zeros(N, I + 1),),
        "h of 3 axes": (zeros(N, I), zeros(1, N, problem.H)),
        "hidden_size of h too large": (zeros(N, I), zeros(N, problem.H + 1)),
        "h of another batch": (zeros(N + 2, I), zeros(N + 1, problem.H)),
        "h of one row for all": (zeros(N + 1, I), zeros(1, problem.H)),
        "another dtype of input": (other_dtype(zeros(N, I)),),
    }


@holds_for(**CELL, at_most=30)
def test_a_wrong_call_of_a_cell_is_refused(case: Case, subject: Subject) -> list[Comparison]:
    """Wrong ranks, sizes and dtypes raise errors; an unknown nonlinearity at the latest here.

    Promise: cell.input, cell.hidden, cell.nonlinearity, unwritten.refusal.
    """
    problem = case.problem()
    module: Any = unrolled(subject).build(problem)
    wrong = wrong_calls(problem, subject.device)
    with torch.no_grad():
        for name, arguments in wrong.items():
            refuses(f"a cell's call with {name}", partial(module.step[0], *arguments))
        refuses("a cell with nonlinearity sigmoid", partial(sigmoid, subject, case))
    return [counted("refusals", len(wrong) + 1)]


def sigmoid(subject: Subject, case: Case) -> None:
    """A call of a cell with a nonlinearity that there is not."""
    cell: Any = subject.cell
    cell(case.I, case.H, nonlinearity="sigmoid").to(subject.device)(
        torch.zeros(1, case.I, device=subject.device)
    )


@holds_for(**CELL, at_most=20)
def test_a_cell_takes_a_batch_of_none(case: Case, subject: Subject) -> list[Comparison]:
    """With N = 0 a cell gives an empty result of the right shape.

    Promise: unwritten.empty.
    """
    problem = case.problem()
    module: Any = unrolled(subject).build(problem)
    empty = torch.zeros(0, case.I, dtype=TORCH_DTYPES[problem.dtype], device=subject.device)
    with blaming("the cell's call with an empty batch"):
        result = module.step[0](empty)
    require("the shape of an empty result", tuple(result.shape), (0, case.H))
    return [counted("shapes", 1)]
