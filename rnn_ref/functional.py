"""The reference behind torch's names and layouts: `rnn` and `rnn_backward`."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from rnn_ref.parameters import Layout, Network, read, require, require_numbers, require_rank
from rnn_ref.reference import ACTIVATIONS, Activation, Array, backward, final, forward


class Gradients(NamedTuple):
    """The gradients of a loss: for the input, for h_0 and, by name, for each parameter."""

    input: Array
    h_0: Array
    parameters: dict[str, Array]


def rnn(
    input: Array,
    parameters: Mapping[str, Array],
    h_0: Array | None = None,
    *,
    nonlinearity: str = "tanh",
    batch_first: bool = False,
    lengths: Sequence[int] | None = None,
) -> tuple[Array, Array]:
    """Run the network that `parameters` make, with the semantics of `torch.nn.RNN`.

    `input` is (T, N, I), (N, T, I) with `batch_first`, or (T, I) without a batch;
    `parameters` any mapping with torch's names, such as `weight_ih_l0` (H, I) and
    `weight_hh_l0_reverse` (H, H), from which depth, directions, sizes and bias follow;
    `h_0` (L*D, N, H), or (L*D, H) without a batch, zero if not given. With `lengths`, N
    numbers of steps, each sequence of the batch is run by itself and for so many steps:
    what lies beyond is not read, and its output is 0 (a packed sequence, padded again).

    Return `output`, (T, N, D*H) in the layout of the input, and `h_n`, shaped like h_0,
    both in the dtype given. Raise ValueError or TypeError, in one sentence, for names,
    shapes, ranks and dtypes that do not fit, an unknown nonlinearity, an empty sequence.
    """
    network, layout, x, start, activation = prepare(
        input, parameters, h_0, nonlinearity=nonlinearity, batch_first=batch_first
    )
    outputs, h_ns = [], []
    for rows, steps in pieces(x, layout, lengths):
        states = forward(x[:steps, rows], start[:, rows], network.layers, activation)
        outputs.append(padded(states[-1], len(x)))
        h_ns.append(final(states, network.D))
    output, h_n = side_by_side(outputs), side_by_side(h_ns)
    return layout.from_steps(output), layout.from_rows(h_n)


def rnn_backward(
    grad_output: Array | None,
    grad_h_n: Array | None,
    input: Array,
    parameters: Mapping[str, Array],
    h_0: Array | None = None,
    *,
    nonlinearity: str = "tanh",
    batch_first: bool = False,
    lengths: Sequence[int] | None = None,
) -> Gradients:
    """Carry a loss's gradients from what `rnn` returns to all that it takes.

    `grad_output` and `grad_h_n` are shaped like `rnn`'s two results; None stands for
    zero. The other arguments, and what is raised, are `rnn`'s. The gradient for h_0 is
    given also where h_0 was not. relu's slope at 0 is 0 (PyTorch, "Autograd mechanics",
    gradients for non-differentiable functions: the sub-gradient of least norm).
    """
    network, layout, x, start, activation = prepare(
        input, parameters, h_0, nonlinearity=nonlinearity, batch_first=batch_first
    )
    T, N, _ = x.shape
    like_output = layout.from_steps(np.empty((T, N, network.D * network.H), x.dtype))
    dy = layout.to_steps(upstream("grad_output", grad_output, like_output))
    dh_n = layout.to_rows(upstream("grad_h_n", grad_h_n, layout.from_rows(start)))
    dxs, dh_0s, of_pieces = [], [], []
    for rows, steps in pieces(x, layout, lengths):
        x_piece, h_piece = x[:steps, rows], start[:, rows]
        states = forward(x_piece, h_piece, network.layers, activation)
        dx, dh_0, dlayers = backward(
            dy[:steps, rows], dh_n[:, rows], x_piece, h_piece, network.layers, states, activation
        )
        dxs.append(padded(dx, T))
        dh_0s.append(dh_0)
        of_pieces.append(network.named(dlayers))
    sums = {name: reduce(operator.add, [p[name] for p in of_pieces]) for name in of_pieces[0]}
    dx, dh_0 = side_by_side(dxs), side_by_side(dh_0s)
    return Gradients(layout.from_steps(dx), layout.from_rows(dh_0), sums)


def pieces(x: Array, layout: Layout, lengths: Sequence[int] | None) -> list[tuple[slice, int]]:
    """List the rows that run together, and for how many steps: all, or each for its length."""
    T, N, _ = x.shape
    if lengths is None:
        return [(slice(0, N), T)]
    if layout.unbatched or len(lengths) != N or not all(1 <= length <= T for length in lengths):
        raise ValueError(
            f"lengths: expected {N} numbers of steps from 1 to {T}, one for each sequence of a"
            f" batch, got {list(lengths)}"
        )
    return [(slice(n, n + 1), int(length)) for n, length in enumerate(lengths)]


def side_by_side(pieces: Sequence[Array]) -> Array:
    """Join pieces of a batch along its axis."""
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)


def padded(y: Array, T: int) -> Array:
    """Extend steps (t, n, ...) with zeros to T steps."""
    if len(y) == T:
        return y
    return np.concatenate([y, np.zeros((T - len(y), *y.shape[1:]), y.dtype)])


def prepare(
    input: Array,
    parameters: Mapping[str, Array],
    h_0: Array | None,
    *,
    nonlinearity: str,
    batch_first: bool,
) -> tuple[Network, Layout, Array, Array, Activation]:
    """Check all arguments of `rnn` and lay them out: input (T, N, I), h_0 (L*D, N, H)."""
    if nonlinearity not in ACTIVATIONS:
        raise ValueError(f"nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")
    network = read(parameters)
    dtype = parameters["weight_ih_l0"].dtype
    require_numbers("input", input)
    form = "(N, T, I)" if batch_first else "(T, N, I)"
    shape = require_rank("input", input, f"{form}, or (T, I) without a batch", 2, 3)
    require("input", input, (*shape[:-1], network.I), dtype, "weight_ih_l0")
    layout = Layout(len(shape) == 2, batch_first)
    x = layout.to_steps(input)
    if len(x) == 0:
        raise ValueError(f"input: expected a sequence of at least one step, got shape {shape}")
    rows = (network.L * network.D, x.shape[1], network.H)
    if h_0 is None:
        return network, layout, x, np.zeros(rows, dtype), ACTIVATIONS[nonlinearity]
    require_numbers("h_0", h_0)
    expected = (network.L * network.D, network.H) if layout.unbatched else rows
    require("h_0", h_0, expected, dtype, "weight_ih_l0")
    return network, layout, x, layout.to_rows(h_0), ACTIVATIONS[nonlinearity]


def upstream(name: str, gradient: Array | None, like: Array) -> Array:
    """Check a gradient against the result that it belongs to; return zeros where it is None."""
    if gradient is None:
        return np.zeros(like.shape, like.dtype)
    require_numbers(name, gradient)
    require(name, gradient, like.shape, like.dtype, "weight_ih_l0")
    return gradient
