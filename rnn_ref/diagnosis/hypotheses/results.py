"""What may be wrong with results: changes of the forward pass, each with its sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import (
    Change,
    Hypothesis,
    Place,
    Steps,
    changed,
    stored,
)
from rnn_ref.diagnosis.hypotheses.activation import about_activation
from rnn_ref.diagnosis.hypotheses.inputs import about_h_0, about_input, renamed_h_0
from rnn_ref.diagnosis.hypotheses.order import (
    about_h_n,
    about_order,
    about_output,
    orders_of_h_n,
    orders_of_layers,
)
from rnn_ref.diagnosis.hypotheses.precision import of_one_layer
from rnn_ref.diagnosis.hypotheses.steps import Runs, about_step
from rnn_ref.diagnosis.places import KINDS, Where, everywhere, named_parts, parts, with_others
from rnn_ref.diagnosis.regions import powers_of_two
from rnn_ref.reference import (
    Activation,
    Array,
    Weights,
    run,
)


def wide_hypotheses(p: Problem) -> list[Hypothesis]:
    """List what may be wrong of the whole network."""
    whole = everywhere(p.L, p.D)
    return [
        *local(p, whole),
        *about_input(p),
        *about_h_0(p),
        *about_order(p),
        *about_h_n(p),
        *about_output(p),
    ]


def local_hypotheses(p: Problem) -> list[Hypothesis]:
    """List what may be wrong of a part of the network."""
    return of_parts(p, parts(p.L, p.D))


def renamed_hypotheses(p: Problem) -> list[Hypothesis]:
    """List what may be wrong of a part of the network, by all names of that part.

    Behind that stands what only a single layer can show, for deeper ones.
    """
    return [
        *of_parts(p, named_parts(p.L, p.D), renamed=True),
        *orders_of_layers(p, renamed=True),
        *orders_of_h_n(p.L, p.D, renamed=True),
        *renamed_h_0(p),
        *of_one_layer(p),
        *local(p, everywhere(p.L, p.D), renamed=True),
    ]


def of_parts(p: Problem, among: list[Where], *, renamed: bool = False) -> list[Hypothesis]:
    """List what may be wrong of some parts of the network."""
    return [
        h._replace(reach=with_others(where, p.L, p.D, above=True))
        for where in among
        for h in local(p, where, renamed=renamed)
    ]


def local(p: Problem, where: Where, *, renamed: bool = False) -> Iterator[Hypothesis]:
    """List what may be wrong somewhere: with the weights, the nonlinearity or the steps."""
    for sentence, function in about_weights(p, where):
        yield changed(where.named(sentence), Change(places=where.places, weights=function))
    for i, (sentence, activation) in enumerate(about_activation(p)):
        change = Change(places=where.places, activation=activation)
        yield changed(where.named(sentence), change)
        if p.input.shape[0] > 1 and i < 2:  # another nonlinearity, or none
            change = Change(places=where.places, activation=activation, steps=Steps.FIRST)
            yield changed(where.named(f"{sentence} at the first step"), change)
    for sentence, runs in (*about_time(p, renamed=renamed), *about_step(p, where, renamed=renamed)):
        yield changed(where.named(sentence), Change(places=where.places, runs=runs))
    for sentence, change in biases_at_steps(p, where):
        yield changed(where.named(sentence), change)
    yield from borrowed(p, where, renamed=renamed)


# Weights.


def about_weights(p: Problem, where: Where) -> Iterator[tuple[str, Callable[[Weights], Weights]]]:
    """List changes of one direction's weights."""
    H, I = p.H, p.input.shape[2]
    yield "the state is never read ({weight_hh} counts as 0)", lambda w: w._replace(W_hh=w.W_hh * 0)
    yield "{weight_hh} is used transposed", lambda w: w._replace(W_hh=w.W_hh.T)
    above = all(place.l > 0 for place in where.places)
    if (not above and H == I and p.L == 1) or (above and p.D == 1):
        yield "{weight_ih} is used transposed", lambda w: w._replace(W_ih=w.W_ih.T)
    if p.bias:
        yield "{bias_ih} is never added", partial(weighed, b_ih=0)
        yield "{bias_hh} is never added", partial(weighed, b_hh=0)
        yield "no bias is added", partial(weighed, b_ih=0, b_hh=0)
        yield "{bias_ih} is added twice, {bias_hh} never", lambda w: w._replace(b_hh=w.b_ih)
        yield "{bias_hh} is added twice, {bias_ih} never", lambda w: w._replace(b_ih=w.b_hh)
        yield "{bias_ih} is added twice", partial(weighed, b_ih=2)
        yield "{bias_hh} is added twice", partial(weighed, b_hh=2)
        yield "both biases are added twice", partial(weighed, b_ih=2, b_hh=2)
    for k in powers_of_two(0 if above else I, least=4):
        yield f"features of the input from {k} on are not read", partial(cut_inputs, k=k, fan=I)


def weighed(w: Weights, **factors: int) -> Weights:
    """Multiply biases by numbers, which is exact."""
    return w._replace(**{field: getattr(w, field) * c for field, c in factors.items()})


def cut_inputs(w: Weights, k: int, fan: int) -> Weights:
    """Count the weights of inputs from k on as 0, where a layer has so many inputs."""
    if w.W_ih.shape[1] != fan:
        return w
    kept = np.arange(fan) < k
    return w._replace(W_ih=w.W_ih * kept.astype(float))


def biases_at_steps(p: Problem, where: Where) -> Iterator[tuple[str, Change]]:
    """List changes of the biases in the first step alone, or in all but it."""
    if not p.bias or p.input.shape[0] == 1:
        return
    for name, never in (
        ("{bias_ih}", partial(weighed, b_ih=0)),
        ("{bias_hh}", partial(weighed, b_hh=0)),
    ):
        yield (
            f"{name} is added from the second step on",
            Change(places=where.places, weights=never, steps=Steps.FIRST),
        )
        yield (
            f"{name} is added at the first step alone",
            Change(places=where.places, weights=never, steps=Steps.LATER),
        )


def borrowed(p: Problem, where: Where, *, renamed: bool) -> Iterator[Hypothesis]:
    """List the parameters that may be taken from another direction, or another layer.

    The layer below layer 1 is layer 0: it is both, if all names are asked for.
    """
    sources: list[tuple[str, Callable[[Place], Place]]] = []
    if p.D == 2 and all(place.d for place in where.places):
        sources.append(("the forward direction", lambda place: Place(place.l, 0)))
    if p.D == 2 and not any(place.d for place in where.places):
        sources.append(("the reverse direction", lambda place: Place(place.l, 1)))
    if p.D == 2 and where.places == everywhere(p.L, p.D).places:
        sources.append(("the other direction", lambda place: Place(place.l, 1 - place.d)))
    if all(place.l > 0 for place in where.places):
        sources.append(("layer 0", lambda place: Place(0, place.d)))
        if p.L > 2 or renamed:
            sources.append(("the layer below", lambda place: Place(place.l - 1, place.d)))
    kinds: tuple[str, ...] = KINDS if p.bias else KINDS[:2]
    groups = [("the weights are", kinds), ("both biases are", kinds[2:])]
    groups += [(f"{{{kind}}} is", (kind,)) for kind in kinds]
    for source, place in sources:
        for words, names in groups:
            if names:
                problem = partial(borrow, names=names, where=where, source=place)
                sentence = where.named(f"{words} {source}'s")
                yield changed(sentence, Change(problem=problem))


def borrow(
    p: Problem, names: tuple[str, ...], where: Where, source: Callable[[Place], Place]
) -> Problem:
    """Take parameters from other places, where their shapes are the same."""
    parameters = dict(p.parameters)
    for place in where.places:
        for name in names:
            other = p.parameters[name + source(place).end]
            if other.shape == parameters[name + place.end].shape:
                parameters[name + place.end] = other
    return replace(p, parameters=parameters)


# Time.


def about_time(p: Problem, *, renamed: bool) -> Iterator[tuple[str, Runs]]:
    """List changes of how a direction goes over time, by the names of other forms if `renamed`."""
    T = p.input.shape[0]
    if T < 2:
        return
    if p.h_0 is not None or renamed:
        yield "the recurrence is cut: each step starts from h_0", partial(restarted, every=1)
    yield "each step reads the state two steps before it", interleaved
    yield "each step reads the input of the step before it", delayed
    yield "all steps are the last state", lambda *run_of: np.stack([run(*run_of)[-1]] * T)
    yield "the last step is not computed: it repeats the one before", repeated_last
    start = "zero" if p.h_0 is None else "h_0"
    for k in powers_of_two(T):
        yield f"the state is reset to {start} at step {k}", partial(restarted_once, at=k)
        yield from about_steps_from(p, k)


def about_steps_from(p: Problem, k: int) -> Iterator[tuple[str, Runs]]:
    """List what may be wrong of the steps from some k on."""
    yield f"steps from {k} on repeat the state before them", partial(stopped, at=k)
    start = "zero" if p.h_0 is None else "h_0"
    yield f"the state is reset to {start} every {k} steps", partial(restarted, every=k)
    if p.h_0 is not None:
        to_zero = partial(restarted, every=k, by=0.0)
        yield f"the state is reset to zero every {k} steps", to_zero


def restarted(
    x: Array, h: Array, w: Weights, f: Activation, every: int, by: float | None = None
) -> Array:
    """Start anew every so many steps, from h_0 or from h_0 times a number."""
    later = h if by is None else h * by
    starts = range(0, len(x), every)
    return np.concatenate([run(x[s : s + every], later if s else h, w, f) for s in starts])


def restarted_once(
    x: Array, h: Array, w: Weights, f: Activation, at: int, by: float = 1.0
) -> Array:
    """Start anew from h_0, or from h_0 times a number, at one step."""
    later = [run(x[at:], h * by, w, f)] if at < len(x) else []
    return np.concatenate([run(x[:at], h, w, f), *later])


def stopped(x: Array, h: Array, w: Weights, f: Activation, at: int) -> Array:
    """Compute no more than the first steps."""
    y = run(x[:at], h, w, f)
    return np.concatenate([y, *([y[-1:]] * (len(x) - at))])


def interleaved(x: Array, h: Array, w: Weights, f: Activation) -> Array:
    """Run the even and the odd steps apart, both from h_0."""
    even, odd = run(x[::2], h, w, f), run(x[1::2], h, w, f)
    return np.stack([(even, odd)[t % 2][t // 2] for t in range(len(x))])


def delayed(x: Array, h: Array, w: Weights, f: Activation) -> Array:
    """Feed each step with the input of the one before, and the first one with zeros."""
    return run(np.concatenate([stored(x[:1] * 0), x[:-1]]), h, w, f)


def repeated_last(x: Array, h: Array, w: Weights, f: Activation) -> Array:
    """Repeat the state before the last."""
    y = run(x[:-1], h, w, f)
    return np.concatenate([y, y[-1:]])
