"""keras.layers.SimpleRNN, and Bidirectional over it, on Keras's torch backend."""

import functools
import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch

import rnn_ref
from rnn_ref.frameworks.tensors import on_arrays, vjp_of


@functools.lru_cache(maxsize=64)
def built(I: int, H: int, nonlinearity: str, *, bias: bool, both: bool, dtype: str) -> Any:
    """Build a layer, which calls give their weights: building takes as long as a call."""
    layer = keras.layers.SimpleRNN(
        H, nonlinearity, use_bias=bias, dtype=dtype, return_sequences=True, return_state=True
    )
    layer = keras.layers.Bidirectional(layer, dtype=dtype) if both else layer
    layer.build((None, None, I))
    return layer


def network(
    input: Any, h_0: Any, parameters: Any, *, nonlinearity: str, batch_first: bool = False
) -> Any:
    """Run one layer, in one direction or in both."""
    p, bias, dtype = parameters, "bias_ih_l0" in parameters, str(input.dtype).removeprefix("torch.")
    ends = [name.removeprefix("weight_ih_l0") for name in parameters if "weight_ih" in name]
    H, I = p["weight_ih_l0"].shape
    layer = built(I, H, nonlinearity, bias=bias, both=len(ends) == 2, dtype=dtype)
    x = input if batch_first else input.transpose(0, 1)
    weights = []
    for end in ends:
        weights += [p[f"weight_{kind}_l0{end}"].T for kind in ("ih", "hh")]
        weights += [p[f"bias_ih_l0{end}"] + p[f"bias_hh_l0{end}"]] if bias else []
    starts = None if h_0 is None else list(h_0)
    (y, *last), _ = layer.stateless_call(
        weights, layer.non_trainable_variables, x, initial_state=starts
    )
    return y if batch_first else y.transpose(0, 1), torch.stack(last)


rnn = rnn_ref.function(vjp=vjp_of(network), lacks=("deep", "unbatched"))(on_arrays(network))
