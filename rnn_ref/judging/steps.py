"""The steps of a life: what each does to the module, and what is judged of it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.bridge import TORCH_DTYPES, set_parameters, to_array, to_tensor
from rnn_ref.cases.case import Case
from rnn_ref.cases.history import Step, plan
from rnn_ref.judging.calls import make_call
from rnn_ref.judging.comparison import Comparison, compare_results
from rnn_ref.judging.facts import refuses, under
from rnn_ref.judging.failures import require
from rnn_ref.judging.life import Due, Life, no_warnings
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Subject, described

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
    """Exchange the data of a parameter; they lie in memory as before, as `.grad` does too."""
    tensor.data = torch.empty_like(tensor).copy_(other)


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
    h_0 = None if problem.h_0 is None else problem.h_0[:, :0]
    leaves = life.subject.leaves(replace(problem, input=problem.input[:, :0], h_0=h_0))
    life.module(*leaves.values())


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
