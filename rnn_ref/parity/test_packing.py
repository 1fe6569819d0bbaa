"""The functions that pack sequences and unpack them: where each element goes."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnn_ref.case import Case, Words
from rnn_ref.examination import holds_for
from rnn_ref.judge import Comparison, counted
from rnn_ref.parity.test_errors import refuses
from rnn_ref.parity.test_state import require
from rnn_ref.subject import Subject, SubjectFault, blaming

PACKED: dict[str, Any] = {"layouts": ("steps", "batch_first"), "needs": ("packing",), "at_most": 50}


def sequences(case: Case, device: str) -> list[Tensor]:
    """N sequences of 1 to T steps of whole numbers, no two alike, with 0, 1 or 2 axes behind."""
    draws = Words(case.seed, "lengths").raw((case.N,))
    behind = ((), (case.I,), (2, case.H))[case.seed % 3]
    made, first = [], 1
    for draw in draws:
        shape = (1 + int(draw) % case.T, *behind)
        count = torch.Size(shape).numel()
        made.append(torch.arange(first, first + count, device=device).reshape(shape))
        first += count
    if case.seed % 2:
        made.sort(key=len, reverse=True)
    return made


def padded(listed: list[Tensor], *, first: bool, value: int, length: int) -> Tensor:
    """The sequences in one tensor, written element by element."""
    shape = (len(listed), length, *listed[0].shape[1:])
    full = torch.full(shape, value, dtype=listed[0].dtype, device=listed[0].device)
    for n, sequence in enumerate(listed):
        full[n, : len(sequence)] = sequence
    return full if first else full.transpose(0, 1)


def require_equal(what: str, came: Tensor, due: Tensor) -> None:
    """Raise SubjectFault unless two tensors have one shape, dtype, device and content."""
    for of, a, b in (
        ("shape", came.shape, due.shape),
        ("dtype", came.dtype, due.dtype),
        ("device", came.device, due.device),
    ):
        require(f"the {of} of {what}", a, b)
    if not torch.equal(came, due):
        raise SubjectFault(f"{what}: came {came.tolist()}, due is {due.tolist()}")


def require_packed(came: Any, listed: list[Tensor], *, sort: bool) -> int:
    """Raise SubjectFault unless a PackedSequence holds the sequences; the number of facts held."""
    lengths = [len(sequence) for sequence in listed]
    sizes = [sum(length > t for length in lengths) for t in range(max(lengths))]
    require_equal("batch_sizes", came.batch_sizes, torch.tensor(sizes))
    if came.sorted_indices is None:
        require("whether sorted_indices are there", sort, False)  # noqa: FBT003
        order = list(range(len(listed)))
    else:
        order = came.sorted_indices.tolist()
        device = listed[0].device
        require("the dtype of sorted_indices", came.sorted_indices.dtype, torch.int64)
        require("sorted_indices, sorted", sorted(order), list(range(len(listed))))
        back = torch.tensor([order.index(n) for n in range(len(listed))], device=device)
        require_equal("unsorted_indices", came.unsorted_indices, back)
    ordered = [listed[n] for n in order]
    require("lengths, sorted", [len(s) for s in ordered], sorted(lengths, reverse=True))
    steps = [s[t] for t in range(len(sizes)) for s in ordered if len(s) > t]
    require_equal("data", came.data, torch.stack(steps))
    return len(came.data) + 3 * len(listed)


@holds_for(**PACKED)
def test_a_padded_batch_packs_step_by_step(case: Case, subject: Subject) -> list[Comparison]:
    """data has the steps of all sequences, longest first, batch_sizes how many go on.

    Promise: pack_padded_sequence.sizes, pack_padded_sequence.lengths,
    pack_padded_sequence.truncated, pack_padded_sequence.unsorted, packed.batch_sizes,
    packed.sorted_indices, packed.unsorted_indices, packed.dtypes, packed.cpu.
    """
    listed, first = sequences(case, subject.device), case.layout == "batch_first"
    lengths = [len(sequence) for sequence in listed]
    sort = not case.seed % 2
    for given in (lengths, torch.tensor(lengths)):
        for length in (max(lengths), max(lengths) + 2):  # what is longer than all is cut off
            full = padded(listed, first=first, value=0, length=length)
            with blaming("pack_padded_sequence"):
                packed = subject.packing.pack_padded_sequence(
                    full, given, batch_first=first, enforce_sorted=not sort
                )
            facts = require_packed(packed, listed, sort=sort)
    return [counted("elements packed", 4 * facts)]


@holds_for(**PACKED)
def test_a_list_packs_step_by_step(case: Case, subject: Subject) -> list[Comparison]:
    """pack_sequence packs a list as its padded batch, and unpack_sequence gives the list back.

    Promise: pack_sequence.same, unpack_sequence.list, packed.batch_sizes.
    """
    listed, sort = sequences(case, subject.device), not case.seed % 2
    with blaming("pack_sequence"):
        packed = subject.packing.pack_sequence(listed, enforce_sorted=not sort)
    facts = require_packed(packed, listed, sort=sort)
    with blaming("unpack_sequence"):
        back = subject.packing.unpack_sequence(packed)
    require("the number of sequences", len(back), len(listed))
    for n, (came, due) in enumerate(zip(back, listed, strict=True)):
        require_equal(f"sequence {n}", came, due)
    return [counted("elements packed", 2 * facts)]


@holds_for(**PACKED)
def test_unpacking_undoes_packing(case: Case, subject: Subject) -> list[Comparison]:
    """pad_packed_sequence gives the batch and its lengths back, in the order they were given in.

    Promise: pad_packed_sequence.inverse, pad_packed_sequence.sizes,
    pad_packed_sequence.padding_value, pad_packed_sequence.total_length,
    pad_packed_sequence.too_small, pad_packed_sequence.lengths, pad_packed_sequence.order,
    pack_padded_sequence.inverse.
    """
    listed, first = sequences(case, subject.device), case.layout == "batch_first"
    lengths, sort, value = [len(sequence) for sequence in listed], not case.seed % 2, -7
    packed = subject.packing.pack_sequence(listed, enforce_sorted=not sort)
    unpack = partial(subject.packing.pad_packed_sequence, packed, first, value)
    for total in (None, max(lengths), max(lengths) + 3):
        with blaming("pad_packed_sequence"):
            came, told = unpack(total)
        due = padded(listed, first=first, value=value, length=total or max(lengths))
        require_equal("the padded batch", came, due)
        require_equal("lengths", told, torch.tensor(lengths))
    try:
        unpack(max(lengths) - 1)
    except ValueError:
        return [counted("elements padded", 3 * due.numel())]
    raise SubjectFault("pad_packed_sequence with total_length too small raised no ValueError")


@holds_for(**PACKED)
def test_padding_is_on_the_right_and_comes_off_again(
    case: Case, subject: Subject
) -> list[Comparison]:
    """pad_sequence stacks a list and fills up at the end; unpad_sequence gives the list back.

    Promise: pad_sequence.stacks, pad_sequence.sizes, pad_sequence.padding_value,
    unpad_sequence.list.
    """
    listed, first = sequences(case, subject.device), case.layout == "batch_first"
    longest = max(map(len, listed))
    for value in (0, -7):
        options = {"padding_value": value} if value else {}
        with blaming("pad_sequence"):
            came = subject.packing.pad_sequence(listed, batch_first=first, **options)
        require_equal("the batch", came, padded(listed, first=first, value=value, length=longest))
    lengths = torch.tensor([len(sequence) for sequence in listed])
    with blaming("unpad_sequence"):
        back = subject.packing.unpad_sequence(came, lengths, batch_first=first)
    for n, (whole, due) in enumerate(zip(back, listed, strict=True)):
        require_equal(f"sequence {n}", whole, due)
    return [counted("elements padded", 3 * came.numel())]


@holds_for(needs=("packing",), at_most=20)
def test_wrong_lengths_are_refused(case: Case, subject: Subject) -> list[Comparison]:
    """Unsorted where sorted is promised, none or negative, too many, too few or too long.

    Promise: pack_padded_sequence.sorted, pack_sequence.sorted, pack_padded_sequence.lengths,
    unwritten.refusal.
    """
    full = torch.ones(case.T + 1, 3, case.I, device=subject.device)
    T = case.T + 1
    wrong = {
        "lengths that are not sorted": [T - 1, T, T],
        "a length of 0": [T, T, 0],
        "a negative length": [T, T, -1],
        "a length more than rows": [T, T, T, T],
        "a length less than rows": [T, T],
        "no lengths": [],
    }
    pack = subject.packing.pack_padded_sequence
    for name, lengths in wrong.items():
        refuses(f"pack_padded_sequence with {name}", partial(pack, full, torch.tensor(lengths)))
    rising = [full[:1, 0], full[:T, 0]]
    pack = subject.packing.pack_sequence
    refuses("pack_sequence with sequences that are not sorted", partial(pack, rising))
    return [counted("refusals", len(wrong) + 1)]


@holds_for(needs=("packing",), at_most=20)
def test_a_length_beyond_the_last_step_is_refused(case: Case, subject: Subject) -> list[Comparison]:
    """A sequence can't be longer than the padded batch that it stands in.

    Promise: pack_padded_sequence.sizes, unwritten.refusal.
    """
    full = torch.ones(case.T, 2, case.I, device=subject.device)
    lengths = torch.tensor([case.T + 1, case.T])
    pack = partial(subject.packing.pack_padded_sequence, full, lengths)
    refuses("pack_padded_sequence with a length beyond the last step", pack)
    return [counted("refusals", 1)]
