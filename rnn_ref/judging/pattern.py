"""What the wrong elements of one array have in common, and which of them is the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DECADES = (10, 100, 1000)
"""Where the histogram of error / bound changes its bin."""

GRID = 64
"""The most steps, and units, of which the ratios are kept for a picture."""


MOST = 32
"""The most indices of an axis that are looked for in one another's places."""


MOST = 32
"""The most indices of an axis that are looked for in one another's places."""

FEW = 4
"""How many of them are named."""

Numbers = NDArray[Any]


@dataclass(frozen=True)
class Pattern:
    """Where an array is wrong.

    `first` is the index of the first wrong element in the order of computation. `along` says
    what the wrong elements have in common along each axis on which not all are wrong, and
    along which axis they are right ones in a wrong place. `spread` counts them by error / bound:
    up to 10, 100, 1,000 and beyond. `grid` has the worst ratio of each step and unit (or of the
    array's first and last axis); None where it is large.
    """

    first: tuple[int, ...]
    along: tuple[str, ...]
    spread: tuple[int, ...]
    grid: list[list[float]] | None
    moved: tuple[str, ...] = ()


def pattern(axes: Sequence[str], over: NDArray[np.bool_], ratio: NDArray[np.float64]) -> Pattern:
    """Describe where `over` holds; `ratio` is error / bound, of the same shape."""
    along = []
    for k, axis in enumerate(axes):
        wrong = np.asarray(over.any(axis=tuple(i for i in range(over.ndim) if i != k)))
        if words := common(axis, wrong):
            along.append(words)
    bins = np.digitize(ratio[over], DECADES)
    spread = tuple(int(n) for n in np.bincount(bins, minlength=len(DECADES) + 1))
    return Pattern(first_of(axes, over), tuple(along), spread, grid(axes, ratio))


def first_of(axes: Sequence[str], over: NDArray[np.bool_]) -> tuple[int, ...]:
    """Find the first wrong element as a network computes: the reverse direction ends at step 0."""
    places = np.argwhere(over)
    if "step" not in axes or "direction" not in axes:
        return tuple(map(int, places[0]))
    t, d = axes.index("step"), axes.index("direction")
    reverse = places[:, d] == 1
    order = np.where(reverse, over.shape[t] - 1 - places[:, t], places[:, t])
    return tuple(map(int, places[np.argmin(order)]))


def common(axis: str, wrong: NDArray[np.bool_]) -> str:
    """Say what the wrong indices of an axis have in common; nothing where all are wrong."""
    size, at = len(wrong), np.flatnonzero(wrong)
    if len(at) == size:
        return ""
    first, last = int(at[0]), int(at[-1])
    if axis == "direction":
        return f"{axis} {('forward', 'reverse')[first]} only"
    if len(at) == 1:
        where = "last " if first == size - 1 else ""
        return f"the {where}{axis} only ({first} of {size})"
    if last - first + 1 == len(at):
        if last == size - 1:
            return f"{axis}s from {first} on, of {size}"
        return f"{axis}s {first} to {last} of {size}"
    every = np.unique(np.diff(at))
    if len(every) == 1 and len(at) > 2:
        return f"one {axis} in {every[0]} from {first} on, of {size}"
    return f"{len(at)} of {size} {axis}s"


def moved(
    axes: Sequence[str], over: NDArray[np.bool_], got: Numbers, expected: Numbers, bound: Numbers
) -> list[str]:
    """Say along which axis all that is wrong is what belongs to another index of it."""
    said = []
    for k, axis in enumerate(axes):
        arrays = (np.moveaxis(a, k, 0) for a in (over, got, expected, bound))
        if 1 < over.shape[k] <= MOST and (found := sources(*arrays)):
            places, origins = zip(*found.items(), strict=True)
            if len(found) == 1:
                said.append(f"{axis} {places[0]} has what belongs to {axis} {origins[0]}")
            else:
                here, there = listed(places), listed(origins)
                said.append(f"{axis}s {here} have what belongs to {axis}s {there}")
    return said


def sources(
    over: NDArray[np.bool_], got: Numbers, expected: Numbers, bound: Numbers
) -> dict[int, int]:
    """For each wrong index of the first axis, give the one to which its values belong."""
    found: dict[int, int] = {}
    for i in np.flatnonzero(over.reshape(len(over), -1).any(axis=1)).tolist():
        off = np.abs(got[i] - expected)
        fits = ((off <= bound) & np.isfinite(bound)).reshape(len(over), -1).all(axis=1)
        if not fits.any():
            return {}
        found[i] = int(np.argmax(fits))
    return found


def listed(numbers: Sequence[int]) -> str:
    """List the first few of some indices."""
    return ", ".join(map(str, numbers[:FEW])) + (", ..." if len(numbers) > FEW else "")


def grid(axes: Sequence[str], ratio: NDArray[np.float64]) -> list[list[float]] | None:
    """Keep the worst ratio of each step and unit, or None where there are too many."""
    rows = axes.index("step") if "step" in axes else 0
    others = tuple(i for i in range(ratio.ndim) if i not in (rows, ratio.ndim - 1))
    worst = np.atleast_2d(ratio.max(axis=others) if others else ratio)
    if max(worst.shape) > GRID:
        return None
    return [[float(f"{r:.3g}") for r in row] for row in worst]
