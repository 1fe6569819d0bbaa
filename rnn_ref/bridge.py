"""Between torch and NumPy: tensors <-> arrays, modules <-> parameters, to the bit, by copy.

bfloat16, which NumPy lacks, is held in float32 arrays, each of whose numbers must be one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnn_ref.case import ARRAY_DTYPES

Floats = NDArray[np.floating[Any]]

TORCH_DTYPES = {name: getattr(torch, name) for name in ARRAY_DTYPES}
NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


def to_array(tensor: torch.Tensor) -> Floats:
    """A copy of a floating-point tensor, from any device, as an array of the same shape.

    Raises TypeError for a dtype other than float16, bfloat16, float32 and float64.
    """
    if tensor.dtype not in NAMES:
        raise TypeError(f"tensor: expected one of {', '.join(NAMES.values())}, came {tensor.dtype}")
    tensor = tensor.detach().cpu()
    if tensor.dtype != torch.bfloat16:
        return np.array(tensor.numpy())
    bits = tensor.view(torch.int16).numpy().astype(np.uint16).astype(np.uint32)
    return (bits << np.uint32(16)).view(np.float32)


def to_tensor(array: Floats, dtype: str, device: str = "cpu") -> torch.Tensor:
    """A copy of an array as a tensor of the named dtype.

    Raises TypeError if the array is not of the dtype that holds it (ARRAY_DTYPES), and
    ValueError if a number in it is no bfloat16 where that is wanted.
    """
    expected = np.dtype(ARRAY_DTYPES[dtype])
    if array.dtype != expected:
        raise TypeError(f"array: expected {expected} for a {dtype} tensor, came {array.dtype}")
    array = np.array(array, order="C")
    if dtype != "bfloat16":
        return torch.from_numpy(array).to(device)
    bits = array.view(np.uint32)
    if (bits & np.uint32(0xFFFF)).any():
        raise ValueError("array: expected numbers that bfloat16 can hold, came others")
    upper = (bits >> np.uint32(16)).astype(np.uint16).view(np.int16)
    return torch.from_numpy(upper).view(torch.bfloat16).to(device)


def parameters_of(module: torch.nn.Module) -> dict[str, Floats]:
    """The module's parameters, by torch's names, as arrays of their own."""
    return {name: to_array(tensor) for name, tensor in module.state_dict().items()}


def set_parameters(module: torch.nn.Module, parameters: Mapping[str, Floats]) -> None:
    """Copy arrays into the module's parameters, which keep their dtype and device.

    Raises ValueError if names or shapes differ from the module's, TypeError if dtypes do.
    """
    state = module.state_dict()
    if state.keys() != parameters.keys():
        differing = ", ".join(sorted(state.keys() ^ parameters.keys()))
        raise ValueError(f"parameters: expected the names of the module, came others: {differing}")
    for name, tensor in state.items():
        if tuple(tensor.shape) != parameters[name].shape:
            raise ValueError(
                f"{name}: expected shape {tuple(tensor.shape)}, came {parameters[name].shape}"
            )
    module.load_state_dict(
        {name: to_tensor(parameters[name], NAMES[tensor.dtype]) for name, tensor in state.items()}
    )
