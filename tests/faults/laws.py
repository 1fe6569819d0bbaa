"""Faults that a single run may hide: two runs, or results and their form, do not go together."""

from typing import Any

import torch
from torch import Tensor

from tests.faults.catalogue import STEP, edit, fault
from tests.subjects.plain_rnn import PlainRNN

ALONE = "a_row_of_a_batch_equals_that_sequence_alone"
FORM = "shapes_dtypes_and_devices_are_as_documented"

# fmt: off
edit("relu is one unit of roundoff too large", "whole_numbers_come_out_exactly",
     old="a.clamp(min=0) if", new="a.clamp(min=0) * (1 + torch.finfo(a.dtype).eps) if")
edit("The reverse direction skips its first step and repeats its last",
     "reverse_direction_equals_forward_on_flipped_input",
     old="seen = x.flip(0) if d else x",
     new="seen = torch.cat([x[:-1].flip(0), x[:1]]) if d else x")
edit("A residual is added between layers", "a_stack_equals_its_layers_composed",
     old="x = torch.cat(outputs, dim=2)", new="x = torch.cat(outputs, dim=2) + (x if l else 0)")
edit("Row 3 starts from h_0 + 1", "a_permuted_batch_gives_the_permuted_result",
     old="h, states = h_0, []",
     new="h, states = h_0 + (torch.arange(len(h_0)) == 3)[:, None], []")
edit("A mean over the rows is added to each", ALONE, seen="pytorch/pytorch#90421",
     old="a = a + b_hh", new="a = a + b_hh + 1e-3 * a.mean(0)")
edit("An absent h_0 is ones", "no_h_0_is_a_zero_h_0", seen="PaddlePaddle/Paddle#27644",
     old="h_0 = x.new_zeros(", new="h_0 = x.new_ones(")
# fmt: on


@fault("setup_weights_arrive_and_two_tensors_come_back")
class LoadsNothing(PlainRNN):
    """load_state_dict loads nothing."""

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        pass


@fault(STEP)
class LoadsTransposed(PlainRNN):
    """load_state_dict transposes a W_ih that is square."""

    def load_state_dict(self, state_dict: Any, *arguments: Any, **options: Any) -> Any:
        loaded = {
            name: array.T if name.startswith("weight_ih") and len(set(array.shape)) == 1 else array
            for name, array in state_dict.items()
        }
        return super().load_state_dict(loaded, *arguments, **options)


@fault(FORM)
class ReturnsHnWithoutItsFirstAxis(PlainRNN):
    """h_n of a single layer and direction has no first axis."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_padded(input, h_0)
        return y, h_n[0] if len(h_n) == 1 else h_n


@fault(FORM)
class ReturnsHnInFloat32(PlainRNN):
    """h_n is float32 whatever the dtype."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return y, h_n.float()


@fault("one_run_equals_two_joined_by_the_carried_state", seen="microsoft/onnxruntime#11085")
class ReturnsAnotherHn(PlainRNN):
    """h_n is 0.1 % larger than the last state."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return y, h_n * (1 + 1e-3)


@fault(ALONE)
class ScalesAnUnbatchedOutput(PlainRNN):
    """Output is 1 % smaller without a batch axis."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_padded(input, h_0)
        return (0.99 * y if input.dim() == 2 else y), h_n


@fault("batch_first_is_a_transposition", seen="pytorch/pytorch#144116")
class ReadsH0WithTheBatchFirst(PlainRNN):
    """With batch_first, the memory of h_0 is read with the batch first."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if self.batch_first:
            h_0 = h_0.reshape(x.shape[1], -1, self.hidden_size).transpose(0, 1)
        return super().run_layers(x, h_0)


@fault("later_input_leaves_earlier_output_alone")
class CentresTheInput(PlainRNN):
    """The input's mean over time is subtracted."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        return super().run_layers(x - x.mean(0), h_0)


@fault("options_by_position_equal_options_by_name", seen="pytorch/pytorch#114617")
class TakesOptionsInAnotherOrder(PlainRNN):
    """bias stands before nonlinearity in the signature."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: Any = True,  # noqa: FBT002 - as in nn.RNN
        nonlinearity: Any = "tanh",
        *others: Any,
        **options: Any,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, nonlinearity, bias, *others, **options
        )


@fault("a_later_call_owes_nothing_to_an_earlier_one", seen="tensorflow/tensorflow#38403")
class CarriesAStateToTheNextCall(PlainRNN):
    """0.1 is added to h_0 from the second call on."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.__dict__.get("kept")
        if kept is not None and kept.shape == h_0.shape:
            h_0 = h_0 + kept
        self.__dict__["kept"] = torch.full_like(h_0, 0.1)
        return super().run_layers(x, h_0)
