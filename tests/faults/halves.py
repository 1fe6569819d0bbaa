"""Faults of the 16-bit dtypes."""

import torch
from torch import Tensor

from tests.faults.catalogue import edit, fault
from tests.subjects.correct import Loop, ReversedSums
from tests.subjects.plain_rnn import PlainRNN

WIDE = "wide_sums_in_16_bits_round_once"

# fmt: off
edit("float16 states are rounded to bfloat16", WIDE, seen="openvinotoolkit/openvino#21925",
     old="states.append(h)",
     new="states.append(h := h.bfloat16().to(h.dtype) if h.dtype == torch.float16 else h)")
# fmt: on


@fault(WIDE)
class ReturnsHnInFloat32(PlainRNN):
    """h_n of a float16 network is float32."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return y, h_n.float() if h_n.dtype == torch.float16 else h_n


@fault(WIDE, seen="pytorch/pytorch#95125")
class KeepsLongSumsInBfloat16(Loop):
    """Sums of 512 terms and more are kept in bfloat16 while they grow."""

    def step(self, x, h, W_ih, W_hh, b_ih, b_hh):  # type: ignore[no-untyped-def]
        wide = h.shape[1] >= 512 and h.dtype == torch.bfloat16
        step = ReversedSums.step if wide else Loop.step
        return step(self, x, h, W_ih, W_hh, b_ih, b_hh)  # type: ignore[arg-type]
