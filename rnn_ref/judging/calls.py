"""A call in a life: what the module is given, how it is called, and what must come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.bridge import TORCH_DTYPES, to_array
from rnn_ref.cases.history import Step, closed_by
from rnn_ref.cases.problem import Problem
from rnn_ref.cases.random import RandomStream
from rnn_ref.judging.comparison import Comparison, compare_results
from rnn_ref.judging.failures import Fact, SubjectFault, require
from rnn_ref.judging.life import Call, Life, OfRounded, Tensors
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import described, require_results


def make_call(life: Life, step: Step) -> list[Comparison]:
    """Call the module, and judge what it returns."""
    call = posed(life, step)
    subject, problem, recording = life.subject, call.problem, not closed_by(step.traits)
    leaves = subject.leaves(with_nan_beyond(call), gradients=recording)
    if "strided" in step.traits:
        leaves = {name: every_other(leaf) for name, leaf in leaves.items()}
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
    elif "large" in traits:
        fields = {"T": life.case.T + 17, "N": life.case.N + 17}
    if "unbatched" in traits:
        fields |= {"N": 1, "unbatched": True}
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


def every_other(tensor: torch.Tensor) -> torch.Tensor:
    """Put a tensor into every other place of one of NaN, along its last axis."""
    with torch.no_grad():
        wide = tensor.new_full((*tensor.shape[:-1], 2 * tensor.shape[-1]), torch.nan)
        view = wide[..., ::2].copy_(tensor)
    return view.requires_grad_(tensor.requires_grad)


def rows_apart(tensor: torch.Tensor) -> torch.Tensor:
    """Put a tensor's rows, each in one piece, into the longer rows of one of NaN."""
    with torch.no_grad():
        wide = tensor.new_full((*tensor.shape[:-1], tensor.shape[-1] + 3), torch.nan)
        view = wide[..., : tensor.shape[-1]].copy_(tensor)
    return view.requires_grad_(tensor.requires_grad)


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
