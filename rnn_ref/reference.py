"""What torch.nn.RNN computes, forward and backward, in NumPy's operators alone.

T steps, N batch, I input, H hidden, L layers, D directions. One step of one
direction of one layer is the whole model (Elman, 1990; torch.nn.RNN's formula):

    h_t = activation(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)

Arrays of any kind run through these lines: floats give values, `Bounded` arrays
rounding bounds, complex ones derivatives, objects (`Fraction`, `arb`) exactness.
The names and layouts that torch gives these arrays are in `functional`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = Any
"""Anything with NumPy's operators; shapes are in the docstrings."""


class Activation(NamedTuple):
    """A nonlinearity, and its slope as a function of its own result y."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]


ACTIVATIONS = {
    "tanh": Activation(np.tanh, lambda y: 1 - y * y),
    "relu": Activation(lambda a: np.maximum(a, 0), lambda y: y > 0),
}


class Weights(NamedTuple):
    """What one direction of one layer learns: W_ih (H, I), W_hh (H, H), biases (H,) or None."""

    W_ih: Array
    W_hh: Array
    b_ih: Array | None = None
    b_hh: Array | None = None


def project(x: Array, w: Weights) -> Array:
    """W_ih x_t + b_ih + b_hh for all steps in one product: (T, N, I) -> (T, N, H)."""
    T, N, I = x.shape
    a = (x.reshape(T * N, I) @ w.W_ih.T).reshape(T, N, len(w.W_ih))
    return a if w.b_ih is None else a + (w.b_ih + w.b_hh)


def step(a: Array, h: Array, V: Array, activation: Activation) -> Array:
    """The state h_t that follows h = h_{t-1}, given a = project(x)[t] and V = W_hh transposed."""
    return activation.value(a + h @ V)


def run(x: Array, h: Array, w: Weights, activation: Activation) -> Array:
    """One direction: from state h (N, H), read x (T, N, I) first to last; the states (T, N, H)."""
    V, states = w.W_hh.T.copy(), []
    for a in project(x, w):
        h = step(a, h, V, activation)
        states.append(h)
    return np.stack(states)


def previous(y: Array, h_0: Array) -> Array:
    """The states h_0 .. h_{T-1} from which the states y = h_1 .. h_T followed: (T, N, H)."""
    return np.concatenate([h_0[None], y[:-1]])


def differentiate_run(
    dy: Array, dh: Array, x: Array, h_0: Array, y: Array, w: Weights, activation: Activation
) -> tuple[Array, Array, Weights]:
    """Carry dy, for the states y = run(x, h_0, w), and dh, for the last one, to x, h_0 and w."""
    (T, N, H), das = y.shape, []
    for dy_t, slope in zip(dy[::-1], activation.slope(y)[::-1], strict=True):
        da = (dy_t + dh) * slope  # h_t = activation(a_t)
        dh = da @ w.W_hh  # a_t = ... + W_hh h_{t-1}
        das.append(da)
    da = np.stack(das[::-1]).reshape(T * N, H)
    dx = (da @ w.W_ih).reshape(x.shape)  # a_t = W_ih x_t + ...
    dW_ih = da.T @ x.reshape(T * N, x.shape[2])
    dW_hh = da.T @ previous(y, h_0).reshape(T * N, H)
    db = None if w.b_ih is None else da.sum(axis=0)
    return dx, dh, Weights(dW_ih, dW_hh, db, db)


def reading(x: Array, d: int) -> Array:
    """Steps in the order in which direction d reads them; the reverse one (d = 1) starts at T-1.

    Flipping twice changes nothing, so this also puts its states back into the order of time.
    """
    return x[::-1] if d else x


def halves(y: Array, D: int) -> list[Array]:
    """The states (T, N, H) of each of the D directions side by side in y (T, N, D*H)."""
    H = y.shape[2] // D
    return [reading(y[:, :, d * H : (d + 1) * H], d) for d in range(D)]


def forward(
    x: Array, h_0: Array, layers: Sequence[Sequence[Weights]], activation: Activation,
    masks: Sequence[Array] = (),
) -> list[Array]:  # fmt: skip
    """A deep network: the states of its L layers, each (T, N, D*H) in the order of time.

    x is (T, N, I); layers[l][d] holds the weights of layer l in direction d, and row
    l*D + d of h_0 (L*D, N, H) starts it. Each layer reads all directions of the one
    below side by side. The last layer's states are the network's output. Dropout
    multiplies what layer l + 1 reads by masks[l] (T, N, D*H): 0, or 1/(1-p) where kept.
    """
    states = []
    for l, layer in enumerate(layers):
        D, x = len(layer), masks[l - 1] * x if l and len(masks) else x
        ys = [run(reading(x, d), h_0[l * D + d], w, activation) for d, w in enumerate(layer)]
        x = np.concatenate([ys[0], reading(ys[1], 1)], axis=2) if D == 2 else ys[0]
        states.append(x)
    return states


def final(states: Sequence[Array], D: int) -> Array:
    """h_n (L*D, N, H), from each layer's states: the reverse direction ends at t = 0."""
    return np.stack([half[-1] for y in states for half in halves(y, D)])


def backward(
    dy: Array, dh_n: Array, x: Array, h_0: Array, layers: Sequence[Sequence[Weights]],
    states: Sequence[Array], activation: Activation, masks: Sequence[Array] = (),
) -> tuple[Array, Array, list[list[Weights]]]:  # fmt: skip
    """Carry dy, for the output, and dh_n, for h_n, through forward's states to x, h_0, layers."""
    dh_0, dlayers = list(dh_n), [list(layer) for layer in layers]
    for l, layer in reversed(list(enumerate(layers))):
        dropped = l and len(masks)
        D, below, dbelow = len(layer), states[l - 1] if l else x, []
        below = masks[l - 1] * below if dropped else below
        for d, (dy_d, y_d) in enumerate(zip(halves(dy, D), halves(states[l], D), strict=True)):
            row = l * D + d
            dx, dh_0[row], dlayers[l][d] = differentiate_run(
                dy_d, dh_n[row], reading(below, d), h_0[row], y_d, layer[d], activation
            )
            dbelow.append(reading(dx, d))
        dy = dbelow[0] + dbelow[1] if D == 2 else dbelow[0]  # both read the layer below
        dy = masks[l - 1] * dy if dropped else dy
    return dy, np.stack(dh_0), dlayers
