"""What the machine's own products lose, which no subject is to blame for."""

from __future__ import annotations

from functools import cache

import torch

from rnn_ref.arithmetic.dtypes import LOW, ROUNDING
from rnn_ref.bridge import TORCH_DTYPES


@cache
def losing_subnormals(device: str) -> frozenset[str]:
    """Measure in which 16-bit dtypes products on a device take subnormal numbers for zero.

    Sums of subnormal numbers, which are normal ones, come out as 0 where they do (Intel's
    instruction VDPBF16PS does, whatever the processor's mode). This asks the processor and torch's
    product; a subject that uses neither is judged by the same, wider bound near 0.
    """
    found = set()
    for dtype in LOW:
        r = ROUNDING[dtype]
        tiny = torch.full((2, 64), r.smallest_normal / 8, dtype=TORCH_DTYPES[dtype], device=device)
        ones = torch.ones(64, 64, dtype=TORCH_DTYPES[dtype], device=device)
        try:
            sums = torch.nn.functional.linear(tiny, ones)
        except RuntimeError:  # the device has no such product, so that nothing is lost in it
            continue
        if bool((sums == 0).any()):
            found.add(dtype)
    return frozenset(found)
