"""The arguments of an RNN: read by torch's names, checked, and laid out for `reference`.

Every complaint is one sentence: the argument, what was expected, what came.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rnn_ref.reference import Array, Weights


class Network(NamedTuple):
    """A mapping of parameters, read: L layers of D directions, `input_size` I, `hidden_size` H."""

    layers: list[list[Weights]]
    L: int
    D: int
    I: int
    H: int
    bias: bool


@lru_cache
def names(L: int, D: int, bias: bool) -> tuple[str, ...]:
    """torch's names of all parameters, in the order of `torch.nn.RNN.named_parameters`."""
    kinds = ("weight_ih", "weight_hh") + (("bias_ih", "bias_hh") if bias else ())
    return tuple(
        f"{kind}_l{l}{'_reverse' if d else ''}"
        for l in range(L)
        for d in range(D)
        for kind in kinds
    )


def read(parameters: Mapping[str, Array]) -> Network:
    """Find depth, directions, sizes and bias in torch's names and in the arrays' shapes.

    `weight_ih_l{l}` is (H, I) for l = 0 and (H, D*H) above, `weight_hh_l{l}` (H, H), the
    biases (H,); `_reverse` marks the second direction. Raises TypeError for a value that
    is no array or has another dtype than the rest, ValueError for names that do not make
    a network and for shapes that do not fit.
    """
    if not isinstance(parameters, Mapping):
        raise TypeError(
            f"parameters: expected a mapping of names to arrays, came {kind(parameters)}"
        )
    L = sum(f"weight_ih_l{l}" in parameters for l in range(len(parameters)))
    D = 2 if "weight_ih_l0_reverse" in parameters else 1
    bias = "bias_ih_l0" in parameters
    expected = names(max(L, 1), D, bias)
    if parameters.keys() != set(expected):
        missing = [name for name in expected if name not in parameters]
        unknown = [str(name) for name in parameters if name not in expected]
        complaint = [f"lacks {', '.join(missing)}"] * bool(missing)
        complaint += [f"has {', '.join(unknown)}"] * bool(unknown)
        raise ValueError(
            f"parameters: expected the names of a network of {max(L, 1)} layers, {D} directions"
            f" and {'biases' if bias else 'no bias'}, came a mapping that {' and '.join(complaint)}"
        )
    for name in expected:
        require_numbers(name, parameters[name])
    H, I = require_rank("weight_ih_l0", parameters["weight_ih_l0"], "(H, I)", 2)
    if H < 1 or I < 1:
        raise ValueError(f"weight_ih_l0: expected sizes of at least 1, came shape {(H, I)}")
    dtype, order = parameters["weight_ih_l0"].dtype, iter(expected)
    layers = []
    for l in range(L):
        shapes = ((H, D * H if l else I), (H, H), (H,), (H,))[: 4 if bias else 2]
        layer = []
        for _ in range(D):
            arrays = []
            for shape in shapes:
                name = next(order)
                require(name, parameters[name], shape, dtype, "weight_ih_l0")
                arrays.append(parameters[name])
            layer.append(Weights(*arrays))
        layers.append(layer)
    return Network(layers, L, D, I, H, bias)


def kind(value: object) -> str:
    """A value's type as a message names it."""
    return type(value).__name__


def require_numbers(name: str, value: Array) -> None:
    """Raise TypeError unless `value` is an array of numbers that carry fractions."""
    if not hasattr(type(value), "__array_ufunc__"):
        raise TypeError(f"{name}: expected a NumPy array, came {kind(value)}")
    if value.dtype.kind not in "fcO":
        raise TypeError(
            f"{name}: expected floating-point, complex or exact numbers, came {value.dtype}"
        )


def require_rank(name: str, value: Array, shape: str, *ranks: int) -> tuple[int, ...]:
    """The array's shape; ValueError, naming the expected one, if it has none of the ranks."""
    if value.ndim not in ranks:
        raise ValueError(f"{name}: expected shape {shape}, came {value.shape}")
    found: tuple[int, ...] = value.shape
    return found


def require(name: str, value: Array, shape: tuple[int, ...], dtype: np.dtype, like: str) -> None:
    """Raise ValueError for another shape, TypeError for another dtype than that of `like`."""
    if value.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, came {value.shape}")
    if value.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, that of {like}, came {value.dtype}")
