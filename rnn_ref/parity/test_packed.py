"""Packed sequences: each is run by itself, for as long as it is, whatever it was padded with."""

from collections.abc import Sequence
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
from rnn_ref.judging.calls import every_other, rows_apart
from rnn_ref.judging.comparison import (
    Comparison,
    compare_gradients,
    compare_results,
    compare_states,
)
from rnn_ref.judging.facts import has_second_derivatives, under
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


ROWS, MANY_ROWS = 20, 300
"""How many sequences a batch has at most where each is run by itself, and past a byte."""


def pack(
    case: Case,
    subject: Subject,
    *,
    gradients: bool = False,
    lengths: Sequence[int] = (),
    rows: int = ROWS,
) -> Batch:
    """Make a packed batch, of given lengths or of drawn ones; what it is padded with is NaN."""
    problem = subject.problem(replace(case, N=min(case.N, rows)))
    T, N, _ = problem.input.shape
    draws = RandomStream(case.seed, "lengths").words((N,))
    lengths = [*lengths] or [1 + int(draw) % T for draw in draws]
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


def returned_by(subject: Subject, module: torch.nn.Module, batch: Batch) -> Any:
    """Call a module with a packed batch; return its two results, the first of which is packed."""
    rest = [leaf for name, leaf in batch.leaves.items() if name != "input"]
    with subject.calling("the call with a packed sequence"):
        returned = module(batch.packed, *rest)
    if not (isinstance(returned, tuple) and len(returned) == 2):
        expected = "a tuple (output, h_n)"
        raise SubjectFault(Fact("the result of the call", described(returned), expected))
    if not isinstance(returned[0], PackedSequence):
        raise SubjectFault(Fact("output", described(returned[0]), "a PackedSequence"))
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        with subject.calling(f"reading {name} of output"):
            got = listed(getattr(returned[0], name))
        require(f"{name} of output", got, listed(getattr(batch.packed, name)))
    return returned


def unpacked(batch: Batch, returned: Any) -> tuple[torch.Tensor, Any]:
    """Pad the packed output that a call returned, and give it back with h_n."""
    T, first = len(batch.problem.input), batch.problem.layout.batch_first
    padded, lengths = pad_packed_sequence(returned[0], first, total_length=T)
    require("lengths of output", lengths.tolist(), batch.lengths)
    return padded, returned[1]


def call(
    subject: Subject, module: torch.nn.Module, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor]:
    """Call a module with a packed batch; return its output, padded again, and h_n."""
    returned = returned_by(subject, module, batch)
    with subject.calling("unpacking output"):
        results = unpacked(batch, returned)
    return require_results(subject, batch.problem, results)


def in_float32(result: Any) -> Any:
    """Bring a floating-point tensor, which autocast may have left in bfloat16, to float32."""
    is_float = isinstance(result, torch.Tensor) and result.is_floating_point()
    return result.float() if is_float else result


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


@holds_for(promises=("rnn.packed", "unwritten.memory"), **{**BATCHES, "far": ()}, needs=("packed",))
def test_packed_calls_of_other_lengths_are_told_apart(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Batches of as many sequences and steps, in all and at most, each have their own lengths."""
    case, comparisons = replace(case, N=3, T=max(case.T, 4)), []
    module = subject.build(subject.problem(case))
    for lengths in ((case.T, case.T - 1, 1), (case.T, case.T - 2, 2)):
        batch = pack(case, subject, lengths=lengths)
        results, expected = run(subject, module, batch), each_alone(batch, batch.problem)
        comparisons += under(batch.note, compare_results(batch.problem, *results, expected))
    return comparisons


@holds_for(
    promises=("rnn.packed", "rnn.packed_output", "packed.accepted"),
    **BATCHES,
    **ANY_ORDER,
    needs=("packed",),
)
def test_packed_sequences_are_each_run_alone(case: Case, subject: Subject) -> list[Comparison]:
    """Sorted or not, output and h_n are those of each sequence; h_n in the caller's order."""
    batch = pack(case, subject)
    p = batch.problem
    results = run(subject, subject.build(p), batch)
    return under(batch.note, compare_results(p, *results, each_alone(batch, p)))


@holds_for(
    promises=("rnn.packed", "rnn.packed_output"),
    **{**BATCHES, "at_most": 30, "far": ("T", "N")},
    only_far=True,
    num_layers=(1, 1, 1, 2),
    weights=("torch", "contracting", "one-sided"),
    needs=("packed",),
)
def test_no_length_is_too_large(case: Case, subject: Subject) -> list[Comparison]:
    """With as many as 1,025 steps, or 300 sequences, each sequence is run alone."""
    batch = pack(case, subject, rows=MANY_ROWS)
    results = run(subject, subject.build(batch.problem), batch)
    expected = each_alone(batch, batch.problem)
    note = f"{len(batch.lengths)} sequences of up to {max(batch.lengths)} steps"
    return under(note, compare_results(batch.problem, *results, expected))


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


CHANCELESS: dict[str, tuple[float, bool]] = {
    "p1": (1.0, True),
    "p0": (0.0, True),
    "eval": (0.5, False),
}
"""Dropout without chance: the probability, and whether in training, by the names of variants."""


@holds_for(
    promises=("rnn.packed", "rnn.dropout", "dropout.evaluation", "dropout.zeroes"),
    **BATCHES,
    num_layers=(2, 2, 3),
    needs=("packed", "dropout", "deep"),
    variants=tuple(CHANCELESS),
)
def test_packed_sequences_without_chance_are_dropped_as_a_batch_is(
    case: Case, subject: Subject
) -> list[Comparison]:
    """At p = 1 all but the first layer read zeros; at p = 0, and in eval, nothing is dropped."""
    batch = pack(case, subject)
    p, (dropout, training) = batch.problem, CHANCELESS[case.variant]
    module = subject.build(p, dropout=dropout)
    with subject.calling("train"):
        module.train(training)
    results = run(subject, module, batch)
    if dropout == 1:
        reads = {n for n in p.parameters if n.startswith("weight_ih") and "_l0" not in n}
        zeroed = {n: 0 * a if n in reads else a for n, a in p.parameters.items()}
        p = replace(p, parameters=zeroed)
    return under(batch.note, compare_results(p, *results, each_alone(batch, p)))


def each_alone(batch: Batch, problem: Problem) -> tuple[Bounded, Bounded]:
    """Compute what each sequence of a batch gives by itself, in a problem of its form."""
    oracle = Oracle(problem)
    output, h_n = rnn(
        oracle.x, oracle.parameters, oracle.h_0,
        nonlinearity=problem.nonlinearity, lengths=batch.lengths,
    )  # fmt: skip
    return up_to_its_length(batch, output), h_n


@holds_for(
    promises=("rnn.packed", "autocast.accuracy"),
    **{**BATCHES, "inputs": ("normal", "normal", "large", "tiny"), "at_most": 50},
    dtypes=("float32",),
    needs=("packed", "autocast"),
)
def test_packed_sequences_under_autocast(case: Case, subject: Subject) -> list[Comparison]:
    """Under torch.autocast to bfloat16, packed sequences are within bfloat16's bounds."""
    batch = pack(replace(case, dtype="bfloat16"), subject)
    low = batch.problem
    high = replace(low, dtype="float32", rounding=subject.rounding("float32"))
    input = batch.packed._replace(data=batch.packed.data.float())
    leaves = {name: leaf.float() for name, leaf in batch.leaves.items()}
    device = torch.device(subject.device).type
    with torch.no_grad(), torch.autocast(device, torch.bfloat16):
        returned = returned_by(
            subject, subject.build(high), batch._replace(packed=input, leaves=leaves)
        )
    with subject.calling("reading output and h_n"):
        output, h_n = (in_float32(result) for result in unpacked(batch, returned))
    results = require_results(subject, high, (output, h_n))
    return under(
        batch.note, compare_results(low, *subject.arrays(high, *results), each_alone(batch, low))
    )


def strided(tensor: torch.Tensor) -> torch.Tensor:
    """Put a tensor into every other row and column of one of NaN, its axes in reverse order."""
    wide = tensor.new_full([2 * n for n in reversed(tensor.shape)], torch.nan)
    view = wide[tuple(slice(1, None, 2) for _ in tensor.shape)].T
    return view.copy_(tensor)


@holds_for(
    promises=("rnn.packed", "unwritten.memory"), **BATCHES, needs=("packed",), losses=("both",)
)
def test_packed_data_may_lie_in_any_way(case: Case, subject: Subject) -> list[Comparison]:
    """A PackedSequence whose data, and h_0, are strided views gives what it gives in order.

    Of the data, no numbers are neighbours in memory, or those of a row alone are.
    """
    batch = pack(case, subject)
    arrange = (strided, rows_apart)[case.seed % 2]
    data = batch.packed._replace(data=arrange(batch.packed.data))
    leaves = {n: every_other(leaf) for n, leaf in batch.leaves.items()}
    results = run(subject, subject.build(batch.problem), batch._replace(packed=data, leaves=leaves))
    expected = each_alone(batch, batch.problem)
    return under(batch.note, compare_results(batch.problem, *results, expected))


@holds_for(
    promises=("rnn.packed", "backward.create_graph"),
    **{**BATCHES, "inputs": ("normal",), "at_most": 5, "far": ()},
    needs=("packed", "gradients", "double_backward"),
    needs_dtypes=("float64",),
    dtypes=("float64",),
    nonlinearities=("tanh",),
    weights=("torch", "contracting"),
)
def test_gradients_of_packed_sequences_have_gradients(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Second derivatives of packed sequences agree with differences of first ones."""
    small = {axis: min(getattr(case, axis), 2) for axis in "TNIH"}
    batch = pack(replace(case, **small, L=min(case.L, 2)), subject)
    module = subject.build(batch.problem)
    run(subject, module, batch)  # whose dtypes must be right before
    data = batch.packed.data.requires_grad_()

    def of_data(data: torch.Tensor) -> tuple[torch.Tensor, ...]:
        packed = batch.packed._replace(data=data)
        output, h_n = returned_by(subject, module, batch._replace(packed=packed))
        return output.data, h_n

    torch.manual_seed(case.seed)  # it draws the upstream gradients
    doing = "a second derivative of packed sequences"
    return [has_second_derivatives(subject, doing, of_data, (data,))]
