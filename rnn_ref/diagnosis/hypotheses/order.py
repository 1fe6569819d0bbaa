"""What may be wrong with the order of results: directions, layers, steps, rows, units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import (
    Change,
    Changed,
    Hypothesis,
    changed,
    error_of,
    joined,
    replaced,
    results_of,
    unit_of,
    value_of,
)
from rnn_ref.diagnosis.regions import powers_of_two
from rnn_ref.judging.oracle import Oracle
from rnn_ref.reference import Array, directions, final, in_reading_order, run


def of_directions() -> dict[str, Change]:
    """List changes of how two directions are read and joined."""
    return {
        "the reverse direction reads forward, and its output is not flipped": Change(
            reads=lambda x, place: x, returns=lambda y, place: y
        ),
        "the reverse direction reads forward, and its output is flipped": Change(
            reads=lambda x, place: x
        ),
        "the output of the reverse direction is left in its reading order": Change(
            returns=lambda y, place: y
        ),
        "the directions are joined the other way round": Change(
            joins=lambda ys, below, l: joined(ys[::-1], below, l)
        ),
        "the directions' units are interleaved": Change(joins=interleave),
        "the forward direction's states stand in place of the reverse one's too": Change(
            joins=lambda ys, below, l: joined([ys[0], ys[0]], below, l)
        ),
        "the reverse direction skips its first step and repeats its last": Change(
            reads=lambda x, place: np.concatenate([x[:-1][::-1], x[:1]]) if place.d else x
        ),
    }


def between_layers(L: int, *, renamed: bool) -> dict[str, Change]:
    """List changes of two directions that are made in some layers alone.

    Of two layers some names mean the same: the first is meant, unless all are asked for. How the
    last layer's directions are joined is the order of the output, which has names of its own.
    """
    some = {
        "below the last layer": range(L - 1),
        "in the layers above the first": range(1, L),
        "in layer 0": range(1),
        "in the last layer": range(L - 1, L),
    }
    if L > 2:
        some["between layer 0 and the last"] = range(1, L - 1)
    first = {layers: words for words, layers in reversed(some.items())}
    found = {}
    for sentence, change in of_directions().items():
        of_output = change.joins is not Change.joins
        for words, layers in some.items():
            once = first[layers] == words and not (of_output and layers == range(L - 1, L))
            if renamed or once:
                found[f"{sentence}, {words} alone"] = restricted(change, layers.__contains__)
    for d, name in enumerate(("forward", "reverse")):
        found[f"layers above the first do not read the {name} direction of the layer below"] = (
            restricted(Change(joins=partial(without_direction, d=d)), lambda l: l < L - 1)
        )
    return found


def restricted(change: Change, layers: Callable[[int], bool]) -> Change:
    """Make a change of order in some layers alone."""
    plain = Change()
    return Change(
        reads=lambda x, place: (change if layers(place.l) else plain).reads(x, place),
        returns=lambda y, place: (change if layers(place.l) else plain).returns(y, place),
        joins=lambda ys, below, l: (change if layers(l) else plain).joins(ys, below, l),
    )


def without_direction(ys: Sequence[Array], below: Array, l: int, d: int) -> Array:
    """Join the directions, one of them as zeros."""
    return joined([y * 0 if i == d else y for i, y in enumerate(ys)], below, l)


def of_layers() -> dict[str, Change]:
    """List changes of what layers read of the layer below."""
    return {
        "layers above the first read the first step alone of the layer below": Change(
            reads=lambda x, place: same_step(x, place.d, 0 if place.l else None)
        ),
        "layers above the first read the last step alone of the layer below": Change(
            reads=lambda x, place: same_step(x, place.d, -1 if place.l else None)
        ),
        "a residual is added between layers": Change(
            joins=lambda ys, below, l: joined(ys, below, l) + below if l else joined(ys, below, l)
        ),
    }


def about_order(p: Problem) -> Iterator[Hypothesis]:
    """List changes of how directions and layers are joined, and of what layers read."""
    order = (of_directions() if p.D == 2 else {}) | (of_layers() if p.L > 1 else {})
    yield from orders_of_layers(p, renamed=False)
    for sentence, change in order.items():
        yield changed(sentence, change)
        if change.returns is Change.returns and change.joins is Change.joins:
            continue
        yield Hypothesis(
            sentence + ", h_n is read from that output",
            lambda oracle, change=change: with_final(Changed(oracle, change)),  # type: ignore[misc]
        )


def orders_of_layers(p: Problem, *, renamed: bool) -> Iterator[Hypothesis]:
    """List changes of two directions in some layers alone."""
    if p.D == 2 and p.L > 1:
        for sentence, change in between_layers(p.L, renamed=renamed).items():
            yield changed(sentence, change)


def with_final(oracle: Changed) -> dict[str, Bounded]:
    """Take h_n from the joined states, at the ends where it belongs."""
    states = [y for _, y in oracle.passes]
    return {"output": states[-1], "h_n": final(states, oracle.problem.D)}


def interleave(ys: Sequence[Array], below: Array, l: int) -> Array:
    """Join the directions' units in turn."""
    y = joined(ys, below, l)
    H = y.shape[2] // 2
    return y[:, :, np.arange(2 * H).reshape(2, H).T.ravel()]


def same_step(x: Array, d: int, t: int | None) -> Array:
    """Take one step for all, if any; else all steps in reading order."""
    return in_reading_order(x, d) if t is None else np.stack([x[t]] * len(x))


def about_h_n(p: Problem) -> Iterator[Hypothesis]:
    """List changes of which states h_n has, beside a right output."""
    N, D = p.input.shape[1], p.D

    def of(sentence: str, h_n: Callable[[Any, Any], Any]) -> Hypothesis:
        """Make h_n of the states of each run, [(T, N, H)], and of the right h_n."""
        return Hypothesis(
            sentence,
            lambda oracle: {
                "output": oracle.output,
                "h_n": h_n([y for s in oracle.states for y in directions(s, D)], oracle.h_n),
            },
            arrays=frozenset(["h_n"]),
        )

    yield of("h_n is the state after the first step", lambda ys, h: np.stack([y[0] for y in ys]))
    yield of(
        "h_n is the state of the middle step", lambda ys, h: np.stack([y[len(y) // 2] for y in ys])
    )
    yield of("h_n is the state before the last", lambda ys, h: np.stack([y[-2:][0] for y in ys]))
    yield of("h_n is zero", lambda ys, h: h * 0)
    if p.h_0 is not None:
        h_0 = p.h_0.astype(np.float64)
        yield of("h_n is h_0", lambda ys, h: replaced(h, h_0, 0.0))
    yield of("the rows of h_n are in the reverse order", lambda ys, h: h[:, ::-1])
    for axis, what in enumerate(("rows", "units"), start=1):
        for by in (1, -1):
            roll = partial(rolled, axis=axis, by=by)
            yield of(f"the {what} of h_n are moved on by {by}", lambda ys, h, roll=roll: roll(h))  # type: ignore[misc]
    yield of("all rows of h_n are row 0", lambda ys, h: h[:, np.zeros(N, int)])
    yield of(
        "h_n (L*D, N, H) has the memory of (N, L*D, H)",
        lambda ys, h: h.swapaxes(0, 1).copy().reshape(h.shape),
    )
    if D == 2:
        yield of(
            "the reverse h_n is from the wrong end (its first step, t = T - 1)",
            lambda ys, h: np.stack([y[0 if i % 2 else -1] for i, y in enumerate(ys)]),
        )
    yield from orders_of_h_n(p.L, D)


def orders_of_h_n(L: int, D: int, *, renamed: bool = False) -> Iterator[Hypothesis]:
    """List the orders in which the rows l*D + d of h_n may be returned."""
    for sentence, rows in rows_of_h_n(L, D, renamed=renamed).items():
        yield Hypothesis(
            sentence,
            lambda oracle, rows=rows: {"output": oracle.output, "h_n": oracle.h_n[rows.ravel()]},  # type: ignore[misc]
            arrays=frozenset(["h_n"]),
        )


def rows_of_h_n(L: int, D: int, *, renamed: bool) -> dict[str, Any]:
    """List the rows l*D + d of h_n in the orders in which they may be returned.

    One that is the same as another in a small network is left out, unless `renamed`.
    """
    rows, orders = np.arange(L * D).reshape(L, D), {}
    if L > 1 or renamed:
        orders["the layers of h_n are in the reverse order"] = rows[::-1]
        orders["h_n of layer 0 is returned for all layers"] = rows[:1].repeat(L, 0)
        orders["h_n of the last layer is returned for all layers"] = rows[L - 1 :].repeat(L, 0)
    if D == 2 or renamed:
        orders["the directions of h_n are swapped"] = rows[:, ::-1]
        orders["the forward h_n is returned for the reverse direction"] = rows[:, :1].repeat(2, 1)
    if (L > 1 and D == 2) or renamed:
        orders["layers and directions of h_n are in the reverse order"] = rows[::-1, ::-1]
        orders["h_n has directions before layers"] = rows.T
    if L * D > 2 or renamed:
        orders["the rows l*D + d of h_n are moved on by 1"] = np.roll(rows, 1)
        orders["the rows l*D + d of h_n are moved on by -1"] = np.roll(rows, -1)
    return orders


SCALES = (2.0, 0.5, 1.1, 0.9, 1.01, 0.99, 1.001, 0.999, 1 / 0.9, 1 / 0.8)
"""Factors that may have come into results, some of them of dropout."""


def about_output(p: Problem) -> Iterator[Hypothesis]:
    """List changes of the output, beside a right h_n, and of all results."""
    T = p.input.shape[0]

    def of(sentence: str, output: Callable[[Any], Any]) -> Hypothesis:
        return Hypothesis(
            sentence,
            lambda oracle: {"output": output(oracle.output), "h_n": oracle.h_n},
            arrays=frozenset(["output"]),
        )

    yield of("the output is in the reverse order of time", lambda y: y[::-1])
    yield of("the rows of the output are in the reverse order", lambda y: y[:, ::-1])
    for axis, what in enumerate(("steps", "rows", "units")):
        for by in (1, -1):
            yield of(
                f"the {what} of the output are moved on by {by}", partial(rolled, axis=axis, by=by)
            )
    if p.L * p.D > 1:
        yield of("all steps of the output are the last", lambda y: y[np.full(T, T - 1)])
    if p.D == 2:
        yield of("the directions of the output are swapped", lambda y: halves(y, 1, 0))
        yield of(
            "the directions' units are interleaved in the last layer's output",
            lambda y: interleave([halves(y, 0), halves(y, 1)], y, 0),
        )
    yield of("all steps of the output are the first", lambda y: y[np.zeros(T, int)])
    yield of("the units of the output are in the reverse order", lambda y: y[:, :, ::-1])
    yield of("the output (T, N, D*H) has the memory of (N, T, D*H)", transposed)
    yield of("the last step of the output is zero", partly(lambda t, n, j: t == T - 1))
    yield of("the first step of the output is zero", partly(lambda t, n, j: t == 0))
    yield from about_tails(p, of)
    for c in SCALES:
        yield of(f"the output is scaled by {c:.5g}", lambda y, c=c: scaled(y, c))  # type: ignore[misc]
        yield Hypothesis(
            f"h_n is scaled by {c:.5g}",
            lambda oracle, c=c: {"output": oracle.output, "h_n": scaled(oracle.h_n, c)},  # type: ignore[misc]
            arrays=frozenset(["h_n"]),
        )
        yield Hypothesis(
            f"output and h_n are scaled by {c:.5g}",
            lambda oracle, c=c: {"output": scaled(oracle.output, c), "h_n": scaled(oracle.h_n, c)},  # type: ignore[misc]
        )


def about_tails(
    p: Problem, of: Callable[[str, Callable[[Any], Any]], Hypothesis]
) -> Iterator[Hypothesis]:
    """List what may be left out after the last full tile of units or rows."""
    N = p.input.shape[1]
    for k in (4, 8, 16, 32, 64):
        if k < p.H and p.H % k:
            full = p.H // k * k
            yield of(
                f"units after the last full tile of {k} are zero in the output",
                partly(lambda t, n, j, full=full: j % p.H >= full),  # type: ignore[misc]
            )
        if k < p.H and p.H % k == 1:
            yield Hypothesis(
                f"the unit after the last full tile of {k} has its neighbour's state",
                neighbours,
            )
    for k in powers_of_two(N, least=4):
        yield of(
            f"rows of the output from {k} on are zero",
            partly(lambda t, n, j, k=k: n >= k),  # type: ignore[misc]
        )


def neighbours(oracle: Oracle) -> dict[str, Bounded]:
    """Give the last unit of each run the state of the one before it."""
    units = np.r_[: oracle.problem.H - 1, oracle.problem.H - 2]
    change = Change(runs=lambda *run_of: run(*run_of)[:, :, units])
    return results_of(Changed(oracle, change))


def halves(y: Any, *directions: int) -> Any:
    """Take the units of some directions, in an order."""
    H = y.shape[2] // 2
    return np.concatenate([y[:, :, d * H : (d + 1) * H] for d in directions], axis=2)


def rolled(y: Any, axis: int, by: int) -> Any:
    """Move the indices of an axis on, the last ones to its start."""
    order = np.roll(np.arange(y.shape[axis]), by)
    return y[(slice(None),) * axis + (order,)]


def transposed(y: Any) -> Any:
    """Lay the memory of (N, T, D*H) out as (T, N, D*H)."""
    return y.swapaxes(0, 1).copy().reshape(y.shape)


def partly(zero: Callable[[Any, Any, Any], Any]) -> Callable[[Any], Any]:
    """Count the elements as 0 whose step, row and unit are meant."""

    def changed(y: Any) -> Any:
        kept = np.where(zero(*np.indices(y.shape)), 0.0, 1.0)
        return replaced(y, value_of(y) * kept, error_of(y) * kept)

    return changed


def scaled(y: Any, c: float) -> Any:
    """Multiply by a number, with room for the factor's and the product's rounding."""
    value = value_of(y) * c
    return replaced(y, value, abs(c) * error_of(y) + 3 * unit_of(y) * np.abs(value))
