"""What may be wrong with how gradients enter a network, and flow down from layer to layer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import BackwardChange, Hypothesis, changed_backward, stored
from rnn_ref.diagnosis.hypotheses.order import scaled, transposed


def about_upstream(p: Problem) -> Iterator[Hypothesis]:
    """List what may be wrong with how upstream gradients enter."""
    for word, c in {
        "ignored": 0.0,
        "doubled": 2.0,
        "halved": 0.5,
        "0.9999 of itself": 0.9999,
        "0.999 of itself": 0.999,
    }.items():
        times = partial(scaled, c=c)
        if p.grad_h_n is not None:
            yield changed_backward(f"the gradient of h_n is {word}", BackwardChange(h_n=times))
        if p.grad_output is not None:
            yield changed_backward(
                f"the gradient of output is {word}", BackwardChange(output=times)
            )
    for words, rows in rows_of_h_n(p).items() if p.grad_h_n is not None else ():
        left = (~rows).astype(float).reshape(-1, 1, 1)
        yield changed_backward(
            f"the gradient of h_n is ignored in {words}",
            BackwardChange(h_n=lambda dh_n, left=left: stored(dh_n * left)),  # type: ignore[misc]
        )
    if p.grad_output is not None:
        T = p.input.shape[0]
        last = (np.arange(T) == T - 1).astype(float)[:, None, None]
        yield changed_backward(
            "the gradient of output counts at the last step alone",
            BackwardChange(output=lambda dy: dy * last),
        )
        yield changed_backward(
            "the gradient of output is in the reverse order of time",
            BackwardChange(output=lambda dy: dy[::-1]),
        )
        if p.layout.batch_first:
            yield changed_backward(
                "the memory of output's batch_first gradient is read with the steps first",
                BackwardChange(output=transposed),
            )
        for c in (0.9999, 0.999, 1.0001, 1.001, 2.0, 0.5) if p.L > 1 else ():
            yield changed_backward(
                f"each layer's gradient from above is scaled by {c:g}",
                BackwardChange(
                    differentiates=lambda r, c=c: r._replace(dy=scaled(r.dy, c)).differentiated()  # type: ignore[misc]
                ),
            )


def rows_of_h_n(p: Problem) -> dict[str, NDArray[np.bool_]]:
    """Say which rows l*D + d of h_n belong to layers, or to a direction, by words for these."""
    l, d = np.divmod(np.arange(p.L * p.D), p.D)
    found = {
        "the layers below the last": l < p.L - 1,
        "the last layer": l == p.L - 1,
        "the layers above the first": l > 0,
        "the reverse direction": d == 1,
        "the forward direction": d == 0,
    }
    return {words: rows for words, rows in found.items() if rows.any() and not rows.all()}


def about_flow(p: Problem) -> Iterator[Hypothesis]:
    """List what may be wrong with how gradients flow down from layer to layer."""
    if p.L > 1:
        yield unfed("layers below the last have no gradient from above")
    if p.D == 2:
        for d, name in enumerate(("forward", "reverse")):
            yield changed_backward(
                f"the {name} direction gives what it reads no gradient",
                BackwardChange(sums=lambda dxs, l, d=d: dxs[1 - d]),  # type: ignore[misc]
            )
            if p.L == 1:
                continue
            yield changed_backward(
                f"the {name} direction gives the input no gradient",
                BackwardChange(sums=lambda dxs, l, d=d: sum_of(dxs) if l else dxs[1 - d]),  # type: ignore[misc]
            )
        for d, name in enumerate(("forward", "reverse") if p.L > 1 else ()):
            yield changed_backward(
                UNFED.format(name),
                BackwardChange(sums=partial(without_direction, d=d)),
            )
        yield changed_backward(
            "the reverse direction's gradient of what it reads is left in its reading order",
            BackwardChange(sums=lambda dxs, l: dxs[0] + dxs[1][::-1]),
        )


UNFED = "below the last layer the {} direction has no gradient from above"
"""What is said of a direction; where there is one alone, other forms of cases tell them apart."""


def unfed(sentence: str) -> Hypothesis:
    """Give the layers below the last no gradient from above."""
    sums = BackwardChange(sums=lambda dxs, l: sum_of(dxs) if l == 0 else sum_of(dxs) * 0)
    return changed_backward(sentence, sums)


def flow_of_one_direction(p: Problem) -> list[Hypothesis]:
    """List what about_flow says of the forward direction, where there is no other."""
    return [unfed(UNFED.format("forward"))] if p.L > 1 and p.D == 1 else []


def sum_of(dxs: Any) -> Any:
    """Add up what the directions give."""
    return dxs[0] + dxs[1] if len(dxs) == 2 else dxs[0]


def without_direction(dxs: Any, l: int, d: int) -> Any:
    """Give one direction of the layer below no gradient."""
    total = stored(sum_of(dxs))
    if l == 0:
        return total
    units = np.arange(total.shape[2])
    return stored(total * (units // (len(units) // 2) != d).astype(float))
