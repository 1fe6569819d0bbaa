"""keras.layers.SimpleRNN, and Bidirectional over it, on Keras's torch backend."""

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch

import rnn_ref
from rnn_ref.frameworks.tensors import on_arrays, vjp_of


def network(
    input: Any, h_0: Any, parameters: Any, *, nonlinearity: str, batch_first: bool = False
) -> Any:
    """Run one layer, in one direction or in both."""
    p, bias, dtype = parameters, "bias_ih_l0" in parameters, str(input.dtype).removeprefix("torch.")
    layer = keras.layers.SimpleRNN(
        len(parameters["weight_hh_l0"]), nonlinearity, use_bias=bias, dtype=dtype,
        return_sequences=True, return_state=True,
    )  # fmt: skip
    ends = [name.removeprefix("weight_ih_l0") for name in parameters if "weight_ih" in name]
    if len(ends) == 2:
        layer = keras.layers.Bidirectional(layer, dtype=dtype)
    x = input if batch_first else input.transpose(0, 1)
    layer.build(tuple(x.shape))
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
