"""Compute what a problem's results must be: run the reference on `Bounded`.

There are two kinds of expected values. End to end: from the problem alone, with all
rounding since its input. From the subject's own states: each step, and the gradients,
given the states that the subject itself returned (backward error analysis: Higham,
section 1.5). The second kind's bounds do not grow with T, even if the network is chaotic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from rnn_ref.arithmetic.array import quietly
from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.comparison import within
from rnn_ref.parameters import Network, read
from rnn_ref.reference import (
    ACTIVATIONS,
    Array,
    Weights,
    backward,
    directions,
    final,
    forward,
    in_reading_order,
    previous,
    project,
    step,
)


class Oracle:
    """The reference's answers for one problem, each a stored `Bounded` array.

    `masks` are those of a call with dropout, one for each layer but the last, (T, N, D*H).
    """

    def __init__(self, problem: Problem, masks: Sequence[Bounded] = ()) -> None:
        self.problem = problem
        self.masks = masks
        self.rounding = problem.rounding
        self.activation = ACTIVATIONS[problem.nonlinearity]

    def known(self, array: Floats) -> Any:
        """Wrap an array of the problem, or of the subject, as numbers without an error.

        Only numbers below `flush` have one: they may be read as zero.
        """
        size = np.abs(array)
        flushed = np.where(size < self.rounding.flush, size, 0.0) if self.rounding.flush else None
        return Bounded(array, flushed, rounding=self.rounding)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The parameters by torch's names."""
        return {name: self.known(array) for name, array in self.problem.parameters.items()}

    @cached_property
    def network(self) -> Network:
        """The parameters, read into layers and directions."""
        return read(self.parameters)

    @cached_property
    def x(self) -> Any:
        """The input, (T, N, I)."""
        return self.known(self.problem.input)

    @cached_property
    def h_0(self) -> Any:
        """The initial state, (L*D, N, H), zero if the problem gives none."""
        p = self.problem
        return self.known(np.zeros(p.h_n_shape) if p.h_0 is None else p.h_0)

    @cached_property
    def states(self) -> list[Any]:
        """Every layer's states, (T, N, D*H), end to end."""
        with quietly():
            return forward(self.x, self.h_0, self.network.layers, self.activation, self.masks)

    @cached_property
    def hidden(self) -> list[Any]:
        """The states below the last layer's, each (T, N, D*H), end to end."""
        if "states" in vars(self):
            return self.states[:-1]
        below = self.network.layers[:-1]
        with quietly():
            return forward(self.x, self.h_0, below, self.activation, self.masks)

    @property
    def output(self) -> Any:
        """The last layer's states."""
        return self.states[-1]

    @property
    def h_n(self) -> Any:
        """The final states, (L*D, N, H)."""
        return final(self.states, self.problem.D)

    @property
    def results(self) -> tuple[Any, Any]:
        """output and h_n."""
        return self.output, self.h_n

    def near(self, output: Floats, h_n: Floats) -> tuple[Bounded, Bounded]:
        """Expect other results of the problem to be these within the bounds of both runs.

        Another program, or another mode of one, may add up in another order.
        """
        expected: tuple[Bounded, Bounded] = self.results
        y, last = expected
        return within(output, y, y), within(h_n, last, last)

    def returned_or_bounded(self, visible: Sequence[Floats | None]) -> list[Any]:
        """Take every layer's states: those that the subject showed, else those end to end."""
        return [self.states[l] if y is None else self.as_read(y) for l, y in enumerate(visible)]

    def as_read(self, y: Floats) -> Any:
        """Take the returned states, with the error of what the next step may have read.

        The next step read the same numbers or, in a subject that computes in a wider dtype,
        the numbers before their rounding. The step's bound has room for that rounding: it
        is one more factor of a product of several. It has no room for an underflow, which a
        large weight multiplies; so the error here is that of an underflow.
        """
        exactly = self.known(y)
        r = self.rounding
        small = np.abs(exactly.value) < r.smallest_normal
        underflow = np.where(small, max(r.eta / 2, r.flush), 0.0)
        return exactly if exactly.whole else Bounded(y, underflow, rounding=r)

    def steps(self, states: Sequence[Any]) -> list[Any]:
        """Compute each state of every layer by one step from the states before and below it."""
        with quietly():
            return [self.layer_stepped(l, states) for l in range(len(states))]

    def layer_stepped(self, l: int, states: Sequence[Any]) -> Any:
        """Compute each state of layer l, (T, N, D*H), by one step."""
        layer = self.network.layers[l]
        D, below, ys = len(layer), states[l - 1] if l > 0 else self.x, []
        for d, (w, y) in enumerate(zip(layer, directions(states[l], D), strict=True)):
            a = project(in_reading_order(below, d), w)
            h = previous(y, self.h_0[l * D + d])
            ys.append(in_reading_order(step(a, h, w.W_hh.T, self.activation), d))
        both: Any = np.concatenate(ys, axis=2)
        return both.stored

    def states_for_backward(self, states: Sequence[Any], stepped: Sequence[Any]) -> list[Any]:
        """Take the states whose slopes a correct backward pass may have used.

        tanh: a correct subject may take the slope from the pre-activation in place of the
        rounded state, so the last layer's states have the error of their own step.
        relu rounds nothing. If the dtype is the one that sums are accumulated in, a state
        above 0 has the slope 1. A state of 0 has the slope 0, unless its step's error allows
        more than 0: a subject that computes in a wider dtype may store as 0 what was above 0.
        The states of the layers below are hidden, and only known end to end. Running the
        layers one by one does not find them: other states may lead to the same output, to
        the bit, and give other gradients.
        """
        output, last = states[-1], stepped[-1]
        if self.problem.nonlinearity == "tanh" or self.rounding.ua != self.rounding.u:
            error = last.error
        else:
            decided = (output.value > 0) & np.isfinite(last.error)
            error = np.where(decided, output.error, last.error)
        whole = output.whole and not error.any()
        last = Bounded(output.value, error, rounding=self.rounding, whole=whole)
        return [*self.hidden, last]

    def gradients(self, states: Sequence[Any] | None = None) -> dict[str, Any]:
        """Compute gradients by name, through the given states, by default `self.states`."""
        p = self.problem
        dy = np.zeros(p.output_shape) if p.grad_output is None else p.grad_output
        dh_n = np.zeros(p.h_n_shape) if p.grad_h_n is None else p.grad_h_n
        by_name = self.differentiate(self.known(dy), self.known(dh_n), states)
        if p.h_0 is None:
            del by_name["h_0"]
        return {name: gradient.stored for name, gradient in by_name.items()}

    def differentiate(
        self, dy: Any, dh_n: Any, states: Sequence[Any] | None = None
    ) -> dict[str, Any]:
        """Compute gradients by name, h_0's too, from any upstream ones; sums are not yet stored."""
        take = self.for_gradients
        with quietly():
            dx, dh_0, dlayers = backward(
                take(dy),
                take(dh_n),
                take(self.x),
                take(self.h_0),
                [[Weights(*map(take, w)) for w in layer] for layer in self.network.layers],
                [take(y) for y in (self.states if states is None else states)],
                self.activation,
                [take(mask) for mask in self.masks],
            )
        return self.network.named(dlayers) | {"input": dx, "h_0": dh_0}

    @cached_property
    def gradients_end_to_end(self) -> dict[str, Any]:
        """The gradients by name, through `self.states`."""
        return self.gradients()

    def for_gradients(self, a: Array) -> Array:
        """Keep the numbers, but let them round as gradients may.

        In 16-bit dtypes some implementations add up a weight's gradient over time in the
        dtype itself, so every addition may round to it. And tanh's slope may be computed in
        several operations, as by autograd through exp: what one of them is off by underflow,
        the next ones multiply.
        """
        r = self.rounding
        flush = max(r.flush, r.slope_underflow) if self.problem.nonlinearity == "tanh" else r.flush
        if a is None or (r.ua, r.flush) == (r.u, flush):
            return a
        rounding = replace(r, ua=r.u, flush=flush)
        return Bounded(a.value, a.error, rounding=rounding, whole=a.whole)
