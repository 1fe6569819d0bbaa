"""Faults of order: directions, layers and states are read or returned in another order."""

from torch import Tensor

from tests.faults.catalogue import RESULTS, STEP, edit, fault
from tests.subjects.plain_rnn import PlainRNN

H_N = "h_n_is_the_state_in_which_each_direction_ended"

# fmt: off
edit("The reverse direction reads forward", STEP, seen="onnx/onnx#7935",
     old="seen = x.flip(0) if d else x", new="seen = x")
edit("The reverse output is left in the order of reading", STEP, seen="keras-team/keras#1001",
     old="y.flip(0) if d else y", new="y")
edit("The reverse h_n is from the wrong end", H_N, seen="yunjey/pytorch-tutorial#174",
     old="h_n.append(y[-1])", new="h_n.append(y[0] if d else y[-1])")
edit("h_n is from a step before the last", H_N,
     old="h_n.append(y[-1])", new="h_n.append(y[len(y) // 2])")
edit("h_n of layer 0 is returned for all layers", RESULTS,
     old="h_n.append(y[-1])", new="h_n.append(h_n[d] if l else y[-1])")
edit("h_0 is read with directions before layers", STEP, seen="pytorch/pytorch#95137",
     old="h_0[l * D + d]", new="h_0[d * self.num_layers + l]")
edit("All layers start from layer 0's h_0", STEP, seen="pclucas14/GansFallingShort#2",
     old="h_0[l * D + d]", new="h_0[d]")
edit("h_0 is ignored", STEP, seen="onnx/onnx-tensorflow#409",
     old="h_0[l * D + d]", new="0 * h_0[l * D + d]")
edit("The reverse direction starts from zero", STEP, seen="microsoft/onnxruntime#1607",
     old="h_0[l * D + d]", new="h_0[l * D + d] * (1 - d)")
edit("The reverse direction is put before the forward one", STEP, seen="pytorch/pytorch#10838",
     old="torch.cat(outputs, dim=2)", new="torch.cat(outputs[::-1], dim=2)")
edit("The directions' units are interleaved", STEP, seen="huggingface/candle#2542",
     old="torch.cat(outputs, dim=2)", new="torch.stack(outputs, dim=3).flatten(2)")
edit("The reverse direction uses the forward weights", STEP, seen="pytorch/pytorch#94754",
     old="self.weights_of(l, d)", new="self.weights_of(l, 0)")
edit("Layers read the first step alone of the layer below", STEP, seen="pjreddie/darknet#2366",
     old="self.drop(x) if l else x", new="self.drop(x[:1].expand_as(x)) if l else x")
edit("Row n starts from row n % 4 of h_0", STEP,
     old="self.run_direction(seen, h_0[l * D + d]",
     new="self.run_direction(seen, h_0[l * D + d][torch.arange(h_0.shape[1]) % 4]")
edit("Each run starts from the next one's h_0", STEP,
     old="h_0[l * D + d]", new="h_0.roll(-1, 0)[l * D + d]")
edit("The biases are those of the layer below", STEP,
     old="self.weights_of(l, d)",
     new="(self.weights_of(l, d)[:2] + self.weights_of(max(l - 1, 0), d)[2:])")
edit("Above the first layer the reverse output is left in its reading order", STEP,
     old="y.flip(0) if d else y", new="y.flip(0) if d and not l else y")
edit("The reverse W_hh of the layers above is layer 0's", STEP,
     old="weights = self.weights_of(l, d)",
     new="weights = self.weights_of(l, d)\n"
     + 16 * " " + "weights[1] = self.weights_of(0, d)[1] if d else weights[1]")
edit("The reverse direction of the layers above reads forward", STEP,
     old="seen = x.flip(0) if d else x", new="seen = x.flip(0) if d and not l else x")
edit("Between layer 0 and the last the reverse direction is put before the forward one", STEP,
     old="torch.cat(outputs, dim=2)",
     new="torch.cat(outputs[::-1] if 0 < l < self.num_layers - 1 else outputs, dim=2)")
# fmt: on


@fault(RESULTS)
class GuessesTheLayout(PlainRNN):
    """A batch_first input of as many steps as h_0 has rows is taken for one with steps first."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        fits = h_0 is not None and input.dim() == 3 and len(input) == input.shape[1]
        if not (self.batch_first and fits):
            return super().run_padded(input, h_0)
        output, h_n = super().run_padded(input.transpose(0, 1), h_0)
        return output.transpose(0, 1), h_n


@fault(STEP, seen="openvinotoolkit/openvino#37819")
class ReadsABatchFirstInputAsStepsFirst(PlainRNN):
    """The memory of a batch_first input is read with the steps first."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.batch_first and input.dim() == 3:
            N, T, I = input.shape
            input = input.reshape(T, N, I).transpose(0, 1)
        return super().run_padded(input, h_0)
