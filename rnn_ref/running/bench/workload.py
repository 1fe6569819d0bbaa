"""What `rnn-ref bench` times: the arrays of one layer, a program's calls, and the limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnn_ref.arithmetic.dtypes import Floats

NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


class Network(NamedTuple):
    """The arrays that all peers are run on, float32, and how many threads each may use.

    `x` is (T, N, I), `dy` (T, N, H) and `dh_n` (1, N, H) are the upstream gradients.
    """

    T: int
    N: int
    I: int
    H: int
    x: Floats
    parameters: dict[str, Floats]
    dy: Floats
    dh_n: Floats
    threads: int


def network(T: int, N: int, I: int, H: int, threads: int = 1) -> Network:
    """Draw a network of one layer with weights as torch draws them, and normal inputs."""
    generator = np.random.default_rng(0)
    shapes = dict(zip(NAMES, [(H, I), (H, H), (H,), (H,)], strict=True))
    parameters = {
        name: generator.uniform(-(H**-0.5), H**-0.5, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    x, dy, dh_n = (
        generator.standard_normal(shape).astype(np.float32)
        for shape in [(T, N, I), (T, N, H), (1, N, H)]
    )
    return Network(T, N, I, H, x, parameters, dy, dh_n, threads)


class Passes(NamedTuple):
    """A peer's calls: `forward` returns the output, `both` the gradients, of input and NAMES.

    They return what the peer's own type of array holds, and `read` makes NumPy's of it.
    `note` is printed beside the peer's times.
    """

    forward: Callable[[], Any]
    both: Callable[[], Any] | None = None
    read: Callable[[Any], Any] = np.asarray
    note: str = ""


def products(net: Network) -> Passes:
    """Make the matrix products of one layer alone: the limit of what any program can reach."""
    T, N, I, H = net[:4]
    x, W_ih, W_hh = net.x.reshape(T * N, I), net.parameters[NAMES[0]], net.parameters[NAMES[1]]
    h, V, y = net.dh_n[0], W_hh.T.copy(), net.dy.reshape(T * N, H)
    projected, state = np.empty((T * N, H), np.float32), np.empty((N, H), np.float32)
    dx, dW_ih, dW_hh = (np.empty_like(array) for array in (x, W_ih, W_hh))

    def forward() -> None:
        np.matmul(x, W_ih.T, out=projected)
        for _ in range(T):
            np.matmul(h, V, out=state)

    def both() -> None:
        forward()
        for _ in range(T):
            np.matmul(h, W_hh, out=state)
        np.matmul(y, W_ih, out=dx)
        np.matmul(y.T, x, out=dW_ih)
        np.matmul(y.T, projected, out=dW_hh)

    return Passes(forward, both)
