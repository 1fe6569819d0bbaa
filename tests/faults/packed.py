"""Faults of packed sequences as input."""

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from tests.faults.catalogue import edit, fault
from tests.subjects.plain_rnn import PlainRNN

# fmt: off
edit("Packed sequences start from zero", "every_step_of_a_packed_sequence_obeys_the_recurrence",
     old="None if h_0 is None else h_0[:, n]", new="None")
edit("h_0 has no gradient from packed sequences", "gradients_of_packed_sequences",
     seen="pytorch/pytorch#102911",
     old="None if h_0 is None else h_0[:, n]", new="None if h_0 is None else h_0[:, n].detach()")
# fmt: on


@fault("packed_sequences_are_each_run_alone", seen="pytorch/pytorch#15225")
class ReturnsHnInTheSortedOrder(PlainRNN):
    """h_n of unsorted sequences is returned in the sorted order."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        packed, h_n = super().run_packed(input, h_0)
        order = input.sorted_indices
        return packed, h_n if order is None else h_n[:, order]


@fault("a_list_packs_as_its_padded_batch")
class AddsToEachPackedCall(PlainRNN):
    """Each packed call adds 1e-3 more to its input."""

    calls = 0

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        self.calls += 1
        return super().run_packed(input._replace(data=input.data + 1e-3 * self.calls), h_0)
