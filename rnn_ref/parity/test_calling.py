"""The call: its arguments by name or None, the hooks around it, and whose tensors are whose."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn_ref.bridge import NAMES, to_array, to_tensor
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.comparison import Comparison, compare_gradients, compare_results
from rnn_ref.judging.facts import has_parameters, same_facts, same_order, under
from rnn_ref.judging.failures import Fact, SubjectFault, require
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject, described, read_gradients, require_results

holds_for = in_group("calling")

Call = Callable[..., Any]

CALLS: dict[str, Callable[[Call, Any, Any], Any]] = {
    "hx by name": lambda call, x, h: call(x, hx=h),
    "both by name": lambda call, x, h: call(hx=h, input=x),
    "both by position": lambda call, x, h: call(x, h),
}
"""Ways to pass input and hx, which is None where a case has no h_0."""


@holds_for(promises=("unwritten.keywords", "rnn.zeros"), needs=("keyword",))
def test_arguments_may_be_named_and_h_0_none(case: Case, subject: Subject) -> list[Comparison]:
    """rnn(input, hx=h), rnn(input=x) and rnn(x, None) give what the equations give."""
    problem, comparisons = subject.problem(case), []
    expected, module = Oracle(problem).results, subject.build(problem)
    for how, call in CALLS.items():
        leaves = subject.leaves(problem)
        with torch.no_grad(), subject.calling(f"the call with {how}"):
            returned = call(module, leaves["input"], leaves.get("h_0"))
        results = require_results(subject, problem, returned)
        got = subject.arrays(problem, *results)
        comparisons += under(how, compare_results(problem, *got, expected))
    return comparisons


@holds_for(
    promises=("unwritten.keywords", "rnn.packed"),
    layouts=("steps", "batch_first"),
    needs=("packed", "keyword"),
    far=("T", "I", "L"),
)
def test_packed_arguments_may_be_named_and_h_0_none(
    case: Case, subject: Subject
) -> list[Comparison]:
    """A packed sequence may be passed by name, and with hx by name, or None."""
    problem, comparisons = subject.problem(replace(case, N=min(case.N, 20))), []
    (T, N, _), first = problem.input.shape, problem.layout.batch_first
    expected, module = Oracle(problem).results, subject.build(problem)
    for how, call in CALLS.items():
        leaves = subject.leaves(problem)
        packed = pack_padded_sequence(leaves["input"], torch.tensor([T] * N), first)
        with torch.no_grad(), subject.calling(f"the packed call with {how}"):
            returned = call(module, packed, leaves.get("h_0"))
        if not (isinstance(returned, tuple) and isinstance(returned[0], PackedSequence)):
            said = "a tuple of a PackedSequence and h_n"
            raise SubjectFault(Fact("the result of the packed call", described(returned), said))
        output = pad_packed_sequence(returned[0], first)[0]
        results = require_results(subject, problem, (output, *returned[1:]))
        got = subject.arrays(problem, *results)
        comparisons += under(f"packed, {how}", compare_results(problem, *got, expected))
    return comparisons


@holds_for(promises=("unwritten.hooks",), at_most=50, needs=("module",))
def test_forward_hooks_run_in_order_and_may_replace(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Pre-hooks see the arguments and hooks the results, in order; what they return counts."""
    problem = subject.problem(case)
    negated = replace(problem, input=-problem.input)
    module, leaves, ran = subject.build(problem), subject.leaves(problem), []

    def negate(_: Any, arguments: tuple[Any, ...]) -> Any:
        ran.append(f"first pre-hook, {whose(arguments[0], leaves['input'])}")
        return -arguments[0], *arguments[1:]

    def look(_: Any, arguments: tuple[Any, ...]) -> None:
        ran.append(f"second pre-hook, {whose(arguments[0], leaves['input'])}")

    def double(_: Any, arguments: tuple[Any, ...], results: Any) -> Any:
        ran.append(f"first hook, {whose(arguments[0], leaves['input'])}")
        return 2 * results[0], results[1]

    def look_again(_: Any, __: Any, results: Any) -> None:
        ran.append("second hook")
        seen.append(results[0])

    seen: list[Tensor] = []
    with subject.calling("registering hooks"):
        module.register_forward_pre_hook(negate)
        module.register_forward_pre_hook(look)
        module.register_forward_hook(double)
        module.register_forward_hook(look_again)
    with torch.no_grad():
        output, h_n = subject.forward(problem, module, leaves)
    order = [
        "first pre-hook, the caller's input", "second pre-hook, another input",
        "first hook, another input", "second hook",
    ]  # fmt: skip
    ran_so = same_order("hooks that ran", ran, order)
    last = "the result of the hook before it" if seen[0] is output else "another result"
    require("what the second hook sees", last, "the result of the hook before it")
    twice, last_state = subject.arrays(problem, output, h_n)
    oracle = Oracle(negated)
    expected = ((oracle.output + oracle.output).stored, oracle.h_n)
    compared = compare_results(negated, twice, last_state, expected)
    return [ran_so, *under("input negated and output doubled by hooks", compared)]


def whose(got: Any, own: Tensor) -> str:
    """Say whether an argument that a hook sees is the caller's own."""
    return "the caller's input" if got is own else "another input"


@holds_for(
    promises=("unwritten.hooks", "backward.chain_rule"), needs=("gradients", "module"), at_most=50
)
def test_full_backward_hooks_run_and_may_replace(case: Case, subject: Subject) -> list[Comparison]:
    """A full backward hook runs once, sees the upstream gradients, and may replace the input's."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    seen: list[tuple[Any, ...]] = []

    def double(_: Any, of_arguments: tuple[Any, ...], of_results: tuple[Any, ...]) -> Any:
        seen.append(of_results)
        return tuple(None if g is None else 2 * g for g in of_arguments)

    with subject.calling("registering a full backward hook"):
        module.register_full_backward_hook(double)
    subject.backward(problem, *subject.forward(problem, module, leaves))
    require("runs of a full backward hook", len(seen), 1)
    given = {"output": problem.grad_output is not None, "h_n": problem.grad_h_n is not None}
    got = dict(zip(given, (gradient is not None for gradient in seen[0]), strict=False))
    shown = same_facts("a full backward hook sees the gradient of", got, given)
    expected = Oracle(problem).gradients()
    for name in leaves:
        expected[name] = (expected[name] + expected[name]).stored
    gradients = read_gradients(subject, problem, module, leaves)
    compared = compare_gradients(problem, gradients, expected)
    return [shown, *under("the arguments' gradients doubled by a hook", compared)]


@holds_for(
    promises=("unwritten.pure", "module.requires_grad"), needs=("gradients", "module"), at_most=50
)
def test_a_call_leaves_requires_grad_as_it_was(case: Case, subject: Subject) -> list[Comparison]:
    """Whichever of input, h_0 and parameters require gradients, they do so after a call."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem)
    with subject.calling("reading named_parameters"):
        tensors = leaves | dict(module.named_parameters())
    before = {name: bool(case.seed >> i & 1) for i, name in enumerate(tensors)}
    for name, tensor in tensors.items():
        tensor.requires_grad = before[name]
    subject.forward(problem, module, leaves)
    with subject.calling("reading requires_grad"):
        after = {name: tensor.requires_grad for name, tensor in tensors.items()}
        filled = [name for name, tensor in tensors.items() if tensor.grad is not None]
    require("tensors with a gradient before backward", ", ".join(filled) or "none", "none")
    return [same_facts("after a call, requires_grad of", after, before)]


@holds_for(promises=("module.load", "unwritten.own"), at_most=30, needs=("module",))
def test_a_loaded_state_is_copied(case: Case, subject: Subject) -> list[Comparison]:
    """What is written into a state's tensors after load_state_dict does not reach the module."""
    problem = subject.problem(case)
    module = subject.build(replace(problem, parameters=negated(problem)))
    state = {
        name: to_tensor(array, problem.dtype, subject.device)
        for name, array in problem.parameters.items()
    }
    with torch.no_grad(), subject.calling("load_state_dict"):
        module.load_state_dict(state)
        for tensor in state.values():
            tensor.fill_(7)
    parameters = has_parameters(subject, module, problem, "after a change to the state loaded")
    run = subject.run(problem, module)
    return [*parameters, *compare_results(problem, *run.results, Oracle(problem).results)]


def negated(problem: Problem) -> dict[str, Any]:
    """Negate all parameters."""
    return {name: -array for name, array in problem.parameters.items()}


@holds_for(promises=("module.state_dict",), at_most=30, needs=("module",))
def test_state_dict_shows_the_living_parameters(case: Case, subject: Subject) -> list[Comparison]:
    """What is written into state_dict's tensors counts; what is written into parameters shows."""
    problem = subject.problem(case)
    module = subject.build(problem)
    with torch.no_grad(), subject.calling("negating state_dict's tensors in place"):
        state = dict(module.state_dict())
        requiring = [name for name, tensor in state.items() if tensor.requires_grad]
        for tensor in state.values():
            tensor.neg_()
    require("tensors of state_dict that require gradients", ", ".join(requiring) or "none", "none")
    other = replace(problem, parameters=negated(problem))
    run = subject.run(other, module)
    compared = compare_results(other, *run.results, Oracle(other).results)
    with torch.no_grad(), subject.calling("negating the parameters in place"):
        for parameter in module.parameters():
            parameter.neg_()
        shown = {name: to_array(tensor) for name, tensor in state.items()}
    alike = {n: np.array_equal(a, problem.parameters[n]) for n, a in shown.items()}
    facts = same_facts("shown by state_dict,", alike, dict.fromkeys(alike, True))
    dtypes = {name: NAMES.get(tensor.dtype, "another") for name, tensor in state.items()}
    same = same_facts("dtype in state_dict of", dtypes, dict.fromkeys(dtypes, problem.dtype))
    return [facts, same, *under("after a change to state_dict's tensors", compared)]
