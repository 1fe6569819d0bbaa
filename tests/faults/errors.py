"""Faults of misuse: wrong calls are accepted, or right ones refused."""

from typing import Any

import torch
from torch import Tensor

from tests.faults.catalogue import edit, fault
from tests.subjects.plain_rnn import PlainCell, PlainRNN

NEAR_STATE = "a_state_that_nearly_fits_is_refused"
NEAR_INPUT = "an_input_that_nearly_fits_is_refused"
PACKED = "a_state_that_nearly_fits_packed_sequences_is_refused"
CELL = "a_cell_without_a_batch_takes_no_batch_of_one"

# fmt: off
edit("An h_0 of more layers is accepted", "a_wrong_call_is_refused_and_leaves_no_trace",
     seen="pytorch/pytorch#3259",
     old="expected = (L_D,", new="expected = (L_D if h_0 is None else len(h_0),")
edit("An h_0 of another batch is accepted", "a_state_of_another_batch_is_refused",
     seen="pytorch/pytorch#6176",
     old="tuple(h_0.shape) != expected", new="h_0.shape[0] != expected[0]")
edit("Packed sequences take an h_0 of more rows", PACKED, seen="pytorch/pytorch#6176",
     old="h_0.shape[1] != N", new="h_0.shape[1] < N")
# fmt: on


@fault("nonsense_is_not_constructed", seen="pytorch/pytorch#105631")
class TakesAnyHiddenSize(PlainRNN):
    """A hidden_size below 1 is taken for 1."""

    def __init__(self, input_size: int, hidden_size: int, *others: Any, **options: Any) -> None:
        super().__init__(input_size, max(1, hidden_size), *others, **options)


@fault("a_batch_of_none_is_accepted", seen="pytorch/pytorch#38115")
class ReturnsOneUnitOfAnEmptyBatch(PlainRNN):
    """The output of an empty batch has one unit."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return (y if y.shape[1] else y[:, :, :1]), h_n


@fault(NEAR_STATE, seen="pytorch/pytorch#3789")
class StretchesAStateOfOneRowToAll(PlainRNN):
    """An h_0 of one row is taken for all rows."""

    def require(self, input: Tensor, h_0: Tensor | None) -> None:
        one = h_0 is not None and h_0.dim() == 3 and h_0.shape[1] == 1
        super().require(input, None if one else h_0)


@fault(NEAR_STATE)
class TakesABatchOfOneForNone(PlainRNN):
    """Input without a batch takes an h_0 with a batch of one."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        if input.dim() == 2 and h_0 is not None and h_0.dim() == 3 and h_0.shape[1] == 1:
            h_0 = h_0[:, 0]
        return super().run_padded(input, h_0)


@fault(NEAR_STATE, seen="pytorch/pytorch#3259")
class FillsUpAStateOfTooFewLayers(PlainRNN):
    """An h_0 of a layer too few is filled up with zeros."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        L_D = self.num_layers * (2 if self.bidirectional else 1)
        if h_0 is not None and 0 < len(h_0) < L_D:
            h_0 = torch.cat([h_0, h_0.new_zeros(L_D - len(h_0), *h_0.shape[1:])])
        return super().run_padded(input, h_0)


@fault(NEAR_INPUT, seen="pytorch/pytorch#6176")
class TakesTheFirstRowsOfAState(PlainRNN):
    """Of an h_0 of more rows than the input has, the first are taken."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        if input.dim() == 3 and h_0 is not None and h_0.dim() == 3:
            h_0 = h_0[:, : input.shape[0 if self.batch_first else 1]]
        return super().run_padded(input, h_0)


@fault(NEAR_INPUT)
class FillsUpMissingFeatures(PlainRNN):
    """Input of a feature too few is filled up with zeros."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        missing = self.input_size - input.shape[-1]
        if missing > 0:
            input = torch.nn.functional.pad(input, (0, missing))
        return super().run_padded(input, h_0)


@fault(PACKED)
class StartsMissingRowsAtZero(PlainRNN):
    """Packed sequences beyond the rows of h_0 start from zero."""

    def run_packed(self, input, h_0):  # type: ignore[no-untyped-def]
        missing = 0 if h_0 is None else int(input.batch_sizes[0]) - h_0.shape[1]
        if h_0 is not None and h_0.dim() == 3 and missing > 0:
            h_0 = torch.cat([h_0, h_0.new_zeros(len(h_0), missing, h_0.shape[2])], 1)
        return super().run_packed(input, h_0)


@fault("a_state_of_more_rows_than_unsorted_sequences_is_refused")
class CutsAStateOfMoreRows(PlainRNN):
    """Of an h_0 of more rows, sequences that were not sorted take the first."""

    def run_packed(self, input, h_0):  # type: ignore[no-untyped-def]
        if h_0 is not None and input.sorted_indices is not None and h_0.dim() == 3:
            h_0 = h_0[:, : int(input.batch_sizes[0])]
        return super().run_packed(input, h_0)


@fault(CELL)
class TakesAStateWithABatchOfOne(PlainCell):
    """The cell takes a state with a batch of one for input without a batch."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:
        if input.dim() == 1 and hx is not None and hx.dim() == 2 and len(hx) == 1:
            hx = hx[0]
        return super().forward(input, hx)


@fault("a_wrong_call_of_a_cell_is_refused")
class FillsUpAStateOfTooFewUnits(PlainCell):
    """The cell fills a state of a unit too few up with zeros."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:
        missing = 0 if hx is None else self.hidden_size - hx.shape[-1]
        if hx is not None and missing > 0:
            hx = torch.nn.functional.pad(hx, (0, missing))
        return super().forward(input, hx)


EMPTY = "an_empty_sequence_is_refused_or_gives_nothing"


@fault(EMPTY)
class TakesOneStepOfNone(PlainRNN):
    """An empty sequence is taken for one step of zeros."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        axis = 1 if self.batch_first and input.dim() == 3 else 0
        if input.shape[axis] == 0:
            shape = list(input.shape)
            shape[axis] = 1
            input = input.new_zeros(shape)
        return super().run_padded(input, h_0)


@fault(EMPTY)
class ForgetsTheStateOfAnEmptySequence(PlainRNN):
    """An empty sequence ends in a state of zeros, whatever h_0."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        axis = 1 if self.batch_first and input.dim() == 3 else 0
        if input.shape[axis]:
            return super().run_padded(input, h_0)
        D = 2 if self.bidirectional else 1
        N = (input.shape[1 - axis],) if input.dim() == 3 else ()
        output = input.new_zeros(*input.shape[:-1], D * self.hidden_size)
        return output, input.new_zeros(D * self.num_layers, *N, self.hidden_size)


@fault("an_input_that_nearly_fits_is_refused")
class LeavesGradientsOffWhereItRefuses(PlainRNN):
    """A call that is refused leaves the recording of gradients off."""

    def require(self, input: Tensor, h_0: Tensor | None) -> None:
        recorded = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        super().require(input, h_0)
        torch.set_grad_enabled(recorded)


@fault("a_wrong_call_is_refused_and_leaves_no_trace")
class LeavesStepsFirstWhereItRefuses(PlainRNN):
    """A call without a batch that is refused leaves batch_first off."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        first, self.batch_first = self.batch_first, self.batch_first and input.dim() == 3
        results = super().run_padded(input, h_0)
        self.batch_first = first
        return results
