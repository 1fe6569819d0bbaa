"""The functions that pack sequences and unpack them: where each element goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.cases.case import Case
from rnn_ref.cases.random import RandomStream
from rnn_ref.judging.comparison import Comparison, same_bits
from rnn_ref.judging.facts import given, refuses, same_order
from rnn_ref.judging.failures import require
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject

holds_for = in_group("packing")

STEPS: dict[str, tuple[str, ...]] = {
    "scalars": (),
    "vectors": ("feature",),
    "matrices": ("line", "feature"),
}
"""By kind of step, the axes that each step of a sequence has."""

KINDS = tuple(f"{order}-{step}" for step in STEPS for order in ("unsorted", "sorted"))
"""Kinds of batch: in any order or longest first, with each kind of step.

The first kind is drawn most often: an unsorted batch tests more than a sorted one.
"""

PACKED: dict[str, Any] = {
    "layouts": ("steps", "batch_first"),
    "needs": ("packing",),
    "at_most": 50,
    "variants": KINDS,
    "far": ("T", "I", "H"),
}


@dataclass(frozen=True)
class Batch:
    """Sequences of whole numbers, no two alike, and how they are packed.

    `axes` names the axes of a step. With `sort`, the sequences come in any order, and packing
    sorts them. With `first`, padded batches are batch_first.
    """

    sequences: Sequence[Tensor]
    axes: tuple[str, ...]
    sort: bool
    first: bool

    @cached_property
    def lengths(self) -> list[int]:
        """How many steps each sequence has."""
        return [len(sequence) for sequence in self.sequences]

    @property
    def said(self) -> str:
        """The lengths, in words for a message."""
        shown = ", ".join(map(str, self.lengths[:8]))
        return f"lengths {shown}{', ...' if len(self.lengths) > 8 else ''}"

    @property
    def padded_axes(self) -> tuple[str, ...]:
        """The axes of the padded batch."""
        return (*(("row", "step") if self.first else ("step", "row")), *self.axes)

    def padded(self, length: int, value: int = 0) -> Tensor:
        """Write the sequences into one tensor, element by element."""
        like = self.sequences[0]
        shape = (len(self.sequences), length, *like.shape[1:])
        full = torch.full(shape, value, dtype=like.dtype, device=like.device)
        for n, sequence in enumerate(self.sequences):
            full[n, : len(sequence)] = sequence
        return full if self.first else full.transpose(0, 1)


def batch(case: Case, subject: Subject) -> Batch:
    """Make N sequences of 1 to T steps, of the kind that the case's variant names."""
    order, _, step = case.variant.partition("-")
    sizes = {"scalars": (), "vectors": (case.I,), "matrices": (2, case.H)}[step]
    sequences, begin = [], 1
    for draw in RandomStream(case.seed, "lengths").words((case.N,)):
        shape = torch.Size((1 + int(draw) % case.T, *sizes))
        end = begin + shape.numel()
        sequences.append(torch.arange(begin, end, device=subject.device).reshape(shape))
        begin = end
    if order == "sorted":
        sequences.sort(key=len, reverse=True)
    return Batch(sequences, STEPS[step], order == "unsorted", case.layout == "batch_first")


def same_tensor(
    subject: Subject, what: str, axes: Sequence[str], got: Any, expected: Tensor
) -> Comparison:
    """Judge whether two tensors have one shape, dtype, device and content."""
    with subject.calling(f"reading {what}"):
        shape, dtype, device = tuple(got.shape), got.dtype, got.device
        numbers = got.detach().cpu().double().numpy()
    require(f"shape of {what}", shape, tuple(expected.shape))
    require(f"dtype of {what}", dtype, expected.dtype)
    require(f"device of {what}", device, expected.device)
    return same_bits(what, axes, numbers, expected.cpu().double().numpy(), ROUNDING["float64"])


def same_sequences(subject: Subject, what: str, got: Any, expected: Batch) -> list[Comparison]:
    """Judge whether a list holds the sequences of a batch."""
    with subject.calling(f"reading {what}"):
        listed = list(got)
    require(f"number of sequences in {what}", len(listed), len(expected.sequences))
    axes = ("step", *expected.axes)
    return [
        same_tensor(subject, f"sequence {n} of {what}", axes, sequence, expected.sequences[n])
        for n, sequence in enumerate(listed)
    ]


def compare_packed(subject: Subject, how: str, packed: Any, expected: Batch) -> list[Comparison]:
    """Judge a PackedSequence by the batch that it must hold; `how` says how it was made."""
    N = len(expected.sequences)
    sizes = [sum(length > t for length in expected.lengths) for t in range(max(expected.lengths))]
    with subject.calling(f"reading the result of {how}"):
        data, batch_sizes = packed.data, packed.batch_sizes
        indices, back = packed.sorted_indices, packed.unsorted_indices
    what = f"batch_sizes of {how}"
    comparisons = [same_tensor(subject, what, ["step"], batch_sizes, torch.tensor(sizes))]
    order = list(range(N))
    if indices is None:
        require(f"sorted_indices of {how}", "None", "indices" if expected.sort else "None")
    else:
        with subject.calling(f"reading sorted_indices of {how}"):
            dtype, order = indices.dtype, indices.tolist()
        require(f"dtype of sorted_indices of {how}", dtype, torch.int64)
        require(f"sorted_indices of {how}, in order", sorted(order), list(range(N)))
        inverse = torch.tensor(
            [order.index(n) for n in range(N)], device=expected.sequences[0].device
        )
        what = f"unsorted_indices of {how}"
        comparisons.append(same_tensor(subject, what, ["row"], back, inverse))
    ordered = [expected.sequences[n] for n in order]
    lengths = [str(len(sequence)) for sequence in ordered]
    falling = [str(length) for length in sorted(expected.lengths, reverse=True)]
    comparisons.append(same_order(f"lengths in the order of {how}", lengths, falling))
    steps = torch.stack([s[t] for t in range(len(sizes)) for s in ordered if len(s) > t])
    axes = ("element", *expected.axes)
    return [*comparisons, same_tensor(subject, f"data of {how}", axes, data, steps)]


@holds_for(
    promises=(
        "pack_padded_sequence.sizes", "pack_padded_sequence.lengths",
        "pack_padded_sequence.truncated", "pack_padded_sequence.unsorted",
        "packed.batch_sizes", "packed.sorted_indices", "packed.unsorted_indices",
        "packed.dtypes", "packed.cpu",
    ),
    **PACKED,
)  # fmt: skip
def test_a_padded_batch_packs_step_by_step(case: Case, subject: Subject) -> list[Comparison]:
    """data has, step by step, the sequences that go on, longest first; batch_sizes counts them."""
    expected, comparisons = batch(case, subject), []
    longest = max(expected.lengths)
    forms = {"as a list": expected.lengths, "as a tensor": torch.tensor(expected.lengths)}
    for form, lengths in forms.items():
        for length in (longest, longest + 2):  # steps beyond the longest are cut off
            how = f"pack_padded_sequence of {length} steps, {expected.said} {form}"
            full = expected.padded(length)
            with subject.calling(how):
                packed = subject.packing.pack_padded_sequence(
                    full, lengths, batch_first=expected.first, enforce_sorted=not expected.sort
                )
            comparisons += compare_packed(subject, how, packed, expected)
    return comparisons


@holds_for(promises=("pack_sequence.same", "unpack_sequence.list", "packed.batch_sizes"), **PACKED)
def test_a_list_packs_step_by_step(case: Case, subject: Subject) -> list[Comparison]:
    """pack_sequence packs a list as its padded batch, and unpack_sequence gives the list back."""
    expected = batch(case, subject)
    packed = pack(subject, expected)
    comparisons = compare_packed(subject, f"pack_sequence, {expected.said}", packed, expected)
    how = f"unpack_sequence, {expected.said}"
    with subject.calling(how):
        back = subject.packing.unpack_sequence(packed)
    return [*comparisons, *same_sequences(subject, f"the list of {how}", back, expected)]


def pack(subject: Subject, sequences: Batch) -> Any:
    """Pack the sequences of a batch."""
    with subject.calling(f"pack_sequence, {sequences.said}"):
        return subject.packing.pack_sequence(
            list(sequences.sequences), enforce_sorted=not sequences.sort
        )


@holds_for(
    promises=(
        "pad_packed_sequence.inverse", "pad_packed_sequence.sizes",
        "pad_packed_sequence.padding_value", "pad_packed_sequence.total_length",
        "pad_packed_sequence.too_small", "pad_packed_sequence.lengths",
        "pad_packed_sequence.order", "pack_padded_sequence.inverse",
    ),
    **PACKED,
)  # fmt: skip
def test_unpacking_undoes_packing(case: Case, subject: Subject) -> list[Comparison]:
    """pad_packed_sequence gives the batch and its lengths back, in the order they were given in."""
    expected, value = batch(case, subject), -7
    longest = max(expected.lengths)
    packed = pack(subject, expected)

    def unpack(total: int | None) -> tuple[Any, Any]:
        padded, lengths = subject.packing.pad_packed_sequence(packed, expected.first, value, total)
        return padded, lengths

    comparisons = []
    for total in (None, longest, longest + 3):
        how = f"pad_packed_sequence with total_length={total}, {expected.said}"
        with subject.calling(how):
            padded, lengths = unpack(total)
        full = expected.padded(total or longest, value)
        what = f"the batch of {how}"
        comparisons += [
            same_tensor(subject, what, expected.padded_axes, padded, full),
            same_tensor(
                subject, f"lengths of {how}", ["row"], lengths, torch.tensor(expected.lengths)
            ),
        ]
    how = f"pad_packed_sequence with total_length={longest - 1}, {expected.said}"
    return [*comparisons, refuses(subject, how, partial(unpack, longest - 1))]


@holds_for(
    promises=(
        "pad_sequence.stacks", "pad_sequence.sizes", "pad_sequence.padding_value",
        "unpad_sequence.list",
    ),
    **PACKED,
)  # fmt: skip
def test_padding_is_on_the_right_and_comes_off_again(
    case: Case, subject: Subject
) -> list[Comparison]:
    """pad_sequence stacks a list and fills up at the end; unpad_sequence gives the list back."""
    expected, comparisons = batch(case, subject), []
    for value in (0, -7):
        options = {"padding_value": value} if value else {}
        how = f"pad_sequence with padding_value={value}, {expected.said}"
        with subject.calling(how):
            padded = subject.packing.pad_sequence(
                list(expected.sequences), batch_first=expected.first, **options
            )
        full = expected.padded(max(expected.lengths), value)
        what = f"the batch of {how}"
        comparisons.append(same_tensor(subject, what, expected.padded_axes, padded, full))
    how = f"unpad_sequence, {expected.said}"
    with subject.calling(how):
        back = subject.packing.unpad_sequence(
            padded, torch.tensor(expected.lengths), batch_first=expected.first
        )
    return [*comparisons, *same_sequences(subject, f"the list of {how}", back, expected)]


@holds_for(
    promises=(
        "pack_padded_sequence.sorted", "pack_sequence.sorted", "pack_padded_sequence.lengths",
        "unwritten.refusal",
    ),
    needs=("packing",),
    at_most=20,
)  # fmt: skip
def test_wrong_lengths_are_refused(case: Case, subject: Subject) -> list[Comparison]:
    """Lengths that are unsorted, 0, negative, too many, too few or missing raise an error."""
    T = case.T + 1
    full = torch.ones(T, 3, case.I, device=subject.device)
    wrong = {
        "lengths that are not sorted": [T - 1, T, T],
        "a length of 0": [T, T, 0],
        "a negative length": [T, T, -1],
        "a length more than rows": [T, T, T, T],
        "a length less than rows": [T, T],
        "no lengths": [],
    }

    def pack_padded(lengths: list[int]) -> None:
        subject.packing.pack_padded_sequence(full, torch.tensor(lengths))

    def pack_rising() -> None:
        subject.packing.pack_sequence([full[:1, 0], full[:T, 0]])

    refusals = [
        refuses(
            subject,
            f"pack_padded_sequence with {name} ({given({'input': full, 'lengths': lengths})})",
            partial(pack_padded, lengths),
        )
        for name, lengths in wrong.items()
    ]
    what = "pack_sequence with sequences that are not sorted"
    return [*refusals, refuses(subject, what, pack_rising)]


@holds_for(
    promises=("pack_padded_sequence.sizes", "unwritten.refusal"), needs=("packing",), at_most=20
)
def test_a_length_beyond_the_last_step_is_refused(case: Case, subject: Subject) -> list[Comparison]:
    """A length beyond the last step of the padded batch raises an error."""
    full = torch.ones(case.T, 2, case.I, device=subject.device)
    lengths = torch.tensor([case.T + 1, case.T])

    def pack_padded() -> None:
        subject.packing.pack_padded_sequence(full, lengths)

    what = "pack_padded_sequence with a length beyond the last step"
    told = given({"input": full, "lengths": lengths.tolist()})
    return [refuses(subject, f"{what} ({told})", pack_padded)]
