"""Packed sequences: each is run by itself, for as long as it is, whatever it was padded with."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
)

from rnn_ref.bounded import Bounded
from rnn_ref.bridge import to_array
from rnn_ref.case import Case, Problem, Words
from rnn_ref.examination import holds_for
from rnn_ref.functional import Gradients, rnn, rnn_backward
from rnn_ref.judge import Comparison, compare_gradients, compare_results, compare_states, counted
from rnn_ref.oracle import Oracle
from rnn_ref.subject import Subject, SubjectFault, blaming

BATCHES: dict[str, Any] = {
    "layouts": ("steps", "batch_first"),
    "inputs": ("normal", "normal", "large", "integer"),
    "at_most": 100,
}


class Batch(NamedTuple):
    """A problem whose sequences have lengths of their own, as torch packs it."""

    problem: Problem
    lengths: list[int]
    packed: PackedSequence
    leaves: dict[str, torch.Tensor]


def batch(case: Case, subject: Subject, *, sort: bool, gradients: bool = False) -> Batch:
    """A packed batch; lengths in decreasing order, or in any. What is padded with is NaN."""
    problem = replace(case, N=min(case.N, 20)).problem()  # each sequence is run by itself
    T, N, _ = problem.input.shape
    draws = Words(case.seed, "lengths").raw((N,))
    lengths = [1 + int(draw) % T for draw in draws]
    if sort:
        lengths.sort(reverse=True)
    poisoned = problem.input.copy()
    for n, length in enumerate(lengths):
        poisoned[length:, n] = np.nan
    leaves = subject.leaves(replace(problem, input=poisoned), gradients=gradients)
    packed = pack_padded_sequence(
        leaves["input"], torch.tensor(lengths), problem.layout.batch_first, enforce_sorted=sort
    )
    return Batch(problem, lengths, packed, leaves)


def call(
    subject: Subject, module: torch.nn.Module, given: Batch
) -> tuple[PackedSequence, torch.Tensor]:
    """What the module returns for a packed batch: a packed output, and h_n."""
    rest = [leaf for name, leaf in given.leaves.items() if name != "input"]
    with blaming("the call with a packed sequence"):
        returned = module(given.packed, *rest)
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise SubjectFault("the call returned no pair (output, h_n)")
    output, h_n = returned
    if not isinstance(output, PackedSequence):
        raise SubjectFault(f"output is a {type(output).__name__}, not a PackedSequence")
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        came, due = getattr(output, name), getattr(given.packed, name)
        if (came is None) != (due is None) or (due is not None and came.tolist() != due.tolist()):
            raise SubjectFault(f"output has {name} {came}, the input {due}")
    problem = given.problem
    T, N, _ = problem.input.shape
    subject.check(
        problem,
        (
            problem.layout.from_steps(
                torch.zeros(
                    T, N, problem.D * problem.H, dtype=output.data.dtype, device=output.data.device
                )
            ),
            h_n,
        ),
    )
    return output, h_n


def unpacked(given: Batch, output: PackedSequence) -> torch.Tensor:
    """A packed output as a padded one, in the problem's layout."""
    T = len(given.problem.input)
    first = given.problem.layout.batch_first
    with blaming("unpacking the output"):
        padded, lengths = pad_packed_sequence(output, first, total_length=T)
    if lengths.tolist() != given.lengths:
        raise SubjectFault(f"output has lengths {lengths.tolist()}, not {given.lengths}")
    return padded


def due(given: Batch, oracle: Oracle) -> tuple[Bounded, Bounded]:
    """Each sequence run by itself: output (T, N, D*H), 0 where it has ended, and h_n."""
    p = given.problem
    parameters = {name: oracle.take(array) for name, array in p.parameters.items()}
    return rnn(oracle.x, parameters, oracle.h_0, nonlinearity=p.nonlinearity, lengths=given.lengths)


@holds_for(**BATCHES, needs=("packed",))
def test_packed_sequences_are_each_run_alone(case: Case, subject: Subject) -> list[Comparison]:
    """Sorted or not, output and h_n are those of each sequence; h_n in the caller's order.

    Promise: rnn.packed, rnn.packed_output, packed.accepted.
    """
    given = batch(case, subject, sort=case.seed % 2 == 0)
    p, oracle = given.problem, Oracle(given.problem)
    with torch.no_grad():
        output, h_n = call(subject, subject.build(p), given)
    came = p.layout.to_steps(to_array(unpacked(given, output)))
    return compare_results(p, came, p.layout.to_rows(to_array(h_n)), due(given, oracle))


@holds_for(**BATCHES, num_layers=(1,), needs=("packed",))
def test_every_step_of_a_packed_sequence_obeys_the_recurrence(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Each state follows from the one before it in its own sequence, however long others are.

    Promise: rnn.equation, rnn.packed.
    """
    given = batch(case, subject, sort=case.seed % 2 == 1)
    p = given.problem
    with torch.no_grad():
        output, _ = call(subject, subject.build(p), given)
    came = p.layout.to_steps(to_array(unpacked(given, output)))
    found = []
    for n, length in enumerate(given.lengths):
        h_0 = None if p.h_0 is None else p.h_0[:, n : n + 1]
        alone = replace(p, input=p.input[:length, n : n + 1], h_0=h_0)
        y, oracle = came[:length, n : n + 1], Oracle(alone)
        stepped = oracle.steps(oracle.own([y]))[0]
        found.append(compare_states(f"sequence {n} of {len(given.lengths)}", alone, 0, y, stepped))
    return found


@holds_for(**BATCHES, dtypes=("float32", "float64"), needs=("packed", "gradients"))
def test_gradients_of_packed_sequences(case: Case, subject: Subject) -> list[Comparison]:
    """Gradients are the sums of each sequence's; at the padding, which is not read, exactly 0.

    Promise: rnn.packed, backward.chain_rule.
    """
    given = batch(case, subject, sort=case.seed % 2 == 0, gradients=True)
    p, oracle = given.problem, Oracle(given.problem)
    module = subject.build(p)
    output, h_n = call(subject, module, given)
    subject.pull(p, unpacked(given, output), h_n)
    parameters = {name: oracle.take(array) for name, array in p.parameters.items()}
    dy, dh_n = (None if g is None else oracle.take(g) for g in (p.grad_output, p.grad_h_n))
    found: Gradients = rnn_backward(
        dy, dh_n, oracle.x, parameters, oracle.h_0,
        nonlinearity=p.nonlinearity, lengths=given.lengths,
    )  # fmt: skip
    expected = {**found.parameters, "input": found.input, "h_0": found.h_0}
    if p.h_0 is None:
        del expected["h_0"]
    return compare_gradients(p, subject.gradients(p, module, given.leaves), expected)


@holds_for(**BATCHES, needs=("packed",))
def test_a_list_packs_as_its_padded_batch(case: Case, subject: Subject) -> list[Comparison]:
    """`pack_sequence` of the sequences gives what `pack_padded_sequence` of the batch does.

    Promise: rnn.packed, pack_sequence.same.
    """
    given = batch(case, subject, sort=False)
    steps = given.problem.layout.to_steps(given.leaves["input"])
    sequences = [steps[:length, n] for n, length in enumerate(given.lengths)]
    listed = given._replace(packed=pack_sequence(sequences, enforce_sorted=False))
    with torch.no_grad():
        module = subject.build(given.problem)
        first, second = (call(subject, module, packed) for packed in (given, listed))
    pairs = ((first[0].data, second[0].data), (first[1], second[1]))
    if not all(np.array_equal(to_array(a), to_array(b), equal_nan=True) for a, b in pairs):
        raise SubjectFault("packed from a list, the same sequences gave other results")
    return [counted("elements of output", first[0].data.numel())]
