"""Faults of packed sequences as input."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from tests.faults.catalogue import edit, fault
from tests.subjects.plain_rnn import PlainRNN

# fmt: off
edit("Packed sequences start from zero", "every_step_of_a_packed_sequence_obeys_the_recurrence",
     old="None if h_0 is None else h_0[:, n]", new="None")
edit("h_0 has no gradient from packed sequences", "gradients_of_packed_sequences",
     seen="pytorch/pytorch#102911",
     old="None if h_0 is None else h_0[:, n]", new="None if h_0 is None else h_0[:, n].detach()")
# fmt: on


@fault("gradients_of_packed_sequences")
class LosesAGradientBesideLongerSequences(PlainRNN):
    """W_hh of the reverse direction has no gradient where h_0 is given and lengths differ."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        unequal = len(set(input.batch_sizes.tolist())) > 1
        if h_0 is None or not (unequal and self.bidirectional):
            return super().run_packed(input, h_0)
        name = "weight_hh_l0_reverse"
        weight = self.get_parameter(name)
        self.register_parameter(name, nn.Parameter(weight.detach(), requires_grad=False))
        try:
            return super().run_packed(input, h_0)
        finally:
            self.register_parameter(name, weight)


@fault("no_length_is_too_large")
class CountsStepsInAByte(PlainRNN):
    """h_n of packed sequences of more than 255 steps is the state after 255."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        output, h_n = super().run_packed(input, h_0)
        padded, lengths = pad_packed_sequence(output)
        if len(padded) > 255 and self.num_layers == 1:
            ends = padded[254, :, : self.hidden_size]
            long = (lengths > 255)[:, None]
            h_n = torch.cat([torch.where(long, ends, h_n[0])[None], h_n[1:]])
        return output, h_n


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


WITHOUT_CHANCE = "packed_sequences_without_chance_are_dropped_as_a_batch_is"


@fault(WITHOUT_CHANCE, seen="pytorch/translate#122")
class KeepsPackedInput(PlainRNN):
    """Packed input is never dropped, at p = 1 either."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        dropout, self.dropout = self.dropout, 0.0
        try:
            return super().run_packed(input, h_0)
        finally:
            self.dropout = dropout


@fault(WITHOUT_CHANCE)
class DropsPackedInputInEval(PlainRNN):
    """Packed input is dropped in eval too."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        training, self.training = self.training, True
        try:
            return super().run_packed(input, h_0)
        finally:
            self.training = training


@fault("packed_sequences_under_autocast")
class ScalesPackedOutputUnderAutocast(PlainRNN):
    """Under autocast packed output is 10 % larger."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        packed, h_n = super().run_packed(input, h_0)
        larger = packed._replace(data=packed.data * 1.1)
        return (larger if torch.is_autocast_enabled("cpu") else packed), h_n


@fault("packed_data_may_lie_in_any_way", seen="pytorch/pytorch#104439")
class ReadsPackedDataAsIfInOrder(PlainRNN):
    """Packed data are read as if their rows lay one after another."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        data = input.data
        dense = data.as_strided(data.shape, (data.shape[1], 1), data.storage_offset())
        return super().run_packed(input._replace(data=dense), h_0)


@fault("special_values_stay_in_their_packed_sequence", seen="pytorch/pytorch#177016")
class MasksPackedRowsByProducts(PlainRNN):
    """A packed sequence's results have 0 times the others' added."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        packed, h_n = super().run_packed(input, h_0)
        return packed, h_n + 0 * h_n.sum(1, keepdim=True)


@fault("special_values_stay_in_their_packed_sequence")
class FreezesEndedStatesByProducts(PlainRNN):
    """A packed sequence's last state is kept by products with 1 and 0."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        packed, h_n = super().run_packed(input, h_0)
        return packed, 1 * h_n + torch.where(h_n.isinf(), 0 * h_n, 0)


@fault("packed_calls_of_other_lengths_are_told_apart")
class KeepsPlansOfPackedCalls(PlainRNN):
    """Packed calls of as many rows and steps have the lengths of the first of them."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        plans = self.__dict__.setdefault("plans", {})
        sizes = input.batch_sizes
        kept = plans.setdefault((len(input.data), len(sizes), int(sizes[0])), sizes)
        return super().run_packed(input._replace(batch_sizes=kept), h_0)


@fault("packed_data_may_lie_in_any_way")
class ReadsPackedRowsAsIfInOrder(ReadsPackedDataAsIfInOrder):
    """Packed data whose rows are each in one piece are read as if no space were between them."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        if input.data.stride(1) == 1:
            return super().run_packed(input, h_0)
        return PlainRNN.run_packed(self, input, h_0)


@fault("gradients_of_packed_sequences_have_gradients")
class CutsSecondGradientsOfPackedInput(PlainRNN):
    """Second gradients of packed input lack a term."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        packed, h_n = super().run_packed(input, h_0)
        return packed._replace(data=OnceDifferentiable.apply(packed.data)), h_n  # type: ignore[no-untyped-call]


class OnceDifferentiable(torch.autograd.Function):
    """The square of a tensor, whose gradient takes the tensor for a constant."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, dy):  # type: ignore[no-untyped-def]
        return 2 * ctx.saved_tensors[0].detach() * dy
