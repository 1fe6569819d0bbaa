"""Regions of an array: some indices along each of its axes, named so that any size has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnn_ref.cases.problem import Problem
from rnn_ref.judging.comparison import INPUT, PARAMETER, ROWS, STATES

Mask = NDArray[np.bool_]

TILES = (2, 4, 8, 16, 32, 64)
"""How many rows or units a kernel may take at once."""

FARTHEST = 4096
"""The largest number of steps, rows or features past which something is looked for."""


def powers_of_two(below: int, least: int = 2) -> list[int]:
    """List the powers of two past which something may be wrong of so many steps or rows."""
    powers = [2**n for n in range(1, FARTHEST.bit_length())]
    return [k for k in powers if least <= k < below]


def shape_of(name: str, p: Problem) -> tuple[int, ...]:
    """Return the shape of a result, or of a gradient, with an axis for each of `axes_of`."""
    T, N, I = p.input.shape
    shapes = {"output": (T, N, p.D, p.H), "input": (T, N, I)}
    shapes |= dict.fromkeys(("h_n", "h_0"), (p.L, p.D, N, p.H))
    return shapes.get(name) or p.parameters[name].shape


def axes_of(name: str) -> tuple[str, ...]:
    """Name the axes of a result, or of a gradient."""
    return {"output": STATES, "h_n": ROWS, "h_0": ROWS, "input": INPUT}.get(name, PARAMETER)


class Part(NamedTuple):
    """Some indices of an axis: in words, and as a function of the axis's size."""

    words: str
    chosen: Callable[[int], Mask]


class Region(NamedTuple):
    """A part along each axis of an array, and the words for it, which end a sentence."""

    words: str
    parts: tuple[Part, ...]

    def mask(self, shape: Sequence[int]) -> Mask:
        """Choose the elements of an array of a shape."""
        chosen = [part.chosen(n) for part, n in zip(self.parts, shape, strict=True)]
        return np.asarray(np.logical_and.reduce(np.meshgrid(*chosen, indexing="ij")))


def regions(name: str, wrong: Mask) -> list[Region]:
    """List the regions of an array that may be what is wrong of it."""
    along = []
    for k, axis in enumerate(axes_of(name)[: wrong.ndim]):
        others = tuple(i for i in range(wrong.ndim) if i != k)
        along.append(list(parts(axis, np.asarray(wrong.any(axis=others)))))
    found = []
    for chosen in product(*along):
        words = ", ".join(part.words for part in chosen if part.words)
        found.append(Region(f" in {words}" if words else "", chosen))
    return found


def parts(axis: str, wrong: Mask) -> Iterator[Part]:
    """List what the wrong indices of an axis may be, whatever its size; one part if all are."""
    size, at = len(wrong), np.flatnonzero(wrong)
    first, last = int(at[0]), int(at[-1])
    if len(at) == size:
        yield Part("", lambda n: np.ones(n, bool))
        return
    if axis == "direction":
        name = ("forward", "reverse")[first]
        yield Part(f"the {name} direction", lambda n: np.arange(n) == first)
        return
    if len(at) == 1:
        yield Part(f"{axis} {first}", lambda n: np.arange(n) == first)
    if len(at) == 1 and last == size - 1:
        yield Part(f"the last {axis}", lambda n: np.arange(n) == n - 1)
    if last == size - 1 and len(at) == size - first:
        yield Part(f"{axis}s from {first} on", lambda n: np.arange(n) >= first)
        for k in TILES:
            if size // k * k == first:
                rest = f"{axis}s after the last full tile of {k}"
                yield Part(rest, partial_tile(k))
                if size > k:
                    yield Part(f"{rest}, where there is one", partial_tile(k, least=k))
    if first == 0 and len(at) == last + 1:
        yield Part(f"{axis}s before {last + 1}", lambda n: np.arange(n) <= last)
        left = size - 1 - last
        yield Part(f"all but the last {left} of the {axis}s", lambda n: np.arange(n) < n - left)
    gaps = np.unique(np.diff(at))
    if len(at) > 2 and len(gaps) == 1 and gaps[0] > 1:
        k = int(gaps[0])
        yield Part(f"one {axis} in {k} from {first} on", lambda n: (np.arange(n) - first) % k == 0)


def partial_tile(k: int, least: int = 0) -> Callable[[int], Mask]:
    """Choose the indices after the last full tile of k; none, if there are too few."""
    return lambda n: (np.arange(n) >= n // k * k) & (n >= least)
