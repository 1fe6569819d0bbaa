"""Read the arguments of an RNN by torch's names, check them, lay them out for `reference`.

Every error message is one sentence: the argument, what was expected, and what was got.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rnn_ref.reference import Array, Weights


class Layout(NamedTuple):
    """The axes of the caller's arrays: torch.nn.RNN's `batch_first`, or no batch axis at all."""

    unbatched: bool
    batch_first: bool

    def to_steps(self, x: Array) -> Array:
        """Bring the caller's (T, I), (N, T, I) or (T, N, I) to (T, N, I)."""
        if self.unbatched:
            return x[:, None]
        return x.swapaxes(0, 1) if self.batch_first else x

    def from_steps(self, y: Array) -> Array:
        """Bring (T, N, ...) to the caller's layout."""
        if self.unbatched:
            return y[:, 0]
        return y.swapaxes(0, 1) if self.batch_first else y

    def to_rows(self, h: Array) -> Array:
        """Bring the caller's state to (L*D, N, H); it is (L*D, H) if unbatched.

        batch_first does not change it: so says torch.nn.RNN's documentation of that option.
        """
        return h[:, None] if self.unbatched else h

    def from_rows(self, h: Array) -> Array:
        """Bring (L*D, N, H) to the caller's shape, (L*D, H) if unbatched."""
        return h[:, 0] if self.unbatched else h


class Network(NamedTuple):
    """What `read` finds in parameters: L layers, D directions, input_size I, hidden_size H."""

    layers: list[list[Weights]]
    L: int
    D: int
    I: int
    H: int
    bias: bool

    def named(self, layers: Sequence[Sequence[Weights]]) -> dict[str, Array]:
        """Map torch's names to the given weights (or their gradients) of this network's form."""
        flat = [array for layer in layers for w in layer for array in w if array is not None]
        return dict(zip(names(self.L, self.D, self.bias), flat, strict=True))


@lru_cache
def names(L: int, D: int, bias: bool) -> tuple[str, ...]:
    """List torch's names of all parameters, in the order of `torch.nn.RNN.named_parameters`."""
    kinds = ["weight_ih", "weight_hh"]
    if bias:
        kinds += ["bias_ih", "bias_hh"]
    ends = ["", "_reverse"][:D]
    return tuple(f"{kind}_l{l}{end}" for l in range(L) for end in ends for kind in kinds)


def read(parameters: Mapping[str, Array]) -> Network:
    """Find depth, directions, sizes and bias in torch's names and in the arrays' shapes.

    `weight_ih_l{l}` is (H, I) for l = 0 and (H, D*H) above, `weight_hh_l{l}` (H, H), the
    biases (H,); `_reverse` marks the second direction. Raises TypeError for a value that
    is no array or has another dtype than the others, ValueError for names that do not make
    a network and for shapes that do not fit.
    """
    L, D, bias = read_names(parameters)
    for name in names(L, D, bias):
        require_numbers(name, parameters[name])
    first = parameters["weight_ih_l0"]
    H, I = require_rank("weight_ih_l0", first, "(H, I)", 2)
    if H < 1 or I < 1:
        raise ValueError(f"weight_ih_l0: expected sizes of at least 1, got shape {(H, I)}")
    layers = []
    for l in range(L):
        shapes = [(H, D * H if l else I), (H, H), (H,), (H,)]
        layer = []
        for end in ["", "_reverse"][:D]:
            arrays = []
            for kind, shape in zip(names(1, 1, bias), shapes, strict=False):
                name = kind.removesuffix("_l0") + f"_l{l}{end}"
                require(name, parameters[name], shape, first.dtype, "weight_ih_l0")
                arrays.append(parameters[name])
            layer.append(Weights(*arrays))
        layers.append(layer)
    return Network(layers, L, D, I, H, bias)


def read_names(parameters: Mapping[str, Array]) -> tuple[int, int, bool]:
    """Find L, D and bias in the names of the parameters; raise ValueError if any does not fit."""
    if not isinstance(parameters, Mapping):
        raise TypeError(
            f"parameters: expected a mapping of names to arrays, got {type_name(parameters)}"
        )
    L = max(1, sum(f"weight_ih_l{l}" in parameters for l in range(len(parameters))))
    D = 2 if "weight_ih_l0_reverse" in parameters else 1
    bias = "bias_ih_l0" in parameters
    expected = names(L, D, bias)
    missing = [name for name in expected if name not in parameters]
    unknown = [str(name) for name in parameters if name not in expected]
    faults = [f"without {', '.join(missing)}"] if missing else []
    faults += [f"with {', '.join(unknown)}"] if unknown else []
    if faults:
        raise ValueError(
            f"parameters: expected the names of a network of {L} layers, {D} directions"
            f" and {'biases' if bias else 'no bias'}, got a mapping {' and '.join(faults)}"
        )
    return L, D, bias


def type_name(value: object) -> str:
    """Name a value's type, for a message."""
    return type(value).__name__


def require_numbers(name: str, value: Array) -> None:
    """Raise TypeError unless `value` is an array of floating-point, complex or exact numbers."""
    if not hasattr(type(value), "__array_ufunc__"):
        raise TypeError(f"{name}: expected a NumPy array, got {type_name(value)}")
    if value.dtype.kind not in "fcO":
        raise TypeError(
            f"{name}: expected floating-point, complex or exact numbers, got {value.dtype}"
        )


def require_rank(name: str, value: Array, shape: str, *ranks: int) -> tuple[int, ...]:
    """Return the array's shape; raise ValueError, with the expected `shape`, for another rank."""
    if value.ndim not in ranks:
        raise ValueError(f"{name}: expected shape {shape}, got {value.shape}")
    return tuple(value.shape)


def require(name: str, value: Array, shape: tuple[int, ...], dtype: np.dtype, like: str) -> None:
    """Raise ValueError for another shape, TypeError for another dtype; `like` names its array."""
    if value.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {value.shape}")
    if value.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, that of {like}, got {value.dtype}")
