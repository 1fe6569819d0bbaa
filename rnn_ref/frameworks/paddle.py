"""paddle.nn.SimpleRNN, PaddlePaddle's own network, on the CPU."""

from typing import Any

import numpy as np
import paddle

import rnn_ref


def run(
    input: Any, h_0: Any, parameters: Any, *, nonlinearity: str, batch_first: bool = False,
    lengths: Any = None, dropout: float = 0.0, seed: int = 0,
) -> Any:  # fmt: skip
    """Make a network that has the weights, and call it; return all three."""
    paddle.set_default_dtype(input.dtype.name)
    paddle.seed(seed % 2**31)
    runs = sum(name.startswith("weight_ih") for name in parameters)
    both, bias = "weight_ih_l0_reverse" in parameters, "bias_ih_l0" in parameters
    net = paddle.nn.SimpleRNN(
        *parameters["weight_ih_l0"].shape[::-1], runs // (1 + both),
        "bidirect" if both else "forward", not batch_first, dropout, nonlinearity,
        **({} if bias else {"bias_ih_attr": False, "bias_hh_attr": False}),
    )  # fmt: skip
    for name, a in parameters.items():
        getattr(net, name).set_value(np.ascontiguousarray(a))
    arguments = [a if a is None else paddle.to_tensor(a, stop_gradient=False) for a in (input, h_0)]
    return net, arguments, net(*arguments, None if lengths is None else paddle.to_tensor(lengths))


def vjp(grad_output: Any, grad_h_n: Any, *arguments: Any, **options: Any) -> Any:
    """Go backward from both results."""
    net, (x, h_0), results = run(*arguments, **options)
    paddle.autograd.backward(list(results), [paddle.to_tensor(g) for g in (grad_output, grad_h_n)])
    by_name = {name: getattr(net, name).grad.numpy() for name in arguments[2]}
    return x.grad.numpy(), None if h_0 is None else h_0.grad.numpy(), by_name


@rnn_ref.function(vjp=vjp, packed=True, dropout=True, lacks=("unbatched",))
def rnn(*arguments: Any, **options: Any) -> Any:
    """Call the network."""
    with paddle.no_grad():
        return tuple(result.numpy() for result in run(*arguments, **options)[2])
