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

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.cases.random import RandomStream
from rnn_ref.functional import rnn, rnn_backward
from rnn_ref.judging.comparison import (
    Comparison,
    compare_gradients,
    compare_results,
    compare_states,
)
from rnn_ref.judging.facts import under
from rnn_ref.judging.failures import Fact, SubjectFault, require
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject, described, read_gradients, require_results

holds_for = in_group("packed")

BATCHES: dict[str, Any] = {
    "layouts": ("steps", "batch_first"),
    "inputs": ("normal", "normal", "large", "integer"),
    "at_most": 100,
    "far": ("T", "I", "L"),
}
ANY_ORDER: dict[str, Any] = {"variants": ("sorted", "unsorted")}
"""Lengths in decreasing order, as torch wants them by default, or in any."""


class Batch(NamedTuple):
    """A problem whose sequences have lengths of their own, as torch packs it."""

    problem: Problem
    lengths: list[int]
    packed: PackedSequence
    leaves: dict[str, torch.Tensor]

    @property
    def note(self) -> str:
        """The lengths, for the name of a comparison."""
        return f"lengths {' '.join(map(str, self.lengths))}"

    @property
    def beyond(self) -> np.ndarray:
        """Which steps (T, N) lie beyond the end of their sequence."""
        steps = np.arange(len(self.problem.input))
        return steps[:, None] >= np.array(self.lengths)


def pack(case: Case, subject: Subject, *, gradients: bool = False) -> Batch:
    """Make a packed batch; what it is padded with is NaN."""
    problem = subject.problem(replace(case, N=min(case.N, 20)))  # each sequence is run by itself
    T, N, _ = problem.input.shape
    draws = RandomStream(case.seed, "lengths").words((N,))
    lengths = [1 + int(draw) % T for draw in draws]
    in_order = case.variant == "sorted"
    if in_order:
        lengths.sort(reverse=True)
    poisoned = problem.input.copy()
    for n, length in enumerate(lengths):
        poisoned[length:, n] = np.nan
    leaves = subject.leaves(replace(problem, input=poisoned), gradients=gradients)
    first = problem.layout.batch_first
    packed = pack_padded_sequence(
        leaves["input"], torch.tensor(lengths), first, enforce_sorted=in_order
    )
    return Batch(problem, lengths, packed, leaves)


def call(
    subject: Subject, module: torch.nn.Module, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor]:
    """Call a module with a packed batch; return its output, padded again, and h_n."""
    problem = batch.problem
    rest = [leaf for name, leaf in batch.leaves.items() if name != "input"]
    with subject.calling("the call with a packed sequence"):
        returned = module(batch.packed, *rest)
    if not (isinstance(returned, tuple) and len(returned) == 2):
        expected = "a tuple (output, h_n)"
        raise SubjectFault(Fact("the result of the call", described(returned), expected))
    output, h_n = returned
    if not isinstance(output, PackedSequence):
        raise SubjectFault(Fact("output", described(output), "a PackedSequence"))
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        with subject.calling(f"reading {name} of output"):
            got = listed(getattr(output, name))
        require(f"{name} of output", got, listed(getattr(batch.packed, name)))
    T, first = len(problem.input), problem.layout.batch_first
    with subject.calling("unpacking output"):
        padded, lengths = pad_packed_sequence(output, first, total_length=T)
    require("lengths of output", lengths.tolist(), batch.lengths)
    return require_results(subject, problem, (padded, h_n))


def listed(numbers: torch.Tensor | None) -> list[int] | None:
    """Bring a tensor of whole numbers, if there is one, to a list."""
    return None if numbers is None else numbers.tolist()


def run(subject: Subject, module: torch.nn.Module, batch: Batch) -> tuple[Floats, Floats]:
    """Call a module without gradients; return output (T, N, D*H) and h_n (L*D, N, H)."""
    with torch.no_grad():
        output, h_n = call(subject, module, batch)
    return subject.arrays(batch.problem, output, h_n)


def up_to_its_length(batch: Batch, output: Bounded) -> Bounded:
    """Leave open what lies beyond the end of each sequence: torch pads it, not the subject."""
    error = np.where(batch.beyond[:, :, None], np.inf, output.stored.error)
    return Bounded(output.value, error, rounding=output.rounding)


@holds_for(
    promises=("rnn.packed", "rnn.packed_output", "packed.accepted"),
    **BATCHES,
    **ANY_ORDER,
    needs=("packed",),
)
def test_packed_sequences_are_each_run_alone(case: Case, subject: Subject) -> list[Comparison]:
    """Sorted or not, output and h_n are those of each sequence; h_n in the caller's order."""
    batch = pack(case, subject)
    p, oracle = batch.problem, Oracle(batch.problem)
    results = run(subject, subject.build(p), batch)
    output, h_n = rnn(
        oracle.x, oracle.parameters, oracle.h_0,
        nonlinearity=p.nonlinearity, lengths=batch.lengths,
    )  # fmt: skip
    expected = (up_to_its_length(batch, output), h_n)
    return under(batch.note, compare_results(p, *results, expected))


@holds_for(
    promises=("rnn.equation", "rnn.packed"),
    **BATCHES,
    **ANY_ORDER,
    num_layers=(1,),
    needs=("packed",),
)
def test_every_step_of_a_packed_sequence_obeys_the_recurrence(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Each state follows from the one before it in its own sequence, however long others are."""
    batch = pack(case, subject)
    p, comparisons = batch.problem, []
    output, _ = run(subject, subject.build(p), batch)
    for n, length in enumerate(batch.lengths):
        alone = p.rows(np.array([n]))
        oracle = Oracle(replace(alone, input=alone.input[:length]))
        y = output[:length, n : n + 1]
        stepped = oracle.steps(oracle.returned_or_bounded([y]))[0]
        comparison = compare_states("output", oracle.problem, 0, y, stepped)
        comparisons += under(f"sequence {n} alone, {batch.note}", [comparison])
    return comparisons


@holds_for(
    promises=("rnn.packed", "backward.chain_rule"),
    **BATCHES,
    **ANY_ORDER,
    dtypes=("float32", "float64"),
    needs=("packed", "gradients"),
)
def test_gradients_of_packed_sequences(case: Case, subject: Subject) -> list[Comparison]:
    """Gradients are the sums of each sequence's; at the padding, which is not read, exactly 0."""
    batch = pack(case, subject, gradients=True)
    p, oracle = batch.problem, Oracle(batch.problem)
    module = subject.build(p)
    subject.backward(p, *call(subject, module, batch))
    dy = None if p.grad_output is None else oracle.known(p.grad_output)
    dh_n = None if p.grad_h_n is None else oracle.known(p.grad_h_n)
    gradients = rnn_backward(
        dy, dh_n, oracle.x, oracle.parameters, oracle.h_0,
        nonlinearity=p.nonlinearity, lengths=batch.lengths,
    )  # fmt: skip
    expected = gradients.parameters | {"input": gradients.input}
    if p.h_0 is not None:
        expected["h_0"] = gradients.h_0
    got = read_gradients(subject, p, module, batch.leaves)
    return under(batch.note, compare_gradients(p, got, expected))


@holds_for(promises=("rnn.packed", "pack_sequence.same"), **BATCHES, needs=("packed",))
def test_a_list_packs_as_its_padded_batch(case: Case, subject: Subject) -> list[Comparison]:
    """`pack_sequence` of the sequences gives what `pack_padded_sequence` of the batch does."""
    batch = pack(case, subject)
    p = batch.problem
    steps = p.layout.to_steps(batch.leaves["input"])
    sequences = [steps[:length, n] for n, length in enumerate(batch.lengths)]
    of_a_list = batch._replace(packed=pack_sequence(sequences, enforce_sorted=False))
    module = subject.build(p)
    output, h_n = run(subject, module, batch)
    results = run(subject, module, of_a_list)
    expected = (
        up_to_its_length(batch, Bounded(output, rounding=p.rounding)),
        Bounded(h_n, rounding=p.rounding),
    )
    return under(f"packed from a list, {batch.note}", compare_results(p, *results, expected))
