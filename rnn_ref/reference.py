"""What torch.nn.RNN computes, forward and backward, in NumPy's operators alone.

T steps, N batch, I input, H hidden, L layers, D directions. One step of one
direction of one layer is the whole model (Elman, 1990; torch.nn.RNN's formula):

    h_t = activation(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)

The same lines run on many kinds of arrays: floats give values, `Bounded` arrays give
rounding bounds, complex numbers derivatives, `Fraction` and `arb` objects exact results.
The names and layouts that torch gives these arrays are in `functional`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = Any  # anything with NumPy's operators; shapes are in the docstrings


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
    """Compute W_ih x_t + b_ih + b_hh for all steps in one product: (T, N, I) -> (T, N, H)."""
    T, N, I = x.shape
    a = (x.reshape(T * N, I) @ w.W_ih.T).reshape(T, N, len(w.W_ih))
    return a if w.b_ih is None else a + (w.b_ih + w.b_hh)


def step(a: Array, h: Array, V: Array, activation: Activation) -> Array:
    """Compute h_t from h = h_{t-1}, a = project(x)[t] and V = W_hh transposed."""
    return activation.value(a + h @ V)


def run(x: Array, h: Array, w: Weights, activation: Activation) -> Array:
    """Run one direction from state h (N, H) over x (T, N, I); return the states (T, N, H)."""
    V = w.W_hh.T.copy()  # contiguous, because it is read at every step
    states = []
    for a in project(x, w):
        h = step(a, h, V, activation)
        states.append(h)
    return np.stack(states)


def previous(y: Array, h_0: Array) -> Array:
    """Return the state before each step, h_0 .. h_{T-1}; y holds h_1 .. h_T."""
    return np.concatenate([h_0[None], y[:-1]])


def differentiate_run(
    dy: Array, dh: Array, x: Array, h_0: Array, y: Array, w: Weights, activation: Activation
) -> tuple[Array, Array, Weights]:
    """Differentiate y = run(x, h_0, w), given the gradients dy of y, and dh of its last state."""
    T, N, H = y.shape
    slopes = activation.slope(y)
    das = []
    for t in reversed(range(T)):
        da = (dy[t] + dh) * slopes[t]  # h_t = activation(a_t)
        dh = da @ w.W_hh  # a_t = ... + W_hh h_{t-1}
        das.append(da)
    da = np.stack(das[::-1]).reshape(T * N, H)
    dx = (da @ w.W_ih).reshape(x.shape)  # a_t = W_ih x_t + ...
    dW_ih = da.T @ x.reshape(T * N, x.shape[2])
    dW_hh = da.T @ previous(y, h_0).reshape(T * N, H)
    db = None if w.b_ih is None else da.sum(axis=0)
    return dx, dh, Weights(dW_ih, dW_hh, db, db)


def in_reading_order(x: Array, d: int) -> Array:
    """Reverse the time axis if d = 1, the reverse direction; a second call restores the order."""
    return x[::-1] if d == 1 else x


def directions(y: Array, D: int) -> list[Array]:
    """Split y (T, N, D*H) into the states (T, N, H) of each direction, in its reading order."""
    H = y.shape[2] // D
    return [in_reading_order(y[:, :, d * H : (d + 1) * H], d) for d in range(D)]


def forward(
    x: Array, h_0: Array, layers: Sequence[Sequence[Weights]], activation: Activation,
    masks: Sequence[Array] = (),
) -> list[Array]:  # fmt: skip
    """Run a deep network; return the states of its L layers, each (T, N, D*H) in order of time.

    x is (T, N, I); layers[l][d] holds the weights of layer l in direction d, and row
    l*D + d of h_0 (L*D, N, H) starts it. Each layer reads the joined directions of
    the layer below. The last layer's states are the network's output. Dropout
    multiplies what layer l + 1 reads by masks[l] (T, N, D*H): 0, or 1/(1-p) where kept.
    """
    states = []
    for l, layer in enumerate(layers):
        if l > 0 and masks:
            x = masks[l - 1] * x
        ys = []
        for d, w in enumerate(layer):
            y = run(in_reading_order(x, d), h_0[l * len(layer) + d], w, activation)
            ys.append(in_reading_order(y, d))
        x = np.concatenate(ys, axis=2) if len(ys) == 2 else ys[0]
        states.append(x)
    return states


def final(states: Sequence[Array], D: int) -> Array:
    """Return h_n (L*D, N, H) from each layer's states: the reverse direction ends at t = 0."""
    return np.stack([y_d[-1] for y in states for y_d in directions(y, D)])


def backward(
    dy: Array, dh_n: Array, x: Array, h_0: Array, layers: Sequence[Sequence[Weights]],
    states: Sequence[Array], activation: Activation, masks: Sequence[Array] = (),
) -> tuple[Array, Array, list[list[Weights]]]:  # fmt: skip
    """Differentiate forward, given the gradients dy of the output and dh_n of h_n."""
    dh_0 = list(dh_n)
    dlayers = [list(layer) for layer in layers]
    for l in reversed(range(len(layers))):
        D = len(layers[l])
        below = states[l - 1] if l > 0 else x
        if l > 0 and masks:
            below = masks[l - 1] * below
        dys, ys = directions(dy, D), directions(states[l], D)
        dbelow = []
        for d, w in enumerate(layers[l]):
            row = l * D + d
            dx, dh_0[row], dlayers[l][d] = differentiate_run(
                dys[d], dh_n[row], in_reading_order(below, d), h_0[row], ys[d], w, activation
            )
            dbelow.append(in_reading_order(dx, d))
        dy = dbelow[0] + dbelow[1] if D == 2 else dbelow[0]  # both read the layer below
        if l > 0 and masks:
            dy = masks[l - 1] * dy
    return dy, np.stack(dh_0), dlayers
