"""Gradients asked for in other ways: again, in part, for some, of other weights, of gradients."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.bridge import set_parameters, to_array, to_tensor
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.comparison import (
    GRADIENT,
    Comparison,
    compare_gradients,
    compare_results,
    counted,
)
from rnn_ref.judging.facts import has_second_derivatives, same_arrays, same_facts, under
from rnn_ref.judging.failures import Raised, SubjectFault, require
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject, read_gradients, require_results

holds_for = in_group("gradients")

GRADIENTS = ("gradients",)


def twice(gradients: Mapping[str, Bounded]) -> dict[str, Bounded]:
    """Expect each gradient twice, added up."""
    return {name: (gradient + gradient).stored for name, gradient in gradients.items()}


@holds_for(promises=("backward.accumulates",), needs=GRADIENTS)
def test_gradients_of_two_calls_add_up(case: Case, subject: Subject) -> list[Comparison]:
    """A second call and backward add to what is in .grad; nothing is overwritten."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    for _ in range(2):
        subject.backward(problem, *subject.forward(problem, module, leaves))
    gradients = read_gradients(subject, problem, module, leaves)
    return compare_gradients(problem, gradients, twice(Oracle(problem).gradients()))


@holds_for(promises=("backward.chain_rule",), needs=GRADIENTS)
def test_backward_goes_through_its_own_call(case: Case, subject: Subject) -> list[Comparison]:
    """Of two calls that are open at once, each has the gradients of its own arguments."""
    first = subject.problem(case)
    drawn = subject.problem(replace(case, seed=(case.seed + 1) % 2**64))
    second = replace(first, input=drawn.input, h_0=drawn.h_0)
    module = subject.build(first)
    opened = []
    for problem in (first, second):
        leaves = subject.leaves(problem, gradients=True)
        opened.append((problem, leaves, subject.forward(problem, module, leaves)))
    comparisons: list[Comparison] = []
    before: dict[str, Bounded] = {}
    for which, (problem, leaves, results) in zip(("first", "second"), opened, strict=True):
        subject.backward(problem, *results)
        own = Oracle(problem).gradients()
        expected = {n: (g + before[n]).stored if n in before else g for n, g in own.items()}
        gradients = read_gradients(subject, problem, module, leaves)
        note = f"of the {which} of two open calls"
        comparisons += under(note, compare_gradients(problem, gradients, expected))
        before = {name: own[name] for name in problem.parameters}
    return comparisons


@holds_for(promises=("unwritten.pure",), needs=GRADIENTS)
def test_backward_writes_into_nothing_that_it_is_handed(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Upstream gradients, arguments and results are the same, to the bit, after it."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    results = subject.forward(problem, module, leaves)
    losses, upstream = subject.upstream(problem, *results)
    handed = leaves | dict(zip(("output", "h_n"), results, strict=True))
    given = {"output": problem.grad_output, "h_n": problem.grad_h_n}
    names = [
        f"the upstream gradient of {n}" for n, gradient in given.items() if gradient is not None
    ]
    handed |= dict(zip(names, upstream, strict=True))
    before = {name: to_array(tensor).copy() for name, tensor in handed.items()}
    with subject.calling("backward"):
        torch.autograd.backward(losses, upstream)
    same = {n: np.array_equal(to_array(t), before[n], equal_nan=True) for n, t in handed.items()}
    now = {name: "as it was" if is_same else "other numbers" for name, is_same in same.items()}
    return [same_facts("after backward,", now, dict.fromkeys(now, "as it was"))]


@holds_for(promises=("grad.returned",), needs=GRADIENTS)
def test_gradients_are_returned_to_who_asks_for_them(
    case: Case, subject: Subject
) -> list[Comparison]:
    """torch.autograd.grad returns the gradients, and leaves alone those that .grad has already."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    subject.backward(problem, *subject.forward(problem, module, leaves))
    before = read_gradients(subject, problem, module, leaves)
    results = subject.forward(problem, module, leaves)
    with subject.calling("reading named_parameters"):
        tensors = leaves | dict(module.named_parameters())
    losses, upstream = subject.upstream(problem, *results)
    with subject.calling("torch.autograd.grad"):
        asked = torch.autograd.grad(losses, list(tensors.values()), upstream, allow_unused=True)
    after = read_gradients(subject, problem, module, leaves)
    with subject.calling("putting what is returned into .grad"):
        for tensor, gradient in zip(tensors.values(), asked, strict=True):
            tensor.grad = gradient
    returned = read_gradients(subject, problem, module, leaves)
    kept = same_arrays("in .grad after torch.autograd.grad", after, before, problem.rounding)
    return [
        *(replace(each, name=GRADIENT + each.name) for each in kept),
        *compare_gradients(problem, returned, Oracle(problem).gradients()),
    ]


@holds_for(promises=("backward.retain_graph",), needs=GRADIENTS)
def test_a_retained_graph_gives_the_same_gradients_again(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Backward through one call again adds the gradients of what comes from above then."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    results = subject.forward(problem, module, leaves)
    subject.backward(problem, *results, retain_graph=True)
    subject.backward(problem, *results, arrange=lambda gradient: 2 * gradient)
    gradients = read_gradients(subject, problem, module, leaves)
    once = Oracle(problem).gradients()
    expected = {name: (once[name] + g).stored for name, g in twice(once).items()}
    return compare_gradients(problem, gradients, expected)


KINDS = ("input", "h_0", "weight_ih", "weight_hh", "bias_ih", "bias_hh")
FROZEN = (
    *("+".join(kinds) for n in range(1, len(KINDS)) for kinds in combinations(KINDS, n)),
    "layer-0",
    "last-layer",
    "reverse",
)
"""What is frozen: some kinds of tensors, or the parameters of a layer or a direction."""


def is_frozen(name: str, variant: str, L: int) -> bool:
    """Tell whether a variant of FROZEN freezes a tensor, by its name."""
    if variant == "layer-0":
        return "_l0" in name
    if variant == "last-layer":
        return f"_l{L - 1}" in name
    if variant == "reverse":
        return name.endswith("_reverse")
    return name.partition("_l")[0] in variant.split("+")


@holds_for(promises=("module.requires_grad",), needs=("gradients", "module"), variants=FROZEN)
def test_what_is_frozen_gets_no_gradient_and_the_rest_its_own(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Whichever of input, h_0 and parameters need no gradient, the others' are right."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    with subject.calling("reading named_parameters"):
        tensors = leaves | dict(module.named_parameters())
    frozen = [name for name in tensors if is_frozen(name, case.variant, problem.L)]
    frozen = frozen[: len(tensors) - 1]  # one must be left that needs a gradient
    with subject.calling(f"setting requires_grad of {', '.join(frozen)} to False"):
        for name in frozen:
            tensors[name].requires_grad = False
    subject.backward(problem, *subject.forward(problem, module, leaves))
    with subject.calling("reading the gradients of what is frozen"):
        learning = {name: tensors[name].requires_grad for name in frozen}
        wrong = [name for name in frozen if tensors[name].grad is not None]
    same_facts("after a call, requires_grad of", learning, dict.fromkeys(frozen, False))
    require("frozen tensors with a gradient", ", ".join(wrong) or "none", "none")
    gradients = read_gradients(subject, problem, module, leaves)
    expected = Oracle(problem).gradients()
    others = {name: gradient for name, gradient in expected.items() if name not in frozen}
    note = f"frozen: {', '.join(frozen) or 'nothing'}"
    return [
        counted("frozen tensors", len(frozen)),
        *under(note, compare_gradients(problem, gradients, others)),
    ]


@holds_for(promises=("backward.vector",), needs=GRADIENTS, losses=("output",))
def test_the_gradient_of_one_element_of_output(case: Case, subject: Subject) -> list[Comparison]:
    """A loss that reads one element of output has that element's gradients."""
    problem = subject.problem(case)
    shape = problem.output_shape
    at = tuple(map(int, np.unravel_index(case.seed % int(np.prod(shape)), shape)))
    one = np.zeros_like(problem.input, shape=shape)
    one[at] = 1
    problem = replace(problem, grad_output=one)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    output, _ = subject.forward(problem, module, leaves)
    with subject.calling(f"backward from output{list(at)}"):
        problem.layout.to_steps(output)[at].backward()
    gradients = read_gradients(subject, problem, module, leaves)
    note = f"the loss is output{list(at)}"
    return under(note, compare_gradients(problem, gradients, Oracle(problem).gradients()))


@holds_for(promises=("backward.vector", "unwritten.memory"), needs=GRADIENTS, losses=("output",))
def test_the_gradient_of_a_sum_comes_expanded(case: Case, subject: Subject) -> list[Comparison]:
    """`output.sum()` hands back one 1, with strides of 0: it is as good as an array of ones."""
    problem = subject.problem(case)
    ones = np.ones_like(problem.input, shape=problem.output_shape)
    problem = replace(problem, grad_output=ones)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    output, _ = subject.forward(problem, module, leaves)
    with subject.calling("backward from output.sum()"):
        torch.autograd.backward(output.sum())
    gradients = read_gradients(subject, problem, module, leaves)
    return compare_gradients(problem, gradients, Oracle(problem).gradients())


@holds_for(promises=("backward.vector", "unwritten.memory"), needs=GRADIENTS)
def test_upstream_gradients_may_lie_in_any_order(case: Case, subject: Subject) -> list[Comparison]:
    """Gradients for output and h_n that are transposed views are read by their strides."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    results = subject.forward(problem, module, leaves)
    subject.backward(problem, *results, arrange=lambda gradient: gradient.mT.contiguous().mT)
    gradients = read_gradients(subject, problem, module, leaves)
    return compare_gradients(problem, gradients, Oracle(problem).gradients())


def change_in_place(module: torch.nn.Module, problem: Problem) -> None:
    """Write the weights into the parameters in place."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(to_tensor(problem.parameters[name], problem.dtype))


def take_a_step(module: torch.nn.Module, problem: Problem) -> None:
    """Take the step that leads to the weights, as torch.optim.SGD takes it.

    It leads from 0 by their negatives at a rate of 1, which rounds nothing. (torch.optim
    itself would import torch's compiler, which takes a second in each process.)
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.zero_()
            target = to_tensor(problem.parameters[name], problem.dtype)
            parameter.add_(-target.to(parameter.device), alpha=-1.0)


def set_new_parameters(module: torch.nn.Module, problem: Problem) -> None:
    """Put new parameters in the place of the old ones."""
    for name, parameter in list(module.named_parameters()):
        tensor = to_tensor(problem.parameters[name], problem.dtype).to(parameter.device)
        setattr(module, name, torch.nn.Parameter(tensor))


def exchange_data(module: torch.nn.Module, problem: Problem) -> None:
    """Exchange the parameters' data."""
    for name, parameter in module.named_parameters():
        tensor = to_tensor(problem.parameters[name], problem.dtype)
        parameter.data = tensor.to(parameter.device)


CHANGES: dict[str, Callable[[torch.nn.Module, Problem], None]] = {
    "load_state_dict": lambda module, problem: set_parameters(module, problem.parameters),
    "copy_": change_in_place,
    "optimizer-step": take_a_step,
    "new-parameters": set_new_parameters,
    "data": exchange_data,
}
"""Ways in which a module comes by other weights, by the names of variants."""


@holds_for(
    promises=("module.load", "unwritten.memory"),
    needs=GRADIENTS,
    variants=tuple(CHANGES),
)
def test_changed_weights_are_the_ones_that_count(case: Case, subject: Subject) -> list[Comparison]:
    """After any change to the weights of a module that has run, it computes with the new ones.

    So it does in evaluation, without gradients, where a subject may keep what it made of them.
    """
    problem = subject.problem(case)
    old = subject.problem(replace(case, seed=case.seed ^ 1, weights="torch"))
    module = subject.build(old)
    subject.run(problem, module, gradients=True)
    with subject.calling("eval"):
        module.eval()
    leaves, results = subject.leaves(problem), Oracle(problem).results
    with torch.no_grad():
        subject.forward(problem, module, leaves)
    with subject.calling(f"changing the weights ({case.variant})"):
        CHANGES[case.variant](module, problem)
    with torch.no_grad():  # with the same arguments, which a subject may have kept results of
        inferred = subject.arrays(problem, *subject.forward(problem, module, leaves))
    with subject.calling("train"):
        module.train()
    evaluation = compare_results(problem, *inferred, results)
    return [
        *compare_all(subject, problem, module),
        *under("in evaluation, under no_grad", evaluation),
    ]


@holds_for(promises=("module.eval", "module.train"), needs=("gradients", "module"))
def test_gradients_are_there_in_eval_too(case: Case, subject: Subject) -> list[Comparison]:
    """Evaluation mode, without dropout, changes neither results nor gradients."""
    problem = subject.problem(case)
    module = subject.build(problem)
    with subject.calling("eval"):
        module.eval()
    return compare_all(subject, problem, module)


def compare_all(subject: Subject, problem: Problem, module: torch.nn.Module) -> list[Comparison]:
    """Run a module, and judge results and gradients by the reference's."""
    run, oracle = subject.run(problem, module, gradients=True), Oracle(problem)
    return [
        *compare_results(problem, *run.results, oracle.results),
        *compare_gradients(problem, run.gradients, oracle.gradients()),
    ]


checkpointed: Callable[..., Any] = inspect.unwrap(checkpoint)
"""torch's checkpoint without its decorator, which imports the compiler: that takes seconds.

So does `use_reentrant=False`, which asks the compiler's settings.
"""


@holds_for(promises=("checkpoint.recomputed",), needs=("gradients", "module"), at_most=50)
def test_gradients_survive_checkpointing(case: Case, subject: Subject) -> list[Comparison]:
    """Recomputed in backward (torch.utils.checkpoint), the forward pass gives the gradients."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    with subject.calling("the call under checkpoint"):
        returned = checkpointed(module, *leaves.values(), use_reentrant=True)
    subject.backward(problem, *require_results(subject, problem, returned))
    gradients = read_gradients(subject, problem, module, leaves)
    return compare_gradients(problem, gradients, Oracle(problem).gradients())


OVERWRITTEN = ("input", "h_0", "weight_hh_l0", "output")
"""What is overwritten between a call and its backward pass."""


@holds_for(
    promises=("unwritten.versions",),
    needs=("gradients", "module"),
    variants=OVERWRITTEN,
    initial_states=(True,),
)
def test_what_is_overwritten_before_backward_gives_no_wrong_gradient(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Backward raises where it needs what was overwritten, or gives the gradients of the call."""
    problem, name = subject.problem(case), case.variant
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    output, h_n = subject.forward(problem, module, leaves)
    with subject.calling(f"overwriting {name}"), torch.no_grad():
        (leaves | {"output": output} | dict(module.named_parameters()))[name].add_(1)
    try:
        subject.backward(problem, output, h_n)
    except SubjectFault as fault:
        if not isinstance(fault.cause, Raised) or fault.out_of_memory:
            raise
        return [counted("backward passes that are refused", 1)]
    gradients = read_gradients(subject, problem, module, leaves)
    note = f"{name} overwritten before backward"
    return under(note, compare_gradients(problem, gradients, Oracle(problem).gradients()))


LONG: dict[str, Any] = {"weights": ("contracting",), "inputs": ("normal",), "at_most": 2, "far": ()}
"""The domain of sequences of 1,000 steps, of which a few examples do."""


@holds_for(promises=("backward.chain_rule",), needs=GRADIENTS, **LONG)
def test_gradients_reach_through_a_thousand_steps(case: Case, subject: Subject) -> list[Comparison]:
    """Weights' gradients are sums over all steps, however many."""
    problem = subject.problem(replace(case, T=1000, N=min(case.N, 3), H=min(case.H, 20)))
    run = subject.run(problem, gradients=True)
    return compare_gradients(problem, run.gradients, Oracle(problem).gradients())


@holds_for(
    promises=("backward.create_graph",),
    needs=("gradients", "double_backward"),
    needs_dtypes=("float64",),
    dtypes=("float64",),
    nonlinearities=("tanh",),
    weights=("torch", "contracting"),
    inputs=("normal",),
    at_most=10,
    far=(),
)
def test_gradients_have_gradients(case: Case, subject: Subject) -> list[Comparison]:
    """Second derivatives agree with differences of first ones (torch.autograd.gradgradcheck)."""
    small = {axis: min(getattr(case, axis), 2) for axis in "TNIH"}
    problem = subject.problem(replace(case, **small, L=min(case.L, 2)))
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    with subject.calling("reading named_parameters"):
        parameters = dict(module.named_parameters())
        tensors = (*leaves.values(), *parameters.values())

    def call(*tensors: torch.Tensor) -> Any:
        weights = dict(zip(parameters, tensors[len(leaves) :], strict=True))
        returned = torch.func.functional_call(module, weights, tensors[: len(leaves)])
        return require_results(subject, problem, returned)

    torch.manual_seed(case.seed)  # it draws the upstream gradients
    return [has_second_derivatives(subject, "a second derivative", call, tensors)]
