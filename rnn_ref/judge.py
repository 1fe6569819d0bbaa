"""The comparison: how far a result is from what it must be, in units of what is allowed.

    ratio = |came - expected| / allowed

Conforms: ratio <= 1, which NaN is not. An element of which nothing can be said is left
open, and counted: a sum that may overflow, a slope of relu that may be 0 or 1, a tanh
whose bound is as wide as its range. An open tanh must still lie in that range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_ref.bounded import Bounded, range_of_tanh
from rnn_ref.case import Problem

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Comparison:
    """The verdict on one array: how many elements, open and over their bound, and the worst.

    `ratio` is the largest of the elements that are not open; `worst` describes that
    element where it is over its bound, and is empty else.
    """

    name: str
    elements: int
    open: int
    over: int
    ratio: float
    worst: str


def compare(
    name: str, axes: Sequence[str], came: Floats, expected: Bounded, *, tanh: bool = False
) -> Comparison:
    """Hold every element of an array to its bound; `tanh` says that its values are a tanh's.

    `axes` names the axes, so that an element can be named: "step", "row", "unit".
    """
    value, allowed = expected.stored.value, expected.stored.error
    with np.errstate(all="ignore"):
        off = np.abs(came.astype(np.float64) - value)
        equal = (came == value) | (np.isnan(came) & np.isnan(value))
        ratio = np.where(equal, 0.0, off / allowed)
    undecided = np.isinf(allowed)
    ratio = np.where(undecided, 0.0, np.where(np.isnan(ratio), np.inf, ratio))
    if tanh:
        undecided |= allowed >= range_of_tanh(value, expected.rounding)
    over = ratio > 1
    ratio = np.where(undecided & ~over, 0.0, ratio)
    at = np.unravel_index(int(np.argmax(ratio)), came.shape) if came.size else ()
    worst = ""
    if over.any():
        worst = (
            f"{name} at {named(axes, at)}:\n"
            f"  came {came[at]}, expected {value[at]},\n"
            f"  off by {off[at]:.2g}, allowed {allowed[at]:.2g}, ratio {ratio[at]:.3g}"
        )
    largest = float(ratio[at]) if came.size else 0.0
    return Comparison(name, came.size, int(undecided.sum()), int(over.sum()), largest, worst)


def verdict(comparisons: Sequence[Comparison]) -> str:
    """What is wrong, in words: the worst element of the first array in which any is; or nothing."""
    over = [comparison for comparison in comparisons if comparison.over]
    if not over:
        return ""
    counts = ", ".join(f"{c.name}: {c.over} of {c.elements}" for c in over)
    return f"{over[0].worst}\nover their bound: {counts}"


def counted(name: str, elements: int) -> Comparison:
    """Facts that were held to be true, and were: a fault would have been raised."""
    return Comparison(name, elements, 0, 0, 0.0, "")


def left_open(name: str, elements: int) -> Comparison:
    """Elements of which nothing can be said."""
    return Comparison(name, elements, elements, 0, 0.0, "")


def named(axes: Sequence[str], index: Sequence[Any]) -> str:
    """An element's place in words, such as `step 3, row 0, direction reverse, unit 5`."""
    words = [
        f"{axis} {('forward', 'reverse')[i] if axis == 'direction' else i}"
        for axis, i in zip(axes, index, strict=True)
    ]
    return ", ".join(words)


def compare_states(
    name: str, problem: Problem, l: int, came: Floats, expected: Bounded
) -> Comparison:
    """Hold states of layer l, (T, N, D*H), to theirs."""
    shape = (*came.shape[:2], problem.D, problem.H)
    axes = ("step", "row", "direction", "unit")
    tanh = problem.nonlinearity == "tanh"
    return compare(
        f"{name} of layer {l}", axes, came.reshape(shape), expected.reshape(*shape), tanh=tanh
    )


def compare_rows(
    name: str, problem: Problem, came: Floats, expected: Bounded, *, tanh: bool
) -> Comparison:
    """Hold h_n or a gradient for h_0, (L*D, N, H), to its own."""
    shape = (problem.L, problem.D, *came.shape[1:])
    axes = ("layer", "direction", "row", "unit")
    return compare(name, axes, came.reshape(shape), expected.reshape(*shape), tanh=tanh)


def compare_results(
    problem: Problem, output: Floats, h_n: Floats, expected: tuple[Bounded, Bounded]
) -> list[Comparison]:
    """Hold an output (T, N, D*H) and an h_n (L*D, N, H) to the expected two."""
    tanh = problem.nonlinearity == "tanh"
    return [
        compare_states("output", problem, problem.L - 1, output, expected[0]),
        compare_rows("h_n", problem, h_n, expected[1], tanh=tanh),
    ]


def compare_gradients(
    problem: Problem, came: dict[str, Floats], expected: dict[str, Bounded]
) -> list[Comparison]:
    """Hold every gradient, by name, to its own; one that is not there counts as zero."""
    comparisons = []
    for name, bounded in expected.items():
        gradient, label = came.get(name, np.zeros(bounded.shape)), f"gradient of {name}"
        if name == "h_0":
            comparison = compare_rows(label, problem, gradient, bounded, tanh=False)
        elif name == "input":
            comparison = compare(label, ("step", "row", "feature"), gradient, bounded)
        else:
            comparison = compare(label, ("unit", "input")[: bounded.ndim], gradient, bounded)
        comparisons.append(comparison)
    return comparisons


def within(came: Floats, *bounds: Bounded) -> Bounded:
    """One result of a subject as what another must be: within the sum of their bounds."""
    with np.errstate(over="ignore"):
        allowed = sum(bound.stored.error for bound in bounds)
    return Bounded(came, allowed, rounding=bounds[0].rounding, whole=False)
