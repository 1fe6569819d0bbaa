"""What a problem's results must be: the reference, run on `Bounded`.

Two kinds of expectation. End to end: from the problem alone, with all rounding since
its input. From the subject's own states: each step, and the gradients, given the states
that the subject itself returned (backward error analysis: Higham, section 1.5); these
bounds do not grow with T, and do not care whether the network is chaotic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_ref.bounded import ROUNDING, Bounded
from rnn_ref.case import Problem
from rnn_ref.parameters import names, read
from rnn_ref.reference import (
    ACTIVATIONS,
    Array,
    backward,
    final,
    forward,
    halves,
    previous,
    project,
    reading,
    step,
)

Floats = NDArray[np.floating[Any]]


class Oracle:
    """The reference's answers for one problem, each a stored `Bounded` array."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rounding = ROUNDING[problem.dtype]
        self.activation = ACTIVATIONS[problem.nonlinearity]

    def take(self, array: Floats) -> Bounded:
        """An array of the problem's, or of the subject's, as numbers known as they are read."""
        size = np.abs(array)
        flushed = np.where(size < self.rounding.flush, size, 0.0) if self.rounding.flush else None
        return Bounded(array, flushed, rounding=self.rounding)

    @cached_property
    def layers(self) -> Any:
        """The weights, read into layers and directions."""
        return read({name: self.take(a) for name, a in self.problem.parameters.items()}).layers

    @cached_property
    def x(self) -> Bounded:
        """The input, (T, N, I)."""
        return self.take(self.problem.input)

    @cached_property
    def h_0(self) -> Bounded:
        """The initial state, (L*D, N, H), zero if the problem gives none."""
        p = self.problem
        if p.h_0 is not None:
            return self.take(p.h_0)
        return self.take(np.zeros((p.L * p.D, p.input.shape[1], p.H)))

    @cached_property
    def states(self) -> list[Bounded]:
        """Every layer's states, (T, N, D*H), end to end."""
        return forward(self.x, self.h_0, self.layers, self.activation)

    @property
    def output(self) -> Bounded:
        """The last layer's states."""
        return self.states[-1]

    @property
    def h_n(self) -> Bounded:
        """The final states, (L*D, N, H)."""
        h_n: Bounded = final(self.states, self.problem.D)
        return h_n

    def own(self, shown: Sequence[Floats | None]) -> list[Bounded]:
        """Every layer's states as the subject showed them, else as they are end to end."""
        return [self.states[l] if y is None else self.seen(y) for l, y in enumerate(shown)]

    def seen(self, y: Floats) -> Bounded:
        """States that were shown, as those that the next step may have read.

        They are the same, or, in a subject that computes in a wider dtype, not rounded yet.
        The step's bound has room for that rounding, one more of a product of several, but
        not for an underflow, of which a large weight makes many times the smallest number.
        """
        taken = self.take(y)
        r = self.rounding
        small = np.abs(taken.value) < r.smallest_normal
        underflow = np.where(small, max(r.eta / 2, r.flush), 0.0)
        return taken if taken.whole else Bounded(y, underflow, rounding=self.rounding)

    def steps(self, own: Sequence[Bounded]) -> list[Bounded]:
        """Every layer's states, each one step from the states before it and below it in `own`."""
        stepped: list[Bounded] = []
        for l, layer in enumerate(self.layers):
            D, below, ys = len(layer), own[l - 1] if l else self.x, []
            for d, (w, y) in enumerate(zip(layer, halves(own[l], D), strict=True)):
                a, h = project(reading(below, d), w), previous(y, self.h_0[l * D + d])
                ys.append(reading(step(a, h, w.W_hh.T, self.activation), d))
            both: Any = np.concatenate(ys, axis=2)
            stepped.append(both.stored)
        return stepped

    def behind(self, own: Sequence[Bounded], steps: Sequence[Bounded]) -> list[Bounded]:
        """The states that a backward pass may have gone through, given those that were shown.

        A correct subject may take tanh's slope from the pre-activation in place of the
        rounded state, so the last layer's states have the error of their own step. relu
        rounds nothing: in a dtype that sums are accumulated in, a state above 0 has the
        slope 1, and one of 0 the slope 0 if its step can't have come to more: a subject
        that computes in a wider dtype may store as 0 what it found to be above it. The
        states below are hidden, and only known end to end: others than those of the layers
        run one by one may lead to the same output to the bit, and give other gradients.
        """
        output, stepped = own[-1], steps[-1]
        if self.problem.nonlinearity == "tanh" or self.rounding.ua != self.rounding.u:
            error = stepped.error
        else:
            known = (output.value > 0) & np.isfinite(stepped.error)
            error = np.where(known, output.error, stepped.error)
        whole = output.whole and not error.any()
        last = Bounded(output.value, error, rounding=self.rounding, whole=whole)
        return [*self.states[:-1], last]

    def gradients(self, states: Sequence[Bounded] | None = None) -> dict[str, Bounded]:
        """Gradients by name, through the given states, else through those of `states`."""
        p, take = self.problem, self.for_sums_over_time
        T, N, _ = p.input.shape
        dy = np.zeros((T, N, p.D * p.H)) if p.grad_output is None else p.grad_output
        dh_n = np.zeros(self.h_0.shape) if p.grad_h_n is None else p.grad_h_n
        layers = [[type(w)(*map(take, w)) for w in layer] for layer in self.layers]
        dx, dh_0, dlayers = backward(
            take(self.take(dy)),
            take(self.take(dh_n)),
            take(self.x),
            take(self.h_0),
            layers,
            [take(y) for y in (self.states if states is None else states)],
            self.activation,
        )
        flat = [a.stored for layer in dlayers for w in layer for a in w if a is not None]
        found = dict(zip(names(p.L, p.D, p.bias), flat, strict=True)) | {"input": dx.stored}
        return found if p.h_0 is None else found | {"h_0": dh_0.stored}

    def for_sums_over_time(self, a: Array) -> Array:
        """The same numbers, whose sums are rounded as those of gradients are.

        In 16-bit dtypes some implementations add up a weight's gradient over time in the
        dtype itself, so every addition may round to it.
        """
        r = self.rounding
        if a is None or r.ua == r.u:
            return a
        return Bounded(a.value, a.error, rounding=replace(r, ua=r.u), whole=a.whole)
