"""Gradients asked for in other ways: again, in part, for some, of other weights, of gradients."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from rnn_ref.bounded import Bounded
from rnn_ref.bridge import set_parameters, to_tensor
from rnn_ref.case import Case, Problem, Words
from rnn_ref.examination import holds_for
from rnn_ref.judge import Comparison, compare_gradients, compare_results, counted
from rnn_ref.oracle import Oracle
from rnn_ref.subject import Subject, SubjectFault, blaming

GRADIENTS = ("gradients",)


def twice(gradients: Mapping[str, Bounded]) -> dict[str, Bounded]:
    """Gradients that came twice, and were added up."""
    return {name: (gradient + gradient).stored for name, gradient in gradients.items()}


@holds_for(needs=GRADIENTS)
def test_gradients_of_two_calls_add_up(case: Case, subject: Subject) -> list[Comparison]:
    """A second call and backward add to what is in .grad; nothing is overwritten.

    Promise: backward.accumulates.
    """
    problem = case.problem()
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    for _ in range(2):
        subject.pull(problem, *subject.forward(problem, module, leaves))
    came = subject.gradients(problem, module, leaves)
    return compare_gradients(problem, came, twice(Oracle(problem).gradients()))


@holds_for(needs=GRADIENTS)
def test_a_retained_graph_gives_the_same_gradients_again(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Backward through one call twice, with retain_graph, adds the same gradients again.

    Promise: backward.retain_graph.
    """
    problem = case.problem()
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    results = subject.forward(problem, module, leaves)
    subject.pull(problem, *results, retain_graph=True)
    subject.pull(problem, *results)
    came = subject.gradients(problem, module, leaves)
    return compare_gradients(problem, came, twice(Oracle(problem).gradients()))


@holds_for(needs=GRADIENTS)
def test_what_is_frozen_gets_no_gradient_and_the_rest_its_own(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Whichever of input, h_0 and parameters need no gradient, the others' are right.

    Promise: module.requires_grad.
    """
    problem = case.problem()
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    tensors = leaves | dict(module.named_parameters())
    draws = Words(case.seed, "frozen").raw((len(tensors),))
    frozen = [name for name, draw in zip(tensors, draws, strict=True) if int(draw) % 2]
    for name in frozen[: len(tensors) - 1]:
        tensors[name].requires_grad_(False)  # noqa: FBT003 - torch's own
    subject.pull(problem, *subject.forward(problem, module, leaves))
    for name, tensor in tensors.items():
        if not tensor.requires_grad and tensor.grad is not None:
            raise SubjectFault(f"{name} needs no gradient, and got one")
    came = subject.gradients(problem, module, leaves)
    due = Oracle(problem).gradients()
    asked = {name: due[name] for name in due if tensors[name].requires_grad}
    return compare_gradients(problem, came, asked)


@holds_for(needs=GRADIENTS, losses=("output",))
def test_the_gradient_of_one_element_of_output(case: Case, subject: Subject) -> list[Comparison]:
    """A loss that reads one element of output has that element's gradients.

    Promise: backward.vector.
    """
    problem = case.problem()
    shape = (*problem.input.shape[:2], problem.D * problem.H)
    at = np.unravel_index(case.seed % int(np.prod(shape)), shape)
    one = np.zeros_like(problem.input, shape=shape)
    one[at] = 1
    problem = replace(problem, grad_output=one)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    output, _ = subject.forward(problem, module, leaves)
    with blaming("backward"):
        problem.layout.to_steps(output)[tuple(map(int, at))].backward()
    came = subject.gradients(problem, module, leaves)
    return compare_gradients(problem, came, Oracle(problem).gradients())


@holds_for(needs=GRADIENTS, losses=("output",))
def test_the_gradient_of_a_sum_comes_expanded(case: Case, subject: Subject) -> list[Comparison]:
    """`output.sum()` hands back one 1, with strides of 0: it is as good as an array of ones.

    Promise: backward.vector, unwritten.memory.
    """
    problem = case.problem()
    ones = np.ones_like(problem.grad_output)
    problem = replace(problem, grad_output=ones)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    output, _ = subject.forward(problem, module, leaves)
    with blaming("backward"):
        torch.autograd.backward(output.sum())
    came = subject.gradients(problem, module, leaves)
    return compare_gradients(problem, came, Oracle(problem).gradients())


@holds_for(needs=GRADIENTS)
def test_upstream_gradients_may_lie_in_any_order(case: Case, subject: Subject) -> list[Comparison]:
    """Gradients for output and h_n that are transposed views are read by their strides.

    Promise: backward.vector, unwritten.memory.
    """
    problem = case.problem()
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    results = subject.forward(problem, module, leaves)
    subject.pull(problem, *results, lay=lambda grad: grad.mT.contiguous().mT)
    came = subject.gradients(problem, module, leaves)
    return compare_gradients(problem, came, Oracle(problem).gradients())


def by_copy(module: torch.nn.Module, problem: Problem) -> None:
    """Write the weights into the parameters in place."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(to_tensor(problem.parameters[name], problem.dtype))


def by_step(module: torch.nn.Module, problem: Problem) -> None:
    """Let an optimizer take a step that leads to the weights, as far as they can be reached.

    From 0 by their negatives at a rate of 1, which rounds nothing.
    """
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.zero_()
            target = to_tensor(problem.parameters[name], problem.dtype)
            parameter.grad = -target.to(parameter.device)
    optimizer.step()


def by_setting(module: torch.nn.Module, problem: Problem) -> None:
    """Put new parameters in the place of the old ones."""
    for name, parameter in list(module.named_parameters()):
        tensor = to_tensor(problem.parameters[name], problem.dtype).to(parameter.device)
        setattr(module, name, torch.nn.Parameter(tensor))


def by_data(module: torch.nn.Module, problem: Problem) -> None:
    """Exchange the parameters' data."""
    for name, parameter in module.named_parameters():
        tensor = to_tensor(problem.parameters[name], problem.dtype)
        parameter.data = tensor.to(parameter.device)


CHANGES: dict[str, Callable[[torch.nn.Module, Problem], None]] = {
    "load_state_dict": lambda module, problem: set_parameters(module, problem.parameters),
    "copy_ in place": by_copy,
    "an optimizer's step": by_step,
    "new parameters set": by_setting,
    "their data exchanged": by_data,
}
"""Ways in which a module comes by other weights."""


@holds_for(needs=GRADIENTS)
def test_changed_weights_are_the_ones_that_count(case: Case, subject: Subject) -> list[Comparison]:
    """After any change to the weights of a module that has run, it computes with the new ones.

    Promise: module.load, unwritten.memory.
    """
    problem = case.problem()
    module = subject.build(replace(case, seed=case.seed ^ 1, weights="torch").problem())
    subject.run(problem, module, gradients=True)
    name = list(CHANGES)[case.seed % len(CHANGES)]
    with blaming(f"changing the weights by {name}"):
        CHANGES[name](module, problem)
    run, oracle = subject.run(problem, module, gradients=True), Oracle(problem)
    return [
        *compare_results(problem, run.output, run.h_n, (oracle.output, oracle.h_n)),
        *compare_gradients(problem, run.gradients, oracle.gradients()),
    ]


@holds_for(needs=GRADIENTS)
def test_gradients_are_there_in_eval_too(case: Case, subject: Subject) -> list[Comparison]:
    """Evaluation mode, without dropout, changes neither results nor gradients.

    Promise: module.eval, module.train.
    """
    problem = case.problem()
    module = subject.build(problem).eval()
    run, oracle = subject.run(problem, module, gradients=True), Oracle(problem)
    return [
        *compare_results(problem, run.output, run.h_n, (oracle.output, oracle.h_n)),
        *compare_gradients(problem, run.gradients, oracle.gradients()),
    ]


@holds_for(needs=GRADIENTS, at_most=50)
def test_gradients_survive_checkpointing(case: Case, subject: Subject) -> list[Comparison]:
    """Recomputed in backward (torch.utils.checkpoint), the forward pass gives the gradients.

    Promise: checkpoint.recomputed.
    """
    problem = case.problem()
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    with blaming("the call, checkpointed"):
        results = checkpoint(module, *leaves.values(), use_reentrant=False)
    subject.pull(problem, *subject.check(problem, results))
    came = subject.gradients(problem, module, leaves)
    return compare_gradients(problem, came, Oracle(problem).gradients())


LONG: dict[str, Any] = {"weights": ("contracting",), "inputs": ("normal",), "at_most": 4}
"""Sequences of 1,000 steps, of which a few examples do."""


@holds_for(needs=GRADIENTS, **LONG)
def test_gradients_reach_through_a_thousand_steps(case: Case, subject: Subject) -> list[Comparison]:
    """Weights' gradients are sums over all steps, however many.

    Promise: backward.chain_rule.
    """
    problem = replace(case, T=1000, N=min(case.N, 3), H=min(case.H, 20)).problem()
    run, oracle = subject.run(problem, gradients=True), Oracle(problem)
    return compare_gradients(problem, run.gradients, oracle.gradients())


@holds_for(
    needs=("gradients", "double_backward"),
    nonlinearities=("tanh",),
    weights=("torch", "contracting"),
    inputs=("normal",),
    at_most=10,
)
def test_gradients_have_gradients(case: Case, subject: Subject) -> list[Comparison]:
    """Second derivatives agree with differences of first ones (torch.autograd.gradgradcheck).

    Promise: backward.create_graph.
    """
    small = {axis: min(getattr(case, axis), 2) for axis in "TNIH"}
    problem = replace(case, **small, L=min(case.L, 2), dtype="float64").problem()
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    parameters = dict(module.named_parameters())

    def call(*tensors: torch.Tensor) -> Any:
        given = dict(zip(parameters, tensors[len(leaves) :], strict=True))
        return torch.func.functional_call(module, given, tensors[: len(leaves)])

    with blaming("a second derivative"):
        torch.autograd.gradgradcheck(call, (*leaves.values(), *parameters.values()))
    return [counted("second derivatives", sum(p.numel() for p in parameters.values()))]
