"""flax.nnx.RNN over a SimpleCell, and Bidirectional over two; each form of a call is compiled."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import rnn_ref

jax.config.update("jax_enable_x64", True)  # noqa: FBT003 - its own signature


def direction(parameters: Any, end: str, nonlinearity: str, *, time_major: bool) -> Any:
    """Make an RNN that has the weights whose names end so."""
    w_ih, w_hh = (parameters[f"weight_{kind}_l0{end}"].T for kind in ("ih", "hh"))
    activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[nonlinearity]
    cell = nnx.SimpleCell(
        *w_ih.shape, activation_fn=activation, dtype=w_ih.dtype, param_dtype=w_ih.dtype,
        rngs=nnx.Rngs(0),
    )  # fmt: skip
    cell.dense_i.kernel.value, cell.dense_h.kernel.value = w_ih, w_hh
    if f"bias_ih_l0{end}" in parameters:
        cell.dense_i.bias.value = parameters[f"bias_ih_l0{end}"] + parameters[f"bias_hh_l0{end}"]
    return nnx.RNN(cell, time_major=time_major, return_carry=True)


def network(
    input: Any, h_0: Any, parameters: Any, *, nonlinearity: str, batch_first: bool = False
) -> Any:
    """Run one layer, in one direction or in both."""
    ends = [name.removeprefix("weight_ih_l0") for name in parameters if "weight_ih" in name]
    rnns = [direction(parameters, e, nonlinearity, time_major=not batch_first) for e in ends]
    starts = None if h_0 is None else h_0[0] if len(ends) == 1 else tuple(h_0)
    if len(ends) == 2:
        both = nnx.Bidirectional(*rnns, time_major=not batch_first, return_carry=True)
        carry, y = both(input, initial_carry=starts)
        return y, jnp.stack(carry)
    carry, y = rnns[0](input, initial_carry=starts)
    return y, carry[None]


def vjp(grad_output: Any, grad_h_n: Any, *arguments: Any, **options: Any) -> Any:
    """Pull gradients back through the network."""
    _, pull_back = jax.vjp(lambda *each: network(*each, **options), *arguments)
    return pull_back((grad_output, grad_h_n))


static = {"static_argnames": ("nonlinearity", "batch_first")}
mark = rnn_ref.function(vjp=jax.jit(vjp, **static), lacks=("deep", "unbatched", "fork"))
rnn = mark(jax.jit(network, **static))
