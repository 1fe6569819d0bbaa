"""What may be wrong with gradients whose results are right: changes of the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import (
    BackwardChange,
    Differential,
    Differentiate,
    Hypothesis,
    Run,
    changed_backward,
    stored,
)
from rnn_ref.diagnosis.hypotheses.activation import clipped
from rnn_ref.diagnosis.hypotheses.backward import about_products, about_recurrence, added
from rnn_ref.diagnosis.hypotheses.flow import about_flow, about_upstream, flow_of_one_direction
from rnn_ref.diagnosis.hypotheses.order import rolled, scaled
from rnn_ref.diagnosis.hypotheses.slope import about_slope
from rnn_ref.diagnosis.places import KINDS, Where, everywhere, named_parts, parts, with_others
from rnn_ref.diagnosis.regions import powers_of_two
from rnn_ref.judging.oracle import Oracle
from rnn_ref.reference import Array, Weights

FACTORS = {
    "zero": 0.0, "doubled": 2.0, "halved": 0.5, "negated": -1.0,
}  # fmt: skip
"""What may have become of a gradient, by a word."""


def named_gradients(p: Problem) -> list[Hypothesis]:
    """List what may have become of finished gradients of the whole network."""
    return [*by_name(p, everywhere(p.L, p.D)), *about_arguments(p)]


def wide_gradients(p: Problem) -> list[Hypothesis]:
    """List what may be wrong with the backward pass of the whole network."""
    return [*local(p, everywhere(p.L, p.D)), *about_upstream(p), *about_flow(p)]


def named_local_gradients(p: Problem) -> list[Hypothesis]:
    """List what may have become of finished gradients of a part of the network."""
    return [h for where in parts(p.L, p.D) for h in by_name(p, where)]


def local_gradients(p: Problem) -> list[Hypothesis]:
    """List what may be wrong with the backward pass of a part of the network."""
    return of_parts(p, parts(p.L, p.D))


def renamed_gradients(p: Problem) -> list[Hypothesis]:
    """List what may be wrong with gradients, by names that other forms of cases have too."""
    among = named_parts(p.L, p.D)
    whole = local(p, everywhere(p.L, p.D), renamed=True)
    named = [h for where in among for h in by_name(p, where)]
    return [*named, *of_parts(p, among, renamed=True), *whole, *flow_of_one_direction(p)]


def of_parts(p: Problem, among: list[Where], *, renamed: bool = False) -> list[Hypothesis]:
    """List what may be wrong with the backward pass of some parts of the network."""
    return [
        h._replace(reach=with_others(where, p.L, p.D, above=False))
        for where in among
        for h in local(p, where, renamed=renamed)
    ]


def afterwards(sentence: str, names: list[str], function: Callable[[Any], Any]) -> Hypothesis:
    """Make a hypothesis of a change of some finished gradients."""

    def expected(oracle: Oracle) -> dict[str, Any]:
        right = oracle.gradients_end_to_end
        return right | {name: function(right[name]) for name in names if name in right}

    return Hypothesis(sentence, expected, arrays=frozenset(names))


def factors(p: Problem) -> dict[str, float]:
    """List the factors by which a gradient may be wrong, each as the end of a sentence."""
    T, N, H = p.input.shape[0], p.input.shape[1], p.H
    divided = {
        "the number of steps": T,
        "the batch size": N,
        "hidden_size": H,
        "steps times batch": T * N,
    }
    found = {f"is {word}": c for word, c in FACTORS.items()}
    for words, k in divided.items():
        if k > 1:
            found[f"is divided by {words}"] = 1 / k
            found[f"is multiplied by {words}"] = float(k)
    if T != N:
        found["is multiplied by the number of steps over the batch size"] = T / N
    return found


def by_name(p: Problem, where: Where) -> Iterator[Hypothesis]:
    """List what may be wrong with finished gradients of parameters of one kind, or of all."""
    kinds = KINDS if p.bias else KINDS[:2]
    groups: list[tuple[str, tuple[str, ...]]]
    groups = [(f"the gradient of {{{kind}}}", (kind,)) for kind in kinds]
    groups += [("the gradient of the biases", kinds[2:]), ("the gradient of the parameters", kinds)]
    for words, group in groups:
        names = [kind + place.end for place in where.places for kind in group]
        for end, c in factors(p).items() if names else ():
            yield afterwards(where.named(f"{words} {end}"), names, partial(scaled, c=c))
    names = ["weight_hh" + place.end for place in where.places]
    yield afterwards(where.named("the gradient of {weight_hh} is transposed"), names, lambda g: g.T)


def about_arguments(p: Problem) -> Iterator[Hypothesis]:
    """List what may be wrong with finished gradients of the input, of h_0, or of everything."""
    all_names = [*p.parameters, *p.arguments]
    for names, words in ((["input"], "the input"), (["h_0"], "h_0"), (all_names, "everything")):
        if names[-1] in p.arguments:
            for end, c in factors(p).items():
                yield afterwards(f"the gradient of {words} {end}", names, partial(scaled, c=c))
    yield afterwards(
        "the gradient of the input is in the reverse order of time", ["input"], lambda g: g[::-1]
    )
    yield afterwards(
        "the rows of the input's gradient are in the reverse order", ["input"], lambda g: g[:, ::-1]
    )
    for axis, what in enumerate(("steps", "rows", "features")):
        for by in (1, -1):
            yield afterwards(
                f"the {what} of the input's gradient are moved on by {by}",
                ["input"],
                partial(rolled, axis=axis, by=by),
            )
    if p.h_0 is not None and p.D == 2:
        rows = np.arange(p.L * 2).reshape(p.L, 2)[:, ::-1].ravel()
        yield afterwards("the directions of h_0's gradient are swapped", ["h_0"], lambda g: g[rows])
    if p.h_0 is not None and p.L > 1:
        layers = np.arange(p.L * p.D).reshape(p.L, p.D)[::-1].ravel()
        yield afterwards(
            "the layers of h_0's gradient are in the reverse order", ["h_0"], lambda g: g[layers]
        )


def local(p: Problem, where: Where, *, renamed: bool = False) -> Iterator[Hypothesis]:
    """List what may be wrong with the derivative of some runs."""
    for sentence, differentiates in (
        *about_time(p),
        *about_step(p, where),
        *about_slope(p),
        *((*about_recurrence(p), *about_products(p, renamed=renamed)) if is_wide(p, where) else ()),
    ):
        yield changed_backward(
            where.named(sentence),
            BackwardChange(places=where.places, differentiates=differentiates),
        )


def is_wide(p: Problem, where: Where) -> bool:
    """Tell whether a part is more than one run, or all: the lines of a derivative serve many."""
    return len(where.places) > 1 or p.L * p.D == 1


def about_time(p: Problem) -> Iterator[tuple[str, Differentiate]]:
    """List changes of how gradients go back in time."""
    T = p.input.shape[0]
    if T < 2:
        return
    alone = "the recurrent gradient is cut: every step is differentiated alone"
    yield alone, partial(truncated, every=1)
    if p.h_0 is not None:
        yield f"{alone}, and h_0 has no gradient", cut
    for k in powers_of_two(T):
        yield f"the recurrent gradient is cut every {k} steps", partial(truncated, every=k)
        yield f"only the last {k} steps have a gradient", partial(only_last, k=k)
    yield "only the last step has a gradient", partial(only_last, k=1)
    for kind, field in FIELDS.items():
        if p.bias or kind in KINDS[:2]:
            name = f"the gradient of {{{kind}}}"
            yield f"{name} is that of the last step alone", partial(of_last, fields=[field])
            if kind != "weight_hh" or p.h_0 is not None:
                first = partial(of_first, fields=[field])
                yield f"{name} is that of the first step alone (overwritten at each)", first
            if kind != "weight_hh":
                yield f"{name} leaves the first step out", partial(of_later, fields=[field])
    if p.bias:
        both = partial(of_last, fields=["b_ih", "b_hh"])
        yield "the gradient of the biases is that of the last step alone", both
        both = partial(of_first, fields=["b_ih", "b_hh"])
        yield "the gradient of the biases is that of the first step alone", both
    first = partial(of_first, fields=list(FIELDS.values()) if p.bias else ["W_ih", "W_hh"])
    yield "the gradients of all parameters are those of the first step alone", first


FIELDS = dict(zip(KINDS, ("W_ih", "W_hh", "b_ih", "b_hh"), strict=True))
"""The fields of Weights by torch's kinds of parameters."""


def truncated(r: Run, every: int) -> Differential:
    """Differentiate stretches of so many steps alone, counted from the first."""
    T, nothing = len(r.y), stored(r.dh * 0)
    stretches = [slice(start, min(start + every, T)) for start in range(0, T, every)]
    parts = [r.part(s, r.dh if s.stop == T else nothing).differentiated() for s in stretches]
    return joined_parts(parts)


def joined_parts(parts: Sequence[Differential]) -> Differential:
    """Put the derivatives of stretches of steps together."""
    total = parts[0][2]
    for _, _, dw in parts[1:]:
        total = added(total, dw)
    return np.concatenate([dx for dx, _, _ in parts]), parts[0][1], total


def cut(r: Run) -> Differential:
    """Differentiate every step alone, and give h_0 no gradient."""
    dx, dh, dw = truncated(r, 1)
    return dx, stored(dh * 0), dw


def split(r: Run, at: int) -> tuple[Differential, Differential]:
    """Differentiate the first steps and the later ones, one after the other."""
    late = r.part(slice(at, None), r.dh).differentiated()
    return r.part(slice(0, at), stored(late[1])).differentiated(), late


def with_fields(whole: Differential, other: Weights, fields: list[str]) -> Differential:
    """Replace some gradients of weights."""
    return whole[0], whole[1], whole[2]._replace(**{name: getattr(other, name) for name in fields})


def of_first(r: Run, fields: list[str]) -> Differential:
    """Take the first step's term alone."""
    return with_fields(r.differentiated(), split(r, 1)[0][2], fields)


def of_later(r: Run, fields: list[str]) -> Differential:
    """Take the terms of all steps but the first."""
    return with_fields(r.differentiated(), split(r, 1)[1][2], fields)


def of_last(r: Run, fields: list[str]) -> Differential:
    """Take the last step's term alone."""
    return with_fields(r.differentiated(), split(r, len(r.y) - 1)[1][2], fields)


def only_last(r: Run, k: int) -> Differential:
    """Go back through the last steps alone."""
    early, late = split(r, len(r.y) - k)
    return np.concatenate([stored(early[0] * 0), late[0]]), stored(early[1] * 0), late[2]


def about_step(p: Problem, where: Where) -> Iterator[tuple[str, Differentiate]]:
    """List changes of what one step's derivative reads."""
    yield "the recurrent gradient goes through {weight_hh} transposed", through_transposed
    yield "the gradient of {weight_hh} is taken with the state after the step", with_state_after
    yield "the first step's input has no gradient", first_unread
    for c in (0.9999, 0.999, 0.99, 1.0001, 1.001, 1.01, *((0.5, 2.0) if p.L > 1 else ())):
        yield f"each run's gradient from above is scaled by {c:g}", partial(from_above, c=c)
    if p.h_0 is not None:
        yield "h_0 is left out of the gradient of {weight_hh}", without_h_0
        yield "the gradient of h_0 is not multiplied by {weight_hh}", of_first_sum
    if where.places == everywhere(p.L, p.D).places:
        for c in (1, 5, 10, 100):
            yield f"gradients of sums are clipped at {c}", partial(clipped_steps, c=c)
        return
    yield "what is read has no gradient", unread
    if p.h_0 is not None:
        yield "h_0 has no gradient", unstarted


def clipped_steps(r: Run, c: float) -> Differential:
    """Clip the gradient of what the nonlinearity is applied to, step by step.

    With a slope of 1 it is what comes from above.
    """
    level = r.activation._replace(slope=lambda y: 1 - y * 0)
    dh, parts = r.dh, []
    for t in reversed(range(len(r.y))):
        one = r.part(slice(t, t + 1), dh)
        da = clipped(of_sums(one), low=-c, c=c)
        parts.append(one._replace(dy=da, dh=stored(dh * 0), activation=level).differentiated())
        dh = stored(parts[-1][1])
    return joined_parts(parts[::-1])


def of_sums(r: Run) -> Array:
    """Compute the gradients of what the nonlinearity is applied to: with the identity for W_ih.

    They are then what each step's input gets.
    """
    identity = stored(r.w.W_hh * 0) + np.eye(r.y.shape[2])
    return r._replace(x=r.y, w=r.w._replace(W_ih=identity)).differentiated()[0]


def of_first_sum(r: Run) -> Differential:
    """Give h_0 the gradient of the first step's sum."""
    dx, _, dw = r.differentiated()
    return dx, of_sums(r)[0], dw


def from_above(r: Run, c: float) -> Differential:
    """Scale the gradients that a run's states get."""
    return r._replace(dy=scaled(r.dy, c), dh=scaled(r.dh, c)).differentiated()


def first_unread(r: Run) -> Differential:
    """Give what the first step reads no gradient."""
    dx, dh, dw = r.differentiated()
    return np.concatenate([stored(dx[:1] * 0), stored(dx[1:])]), dh, dw


def unread(r: Run) -> Differential:
    """Give what the run reads no gradient."""
    dx, dh, dw = r.differentiated()
    return dx * 0, dh, dw


def unstarted(r: Run) -> Differential:
    """Give the state that the run starts from no gradient."""
    dx, dh, dw = r.differentiated()
    return dx, dh * 0, dw


def through_transposed(r: Run) -> Differential:
    """Go back in time through W_hh in place of its transpose."""
    return r._replace(w=r.w._replace(W_hh=r.w.W_hh.T)).differentiated()


def with_state_after(r: Run) -> Differential:
    """Take each step's own state for the one before it, in W_hh's gradient alone."""
    as_input = r._replace(x=r.y, w=r.w._replace(W_ih=r.w.W_hh)).differentiated()[2].W_ih
    dx, dh, dw = r.differentiated()
    return dx, dh, dw._replace(W_hh=as_input)


def without_h_0(r: Run) -> Differential:
    """Count h_0 as zero in W_hh's gradient."""
    return r._replace(h_0=stored(r.h_0 * 0)).differentiated()
