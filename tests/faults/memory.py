"""Faults of memory: layouts that are misread, results that share, scratch that is kept."""

import time
import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor

from tests.faults.catalogue import fault
from tests.subjects.plain_rnn import PlainRNN

UNCHANGED = "a_call_changes_neither_arguments_nor_weights"
ARGUMENTS = "arguments_may_lie_in_any_way"
PARAMETERS = "parameters_may_lie_in_any_way"


@fault(UNCHANGED)
class OverwritesH0(PlainRNN):
    """h_0 is overwritten by the last state."""

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        y = super().run_direction(x, h_0, *weights)
        h_0.data.copy_(y[-1])
        return y


@fault(UNCHANGED)
class OverwritesTheInput(PlainRNN):
    """The input is doubled in place."""

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        y = super().run_direction(x, h_0, *weights)
        x.data.mul_(2)
        return y


@fault(UNCHANGED)
class OverwritesH0WithoutGradients(PlainRNN):
    """Under no_grad the last state is written into h_0."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_padded(input, h_0)
        if h_0 is None or torch.is_grad_enabled():
            return y, h_n
        return y, h_0.copy_(h_n)


@fault(UNCHANGED)
class StaysInEvaluation(PlainRNN):
    """A call under no_grad leaves the module in evaluation."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        if not torch.is_grad_enabled():
            self.eval()
        return super().run_padded(input, h_0)


@fault(ARGUMENTS)
class WarnsOfStrides(PlainRNN):
    """A call warns of an input that is not contiguous."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        if not input.is_contiguous():
            warnings.warn("the input is copied", stacklevel=2)
        return super().run_padded(input, h_0)


@fault("a_later_call_owes_nothing_to_an_earlier_one")
class GoesOnInEvaluation(PlainRNN):
    """In evaluation a call without h_0 goes on from the last state of the call before."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        before = self.__dict__.get("before", h_0)
        goes_on = not self.training and before.shape == h_0.shape and not h_0.any()
        y, h_n = super().run_layers(x, before if goes_on else h_0)
        self.__dict__["before"] = h_n.detach()
        return y, h_n


@fault(ARGUMENTS, seen="pytorch/pytorch#11206")
class ReadsAStridedInputAsDense(PlainRNN):
    """The strides of the input are ignored."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        if not input.is_contiguous():
            input = input.as_strided(input.shape, torch.empty(input.shape).stride())
        return super().run_padded(input, h_0)


@fault(ARGUMENTS)
class ReadsAStridedInputAsDenseWithoutGradients(ReadsAStridedInputAsDense):
    """Under no_grad the strides of the input are ignored."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled():
            return PlainRNN.run_padded(self, input, h_0)
        return super().run_padded(input, h_0)


@fault(ARGUMENTS)
class ReadsRowsThatLieApartAsDense(PlainRNN):
    """Rows of the input that are each in one piece are read as if no space were between them."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        dense = torch.empty(input.shape).stride()
        ordered = sorted(input.stride(), reverse=True) == [*input.stride()]
        if ordered and input.stride(-1) == 1 and not torch.is_grad_enabled():
            input = input.as_strided(input.shape, dense)
        return super().run_padded(input, h_0)


@fault(ARGUMENTS, seen="pytorch/pytorch#104439")
class ReadsTheInputFromItsStorage(PlainRNN):
    """The input's offset in its storage is ignored."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().run_padded(input.as_strided(input.shape, input.stride(), 0), h_0)


@fault(ARGUMENTS, seen="pytorch/rl#3754")
class RefusesOddStrides(PlainRNN):
    """The call raises for odd strides of an axis of size 1."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        if input.is_contiguous() and input.stride() != torch.empty(input.shape).stride():
            raise RuntimeError(f"strides {input.stride()} are not supported")
        return super().run_padded(input, h_0)


@fault(ARGUMENTS, seen="allenai/allennlp#1486")
class RefusesAStridedH0(PlainRNN):
    """The call raises for an h_0 that is not contiguous."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        if h_0 is not None and not h_0.is_contiguous():
            raise RuntimeError("h_0 is not contiguous")
        return super().run_padded(input, h_0)


@fault(PARAMETERS, seen="pytorch/pytorch#24828")
class ReadsAStridedWeightAsDense(PlainRNN):
    """The strides of W_hh are ignored."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        W_ih, W_hh, *biases = super().weights_of(l, d)
        if not W_hh.is_contiguous():
            W_hh = W_hh.as_strided(W_hh.shape, (W_hh.shape[1], 1))
        return [W_ih, W_hh, *biases]


@fault(PARAMETERS)
class ReadsAStridedWeightAsDenseWithoutGradients(ReadsAStridedWeightAsDense):
    """Under no_grad the strides of W_hh are ignored."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        if torch.is_grad_enabled():
            return PlainRNN.weights_of(self, l, d)
        return super().weights_of(l, d)


@fault("an_expanded_state_is_every_rows_own", seen="deepsound-project/samplernn-pytorch#32")
class HalvesTheGradientOfAnExpandedH0(PlainRNN):
    """An expanded h_0 gathers half of its gradient."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if h_0.stride()[1] == 0 and h_0.shape[1] > 1:
            h_0 = 0.5 * h_0 + 0.5 * h_0.detach()
        return super().run_layers(x, h_0)


@fault("two_identical_calls_agree_to_the_bit", seen="pytorch/pytorch#188792")
class AddsToEverySecondCall(PlainRNN):
    """Every second call adds 1e-3 to its input."""

    calls = 0

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return super().run_layers(x + 1e-3 * (self.calls % 2), h_0)


@fault("results_do_not_change_after_they_are_returned")
class ReturnsOneBuffer(PlainRNN):
    """Without gradients, all calls of one shape return one buffer."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        buffer = self.__dict__.get("buffer")
        if buffer is not None and buffer.shape == y.shape and not torch.is_grad_enabled():
            y = buffer.copy_(y)
        self.__dict__["buffer"] = y
        return y, h_n


@fault("results_share_no_memory_with_arguments", seen="LaurentMazare/tch-rs#618")
class ReturnsAViewAsHn(PlainRNN):
    """h_n of a single layer and direction is a view of output."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return y, y[-1:] if len(h_n) == 1 else h_n


@fault("stale_memory_is_not_read")
class ReadsABufferBeforeItIsWritten(PlainRNN):
    """0 times a buffer that was never written is added to output."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        stale = torch.full_like(y, torch.nan if len(y) > 2 else 0)
        return y + 0 * stale, h_n


@fault("threads_that_share_a_module_do_not_disturb_one_another", seen="clab/dynet#1335")
class SharesItsScratch(PlainRNN):
    """All threads keep their input in one place of the module."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.__dict__["scratch"] = x
        time.sleep(0.001)
        return super().run_layers(self.__dict__["scratch"], h_0)


@fault("the_number_of_threads_changes_no_more_than_rounding", seen="pytorch/pytorch#32023")
class RoundsWithFourThreads(PlainRNN):
    """With four threads output is rounded to bfloat16."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return (y.bfloat16().to(y.dtype) if torch.get_num_threads() == 4 else y), h_n


HELD = "nobody_holds_what_a_call_was_given_and_returned"
GROWS = "memory_does_not_grow_with_calls"


@fault(HELD)
class KeepsItsOutput(PlainRNN):
    """The module keeps the output of its last call, and its graph."""

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        results = super().forward(input, hx)
        self.__dict__["latest"] = results
        return results


@fault(HELD)
class KeepsItsInput(PlainRNN):
    """The module keeps the input of its last call."""

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        self.__dict__["latest"] = input
        return super().forward(input, hx)


@fault(GROWS)
class KeepsEveryState(PlainRNN):
    """The module keeps a copy of each final state."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        self.__dict__.setdefault("states", []).append(h_n.detach().clone())
        return y, h_n


@fault(GROWS)
class NeverFreesItsGraphs(PlainRNN):
    """Each call stays in a cycle through its own graph, which nothing collects."""

    cycles: ClassVar[list[Any]] = []

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        self.cycles.append(y.grad_fn)
        return y, h_n
