"""mlx.nn.RNN, which has one layer and one direction, on the CPU."""

from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn

import rnn_ref

mx.set_default_device(mx.cpu)


def network(input: Any, h_0: Any, weights: Any, nonlinearity: str, batch_first: bool) -> Any:
    """Run one layer on arrays of MLX's; input without a batch is MLX's own layout too."""
    weight_ih, weight_hh, *biases = weights
    rnn = nn.RNN(*weight_ih.shape[::-1], bias=bool(biases), nonlinearity=getattr(nn, nonlinearity))
    mx.eval(mx.random.state)  # else the graph of what is drawn grows with each network
    rnn.Wxh, rnn.Whh = weight_ih, weight_hh
    rnn.bias = biases[0] + biases[1] if biases else None
    swapped = input.ndim == 3 and not batch_first
    output = rnn(input.swapaxes(0, 1) if swapped else input, None if h_0 is None else h_0[0])
    return output.swapaxes(0, 1) if swapped else output, output[..., -1, :][None]


def array(a: Any) -> Any:
    """Make an array of MLX's, of the same dtype; None of None."""
    return None if a is None else mx.array(a, getattr(mx, a.dtype.name))


def vjp(*given: Any, nonlinearity: str, batch_first: bool = False) -> Any:
    """Pull gradients back through the network."""
    *upstream, input, h_0, parameters = given
    arrays = [array(a) for a in (input, h_0, *parameters.values()) if a is not None]
    given_h_0 = h_0 is not None

    def call(input: Any, *rest: Any) -> Any:
        start = rest[0] if given_h_0 else None
        return network(input, start, rest[given_h_0:], nonlinearity, batch_first)

    _, (of_input, *others) = mx.vjp(call, arrays, [array(a) for a in upstream])
    by_name = dict(zip(parameters, others[given_h_0:], strict=True))
    return of_input, others[0] if given_h_0 else None, by_name


@rnn_ref.function(vjp=vjp, lacks=("deep", "bidirectional"))
def rnn(
    input: Any, h_0: Any, parameters: Any, *, nonlinearity: str, batch_first: bool = False
) -> Any:
    """Run one layer."""
    weights = [array(a) for a in parameters.values()]
    results = network(array(input), array(h_0), weights, nonlinearity, batch_first)
    return tuple(np.array(result) for result in results)
