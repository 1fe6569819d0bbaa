"""What may be wrong by a constant inside the first sum, a_1 = W_ih x_1 + b_ih + W_hh h_0 + b_hh.

What a single layer's first state gained says by which factor a weight, a bias or an argument
seems to be multiplied, or what seems to be added to an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import Change, Hypothesis, Plain, changed, error_of
from rnn_ref.diagnosis.hypotheses.measured import Constant, Seen, shortest
from rnn_ref.diagnosis.hypotheses.order import scaled
from rnn_ref.diagnosis.regions import Part, parts
from rnn_ref.reference import Weights


class Gain(NamedTuple):
    """Between which numbers (N, H) each first sum is too large; NaN where nothing is known."""

    low: Floats
    high: Floats

    def over(self, effect: Floats, rows: Any) -> tuple[float, float]:
        """Return between which multiples of an effect (N, H) the gain of some rows is."""
        with np.errstate(all="ignore"):
            ends = np.sort(np.stack([self.low, self.high]) / effect, axis=0)[:, rows]
        known = np.isfinite(ends).all(axis=0)
        if not known.any():
            return 1.0, 0.0
        return float(ends[0][known].max()), float(ends[1][known].min())


def about_terms(seen: Seen) -> Iterator[Hypothesis]:
    """List what may be wrong by a constant with the terms of a single layer's sums."""
    if seen.problem.L > 1 or "output" not in seen.got:
        return
    oracle = Plain(seen.problem)
    w, x, h = oracle.network.layers[0][0], oracle.x[0], oracle.h_0[0]
    terms = {"W_ih": x @ w.W_ih.T, "W_hh": h @ w.W_hh.T}
    if seen.problem.bias:
        terms |= {"b_ih": w.b_ih + 0 * terms["W_ih"], "b_hh": w.b_hh + 0 * terms["W_ih"]}
    gain = gained(seen, sum(terms.values()))
    for field, term in terms.items():
        if constant := factor(*gain.over(term, slice(None))):
            change = Change(weights=partial(scaled_weight, field=field, c=constant.c))
            name = NAMES[field]
            yield changed(f"{name} is {constant.words}", change)
    yield from about_arguments(seen, gain, w, {"input": x, "h_0": h})


NAMES = {"W_ih": "weight_ih", "W_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}
"""torch's names of weights."""


def about_arguments(
    seen: Seen, gain: Gain, w: Weights, arguments: dict[str, Floats]
) -> Iterator[Hypothesis]:
    """List what may be wrong by a constant with the input or with h_0, in all rows or in some."""
    wrong = np.asarray(seen.wrong["output"][0].any(axis=1))
    for part in parts("row", wrong) if wrong.any() else ():
        rows, words = part.chosen(len(wrong)), f" in {part.words}" if part.words else ""
        for name, own in arguments.items():
            W, what = (w.W_ih, "the input") if name == "input" else (w.W_hh, "h_0")
            scale = factor(*gain.over(own @ W.T, rows))
            term = added(*gain.over((0 * own + 1) @ W.T, rows))
            for constant in filter(None, (scale, term)):
                function = partial(changed_argument, name=name, part=part, constant=constant)
                yield changed(f"{what} is {constant.words}{words}", Change(problem=function))


def gained(seen: Seen, right: Floats) -> Gain:
    """Work out from the first states what their sums gained, given the right ones."""
    H, tanh = seen.problem.H, seen.problem.nonlinearity == "tanh"
    got = seen.got["output"][0, :, :H].astype(np.float64)
    error = error_of(seen.right["output"])[0, :, :H]
    with np.errstate(all="ignore"):
        low, high = got - error, got + error
        low, high = (np.arctanh(low), np.arctanh(high)) if tanh else (low, high)
    unknown = ~(np.isfinite(low) & np.isfinite(high)) | ((got <= error) & (not tanh))
    return Gain(*(np.where(unknown, np.nan, end - right) for end in (low, high)))


def factor(low: float, high: float) -> Constant | None:
    """Make a factor of the multiples of a term that were gained; 0 has a sentence already."""
    c = shortest(1 + low, 1 + high)
    return None if c in (None, 0, 1) else Constant.factor(c)


def added(low: float, high: float) -> Constant | None:
    """Make a term of the multiples of one that were gained."""
    b = shortest(low, high)
    return Constant.term(b) if b else None


def scaled_weight(w: Weights, field: str, c: float) -> Weights:
    """Multiply one of the weights by a number."""
    return w._replace(**{field: scaled(getattr(w, field), c)})


def changed_argument(p: Problem, name: str, part: Part, constant: Constant) -> Problem:
    """Change rows of the input, or of h_0, as exactly as floats can; an absent h_0 is zeros."""
    own = p.arguments.get(name, np.zeros(p.h_n_shape))
    mask = part.chosen(own.shape[1])[:, None]
    other = np.where(mask, constant.c * own.astype(float) + constant.b, own)
    return replace(p, input=other) if name == "input" else replace(p, h_0=other)
