"""What may be wrong inside a step: what the nonlinearity is applied to, and what products read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import stored
from rnn_ref.diagnosis.places import Where
from rnn_ref.diagnosis.regions import powers_of_two
from rnn_ref.reference import Activation, Array, Weights, project, run

Runs = Callable[[Array, Array, Weights, Activation], Array]

TILES = (4, 8, 16, 32)
"""How many numbers a kernel may take at once."""


def about_step(p: Problem, where: Where, *, renamed: bool) -> Iterator[tuple[str, Runs]]:
    """List changes of what a step adds up before its nonlinearity, and after it.

    With `renamed`, by the names that other forms of cases have too.
    """
    name = p.nonlinearity
    yield f"{name} is applied to what is read alone, the recurrent part is added after it", outside
    if p.bias:
        yield "{bias_hh} is added after the nonlinearity", partial(bias_after, fields=("b_hh",))
        yield "{bias_ih} is added after the nonlinearity", partial(bias_after, fields=("b_ih",))
        yield "both biases are added after the nonlinearity", partial(bias_after, fields=BIASES)
    of_read = f"{name} is applied to {{weight_ih}} x_t"
    before = "before the recurrent part is added, and once more after"
    for words, fields in (("", ()), (" + {bias_ih}", ("b_ih",)), (" + both biases", BIASES)):
        if p.bias or not fields:
            yield f"{of_read}{words} {before}", partial(twice, fields=fields)
    yield "the state before is added to each sum", residual
    yield (
        "the recurrent part counts twice",
        lambda x, h, w, f: run(x, h, w._replace(W_hh=w.W_hh * 2), f),
    )
    if p.L > 1 or p.input.shape[2] == p.H:
        yield "{weight_ih} and {weight_hh} are swapped where both have one shape", swapped
    if p.input.shape[0] > 1:
        yield "each step reads the input of the step after it, the last one its own", early
        yield "each step reads the input of the step after it, the last one zeros", early_or_zero
    yield from about_tiles(p, where)
    if p.L > 1 or renamed:
        yield from about_first_inputs(p, where)


BIASES = ("b_ih", "b_hh")


def identity(w: Weights) -> Array:
    """Make weights (H, H) of ones and zeros, in the numbers of others."""
    return stored(w.W_hh * 0) + np.eye(len(w.W_hh))


def without(w: Weights, fields: tuple[str, ...]) -> Weights:
    """Count biases as 0."""
    return w._replace(**{name: getattr(w, name) * 0 for name in fields})


def outside(x: Array, h: Array, w: Weights, f: Activation) -> Array:
    """Compute h_t = f(W_ih x_t + b_ih) + W_hh h_{t-1} + b_hh."""
    own = w if w.b_ih is None else without(w, ("b_hh",))
    later = w if w.b_ih is None else without(w, ("b_ih",))
    read = stored(f.value(project(x, own)))
    return run(read, h, later._replace(W_ih=identity(w)), f._replace(value=stored))


def bias_after(x: Array, h: Array, w: Weights, f: Activation, fields: tuple[str, ...]) -> Array:
    """Compute h_t = f(the other terms) + bias."""

    def value(a: Array) -> Array:
        y = stored(f.value(a))
        for name in fields:
            y = stored(y + getattr(w, name))
        return y

    return run(x, h, without(w, fields), f._replace(value=value))


def twice(x: Array, h: Array, w: Weights, f: Activation, fields: tuple[str, ...]) -> Array:
    """Apply the nonlinearity to what is read and some biases, and to the sum with the others."""
    other = tuple(name for name in BIASES if name not in fields and w.b_ih is not None)
    read = stored(f.value(project(x, without(w, other))))
    return run(read, h, without(w, fields)._replace(W_ih=identity(w)), f)


def residual(x: Array, h: Array, w: Weights, f: Activation) -> Array:
    """Compute h_t = f(... + W_hh h_{t-1} + h_{t-1})."""
    return run(x, h, w._replace(W_hh=stored(w.W_hh + np.eye(len(w.W_hh)))), f)


def swapped(x: Array, h: Array, w: Weights, f: Activation) -> Array:
    """Swap the weights, if both have one shape."""
    same = w.W_ih.shape == w.W_hh.shape
    return run(x, h, w._replace(W_ih=w.W_hh, W_hh=w.W_ih) if same else w, f)


def early(x: Array, h: Array, w: Weights, f: Activation) -> Array:
    """Feed each step with the input of the one after, and the last one with its own."""
    return run(np.concatenate([x[1:], x[-1:]]), h, w, f)


def early_or_zero(x: Array, h: Array, w: Weights, f: Activation) -> Array:
    """Feed each step with the input of the one after, and the last one with zeros."""
    return run(np.concatenate([x[1:], stored(x[-1:] * 0)]), h, w, f)


# What is left out after the last full tile.


def about_tiles(p: Problem, where: Where) -> Iterator[tuple[str, Runs]]:
    """List what loops over full tiles leave out, with small sizes computed whole or not at all."""
    reads, below = what_is_read(p, where)
    for k in TILES:
        rest = f"after the last full tile of {k}"
        for whole, end in ((False, ""), (True, ", where there is one,")):
            if p.H % k and not (whole and k > p.H):
                yield (
                    f"the state's units {rest}{end} are not read by {{weight_hh}}",
                    partial(cut, k=k, whole=whole, change=unread_units),
                )
                yield (
                    f"states are zero in units {rest}{end} and are read so",
                    partial(cut, k=k, whole=whole, change=zero_units),
                )
            if reads % k and not (whole and reads < k):
                yield (
                    f"{below} {rest}{end} are not read by {{weight_ih}}",
                    partial(cut, k=k, whole=whole, change=unread_inputs),
                )


def about_first_inputs(p: Problem, where: Where) -> Iterator[tuple[str, Runs]]:
    """List how many inputs may be read in every layer; of a single one others tell it."""
    reads, below = what_is_read(p, where)
    for k in powers_of_two(reads, least=4):
        sentence = f"{below} from {k} on are not read by {{weight_ih}}"
        yield sentence, partial(reading_first, k=k)


def reading_first(x: Array, h: Array, w: Weights, f: Activation, k: int) -> Array:
    """Run with weights of 0 for inputs from k on."""
    return run(x, h, unread_inputs(w, lambda n: np.where(np.arange(n) < k, 1.0, 0.0)), f)


def what_is_read(p: Problem, where: Where) -> tuple[int, str]:
    """Say how many numbers a layer reads at most, and what they are."""
    below = "inputs" if any(place.l == 0 for place in where.places) else "units of the layer below"
    return max(p.input.shape[2], p.D * p.H if p.L > 1 else 0), below


def kept(n: int, k: int, whole: bool) -> Any:
    """Say of each of n numbers whether it is in a full tile; of few ones all are, if so told."""
    return np.where((np.arange(n) < n // k * k) | (whole and n < k), 1.0, 0.0)


def cut(
    x: Array,
    h: Array,
    w: Weights,
    f: Activation,
    k: int,
    whole: bool,
    change: Callable[[Weights, Callable[[int], Any]], Weights],
) -> Array:
    """Run with some of the weights as 0."""
    return run(x, h, change(w, partial(kept, k=k, whole=whole)), f)


def unread_units(w: Weights, of: Callable[[int], Any]) -> Weights:
    """Leave out units of the state before."""
    return w._replace(W_hh=w.W_hh * of(w.W_hh.shape[1]))


def unread_inputs(w: Weights, of: Callable[[int], Any]) -> Weights:
    """Leave out inputs."""
    return w._replace(W_ih=w.W_ih * of(w.W_ih.shape[1]))


def zero_units(w: Weights, of: Callable[[int], Any]) -> Weights:
    """Give units no sum: tanh and relu of 0 are 0."""
    mask = of(len(w.W_hh))
    biases = {name: getattr(w, name) * mask for name in BIASES if w.b_ih is not None}
    return w._replace(W_ih=w.W_ih * mask[:, None], W_hh=w.W_hh * mask[:, None], **biases)
