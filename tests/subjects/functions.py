"""Functions of arrays as subjects: right ones, forward alone and with gradients, and wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import rnn_ref
from rnn_ref.functional import padded, pieces, prepare, rnn, rnn_backward, side_by_side
from rnn_ref.parameters import read
from rnn_ref.reference import backward, final, forward

Arrays = Mapping[str, Any]


def plain(
    input: Any, h_0: Any, parameters: Arrays, *, nonlinearity: str, batch_first: bool = False
) -> tuple[Any, Any]:
    """One layer in one direction, step by step: no other function of this suite computes it."""
    x = input[:, None] if input.ndim == 2 else input.swapaxes(0, 1) if batch_first else input
    p = parameters
    bias = p["bias_ih_l0"] + p["bias_hh_l0"] if "bias_ih_l0" in p else 0
    act: Callable[[Any], Any] = np.tanh if nonlinearity == "tanh" else lambda a: np.maximum(a, 0)
    shape = (x.shape[1], len(p["weight_hh_l0"]))
    h = np.zeros(shape, x.dtype) if h_0 is None else h_0.reshape(shape)
    states = []
    for x_t in x:
        h = act(x_t @ p["weight_ih_l0"].T + h @ p["weight_hh_l0"].T + bias)
        states.append(h)
    output, h_n = np.stack(states), h[None].copy()
    if input.ndim == 2:
        return output[:, 0], h_n[:, 0]
    return output.swapaxes(0, 1) if batch_first else output, h_n


ONE_RUN = ("deep", "bidirectional")

forward_only = rnn_ref.function(lacks=ONE_RUN)(plain)
single = rnn_ref.function(lacks=ONE_RUN, dtypes=("float32",))(plain)
undeclared = rnn_ref.function()(plain)
unmarked = plain


def vjp(
    grad_output: Any, grad_h_n: Any, input: Any, h_0: Any, parameters: Arrays, **options: Any
) -> tuple[Any, Any, Arrays]:
    """Go backward by the reference."""
    gradients = rnn_backward(grad_output, grad_h_n, input, parameters, h_0, **options)
    return gradients.input, gradients.h_0, gradients.parameters


def masks(x: Any, parameters: Arrays, dropout: float, seed: int) -> Any:
    """Draw the masks between layers, (L-1, T, N, D*H)."""
    network = read(parameters)
    shape = (network.L - 1, *x.shape[:2], network.D * network.H)
    kept = np.random.default_rng(seed).random(shape) >= dropout
    return (kept / (1 - dropout) if dropout < 1 else 0 * kept).astype(x.dtype)


def whole(
    input: Any, h_0: Any, parameters: Arrays, *,
    dropout: float = 0.0, seed: int = 0, lengths: Any = None, **options: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Run the reference, with masks where there is dropout."""
    if not dropout:
        return rnn(input, parameters, h_0, lengths=lengths, **options)
    options = {"batch_first": False, **options}
    network, layout, x, start, activation = prepare(input, parameters, h_0, **options)
    drawn, outputs, h_ns = masks(x, parameters, dropout, seed), [], []
    for rows, steps in pieces(x, layout, lengths):
        own = list(drawn[:, :steps, rows])
        states = forward(x[:steps, rows], start[:, rows], network.layers, activation, own)
        outputs.append(padded(states[-1], len(x)))
        h_ns.append(final(states, network.D))
    return layout.from_steps(side_by_side(outputs)), layout.from_rows(side_by_side(h_ns))


def whole_vjp(
    grad_output: Any, grad_h_n: Any, input: Any, h_0: Any, parameters: Arrays, *,
    dropout: float = 0.0, seed: int = 0, **options: Any,
) -> tuple[Any, Any, Arrays]:  # fmt: skip
    """Go backward by the reference, with the masks of the call."""
    if not dropout:
        return vjp(grad_output, grad_h_n, input, h_0, parameters, **options)
    options = {"batch_first": False, **options}
    network, layout, x, start, activation = prepare(input, parameters, h_0, **options)
    drawn = list(masks(x, parameters, dropout, seed))
    states = forward(x, start, network.layers, activation, drawn)
    dy, dh_n = layout.to_steps(grad_output), layout.to_rows(grad_h_n)
    dx, dh_0, dlayers = backward(dy, dh_n, x, start, network.layers, states, activation, drawn)
    return layout.from_steps(dx), layout.from_rows(dh_0), network.named(dlayers)


able = rnn_ref.function(vjp=whole_vjp, packed=True, dropout=True, refuses=True)(whole)
"""A function that lacks nothing that a function can have."""


def mask_kept(*arguments: Any, dropout: float = 0.0, seed: int = 0, **options: Any) -> Any:
    """Drop the same elements in all calls."""
    return whole(*arguments, dropout=dropout, seed=0 * seed, **options)


def lengths_ignored(*arguments: Any, lengths: Any = None, **options: Any) -> Any:  # noqa: ARG001
    """Run the padding too."""
    return whole(*arguments, **options)


def bias_forgotten(input: Any, h_0: Any, parameters: Arrays, **options: Any) -> Any:
    """Leave one bias out."""
    zeroed = {n: 0 * a if n.startswith("bias_hh") else a for n, a in parameters.items()}
    return plain(input, h_0, zeroed, **options)


def state_written(input: Any, h_0: Any, parameters: Arrays, **options: Any) -> Any:
    """Leave the last state in the caller's h_0."""
    output, h_n = plain(input, h_0, parameters, **options)
    if h_0 is not None:
        h_0[...] = h_n
    return output, h_n


def bias_gradient_lost(*arguments: Any, **options: Any) -> Any:
    """Return no gradient for the biases."""
    dx, dh_0, by_name = vjp(*arguments, **options)
    return dx, dh_0, {n: 0 * a if n.startswith("bias") else a for n, a in by_name.items()}


def gradient_forgotten(*arguments: Any, **options: Any) -> Any:
    """Return no gradient of weight_hh_l0."""
    dx, dh_0, by_name = vjp(*arguments, **options)
    return dx, dh_0, {n: a for n, a in by_name.items() if n != "weight_hh_l0"}


def gradient_summed(*arguments: Any, **options: Any) -> Any:
    """Return the gradient of weight_hh_l0 with an axis too many, which torch would sum up."""
    dx, dh_0, by_name = vjp(*arguments, **options)
    return dx, dh_0, {n: a[None] if n == "weight_hh_l0" else a for n, a in by_name.items()}


def errors_silenced(*arguments: Any, **options: Any) -> Any:
    """Leave NumPy's treatment of errors changed."""
    np.seterr(over="raise")
    return plain(*arguments, **options)


def three_results(*arguments: Any, **options: Any) -> Any:
    """Return the states beside the two results."""
    return (*plain(*arguments, **options), 0)


WRONG: dict[str, tuple[rnn_ref.Function, str]] = {
    "bias forgotten": (
        rnn_ref.function(lacks=ONE_RUN)(bias_forgotten),
        "every_step_obeys_the_recurrence",
    ),
    "state written": (
        rnn_ref.function(lacks=ONE_RUN)(state_written),
        "a_call_changes_neither_arguments_nor_weights",
    ),
    "NumPy's errors changed": (
        rnn_ref.function(lacks=ONE_RUN)(errors_silenced),
        "settings_of_the_process_are_left_as_they_were",
    ),
    "three results": (
        rnn_ref.function(lacks=ONE_RUN)(three_results),
        "setup_weights_arrive_and_two_tensors_come_back",
    ),
    "bias gradient lost": (
        rnn_ref.function(vjp=bias_gradient_lost)(whole),
        "gradients_follow_from_the_states",
    ),
    "gradient forgotten": (
        rnn_ref.function(vjp=gradient_forgotten)(whole),
        "gradients_follow_from_the_states",
    ),
    "gradient summed": (
        rnn_ref.function(vjp=gradient_summed)(whole),
        "gradients_follow_from_the_states",
    ),
    "same mask": (
        rnn_ref.function(dropout=True)(mask_kept),
        "masks_are_fresh_for_every_step_row_unit_and_call",
    ),
    "lengths ignored": (
        rnn_ref.function(packed=True)(lengths_ignored),
        "packed_sequences_are_each_run_alone",
    ),
    "nothing refused": (
        rnn_ref.function(lacks=ONE_RUN, refuses=True)(plain),
        "a_wrong_call_is_refused_and_leaves_no_trace",
    ),
}
"""Wrong functions, each with the property that finds it."""

forgetful = WRONG["bias forgotten"][0]
