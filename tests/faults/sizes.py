"""Faults of size: what is right at every size that is usually tried goes wrong far out."""

import torch
from torch import Tensor

from tests.faults.catalogue import edit, fault
from tests.subjects.plain_rnn import Direction, PlainRNN

STEP = "no_size_is_too_large_for_a_step"
GRADIENTS = "no_size_is_too_large_for_gradients"

# fmt: off
edit("Features after the 512th are not read", STEP, seen="pytorch/pytorch#83863",
     old="a = x_t @ W_ih.T", new="a = x_t[:, :512] @ W_ih[:, :512].T")
edit("Features after the 2,048th are not read", STEP,
     old="a = x_t @ W_ih.T", new="a = x_t[:, :2048] @ W_ih[:, :2048].T")
edit("Units after the 1,024th do not reach the next step", STEP, seen="pytorch/pytorch#83863",
     old="+ h @ W_hh.T", new="+ h[:, :1024] @ W_hh[:, :1024].T")
edit("The state is reset at step 512", STEP, seen="pytorch/pytorch#9621",
     old="+ h @ W_hh.T", new="+ (h_0 if len(states) == 512 else h) @ W_hh.T")
edit("Rows after the 256th are 0.1 % too small", STEP, seen="pytorch/pytorch#191912",
     old="states.append(h)", new="states.append(torch.cat([h[:256], 0.999 * h[256:]]))")
edit("A layer above the fourth has the weights of the fourth", STEP,
     old='suffix = f"_l{l}"', new='suffix = f"_l{min(l, 3)}"')
edit("The recurrent gradient is cut after 256 steps", GRADIENTS,
     old="dh = da @ W_hh\n", new="dh = da @ W_hh if T - t != 256 else 0 * dh\n")
edit("Rows after the 1,000th add nothing to b_hh's gradient", GRADIENTS,
     old="db_hh += da.sum(0)", new="db_hh += da[:1000].sum(0)")
edit("Features after the 512th have no gradient", GRADIENTS, seen="pytorch/pytorch#83863",
     old="dx[t] = da @ W_ih", new="dx[t, :, :512] = da @ W_ih[:, :512]")
# fmt: on


@fault(STEP, seen="ROCm/rocm-libraries#10551")
class LeavesOutTheBlocksPastTheGrid(PlainRNN):
    """Of all steps' rows, those past 65,535 are zero."""

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        y = super().run_direction(x, h_0, *weights)
        rows = y.flatten(0, 1)
        return torch.cat([rows[:65535], 0 * rows[65535:]]).view_as(y)


@fault(GRADIENTS, seen="ROCm/rocm-libraries#10551")
class GoesBackThroughOneGrid(Direction):
    """The input's gradient is zero past 65,535 rows of all steps."""

    @staticmethod
    def backward(ctx, dy):  # type: ignore[no-untyped-def]
        dx, *others = Direction.backward(ctx, dy)
        dx.flatten(0, 1)[65535:] = 0
        return dx, *others
