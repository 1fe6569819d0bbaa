"""Faults of the functions that pack sequences and unpack them."""

from functools import partial

from tests.faults import catalogue
from tests.subjects import plain_packing

LIST = "a_list_packs_step_by_step"
PADDED = "a_padded_batch_packs_step_by_step"
UNPACKING = "unpacking_undoes_packing"
PADDING = "padding_is_on_the_right_and_comes_off_again"

edit = partial(catalogue.edit, source=plain_packing)

# fmt: off
edit("Sequences are packed one after the other", LIST,
     old="for t in range(max(lengths)) for n in order if lengths[n] > t]",
     new="for n in order for t in range(max(lengths)) if lengths[n] > t]")
edit("batch_sizes count the sequences of the step before", LIST,
     old="sizes = [sum(length > t for", new="sizes = [sum(length >= t for")
edit("sorted_indices are int32", PADDED,
     old="indices = torch.tensor(order, device=device)",
     new="indices = torch.tensor(order, device=device, dtype=torch.int32)")
edit("unsorted_indices are sorted_indices", PADDED, seen="pytorch/pytorch#32605",
     old="[order.index(n) for n in range(len(order))]", new="order")
edit("Lengths are returned in the sorted order", UNPACKING, seen="pytorch/pytorch#32605",
     old="lengths = lengths[packed.unsorted_indices.cpu()]", new="pass")
edit("Padding is zero whatever padding_value is", UNPACKING,
     old="packed.data.new_full(shape, value)", new="packed.data.new_zeros(shape)")
edit("A total_length that is too small is ignored", UNPACKING, seen="pytorch/pytorch#6327",
     old='raise ValueError("total_length is too small")', new="total = len(sizes)")
edit("Sequences are padded on the left", PADDING,
     old="rows[n, : len(sequence)] = sequence",
     new="rows[n, longest - len(sequence) :] = sequence")
edit("unpad_sequence reads steps as rows", PADDING, seen="pytorch/pytorch#1176",
     old="rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)",
     new="rows = padded_sequences")
edit("A length of 0 is accepted", "wrong_lengths_are_refused",
     seen="microsoft/onnxruntime#28052",
     old="if min(lengths) <= 0:", new="if min(lengths) < 0:")
edit("A length beyond the last step is accepted", "a_length_beyond_the_last_step_is_refused",
     seen="pytorch/pytorch#146744",
     old="if max(lengths) > rows.shape[1]:", new="if max(lengths) > rows.shape[1] + 1:")
# fmt: on
