"""The comparison: how far a result is from the expected one, in units of the bound.

    ratio = |got - expected| / bound

An element conforms if ratio <= 1; NaN does not, unless NaN is expected. Elements of which the bound
says nothing are left open, and counted: a sum that may overflow, a slope of relu that may
be 0 or 1, a tanh whose bound is as wide as its range. An open tanh must still lie in that
range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnn_ref.arithmetic.bounded import Bounded, range_of_tanh
from rnn_ref.arithmetic.dtypes import Floats, Rounding
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.pattern import Pattern, moved, pattern

GRADIENT = "gradient of "
"""How the name of a gradient's comparison begins."""

SECOND = "second derivatives"
"""What a fact about these is named."""


@dataclass(frozen=True)
class Element:
    """One element: its place as axes and indices, its values, its error, its bound.

    `digits` is how many decimal digits the subject's dtype has. A bound of 0 says that
    the element must be equal.
    """

    axes: tuple[str, ...]
    index: tuple[int, ...]
    got: float
    expected: float
    error: float
    bound: float
    ratio: float
    digits: int


@dataclass(frozen=True)
class Comparison:
    """The verdict on one array: how many elements it has, are open, are over their bound.

    `ratio` is the largest of the elements that are not open; `worst` is that element
    if it is over its bound, else None. `note` says what was tried. `first` is the first wrong
    element in the order of computation, and `pattern` what the wrong ones have in common.
    `absolute` and `relative` are the largest errors of the wrong ones.
    """

    name: str
    elements: int
    open: int = 0
    over: int = 0
    ratio: float = 0.0
    worst: Element | None = None
    note: str = ""
    first: Element | None = None
    pattern: Pattern | None = None
    absolute: float = 0.0
    relative: float = 0.0


def compare(
    name: str, axes: Sequence[str], got: Floats, expected: Bounded, *, tanh: bool = False
) -> Comparison:
    """Judge every element of an array by its bound; `tanh` says that its values are a tanh's.

    `axes` names the axes, so that an element can be named: "step", "row", "unit".
    """
    value, bound = expected.stored.value, expected.stored.error
    worst = worst_of_bounded(got, value, bound)
    if worst <= 1:
        return Comparison(name, got.size, ratio=worst)
    with np.errstate(all="ignore"):
        error = np.abs(got.astype(np.float64) - value)
        equal = (got == value) | (np.isnan(got) & np.isnan(value))
        ratio = np.where(equal, 0.0, error / bound)
    undecided = np.isinf(bound)
    ratio = np.where(undecided, 0.0, np.where(np.isnan(ratio), np.inf, ratio))
    if tanh:
        undecided |= bound >= range_of_tanh(value, expected.rounding)
    over = ratio > 1
    ratio = np.where(undecided & ~over, 0.0, ratio)
    if not got.size:
        return Comparison(name, 0)
    at = tuple(map(int, np.unravel_index(int(np.argmax(ratio)), got.shape)))
    counts = int(undecided.sum()), int(over.sum())
    if not counts[1]:
        return Comparison(name, got.size, *counts, float(ratio[at]))
    with np.errstate(all="ignore"):
        relative = np.where(equal, 0.0, error / np.abs(value))
        places = moved(axes, over, got, value, bound)
    found, arrays = pattern(axes, over, ratio), (got, value, error, bound, ratio)
    found = replace(found, moved=tuple(places))
    digits = expected.rounding.digits
    return Comparison(
        name,
        got.size,
        *counts,
        float(ratio[at]),
        element(axes, at, arrays, digits),
        first=element(axes, found.first, arrays, digits),
        pattern=found,
        absolute=float(error[over].max()),
        relative=float(relative[over].max()),
    )


def element(
    axes: Sequence[str], index: tuple[int, ...], arrays: Sequence[Floats], digits: int
) -> Element:
    """Take one element of arrays: what was got and expected, the error, the bound, the ratio."""
    got, expected, error, bound, ratio = (float(a[index]) for a in arrays)
    return Element(tuple(axes), index, got, expected, error, bound, ratio, digits)


def worst_of_bounded(got: Floats, value: Floats, bound: Floats) -> float:
    """Return the worst ratio where every bound is below 1, so that nothing is open; else NaN.

    It is NaN too where any number is, and where it must be looked at element by element.
    """
    if not np.maximum.reduce(bound, axis=None, initial=0.0) < 1:
        return math.nan
    with np.errstate(all="ignore"):
        error = np.abs(got - value)
        ratio = np.divide(error, bound, out=np.zeros(error.shape), where=error != 0)
    return float(np.maximum.reduce(ratio, axis=None, initial=0.0))


def same_bits(
    name: str, axes: Sequence[str], got: Floats, expected: Floats, rounding: Rounding
) -> Comparison:
    """Judge whether two arrays of one shape are equal; NaN equals NaN, and 0 equals -0."""
    return compare(name, axes, got, Bounded(expected, rounding=rounding))


def counted(name: str, elements: int) -> Comparison:
    """Count facts that the caller has checked."""
    return Comparison(name, elements)


def left_open(name: str, elements: int) -> Comparison:
    """Count elements of which nothing can be said."""
    return Comparison(name, elements, open=elements)


STATES = ("step", "row", "direction", "unit")
"""The axes of a layer's states, (T, N, D, H)."""

ROWS = ("layer", "direction", "row", "unit")
"""The axes of h_0 and h_n, (L, D, N, H)."""

INPUT = ("step", "row", "feature")
"""The axes of the input, (T, N, I)."""

PARAMETER = ("unit", "input")
"""The axes of a parameter, (H, I), (H, H) or (H,)."""


def compare_states(
    name: str, problem: Problem, l: int, got: Floats, expected: Bounded
) -> Comparison:
    """Judge the states of layer l, (T, N, D*H)."""
    shape = (*got.shape[:2], problem.D, problem.H)
    tanh = problem.nonlinearity == "tanh"
    name = f"{name} of layer {l}"
    return compare(name, STATES, got.reshape(shape), expected.reshape(*shape), tanh=tanh)


def compare_rows(
    name: str, problem: Problem, got: Floats, expected: Bounded, *, tanh: bool
) -> Comparison:
    """Judge h_n, or a gradient for h_0, (L*D, N, H)."""
    shape = (problem.L, problem.D, *got.shape[1:])
    return compare(name, ROWS, got.reshape(shape), expected.reshape(*shape), tanh=tanh)


def compare_results(
    problem: Problem, output: Floats, h_n: Floats, expected: tuple[Bounded, Bounded]
) -> list[Comparison]:
    """Judge an output (T, N, D*H) and an h_n (L*D, N, H) by the expected two."""
    tanh = problem.nonlinearity == "tanh"
    return [
        compare_states("output", problem, problem.L - 1, output, expected[0]),
        compare_rows("h_n", problem, h_n, expected[1], tanh=tanh),
    ]


def compare_steps(
    problem: Problem, visible: Sequence[Floats | None], stepped: Sequence[Bounded]
) -> list[Comparison]:
    """Judge the visible states of every layer by the step that leads to each."""
    return [
        compare_states("output", problem, l, y, expected)
        for l, (y, expected) in enumerate(zip(visible, stepped, strict=True))
        if y is not None
    ]


def compare_gradients(
    problem: Problem, got: Mapping[str, Floats], expected: Mapping[str, Bounded]
) -> list[Comparison]:
    """Judge every gradient, by name; one that is not there counts as zero."""
    comparisons = []
    for name, bounded in expected.items():
        gradient, label = got.get(name, np.zeros(bounded.shape)), f"{GRADIENT}{name}"
        if name == "h_0":
            comparison = compare_rows(label, problem, gradient, bounded, tanh=False)
        else:
            axes = INPUT if name == "input" else PARAMETER[: bounded.ndim]
            comparison = compare(label, axes, gradient, bounded)
        comparisons.append(comparison)
    return comparisons


def same_results(
    problem: Problem, name: str, got: tuple[Any, Any], expected: tuple[Any, Any]
) -> list[Comparison]:
    """Judge whether an output and an h_n are equal to other ones; `name` says whose they are."""
    output, h_n = got
    shapes = (*output.shape[:2], problem.D, problem.H), (problem.L, problem.D, *h_n.shape[1:])
    return [
        same_bits(f"{what} {name}", axes, a.reshape(shape), b.reshape(shape), problem.rounding)
        for what, axes, shape, a, b in zip(
            ("output", "h_n"), (STATES, ROWS), shapes, got, expected, strict=True
        )
    ]


def within(result: Floats, *bounds: Bounded) -> Bounded:
    """Give a result the sum of some bounds, so that another one can be compared with it."""
    with np.errstate(over="ignore"):
        error = sum(bound.stored.error for bound in bounds)
    return Bounded(result, error, rounding=bounds[0].rounding, whole=False)
