"""What may be wrong of some units, rows or steps alone: the others follow the equations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import (
    Change,
    Expected,
    Hypothesis,
    Steps,
    changed,
    results_of,
    stored,
)
from rnn_ref.diagnosis.hypotheses.measured import Seen
from rnn_ref.diagnosis.hypotheses.results import wide_hypotheses
from rnn_ref.diagnosis.regions import Mask, Part, axes_of, parts, shape_of
from rnn_ref.judging.oracle import Oracle
from rnn_ref.reference import Activation, Array, Weights, run

Confine = Callable[[Any, Part], Change | None]
"""Confines a change to a part of an axis; gives None where it can't be confined."""


class Confined(NamedTuple):
    """A part of an axis to which what is wrong may be confined."""

    axis: str
    part: Part


def confined(seen: Seen) -> list[Confined]:
    """List the parts of the axes to which what is wrong of results may be confined.

    Rows are computed apart from one another. A step's units all follow from those of the step
    before, and steps from what came before them: where a single direction first is wrong tells.
    """
    if "output" not in seen.wrong or not seen.wrong["output"].any():
        return []
    p = seen.problem
    wrong = seen.wrong["output"].reshape(shape_of("output", p))
    masks = {"row": wrong.any(axis=(0, 2, 3))}
    if p.L == 1:  # what is wrong in a step is wrong in those that a direction reads later
        masks["step"] = np.all(wrong.any(axis=(1, 3)), axis=1)
    if p.L == p.D == 1:
        masks["unit"] = wrong[int(np.argmax(masks["step"]))].any(axis=(0, 1))
    found = [
        Confined(axis, part)
        for axis, mask in masks.items()
        if mask.any()
        for part in parts(axis, np.asarray(mask))
    ]
    return [each for each in found if each.part.words]


def in_parts(p: Problem, among: list[Confined]) -> list[Hypothesis]:
    """List the changes of a whole network, confined to parts of an axis."""
    if not among:
        return []
    found = []
    for hypothesis in (h for h in wide_hypotheses(p) if h.change):
        for axis, part in among:
            change = CONFINE[axis](hypothesis.change, part)
            if change is not None:
                found.append(changed(f"{hypothesis.sentence}, in {part.words} alone", change))
    return found


def is_of_runs(change: Change) -> bool:
    """Tell whether a change is of what each direction computes, in all of its steps."""
    of_order = change.reads, change.returns, change.joins
    return of_order == (Change.reads, Change.returns, Change.joins) and change.steps is Steps.ALL


def is_of_the_problem(change: Change) -> bool:
    """Tell whether a change is of the arrays."""
    return change.problem is not Change.problem


def spread(own: Any, other: Any, chosen: Mask, axis: int) -> Any:
    """Put what is not chosen and what is, side by side, in the places where they belong."""
    order = np.argsort(np.concatenate([np.flatnonzero(~chosen), np.flatnonzero(chosen)]))
    return along(np.concatenate([own, other], axis=axis), axis, order)


def along(a: Any, axis: int, index: Any) -> Any:
    """Take indices along an axis."""
    return a[(*(slice(None),) * axis, index)]


# Finished arrays.

ELSEWHERE: dict[str, Callable[[NDArray[np.intp]], NDArray[np.intp]]] = {
    "the {} before": lambda at: np.maximum(at - 1, 0),
    "the {} after": lambda at: at + 1,
    "the first {}": lambda at: at * 0,
}
"""Where a row, a unit or a step may have been taken from."""


def copied(seen: Seen) -> Iterator[Hypothesis]:
    """List of which other index a part of the only wrong array may be a copy."""
    if len(names := seen.names()) != 1:
        return
    (name,) = names
    wrong = seen.wrong[name].reshape(shape_of(name, seen.problem))
    for k, axis in enumerate(axes_of(name)[: wrong.ndim]):
        mask = wrong.any(axis=tuple(i for i in range(wrong.ndim) if i != k))
        for part in parts(axis, np.asarray(mask)):
            for words, source in ELSEWHERE.items() if part.words else ():
                yield Hypothesis(
                    f"{name} repeats {words.format(axis)} in {part.words}",
                    partial(copy, name=name, axis=k, part=part, source=source),
                    arrays=frozenset(names),
                )


def copy(
    oracle: Oracle,
    name: str,
    axis: int,
    part: Part,
    source: Callable[[NDArray[np.intp]], NDArray[np.intp]],
) -> Expected:
    """Copy some indices along an axis of a finished array from others."""
    results = name in ("output", "h_n")
    right = results_of(oracle) if results else oracle.gradients_end_to_end
    whole = right[name].reshape(shape_of(name, oracle.problem))
    at = np.arange(whole.shape[axis])
    taken = np.minimum(np.where(part.chosen(len(at)), source(at), at), len(at) - 1)
    return right | {name: along(whole, axis, taken).reshape(*right[name].shape)}


# Rows.


def in_rows(change: Change, part: Part) -> Change | None:
    """Confine a change to some rows."""
    if not is_of_runs(change):
        return None
    if is_of_the_problem(change):
        return Change(problem=partial(problem_in_rows, change=change, part=part))
    return replace(change, runs=partial(run_in_rows, change=change, part=part), **UNCHANGED)


UNCHANGED: dict[str, Any] = {"weights": Change.weights, "activation": Change.activation}
"""What a change of runs leaves as it is, so that it is not made twice."""


def run_in_rows(x: Array, h: Array, w: Weights, f: Activation, change: Change, part: Part) -> Array:
    """Run some rows as a change says, and the others as they should be."""
    chosen = part.chosen(x.shape[1])
    own = run(x[:, ~chosen], h[~chosen], w, f)
    other = change.runs(x[:, chosen], h[chosen], change.weights(w), change.activation(f))
    return spread(own, other, chosen, axis=1)


def problem_in_rows(p: Problem, change: Change, part: Part) -> Problem:
    """Change some rows of the input and of h_0."""
    other = change.problem(p)
    chosen = part.chosen(p.input.shape[1])[:, None]
    x = np.where(chosen, other.input, p.input)
    h_0 = p.h_0
    if h_0 is not None and other.h_0 is not None:
        h_0 = np.where(chosen, other.h_0, h_0)
    return replace(p, input=x, h_0=h_0)


# Units.


def in_units(change: Change, part: Part) -> Change | None:
    """Confine a change of weights, or of the nonlinearity, to some units."""
    if not is_of_runs(change) or is_of_the_problem(change) or change.runs is not Change.runs:
        return None
    return replace(
        change,
        weights=partial(weights_of_units, change=change, part=part),
        activation=partial(activation_of_units, change=change, part=part),
    )


def weights_of_units(w: Weights, change: Change, part: Part) -> Weights:
    """Change the weights of some units: what they read, and their biases."""
    other, chosen = change.weights(w), part.chosen(len(w.W_hh))
    fields = {
        name: spread(own[~chosen], getattr(other, name)[chosen], chosen, axis=0)
        for name, own in w._asdict().items()
        if own is not None
    }
    return w._replace(**fields)


def activation_of_units(own: Activation, change: Change, part: Part) -> Activation:
    """Change the nonlinearity of some units."""
    other = change.activation(own)
    if other is own:
        return own

    def value(a: Array) -> Array:
        chosen = part.chosen(a.shape[-1])
        y, changed = stored(own.value(a)), stored(other.value(a))
        return spread(y[..., ~chosen], changed[..., chosen], chosen, axis=a.ndim - 1)

    return own._replace(value=value)


# Steps.


def in_steps(change: Change, part: Part) -> Change | None:
    """Confine a change of weights, or of the nonlinearity, to some steps."""
    if not is_of_runs(change) or is_of_the_problem(change) or change.runs is not Change.runs:
        return None
    in_time, reverse = (
        partial(run_in_steps, change=change, part=part, reverse=r) for r in (False, True)
    )
    return replace(change, runs=in_time, reverse_runs=reverse, **UNCHANGED)


def run_in_steps(
    x: Array, h: Array, w: Weights, f: Activation, change: Change, part: Part, reverse: bool
) -> Array:
    """Run some steps as a change says, and the others as they should be."""
    changed = change.weights(w), change.activation(f)
    ys, chosen = [], part.chosen(len(x))
    for steps, as_changed in stretches(chosen[::-1] if reverse else chosen):
        ys.append(run(x[steps], h, *(changed if as_changed else (w, f))))
        h = ys[-1][-1]
    return np.concatenate(ys)


def stretches(chosen: Mask) -> Iterator[tuple[slice, bool]]:
    """Yield the longest stretches of indices that are all chosen, or all not."""
    start = 0
    for value, same in groupby(chosen.tolist()):
        stop = start + len(list(same))
        yield slice(start, stop), value
        start = stop


CONFINE: dict[str, Confine] = {"row": in_rows, "unit": in_units, "step": in_steps}
"""How a change is confined to a part of each axis."""
