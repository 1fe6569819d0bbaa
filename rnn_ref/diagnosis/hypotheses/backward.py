"""What may be wrong inside a step's derivative: with the gradients of the sums, and their products.

All gradients of a run are products of the gradients da of its sums, (T, N, H). Some of these
products may be taken of other numbers: those of a step alone, of a row, without the slope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import Differential, Run, stored
from rnn_ref.diagnosis.hypotheses.activation import clipped
from rnn_ref.diagnosis.regions import powers_of_two
from rnn_ref.reference import Array, Weights

Differentiate = Callable[[Run], Differential]

FIELDS = {
    "the gradient of {weight_ih}": "W_ih",
    "the gradient of {weight_hh}": "W_hh",
    "the gradient of {bias_ih}": "b_ih",
    "the gradient of {bias_hh}": "b_hh",
}
"""The fields of Weights by the words for their gradients."""


def about_products(p: Problem, *, renamed: bool) -> Iterator[tuple[str, Differentiate]]:
    """List what gradients of the sums some of the gradients may be taken of.

    With `renamed`, by the names that other forms of cases have too.
    """
    N = p.input.shape[1]
    others: dict[str, Callable[[Run, Array], Array]] = {
        "is taken without the slope of the nonlinearity": lambda r, _: before_slope(r),
        "is taken with the slope twice": lambda r, da: stored(da * r.activation.slope(r.y)),
    }
    if p.input.shape[0] > 1:
        others["leaves the last step out"] = lambda r, da: stored(
            da * but(len(da), 0 if r.d else -1, 3)
        )
        if p.D == 2 or renamed:
            others["leaves the step that is read last out"] = lambda r, da: stored(
                da * but(len(da), -1, 3)
            )
    if N > 1:
        others["is that of row 0 alone"] = lambda r, da: stored(da * (1 - but(da.shape[1], 0, 2)))
        others["is that of the last row alone"] = lambda r, da: stored(
            da * (1 - but(da.shape[1], -1, 2))
        )
    for k in powers_of_two(N):
        others[f"leaves rows from {k} on out"] = partial(first_rows, k=k)
    names = FIELDS if p.bias else dict(list(FIELDS.items())[:2])
    groups: dict[str, tuple[str, ...]] = {words: (field,) for words, field in names.items()}
    if p.bias:
        groups["the gradient of the biases"] = ("b_ih", "b_hh")
    groups["the gradient of the parameters"] = tuple(names.values())
    for end, other in others.items():
        for words, fields in groups.items():
            yield f"{words} {end}", partial(taken_of, other=other, fields=fields)
        if "row" not in end and "step" not in end:
            yield f"the gradient of what is read {end}", partial(taken_of, other=other, reads=True)


OTHER_PERIODS = (3, 5, 6, 7, 10, 12, 20, 50)
"""Steps, besides powers of two, after which truncated backpropagation may be cut."""


def about_recurrence(p: Problem) -> Iterator[tuple[str, Differentiate]]:
    """List what may be wrong with what goes from one step back to the one before."""
    T = p.input.shape[0]
    yield (
        "the recurrent gradient is multiplied by the slope twice",
        partial(stepped, back=slope_twice),
    )
    for c in (1, 5, 10, 100):
        yield (
            f"the recurrent gradient is clipped at {c}",
            partial(stepped, back=lambda _, dh, c=c: clipped(dh, low=-c, c=c)),  # type: ignore[misc]
        )
    others = [k for k in OTHER_PERIODS if k < T]
    for k in others:
        yield f"the recurrent gradient is cut every {k} steps", partial(in_parts, every=k)
    for k in (*others, *powers_of_two(T)):
        words = f"the recurrent gradient is cut every {k} steps, counted from the last"
        yield words, partial(in_parts, every=k, first=T % k)
    for k in (*others, *powers_of_two(T + 1)):
        yield f"the recurrent gradient is cut {k} steps before the end", partial(cut_before, k=k)
    if T > 1:
        last = but(T, -1, 3)
        yield (
            "what comes from above counts at the last step alone",
            lambda r: r._replace(dy=stored(r.dy * (1 - last))).differentiated(),
        )
        for by, words in ((1, "after"), (-1, "before")):
            yield f"the gradient of what is read goes to the step {words}", partial(moved, by=by)
        yield "the slope is that of the state before the step", partial(shifted_slope, by=1)
        yield "the slope is that of the state after the step", partial(shifted_slope, by=-1)
        yield (
            "the gradient of {weight_ih} is taken with the input of the step before",
            partial(other_input, by=1),
        )
        yield (
            "the gradient of {weight_ih} is taken with the input of the step after",
            partial(other_input, by=-1),
        )
        yield "the gradient of {weight_hh} takes the last state for h_0", with_last_for_h_0


def but(n: int, at: int, axes: int) -> Any:
    """Make ones with one zero, along the first of some axes."""
    ones = np.ones(n)
    ones[at] = 0.0
    return ones.reshape(n, *[1] * (axes - 1))


def first_rows(_: Run, da: Array, k: int) -> Array:
    """Count all rows but the first as 0."""
    return stored(da * (np.arange(da.shape[1]) < k).astype(float)[:, None])


def level(r: Run) -> Run:
    """Take 1 for the slope, and end every run with its step."""
    return r._replace(
        activation=r.activation._replace(slope=lambda y: 1 - y * 0),
        w=r.w._replace(W_hh=stored(r.w.W_hh * 0)),
        dh=stored(r.dh * 0),
    )


def of_sums(r: Run) -> Array:
    """Compute the gradients of the sums: with the identity for W_ih, that is what is read's."""
    identity = stored(r.w.W_hh * 0) + np.eye(r.y.shape[2])
    return stored(r._replace(x=r.y, w=r.w._replace(W_ih=identity)).differentiated()[0])


def before_slope(r: Run) -> Array:
    """Compute the gradients of the states: what came from above, and from the step after."""
    later = stored(of_sums(r)[1:] @ r.w.W_hh)
    return stored(r.dy + np.concatenate([later, r.dh[None]]))


def taken_of(
    r: Run,
    other: Callable[[Run, Array], Array],
    fields: tuple[str, ...] = (),
    *,
    reads: bool = False,
) -> Differential:
    """Take some gradients of other gradients of sums."""
    dx, dh, dw = r.differentiated()
    changed = level(r)._replace(dy=other(r, of_sums(r))).differentiated()
    taken = {name: getattr(changed[2], name) for name in fields}
    return changed[0] if reads else dx, dh, dw._replace(**taken)


def slope_twice(r: Run, _: Array) -> Array:
    """Take a step's slope twice, on the way to the state before it."""
    slope = r.activation.slope
    twice = r.activation._replace(slope=lambda y: slope(y) * slope(y))
    return stored(r._replace(activation=twice).differentiated()[1])


def stepped(r: Run, back: Callable[[Run, Array], Array]) -> Differential:
    """Differentiate step by step, and change what each step gives the one before."""
    dh, dxs, total = r.dh, [], None
    for t in reversed(range(len(r.y))):
        one = r.part(slice(t, t + 1), dh)
        dx, dh, dw = one.differentiated()
        dh = back(one, stored(dh))
        dxs.append(dx)
        total = dw if total is None else added(total, dw)
    assert total is not None
    return np.concatenate(dxs[::-1]), dh, total


def added(a: Weights, b: Weights) -> Weights:
    """Add up the gradients of weights."""
    return Weights(*(None if x is None else x + y for x, y in zip(a, b, strict=True)))


def in_parts(r: Run, every: int, first: int = 0) -> Differential:
    """Differentiate stretches of so many steps alone, of which the first may be shorter."""
    T, nothing = len(r.y), stored(r.dh * 0)
    starts = [*([0] if first else []), *range(first, T, every)]
    ends = [*starts[1:], T]
    parts = [
        r.part(slice(start, end), r.dh if end == T else nothing).differentiated()
        for start, end in zip(starts, ends, strict=True)
    ]
    total = parts[0][2]
    for _, _, dw in parts[1:]:
        total = added(total, dw)
    return np.concatenate([dx for dx, _, _ in parts]), parts[0][1], total


def cut_before(r: Run, k: int) -> Differential:
    """Differentiate the last k steps, and those before them, alone; h_0 is before the first."""
    if k < len(r.y):
        return in_parts(r, every=k, first=len(r.y) - k)
    dx, dh, dw = r.differentiated()
    return dx, stored(dh * 0), dw


def moved(r: Run, by: int) -> Differential:
    """Give each step's gradient of what is read to another step, the last to the first."""
    dx, dh, dw = r.differentiated()
    return stored(dx)[np.roll(np.arange(len(r.x)), by)], dh, dw


def shifted_slope(r: Run, by: int) -> Differential:
    """Take each step's slope of another state: of h_0 before the first, the last after the last."""

    def slope(y: Array) -> Array:
        shifted = [r.h_0[None], y[:-1]] if by > 0 else [y[1:], y[-1:]]
        return r.activation.slope(np.concatenate(shifted))

    return r._replace(activation=r.activation._replace(slope=slope)).differentiated()


def other_input(r: Run, by: int) -> Differential:
    """Take W_ih's gradient with the inputs of other steps, at the ends with zeros."""
    nothing = stored(r.x[:1] * 0)
    x = [nothing, r.x[:-1]] if by > 0 else [r.x[1:], nothing]
    dx, dh, dw = r.differentiated()
    other = r._replace(x=np.concatenate(x)).differentiated()[2].W_ih
    return dx, dh, dw._replace(W_ih=other)


def with_last_for_h_0(r: Run) -> Differential:
    """Take the last state for the one before the first, in W_hh's gradient alone."""
    dx, dh, dw = r.differentiated()
    other = r._replace(h_0=r.y[-1]).differentiated()[2].W_hh
    return dx, dh, dw._replace(W_hh=other)
