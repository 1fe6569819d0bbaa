"""The steps of a life: what each does to the module, and what is judged of it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.bridge import TORCH_DTYPES, set_parameters, to_array, to_tensor
from rnn_ref.cases.case import Case
from rnn_ref.cases.history import Step, closed_by, plan
from rnn_ref.cases.problem import Problem
from rnn_ref.cases.random import RandomStream
from rnn_ref.judging.comparison import Comparison, compare_results
from rnn_ref.judging.facts import refuses, under
from rnn_ref.judging.failures import Fact, SubjectFault, require
from rnn_ref.judging.life import Call, Due, Life, OfRounded, Tensors, no_warnings
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Subject, described, require_results

RATE = 2.0**-6
"""How far a step of gradient descent goes: a power of two, so that the product rounds nothing."""


def lived(case: Case, subject: Subject) -> list[Comparison]:
    """Let a module live through the history of a case; return what was compared at each step."""
    with no_warnings("making the module"):
        life = Life(case, subject)
    comparisons = []
    for i, step in enumerate(plan(case.history.split(","))):
        life.doing = f"step {i + 1} of the history, {step}"
        with no_warnings(life.doing):
            found = taking(life, step)
        comparisons += under(f"at {life.doing}", found)
        comparisons.append(life.unchanged())
    with subject.calling("reading the gradients at the end of the history"):
        at_the_end = [found for due in life.due.values() for found in due.compared()]
    return comparisons + under("at the end of the history", at_the_end)


# Calls.


def make_call(life: Life, step: Step) -> list[Comparison]:
    """Call the module, and judge what it returns."""
    call = posed(life, step)
    subject, problem, recording = life.subject, call.problem, not closed_by(step.traits)
    leaves = subject.leaves(with_nan_beyond(call), gradients=recording)
    given = dict(leaves)
    if step.calls:
        call.parent = step.calls[0]
        given["h_0"] = life.calls[call.parent].results[-1]
    if recording:
        own = {name: leaf for name, leaf in leaves.items() if given[name] is leaf}
        call.tensors = own | {n: p for n, p in life.named().items() if p.requires_grad}
    before = len(life.hooks_run)
    output, h_n = returned(life, step, call, given)
    ran = life.hooks_run[before:]
    require(f"hooks run at {life.doing}", ran, ["before", "after"] if life.handles else [])
    call.results = output, h_n
    life.calls.append(call)
    for name, leaf in leaves.items():
        life.watch(f"the {name} of call {call.number}", leaf)
    for name, result in zip(("output", "h_n"), call.results, strict=True):
        life.watch(f"{name} of call {call.number}", result)
    arrays = subject.arrays(problem, *call.results)
    return compare_results(problem, *arrays, call.expected())


def posed(life: Life, step: Step) -> Call:
    """Draw what a call is given, and the reference's answers to it."""
    traits, fields = step.traits, dict[str, Any]()
    if "larger" in traits:
        fields = {"T": 2 * life.case.T + 1, "N": life.case.N + 1}
    elif "unbatched" in traits:
        fields = {"N": 1, "unbatched": True}
    fields |= {"h_0": False} if "none" in traits else {"h_0": True} if "keyword" in traits else {}
    problem = life.drawn_problem(**fields)
    if {"carried", "detached"}.intersection(traits):
        last = life.calls[-1]
        h_0 = last.problem.layout.to_rows(to_array(last.results[-1]))
        problem = replace(problem, h_0=h_0)
    T, N, _ = problem.input.shape
    number = len(life.calls)
    if "packed" not in traits:
        return Call(number, problem, None, [oracle_of(life, step, problem)])
    draws = RandomStream(life.case.seed + number, "lengths").words((N,))
    lengths = [1 + int(draw) % T for draw in draws]
    alone = [problem.rows(np.array([n])) for n in range(N)]
    cut = [replace(p, input=p.input[:length]) for p, length in zip(alone, lengths, strict=True)]
    return Call(number, problem, lengths, [oracle_of(life, step, each) for each in cut])


def oracle_of(life: Life, step: Step, problem: Problem) -> Oracle:
    """Answer a problem by the reference, in the mode of the moment."""
    masks = []
    if life.dropout and life.training:
        rounding = life.subject.rounding("bfloat16") if "autocast" in step.traits else None
        zero = np.zeros(problem.output_shape)
        masks = [Bounded(zero, rounding=rounding or problem.rounding)] * (problem.L - 1)
    if "autocast" not in step.traits:
        return Oracle(problem, masks)
    return OfRounded(replace(problem, rounding=life.subject.rounding("bfloat16")), masks)


def with_nan_beyond(call: Call) -> Problem:
    """Put NaN where a packed sequence has ended."""
    if call.lengths is None:
        return call.problem
    poisoned = call.problem.input.copy()
    for n, length in enumerate(call.lengths):
        poisoned[length:, n] = np.nan
    return replace(call.problem, input=poisoned)


def returned(life: Life, step: Step, call: Call, given: Tensors) -> tuple[torch.Tensor, ...]:
    """Call the module in a step's way; return output, padded again, and h_n."""
    first, traits, subject = call.problem.layout.batch_first, step.traits, life.subject
    input: Any = given["input"]
    if call.lengths is not None:
        lengths = torch.tensor(call.lengths)
        input = pack_padded_sequence(input, lengths, first, enforce_sorted=False)
    arguments, options = [input], dict[str, Any]()
    if "keyword" in traits:
        options["hx"] = given["h_0"]
    elif "h_0" in given or "none" in traits:
        arguments.append(given.get("h_0"))
    with subject.calling(life.doing), MODES[mode_of(step)](torch.device(subject.device).type):
        results = life.module(*arguments, **options)
    if not (isinstance(results, tuple) and len(results) == 2):
        expected = "a tuple (output, h_n)"
        raise SubjectFault(Fact(f"the result of {life.doing}", described(results), expected))
    output, h_n = results
    if call.lengths is not None:
        if not isinstance(output, PackedSequence):
            raise SubjectFault(Fact("output", described(output), "a PackedSequence"))
        life.watch(f"the packed output of call {call.number}", output.data)
        with subject.calling(f"unpacking the output of {life.doing}"):
            output, _ = pad_packed_sequence(output, first, total_length=len(call.problem.input))
    if "autocast" in traits:
        dtype = TORCH_DTYPES[call.problem.dtype]
        output, h_n = (r.to(dtype) if isinstance(r, torch.Tensor) else r for r in (output, h_n))
    return require_results(subject, call.problem, (output, h_n))


@contextmanager
def autocast(device: str) -> Iterator[None]:
    """Enter autocast to bfloat16, without gradients."""
    with torch.no_grad(), torch.autocast(device, torch.bfloat16):
        yield


MODES: dict[str, Callable[[str], Any]] = {
    "": lambda _: nullcontext(),
    "no_grad": lambda _: torch.no_grad(),
    "inference": lambda _: torch.inference_mode(),
    "autocast": autocast,
}
"""By mode of a call, what it is made under, for a type of device."""


def mode_of(step: Step) -> str:
    """Name the mode that is among a call's traits, if one is."""
    return next((trait for trait in step.traits if trait in MODES), "")


# Backward.


def go_back(life: Life, step: Step) -> list[Comparison]:
    """Go backward from some calls, and judge every gradient that is due."""
    results, upstream = [], []
    for call in (life.calls[i] for i in step.calls):
        p, layout = call.problem, call.problem.layout
        for result, array, of in zip(
            call.results, (p.grad_output, p.grad_h_n),
            (layout.from_steps, layout.from_rows), strict=True,
        ):  # fmt: skip
            if array is not None:
                results.append(result)
                upstream.append(to_tensor(of(array), p.dtype, life.subject.device))
                life.watch(f"a gradient handed to call {call.number}", upstream[-1])
    for again in (True, False) if step.word == "backward:twice" else (False,):
        with life.subject.calling(life.doing):
            torch.autograd.backward(results, upstream, retain_graph=again)
        touched = add_what_is_due(life, step.calls)
    with life.subject.calling(f"reading the gradients after {life.doing}"):
        return [comparison for due in touched for comparison in due.compared()]


def add_what_is_due(life: Life, calls: Sequence[int]) -> list[Due]:
    """Add what backward from some calls adds to each .grad, through carried states too.

    What one backward adds is one sum, in any order; then it is stored. Return those that changed.
    """
    sums: dict[int, Bounded] = {}
    carried: dict[int, Bounded] = {}
    for call in reversed(life.calls[: max(calls) + 1]):
        if call.number not in calls and call.number not in carried:
            continue
        gradients = call.differentiate(call.number in calls, carried.get(call.number))
        if call.parent is not None:
            dh_0 = gradients["h_0"]
            carried[call.parent] = carried[call.parent] + dh_0 if call.parent in carried else dh_0
        for name, tensor in call.tensors.items():
            if not tensor.requires_grad:
                continue
            key = id(tensor)
            life.due.setdefault(key, Due(name, tensor, call.problem))
            sums[key] = sums[key] + gradients[name] if key in sums else gradients[name]
    for key, gradient in sums.items():
        life.due[key].added.append(gradient.stored)
    return [life.due[key] for key in sums]


# The other steps.


def descend(life: Life) -> None:
    """Take a step of gradient descent, where the gradients are finite."""
    with torch.no_grad():
        for tensor in life.named().values():
            if tensor.grad is not None and bool(tensor.grad.isfinite().all()):
                tensor.add_(tensor.grad, alpha=-RATE)
    read_weights(life)


def read_weights(life: Life) -> None:
    """Go on with the weights that the parameters have."""
    with life.subject.calling(f"reading the parameters after {life.doing}"):
        life.with_weights({name: to_array(tensor) for name, tensor in life.named().items()})


def load(life: Life) -> None:
    """Load other weights."""
    set_parameters(life.module, life.drawn_weights())


def write(life: Life, how: Callable[[str, torch.Tensor, torch.Tensor], object]) -> None:
    """Bring other weights to the parameters, one by one."""
    weights, p = life.drawn_weights(), life.problem
    with torch.no_grad():
        for name, tensor in life.named().items():
            how(name, tensor, to_tensor(weights[name], p.dtype, life.subject.device))


def exchange(_: str, tensor: torch.Tensor, other: torch.Tensor) -> None:
    """Exchange the data of a parameter."""
    tensor.data = other


def put_new(life: Life) -> None:
    """Put new parameters in the place of the old ones."""
    write(life, lambda name, _, other: setattr(life.module, name, torch.nn.Parameter(other)))


def reset(life: Life) -> None:
    """Let the module draw its weights anew."""
    torch.manual_seed(life.case.seed)
    life.module.reset_parameters()
    read_weights(life)


def cast(life: Life) -> None:
    """Move the module, without gradients, to the other of float32 and float64."""
    life.module.zero_grad()
    life.forget_gradients()
    dtype = "float32" if life.problem.dtype == "float64" else "float64"
    itself(life, f"to({dtype})", life.module.to(TORCH_DTYPES[dtype]))
    parameters = {name: array.astype(dtype) for name, array in life.problem.parameters.items()}
    rounding = life.subject.rounding(dtype)
    life.problem = replace(life.problem, dtype=dtype, rounding=rounding, parameters=parameters)


def itself(life: Life, method: str, result: object) -> None:
    """Raise SubjectFault unless a method of the module has returned the module."""
    got = "the module" if result is life.module else described(result)
    require(f"the result of {method}", got, "the module")


def pass_on(life: Life, to: Callable[[torch.nn.Module], torch.nn.Module]) -> None:
    """Go on with another module of the same weights, without gradients, hooks and freezing."""
    unhook(life)
    life.module = to(life.module).requires_grad_(True)  # noqa: FBT003 - torch's own argument
    life.module.zero_grad()


def of_state(life: Life) -> None:
    """Go on with a new module that the old one's state_dict is loaded into."""
    state = life.module.state_dict()
    other = replace(life.problem, parameters={n: 0 * a for n, a in life.problem.parameters.items()})
    before, life.problem = life.problem, other
    made = life.made()
    life.problem = before
    made.load_state_dict(state)
    pass_on(life, lambda _: made)


def delete(life: Life) -> None:
    """Delete the module, and make a new one."""
    unhook(life)
    life.module = None
    life.module = life.made()


def switch(life: Life, *, training: bool) -> None:
    """Go to training or to evaluation mode."""
    life.training = training
    method = "train" if training else "eval"
    itself(life, f"{method}()", getattr(life.module, method)())


def zero(life: Life, *, zeros: bool) -> None:
    """Forget the parameters' gradients, or set them to zero."""
    life.module.zero_grad(set_to_none=not zeros)
    life.forget_gradients()
    for name, tensor in life.named().items():
        life.due[id(tensor)] = Due(name, tensor, life.problem)


def freeze(life: Life, *, frozen: bool) -> None:
    """Freeze layer 0, or thaw all."""
    for name, tensor in life.named().items():
        if not frozen or "_l0" in name:
            tensor.requires_grad = not frozen


def hook(life: Life) -> None:
    """Register a hook before and one after each call."""
    unhook(life)
    ran = life.hooks_run
    life.handles = [
        life.module.register_forward_pre_hook(lambda *_: ran.append("before")),
        life.module.register_forward_hook(lambda *_: ran.append("after")),
    ]


def unhook(life: Life) -> None:
    """Remove the hooks."""
    for handle in life.handles:
        handle.remove()
    life.handles = []


def spoil(life: Life) -> None:
    """Call the module with nothing but NaN."""
    problem = life.drawn_problem()
    nan = {name: np.full_like(array, np.nan) for name, array in problem.arguments.items()}
    leaves = life.subject.leaves(replace(problem, input=nan["input"], h_0=nan.get("h_0")))
    life.module(*leaves.values())


def call_empty(life: Life) -> None:
    """Call the module with a batch of none."""
    problem = life.drawn_problem()
    leaves = life.subject.leaves(replace(problem, input=problem.input[:, :0], h_0=None))
    life.module(leaves["input"])


PLAIN: dict[str, Callable[[Life], None]] = {
    "descend": descend,
    "load": load,
    "change": lambda life: write(life, lambda _, tensor, other: tensor.copy_(other)),
    "exchange": lambda life: write(life, exchange),
    "replace": put_new,
    "reset": reset,
    "cast": cast,
    "deepcopy": lambda life: pass_on(life, copy.deepcopy),
    "pickle": lambda life: pass_on(life, lambda m: pickle.loads(pickle.dumps(m))),  # noqa: S301
    "state": of_state,
    "delete": delete,
    "train": lambda life: switch(life, training=True),
    "eval": lambda life: switch(life, training=False),
    "zero_grad": lambda life: zero(life, zeros=False),
    "zero_grad:zeros": lambda life: zero(life, zeros=True),
    "freeze": lambda life: freeze(life, frozen=True),
    "thaw": lambda life: freeze(life, frozen=False),
    "flatten": lambda life: life.module.flatten_parameters(),
    "hook": hook,
    "unhook": unhook,
    "spoilt": spoil,
    "empty": call_empty,
}
"""The steps that return nothing to judge."""


def refuse(life: Life) -> list[Comparison]:
    """Call the module with one feature too many: that must raise."""
    problem = life.drawn_problem()
    wider = np.concatenate([problem.input, problem.input[..., :1]], axis=2)
    leaves = life.subject.leaves(replace(problem, input=wider))
    with torch.no_grad():
        return [refuses(life.subject, life.doing, lambda: life.module(*leaves.values()))]


def call_another(life: Life) -> list[Comparison]:
    """Make and call a second module; judge its results."""
    problem = life.subject.problem(life.drawn_case())
    return compare_results(problem, *life.subject.run(problem).results, Oracle(problem).results)


def taking(life: Life, step: Step) -> list[Comparison]:
    """Take a step; return what was compared."""
    if step.word == "call":
        return make_call(life, step)
    if step.word.startswith("backward"):
        return go_back(life, step)
    if step.word == "refused":
        return refuse(life)
    if step.word == "another":
        return call_another(life)
    with life.subject.calling(life.doing):
        PLAIN[step.word](life)
    if step.word.startswith("zero_grad"):
        return [comparison for due in life.due.values() for comparison in due.compared()]
    return []
