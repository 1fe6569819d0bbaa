"""The bridge: to the bit, both ways, and without aliasing."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from rnn_ref.arithmetic.dtypes import ARRAY_DTYPES
from rnn_ref.bridge import TORCH_DTYPES, parameters_of, set_parameters, to_array, to_tensor
from rnn_ref.cases.case import Case

ALL_16_BITS = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)


def module_and_parameters(dtype: str) -> tuple[torch.nn.RNN, dict[str, np.ndarray]]:
    parameters = Case("tanh", 2, 2, True, 1, 1, 3, 4, dtype, weights="chaotic").problem().parameters
    return torch.nn.RNN(3, 4, 2, bidirectional=True, dtype=TORCH_DTYPES[dtype]), parameters


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_16_bit_number_survives_the_round_trip(dtype: str) -> None:
    """All 65,536 patterns, NaN payloads and signed zeros included, come back to the bit."""
    tensor = ALL_16_BITS.view(TORCH_DTYPES[dtype])
    back = to_tensor(to_array(tensor), dtype)
    assert torch.equal(back.view(torch.int16), ALL_16_BITS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_numbers_survive_the_round_trip(dtype: str) -> None:
    """NaN, infinities, signed zeros and subnormals come back to the bit."""
    info = torch.finfo(TORCH_DTYPES[dtype])
    tensor = torch.tensor(
        [0.0, -0.0, torch.nan, torch.inf, -torch.inf, info.max, info.tiny, info.tiny * info.eps],
        dtype=TORCH_DTYPES[dtype],
    )
    assert to_array(to_tensor(to_array(tensor), dtype)).tobytes() == to_array(tensor).tobytes()


@pytest.mark.parametrize("dtype", ARRAY_DTYPES)
def test_weights_survive_the_way_into_a_module_and_out(dtype: str) -> None:
    """What set_parameters copies in, parameters_of copies out, to the bit."""
    module, parameters = module_and_parameters(dtype)
    set_parameters(module, parameters)
    found = parameters_of(module)
    assert found.keys() == parameters.keys()
    assert all(found[name].tobytes() == parameters[name].tobytes() for name in found)


@pytest.mark.parametrize("dtype", ARRAY_DTYPES)
def test_a_change_on_one_side_never_shows_on_the_other(dtype: str) -> None:
    """Neither writing to the arrays changes the module, nor training the module the arrays."""
    module, parameters = module_and_parameters(dtype)
    set_parameters(module, parameters)
    taken = parameters_of(module)
    before = {name: array.copy() for name, array in taken.items()}
    for array in parameters.values():
        array[...] = 7
    assert all(np.array_equal(parameters_of(module)[name], before[name]) for name in before)
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.fill_(9)
    assert all(np.array_equal(taken[name], before[name]) for name in before)


def test_strided_tensors_are_copied_by_value() -> None:
    """A transposed or sliced tensor of any dtype gives the array that it shows."""
    for dtype in TORCH_DTYPES.values():
        tensor = torch.arange(24).reshape(4, 6).to(dtype)
        assert to_array(tensor.T[1::2]).tolist() == tensor.T[1::2].tolist()


def test_numbers_that_bfloat16_lacks_are_refused() -> None:
    """A float32 array with other numbers than bfloat16's is not rounded silently."""
    with pytest.raises(ValueError, match="expected numbers that bfloat16 can hold"):
        to_tensor(np.array([1.001], np.float32), "bfloat16")


def test_other_dtypes_are_refused() -> None:
    """An array of another dtype than the tensor's, or an integer tensor, is a TypeError."""
    with pytest.raises(TypeError, match="expected float32 for a float32 tensor, got float64"):
        to_tensor(np.zeros(1), "float32")
    with pytest.raises(TypeError, match=r"got torch\.int64"):
        to_array(torch.zeros(1, dtype=torch.int64))


def test_other_names_and_shapes_are_refused() -> None:
    """A mapping that is not the module's is a ValueError that names what differs."""
    module, parameters = module_and_parameters("float32")
    fewer = {name: array for name, array in parameters.items() if name != "bias_hh_l1"}
    with pytest.raises(ValueError, match="got others; they differ in bias_hh_l1"):
        set_parameters(module, fewer)
    expected = re.escape("weight_hh_l0: expected shape (4, 4), got (3, 3)")
    with pytest.raises(ValueError, match=expected):
        set_parameters(module, parameters | {"weight_hh_l0": np.zeros((3, 3), np.float32)})
