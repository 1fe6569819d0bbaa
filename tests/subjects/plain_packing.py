"""Plain packing functions, in which faults are planted."""

import torch
from torch.nn.utils.rnn import PackedSequence


def pack_sequence(sequences, enforce_sorted=True):  # type: ignore[no-untyped-def]
    order = sorted(range(len(sequences)), key=lambda n: -len(sequences[n]))
    lengths = [len(sequence) for sequence in sequences]
    if enforce_sorted:
        if lengths != sorted(lengths, reverse=True):
            raise RuntimeError("lengths are not sorted")
        order = list(range(len(sequences)))
    steps = [sequences[n][t] for t in range(max(lengths)) for n in order if lengths[n] > t]
    sizes = [sum(length > t for length in lengths) for t in range(max(lengths))]
    device = sequences[0].device
    indices = torch.tensor(order, device=device)
    back = torch.tensor([order.index(n) for n in range(len(order))], device=device)
    return PackedSequence(
        torch.stack(steps),
        torch.tensor(sizes),
        None if enforce_sorted else indices,
        None if enforce_sorted else back,
    )


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):  # type: ignore[no-untyped-def]
    rows = input if batch_first else input.transpose(0, 1)
    lengths = [int(length) for length in lengths]
    if len(lengths) != len(rows) or not lengths:
        raise RuntimeError("as many lengths as rows")
    if min(lengths) <= 0:
        raise RuntimeError("lengths must be positive")
    if max(lengths) > rows.shape[1]:
        raise RuntimeError("a length is beyond the last step")
    cut = [row[:length] for row, length in zip(rows, lengths, strict=True)]
    return pack_sequence(cut, enforce_sorted)  # type: ignore[no-untyped-call]


def unpack_sequence(packed):  # type: ignore[no-untyped-def]
    return [row[:length] for row, length in zip(*padded(packed, 0, None), strict=True)]  # type: ignore[no-untyped-call]


def padded(packed, value, total):  # type: ignore[no-untyped-def]
    sizes = packed.batch_sizes.tolist()
    if total is not None and total < len(sizes):
        raise ValueError("total_length is too small")
    shape = (sizes[0], total or len(sizes), *packed.data.shape[1:])
    rows = packed.data.new_full(shape, value)
    at = 0
    for t, size in enumerate(sizes):
        rows[:size, t] = packed.data[at : at + size]
        at += size
    lengths = torch.tensor([sum(size > n for size in sizes) for n in range(sizes[0])])
    if packed.unsorted_indices is not None:
        rows = rows[packed.unsorted_indices]
        lengths = lengths[packed.unsorted_indices.cpu()]
    return rows, lengths


def pad_packed_sequence(sequence, batch_first=False, padding_value=0.0, total_length=None):  # type: ignore[no-untyped-def]
    rows, lengths = padded(sequence, padding_value, total_length)  # type: ignore[no-untyped-call]
    return (rows if batch_first else rows.transpose(0, 1)), lengths


def pad_sequence(sequences, batch_first=False, padding_value=0.0):  # type: ignore[no-untyped-def]
    longest = max(map(len, sequences))
    shape = (len(sequences), longest, *sequences[0].shape[1:])
    rows = sequences[0].new_full(shape, padding_value)
    for n, sequence in enumerate(sequences):
        rows[n, : len(sequence)] = sequence
    return rows if batch_first else rows.transpose(0, 1)


def unpad_sequence(padded_sequences, lengths, batch_first=False):  # type: ignore[no-untyped-def]
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[: int(length)] for row, length in zip(rows, lengths, strict=True)]
