"""Between torch and NumPy: tensors <-> arrays, modules <-> parameters, to the bit, by copy.

bfloat16, which NumPy lacks, is held in float32 arrays, each of whose numbers must be one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from rnn_ref.arithmetic.dtypes import ARRAY_DTYPES, Floats

TORCH_DTYPES = {name: getattr(torch, name) for name in ARRAY_DTYPES}
NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


def to_array(tensor: torch.Tensor) -> Floats:
    """Copy a floating-point tensor, from any device, to an array of the same shape.

    Raises TypeError for a dtype other than float16, bfloat16, float32 and float64.
    """
    if tensor.dtype not in NAMES:
        raise TypeError(f"tensor: expected one of {', '.join(NAMES.values())}, got {tensor.dtype}")
    tensor = tensor.detach().cpu()
    if tensor.dtype != torch.bfloat16:
        return np.array(tensor.numpy())
    bits = tensor.view(torch.int16).numpy().astype(np.uint16).astype(np.uint32)
    return (bits << np.uint32(16)).view(np.float32)


def to_tensor(array: Floats, dtype: str, device: str = "cpu") -> torch.Tensor:
    """Copy an array to a tensor of the named dtype.

    Raises TypeError if the array is not of the dtype that holds it (ARRAY_DTYPES), and
    ValueError if a number in it is no bfloat16 where that is wanted.
    """
    expected = np.dtype(ARRAY_DTYPES[dtype])
    if array.dtype != expected:
        raise TypeError(f"array: expected {expected} for a {dtype} tensor, got {array.dtype}")
    array = np.array(array, order="C")
    if dtype != "bfloat16":
        return torch.from_numpy(array).to(device)
    bits = array.view(np.uint32)
    if (bits & np.uint32(0xFFFF)).any():
        raise ValueError("array: expected numbers that bfloat16 can hold, got others")
    upper = (bits >> np.uint32(16)).astype(np.uint16).view(np.int16)
    return torch.from_numpy(upper).view(torch.bfloat16).to(device)


def other_dtype(tensor: torch.Tensor) -> torch.Tensor:
    """Bring numbers to another dtype than their own."""
    return tensor.float() if tensor.dtype == torch.float64 else tensor.double()


def parameters_of(module: torch.nn.Module) -> dict[str, Floats]:
    """Copy the module's parameters to arrays, by torch's names."""
    return {name: to_array(tensor) for name, tensor in module.state_dict().items()}


def set_parameters(module: torch.nn.Module, parameters: Mapping[str, Floats]) -> None:
    """Copy arrays into the module's parameters, which keep their dtype and device.

    Raises ValueError if names or shapes differ from the module's, TypeError if dtypes do.
    """
    state = module.state_dict()
    if state.keys() != parameters.keys():
        differing = ", ".join(sorted(state.keys() ^ parameters.keys()))
        raise ValueError(
            "state_dict: expected torch.nn.RNN's names for this network,"
            f" got others; they differ in {differing}"
        )
    for name, tensor in state.items():
        if tuple(tensor.shape) != parameters[name].shape:
            raise ValueError(
                f"{name}: expected shape {tuple(tensor.shape)}, got {parameters[name].shape}"
            )
        if tensor.dtype not in NAMES:
            raise TypeError(f"{name}: expected a floating-point dtype, got {tensor.dtype}")
    module.load_state_dict(
        {name: to_tensor(parameters[name], NAMES[tensor.dtype]) for name, tensor in state.items()}
    )
