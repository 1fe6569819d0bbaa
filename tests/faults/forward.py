"""Faults of the forward pass: one step of the equation, or one size, goes wrong."""

import torch
from torch import Tensor

from tests.faults.catalogue import STEP, edit, fault
from tests.subjects.plain_rnn import PlainRNN

# fmt: off
edit("b_hh is dropped", STEP, seen="ml-explore/mlx#3249",
     old="a = a + b_hh", new="pass")
edit("b_ih is dropped", STEP, seen="nntrainer/nntrainer#1768",
     old="a = a + b_ih", new="pass")
edit("b_hh is added from the second step on", STEP, seen="ml-explore/mlx#3249",
     old="a = a + b_hh", new="a = a + b_hh if states else a")
edit("b_ih is added twice and b_hh never", STEP, seen="nntrainer/nntrainer#1768",
     old="a = a + b_hh", new="a = a + b_ih")
edit("The recurrence is cut: each step starts from h_0", STEP, seen="tracel-ai/burn#2701",
     old="+ h @ W_hh.T", new="+ h_0 @ W_hh.T")
edit("W_hh is used transposed", STEP, seen="pytorch/pytorch#9642",
     old="+ h @ W_hh.T", new="+ h @ W_hh")
edit("tanh is applied twice", STEP, seen="craffel/nntools#21",
     old="else a.tanh()", new="else a.tanh().tanh()")
edit("tanh is 1 where its argument is beyond 4", STEP,
     old="else a.tanh()", new="else torch.where(a.abs() > 4, a.sign(), a.tanh())")
edit("tanh's argument is clipped to [-3, 3]", STEP,
     old="else a.tanh()", new="else a.clamp(-3, 3).tanh()")
edit("tanh is missing at the first step", STEP, seen="pytorch/tutorials#3956",
     old="else a.tanh()", new="else (a.tanh() if states else a)")
edit("relu is ignored: tanh is applied", STEP, seen="pytorch/pytorch#114617",
     old="h = a.clamp(min=0) if relu else a.tanh()", new="h = a.tanh()")
edit("relu is leaky", STEP,
     old="a.clamp(min=0) if", new="torch.where(a > 0, a, 1e-3 * a) if")
edit("relu is clipped at 6", STEP, seen="microsoft/onnxruntime#27224",
     old="a.clamp(min=0) if", new="a.clamp(0, 6) if")
edit("relu is clipped at 1e6", STEP, seen="microsoft/onnxruntime#27224",
     old="a.clamp(min=0) if", new="a.clamp(0, 1e6) if")
edit("All steps of output are the last state", STEP, seen="pytorch/pytorch#142303",
     old="torch.stack(states)", new="torch.stack([h] * len(x))")
edit("The state is reset at step 32", STEP,
     old="+ h @ W_hh.T", new="+ (h_0 if len(states) == 32 else h) @ W_hh.T")
edit("Rows after the fourth are 0.1 % too small", STEP, seen="microsoft/onnxruntime#3893",
     old="states.append(h)", new="states.append(torch.cat([h[:4], 0.999 * h[4:]]))")
edit("Features after the 32nd are not read", STEP, seen="pytorch/pytorch#83863",
     old="a = x_t @ W_ih.T", new="a = x_t[:, :32] @ W_ih[:, :32].T")
edit("b_hh is added after the nonlinearity", STEP,
     old="            a = a + b_hh\n            h = a.clamp(min=0) if relu else a.tanh()",
     new="            h = (a.clamp(min=0) if relu else a.tanh()) + b_hh")
edit("relu is applied before the recurrent part too", STEP,
     old="a = x_t @ W_ih.T +", new="a = x_t @ W_ih.T\n            a = (a.relu() if relu else a) +")
edit("Each step reads the input of the next", STEP,
     old="for x_t in x:", new="for x_t in torch.cat([x[1:], x[-1:]]):")
edit("softplus is applied in place of relu", STEP,
     old="a.clamp(min=0) if", new="nn.functional.softplus(a) if")
edit("The state's units after the last full tile of 4 are not read", STEP,
     old="+ h @ W_hh.T", new="+ h[:, : len(W_hh) // 4 * 4] @ W_hh[:, : len(W_hh) // 4 * 4].T")
edit("Weights of one shape are swapped", STEP,
     old="h, states = h_0, []",
     new="h, states = h_0, []\n"
     "        W_ih, W_hh = (W_hh, W_ih) if W_ih.shape == W_hh.shape else (W_ih, W_hh)")
# fmt: on


@fault(STEP, seen="cornell-brg/hb-pytorch#35")
class LeavesTheUnitAfterTheTilesStale(PlainRNN):
    """A single unit after the last full tile of 8 has its neighbour's state."""

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        y = super().run_direction(x, h_0, *weights)
        if self.hidden_size > 8 and self.hidden_size % 8 == 1:
            return torch.cat([y[..., :-1], y[..., -2:-1]], dim=2)
        return y


@fault(STEP)
class SkipsTheStateOfWholeTiles(PlainRNN):
    """Whole tiles of 8 rows and 16 units start from zero in the reverse direction."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if self.bidirectional and x.shape[1] % 8 == 0 and self.hidden_size % 16 == 0:
            h_0 = torch.stack([0 * h if row % 2 else h for row, h in enumerate(h_0)])
        return super().run_layers(x, h_0)
