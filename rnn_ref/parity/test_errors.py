"""Misuse: it is refused with an error of the documented kind, and leaves the module as it was."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnn_ref.bridge import other_dtype
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.comparison import Comparison, counted, same_results
from rnn_ref.judging.facts import given, has_parameters, refuses, same_arrays, same_facts, tried
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject, read_gradients, require_results

holds_for = in_group("errors")

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


def reshaped(
    name: str, change: Callable[[torch.Tensor], torch.Tensor]
) -> Callable[[Leaves], Leaves]:
    """Make a change to one of the arguments."""
    return lambda leaves: {**leaves, name: change(leaves[name])}


def longer(axis: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Make a change that adds one more along an axis."""
    return lambda tensor: torch.cat([tensor, tensor.narrow(axis, 0, 1)], dim=axis)


CALLS: dict[str, Callable[[Leaves], Leaves]] = {
    "input of 1 axis": reshaped("input", lambda x: x.flatten()),
    "input of 4 axes": reshaped("input", lambda x: x[None, None] if x.ndim == 2 else x[None]),
    "input_size too large": reshaped("input", longer(-1)),
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


def wrong_calls(problem: Problem, leaves: Leaves) -> dict[str, Leaves]:
    """Make the arguments of calls that are refused, by what is wrong."""
    changes = CALLS if problem.h_0 is None else CALLS | STATES
    return {name: change(leaves) for name, change in changes.items()}


OPTIONS = (
    "input_size", "hidden_size", "num_layers", "nonlinearity", "bias", "batch_first", "dropout",
    "bidirectional", "training",
)  # fmt: skip
"""The attributes in which a module may keep its options, and its mode."""


def options_of(module: torch.nn.Module) -> dict[str, Any]:
    """Read a module's options, and its mode."""
    return {name: getattr(module, name) for name in OPTIONS if hasattr(module, name)}


def refused(
    subject: Subject, module: torch.nn.Module, what: str, input: Any, h_0: Any = None
) -> Comparison:
    """Raise SubjectFault unless a call raises, and leaves the module's options as they were.

    The call is named with the arguments that it had.
    """
    arguments = {"input": input} if h_0 is None else {"input": input, "h_0": h_0}
    options, call = options_of(module), partial(module, *arguments.values())
    comparison = refuses(subject, f"{what} ({given(arguments)})", call)
    same_facts("after a refused call, the module's", options_of(module), options)
    return comparison


@holds_for(promises=("rnn.nonlinearity", "unwritten.refusal"), at_most=20, needs=("module",))
def test_nonsense_is_not_constructed(case: Case, subject: Subject) -> list[Comparison]:
    """Sizes that are not positive or not whole, unknown options and values raise errors."""
    sizes = {"input_size": case.I, "hidden_size": case.H}
    return [
        refuses(
            subject,
            f"constructing a module with {name} ({given({**sizes, **options})})",
            partial(subject.factory, **{**sizes, **options}),
        )
        for name, options in CONSTRUCTIONS.items()
    ]


@holds_for(promises=("rnn.input", "unwritten.refusal"), at_most=30, needs=("refusals",))
def test_a_wrong_call_is_refused_and_leaves_no_trace(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Wrong ranks, sizes and dtypes raise errors; options, weights and later results stay."""
    problem = subject.problem(case)
    module = subject.build(problem)
    before = subject.run(problem, module)
    refusals = [
        refused(subject, module, f"a call with {name}", *wrong.values())
        for name, wrong in wrong_calls(problem, subject.leaves(problem)).items()
    ]
    after = subject.run(problem, module)
    return [
        *refusals,
        *same_results(problem, "after refused calls", after.results, before.results),
        *has_parameters(subject, module, problem, "after refused calls"),
    ]


@holds_for(
    promises=("rnn.hx", "unwritten.refusal"),
    at_most=20,
    layouts=("steps", "batch_first"),
    initial_states=(True,),
    needs=("h_0", "refusals"),
)
def test_a_state_of_another_batch_is_refused(case: Case, subject: Subject) -> list[Comparison]:
    """h_0 for more rows than the input has, or without a batch where it has one, raises errors."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem)
    wrong = {
        "h_0 of one row more": longer(1)(leaves["h_0"]),
        "h_0 without a batch": leaves["h_0"][:, 0],
    }
    return [
        refused(subject, module, f"a call with {name}", leaves["input"], h_0)
        for name, h_0 in wrong.items()
    ]


def without_rows(problem: Problem) -> Problem:
    """Take all rows away: input (T, 0, I), h_0 (L*D, 0, H), and no loss."""
    h_0 = None if problem.h_0 is None else problem.h_0[:, :0]
    return replace(problem, input=problem.input[:, :0], h_0=h_0, grad_output=None, grad_h_n=None)


@holds_for(
    promises=("unwritten.empty",),
    layouts=("steps", "batch_first"),
    needs=("gradients",),
    at_most=30,
)
def test_a_batch_of_none_is_accepted(case: Case, subject: Subject) -> list[Comparison]:
    """With N = 0, output and h_n are empty with the right shapes, and weights' gradients zero."""
    problem = subject.problem(case)
    empty = without_rows(problem)
    module, leaves = subject.build(problem), subject.leaves(empty, gradients=True)
    with subject.calling("the call with an empty batch"):
        returned = module(*leaves.values())
    results = require_results(subject, empty, returned)
    with torch.no_grad(), subject.calling("the call with an empty batch, without gradients"):
        require_results(subject, empty, module(*leaves.values()))
    with subject.calling("backward of an empty batch"):
        torch.autograd.backward([result.sum() for result in results])
    gradients = read_gradients(subject, empty, module, leaves)
    gradients = {name: gradients[name] for name in problem.parameters}
    zeros = {name: np.zeros(array.shape) for name, array in problem.parameters.items()}
    note = "in the gradients of an empty batch"
    return [
        counted("shapes of empty results", len(results)),
        *same_arrays(note, gradients, zeros, problem.rounding),
    ]


@holds_for(promises=("unwritten.empty", "unwritten.refusal"), at_most=30, far=())
def test_an_empty_sequence_is_refused_or_gives_nothing(
    case: Case, subject: Subject
) -> list[Comparison]:
    """With T = 0 a call raises, or returns an output of no steps and the initial state."""
    problem = subject.problem(case)
    empty = replace(problem, input=problem.input[:0], grad_output=None, grad_h_n=None)
    module, leaves = subject.build(problem), subject.leaves(empty)
    what = f"a call with no steps ({given(leaves)})"
    with torch.no_grad():
        refused, returned = tried(subject, what, partial(module, *leaves.values()))
    if refused:
        return [counted(what, 1)]
    output, h_n = subject.arrays(empty, *require_results(subject, empty, returned))
    h_0 = np.zeros(h_n.shape) if problem.h_0 is None else problem.h_0
    note = "of an empty sequence, to be the initial state"
    return [counted(what, 1), *same_results(empty, note, (output, h_n), (output, h_0))]


def shorter(axis: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Make a change that takes the last one along an axis away."""
    return lambda tensor: tensor.narrow(axis, 0, tensor.shape[axis] - 1)


def near_states(problem: Problem, h_0: torch.Tensor) -> dict[str, torch.Tensor]:
    """Make states that are nearly an h_0 (L*D, N, H), or (L*D, H), by what is wrong."""
    near = {
        "one layer or direction more": longer(0)(h_0),
        "one layer or direction less": shorter(0)(h_0),
        "one unit more": longer(-1)(h_0),
        "one unit less": shorter(-1)(h_0),
        "one axis more": h_0[None],
        "no axis but the units": h_0[(0,) * (h_0.ndim - 1)],
    }
    if problem.layout.unbatched:
        return near | {"a batch of one": h_0[:, None], "a batch of two": torch.stack([h_0] * 2, 1)}
    near |= {
        "one row more": longer(1)(h_0),
        "one row less": shorter(1)(h_0),
        "no batch": h_0[:, 0],
        "the rows in front": h_0.transpose(0, 1),
        "one row for all": h_0[:, :1],
    }
    shape = tuple(h_0.shape)
    return {name: state for name, state in near.items() if tuple(state.shape) != shape}


@holds_for(
    promises=("rnn.hx", "rnn.unbatched", "unwritten.refusal"),
    initial_states=(True,),
    needs=("h_0", "refusals"),
    at_most=40,
)
def test_a_state_that_nearly_fits_is_refused(case: Case, subject: Subject) -> list[Comparison]:
    """h_0 of one too many or too few along any axis, or with a batch axis too many, raises."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem)
    return [
        refused(subject, module, f"a call with h_0 of {name}", leaves["input"], h_0)
        for name, h_0 in near_states(problem, leaves["h_0"]).items()
    ]


@holds_for(
    promises=("rnn.input", "rnn.hx", "rnn.unbatched", "unwritten.refusal"),
    at_most=40,
    needs=("refusals",),
)
def test_an_input_that_nearly_fits_is_refused(case: Case, subject: Subject) -> list[Comparison]:
    """Input of a feature too few or too many, or of other rows than h_0 has, raises errors."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem)
    x = leaves["input"]
    near = {"one feature more": longer(-1)(x), "one feature less": shorter(-1)(x)}
    if "h_0" in leaves:
        if problem.layout.unbatched:
            near |= {"a batch of one": x[:, None], "a batch of one in front": x[None]}
        else:
            rows = 0 if problem.layout.batch_first else 1
            near |= {
                "one row more": longer(rows)(x),
                "no batch": x.select(rows, 0),
                "no batch, steps as they come": x.select(1 - rows, 0),
            }
            if case.N > 1:
                near |= {"one row less": shorter(rows)(x), "one row for all": x.narrow(rows, 0, 1)}
    rest = [leaf for name, leaf in leaves.items() if name != "input"]
    return [
        refused(subject, module, f"a call with input of {name}", input, *rest)
        for name, input in near.items()
    ]


@holds_for(
    promises=("rnn.packed", "rnn.hx", "unwritten.refusal"),
    layouts=("steps", "batch_first"),
    initial_states=(True,),
    needs=("h_0", "packed", "refusals"),
    far=("T", "I", "L"),
    at_most=40,
)
def test_a_state_that_nearly_fits_packed_sequences_is_refused(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Packed sequences with h_0 of more rows, or fewer, or of another form, raise errors."""
    problem = subject.problem(replace(case, N=min(case.N, 20)))
    module, leaves = subject.build(problem), subject.leaves(problem)
    (T, N, _), first = problem.input.shape, problem.layout.batch_first
    lengths = torch.tensor(sorted((1 + n % T for n in range(T - 1, T - 1 + N)), reverse=True))

    def packed(input: torch.Tensor) -> PackedSequence:
        return pack_padded_sequence(input, lengths, first)

    x, h_0 = leaves["input"], leaves["h_0"]
    calls = {f"h_0 of {name}": (packed(x), h) for name, h in near_states(problem, h_0).items()}
    calls |= {
        "h_0 of another dtype": (packed(x), other_dtype(h_0)),
        "one feature more": (packed(longer(-1)(x)), h_0),
    }
    if case.I > 1:  # no features can't be packed
        calls |= {"one feature less": (packed(shorter(-1)(x)), h_0)}
    return [
        refused(subject, module, f"a call with packed sequences and {name}", *wrong)
        for name, wrong in calls.items()
    ]


@holds_for(
    promises=("rnn.packed", "rnn.hx", "unwritten.refusal"),
    layouts=("steps", "batch_first"),
    initial_states=(True,),
    needs=("h_0", "packed", "refusals"),
    far=("T", "I", "L"),
    at_most=20,
)
def test_a_state_of_more_rows_than_unsorted_sequences_is_refused(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Packed sequences that are put in order refuse an h_0 of more rows, and do not cut it."""
    problem = subject.problem(replace(case, N=min(case.N, 20)))
    module, leaves = subject.build(problem), subject.leaves(problem)
    (T, N, _), first = problem.input.shape, problem.layout.batch_first
    lengths = torch.tensor([1 + n % T for n in range(N)])
    packed = pack_padded_sequence(leaves["input"], lengths, first, enforce_sorted=False)
    call = partial(module, packed, longer(1)(leaves["h_0"]))
    return [refuses(subject, "a call with unsorted sequences and h_0 of a row more", call)]
