"""Misuse: it is refused with an error of the documented kind, and leaves the module as it was."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from rnn_ref.bridge import TORCH_DTYPES, parameters_of
from rnn_ref.case import Case
from rnn_ref.examination import holds_for
from rnn_ref.isolation import timed
from rnn_ref.judge import Comparison, counted
from rnn_ref.subject import Subject, SubjectFault

REFUSALS = (ValueError, TypeError, RuntimeError)
"""What torch.nn.RNN raises for misuse, by its documentation and its source."""

Leaves = dict[str, torch.Tensor]

CONSTRUCTIONS: dict[str, dict[str, Any]] = {
    "hidden_size 0": {"hidden_size": 0},
    "hidden_size -1": {"hidden_size": -1},
    "hidden_size 2.5": {"hidden_size": 2.5},
    "num_layers 0": {"num_layers": 0},
    "num_layers -1": {"num_layers": -1},
    "nonlinearity sigmoid": {"nonlinearity": "sigmoid"},
    "nonlinearity None": {"nonlinearity": None},
    "dropout -0.1": {"num_layers": 2, "dropout": -0.1},
    "dropout 1.5": {"num_layers": 2, "dropout": 1.5},
    "dropout True": {"num_layers": 2, "dropout": True},
    "dropout of text": {"num_layers": 2, "dropout": "much"},
    "proj_size 3": {"proj_size": 3},
    "an unknown option": {"layers": 2},
}
"""Options with which no nn.RNN is made."""


def reshaped(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., Leaves]:
    """A change to one of the arguments."""
    return lambda leaves: {**leaves, name: change(leaves[name])}


def longer(axis: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """One more along an axis."""
    return lambda tensor: torch.cat([tensor, tensor.narrow(axis, 0, 1)], dim=axis)


def other_dtype(tensor: torch.Tensor) -> torch.Tensor:
    """Numbers of another dtype than the weights'."""
    return tensor.float() if tensor.dtype == torch.float64 else tensor.double()


CALLS: dict[str, Callable[[Leaves], Leaves]] = {
    "input of 1 axis": reshaped("input", lambda x: x.flatten()),
    "input of 4 axes": reshaped("input", lambda x: x[None, None] if x.ndim == 2 else x[None]),
    "input_size too large": reshaped("input", longer(-1)),
    "no steps": reshaped("input", lambda x: x[:0]),
    "another dtype of input": reshaped("input", other_dtype),
    "whole numbers as input": reshaped("input", lambda x: torch.ones_like(x, dtype=torch.int64)),
}
"""Changes to the arguments of a call that make it wrong, by what is wrong."""

STATES: dict[str, Callable[[Leaves], Leaves]] = {
    "h_0 of one layer more": reshaped("h_0", longer(0)),
    "hidden_size of h_0 too large": reshaped("h_0", longer(-1)),
    "h_0 of another rank": reshaped("h_0", lambda h: h[0]),
    "h_0 of 4 axes": reshaped("h_0", lambda h: h[None, None] if h.ndim == 2 else h[None]),
    "another dtype of h_0": reshaped("h_0", other_dtype),
}
"""The same for calls with an h_0."""


@holds_for(at_most=20)
def test_nonsense_is_not_constructed(case: Case, subject: Subject) -> list[Comparison]:
    """Sizes that are not positive or not whole, unknown options and values raise errors.

    Promise: rnn.nonlinearity, unwritten.refusal.
    """
    for name, options in CONSTRUCTIONS.items():
        given = {"input_size": case.I, "hidden_size": case.H, **options}
        refuses(f"constructing a module with {name}", partial(subject.factory, **given))
    return [counted("refusals", len(CONSTRUCTIONS))]


def refuses(what: str, do: Callable[[], Any]) -> None:
    """Raise SubjectFault unless `do` raises an error of a documented kind."""
    try:
        with timed():
            do()
    except REFUSALS:
        return
    except Exception as error:
        raise SubjectFault(f"{what} raised {type(error).__name__}: {error}") from error
    raise SubjectFault(f"{what} raised no error")


@holds_for(at_most=30)
def test_a_wrong_call_is_refused_and_leaves_no_trace(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Wrong ranks, sizes and dtypes raise errors; weights and later results are as before.

    Promise: rnn.input, unwritten.refusal.
    """
    problem = case.problem()
    module, leaves = subject.build(problem), subject.leaves(problem)
    before = subject.run(problem, module)
    misuses = CALLS if problem.h_0 is None else {**CALLS, **STATES}
    for name, change in misuses.items():
        wrong = change(leaves)
        if name == "no steps" and problem.layout.batch_first and not problem.layout.unbatched:
            wrong = {**leaves, "input": leaves["input"][:, :0]}
        with torch.no_grad():
            refuses(f"a call with {name}", partial(module, *wrong.values()))
    after = subject.run(problem, module)
    if not np.array_equal(before.output, after.output, equal_nan=True):
        raise SubjectFault("after refused calls the same call gives other results")
    for name, array in parameters_of(module).items():
        if not np.array_equal(array, problem.parameters[name]):
            raise SubjectFault(f"a refused call changed {name}")
    return [counted("refusals", len(misuses))]


@holds_for(at_most=20, layouts=("steps", "batch_first"), initial_states=(True,), needs=("h_0",))
def test_a_state_of_another_batch_is_refused(case: Case, subject: Subject) -> list[Comparison]:
    """h_0 for more rows than the input has, or without a batch where it has one, raises errors.

    Promise: rnn.hx, unwritten.refusal.
    """
    problem = case.problem()
    module, leaves = subject.build(problem), subject.leaves(problem)
    wrong = {
        "h_0 of one row more": longer(1)(leaves["h_0"]),
        "h_0 without a batch": leaves["h_0"][:, 0],
    }
    with torch.no_grad():
        for name, h_0 in wrong.items():
            refuses(f"a call with {name}", partial(module, leaves["input"], h_0))
    return [counted("refusals", len(wrong))]


@holds_for(layouts=("steps", "batch_first"), needs=("gradients",), at_most=30)
def test_a_batch_of_none_is_accepted(case: Case, subject: Subject) -> list[Comparison]:
    """With N = 0, output and h_n are empty with the right shapes, and weights' gradients zero.

    Promise: unwritten.empty.
    """
    problem = case.problem()
    module, dtype = subject.build(problem), TORCH_DTYPES[problem.dtype]
    T, _, I = problem.input.shape
    first = problem.layout.batch_first
    shape = (0, T, I) if first else (T, 0, I)
    width = problem.D * problem.H
    output, h_n = module(torch.zeros(shape, dtype=dtype, device=subject.device))
    shapes = {
        "output": (tuple(output.shape), (0, T, width) if first else (T, 0, width)),
        "h_n": (tuple(h_n.shape), (problem.L * problem.D, 0, problem.H)),
    }
    for name, (came, due) in shapes.items():
        if came != due:
            raise SubjectFault(f"{name} of an empty batch has shape {came}, not {due}")
    torch.autograd.backward(output.sum() + h_n.sum())
    for name, parameter in module.named_parameters():
        if parameter.grad is not None and bool(parameter.grad.any()):
            raise SubjectFault(f"an empty batch gives {name} a gradient")
    return [counted("shapes and gradients", 2 + len(problem.parameters))]
