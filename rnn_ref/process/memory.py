"""How much memory the process has in use."""

from __future__ import annotations

import ctypes
import gc
from functools import cache
from typing import Any

import torch

FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks")
"""The first fields of glibc's struct mallinfo2 (mallinfo(3)), of which two say what is in use."""


class Allocated(ctypes.Structure):
    """What glibc's mallinfo2 returns."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in (*FIELDS, "fordblks", "keepcost"))


@cache
def glibc() -> Any:
    """Find glibc's mallinfo2, which counts what is allocated; None where there is none."""
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return None
    function.restype = Allocated
    return function


def memory_in_use(device: str) -> int:
    """Count the bytes in use on a device.

    On the CPU these are glibc's allocations, or elsewhere the bytes of the tensors that Python
    knows of.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.memory_allocated(device)
    mallinfo2 = glibc()
    if mallinfo2 is not None:
        allocated = mallinfo2()
        return int(allocated.uordblks + allocated.hblkhd)
    tensors = (o for o in gc.get_objects() if isinstance(o, torch.Tensor))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
