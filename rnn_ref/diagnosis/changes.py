"""The reference with one operation changed: what a wrong RNN may compute.

The recurrence and its derivative stay the reference's own lines: a change is of the arrays
that they are given, of what they return, or of how often they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.oracle import Oracle
from rnn_ref.parameters import Network, read
from rnn_ref.reference import (
    Activation,
    Array,
    Weights,
    differentiate_run,
    directions,
    in_reading_order,
    run,
)


class Place(NamedTuple):
    """One direction d of one layer l."""

    l: int
    d: int

    @property
    def end(self) -> str:
        """How torch's names of its parameters end."""
        return f"_l{self.l}" + ("_reverse" if self.d else "")


Places = frozenset[Place]


class Steps(Enum):
    """The steps in which changed weights and a changed activation are used."""

    ALL = "all"
    FIRST = "first"
    LATER = "later"


def joined(ys: Sequence[Array], _below: Array, _l: int) -> Array:
    """Join the directions' states side by side, as the reference does."""
    return np.concatenate(ys, axis=2) if len(ys) == 2 else ys[0]


@dataclass(frozen=True)
class Change:
    """One change of a forward pass; what isn't given is as in the reference.

    `problem` changes the arrays. Where a place is in `places` (None: everywhere),
    `activation` changes the nonlinearity, `weights` a direction's weights, and `runs` how
    it goes over time; `reverse_runs` is for the reverse direction, where that is another.
    `reads` gives what a direction reads, in its order, `returns` puts its states in the order
    of time, and `joins` puts the directions together.
    """

    problem: Callable[[Problem], Problem] = lambda p: p
    places: Places | None = None
    activation: Callable[[Activation], Activation] = lambda activation: activation
    weights: Callable[[Weights], Weights] = lambda w: w
    runs: Callable[[Array, Array, Weights, Activation], Array] = run
    reverse_runs: Callable[[Array, Array, Weights, Activation], Array] | None = None
    reads: Callable[[Array, Place], Array] = lambda x, place: in_reading_order(x, place.d)
    returns: Callable[[Array, Place], Array] = lambda y, place: in_reading_order(y, place.d)
    joins: Callable[[Sequence[Array], Array, int], Array] = joined
    steps: Steps = Steps.ALL


class Plain(Oracle):
    """The reference's answers as float64, without bounds: what can't fit is seen much sooner."""

    def known(self, array: Floats) -> Any:
        """Take the numbers of an array as they are."""
        return np.asarray(array, np.float64)

    def for_gradients(self, a: Array) -> Array:
        """Take numbers that have no rounding model as they are."""
        return a

    @cached_property
    def gradients_end_to_end(self) -> dict[str, Any]:
        """The gradients by name, through `self.states`."""
        return ChangedBackward(self, BackwardChange()).gradients()


class Changed(Oracle):
    """The answers of a reference that has a change, in the numbers of another oracle."""

    def __init__(self, oracle: Oracle, change: Change) -> None:
        super().__init__(change.problem(oracle.problem))
        self.change = change
        self.known = oracle.known  # type: ignore[method-assign]
        self.own = oracle.problem

    @cached_property
    def own_network(self) -> Network:
        """The network without the change."""
        return read({name: self.known(array) for name, array in self.own.parameters.items()})

    @cached_property
    def passes(self) -> list[tuple[list[Any], Any]]:
        """Each layer's runs, one a direction and in its reading order; and its joined states."""
        below, passes = self.x, []
        for l in range(self.problem.L):
            runs = [self.direction(below, Place(l, d)) for d in range(self.problem.D)]
            returned = [self.change.returns(y, Place(l, d)) for d, y in enumerate(runs)]
            below = self.change.joins(returned, below, l)
            passes.append((runs, below))
        return passes

    def direction(self, below: Array, place: Place) -> Array:
        """Run one direction of one layer."""
        change, (l, d) = self.change, place
        x, h = change.reads(below, place), self.h_0[l * self.problem.D + d]
        own, activation = self.own_network.layers[l][d], self.activation
        w = self.network.layers[l][d]
        if change.places is not None and place not in change.places:
            return run(x, h, own, activation)
        changed = change.weights(w), change.activation(activation)
        if change.steps is Steps.ALL:
            runs = change.reverse_runs if d and change.reverse_runs else change.runs
            return runs(x, h, *changed)
        early, late = changed, (own, activation)
        if change.steps is Steps.LATER:
            early, late = late, early
        first = run(x[:1], h, *early)
        return first if len(x) == 1 else np.concatenate([first, run(x[1:], first[-1], *late)])

    @property
    def results(self) -> tuple[Any, Any]:
        """output and h_n; h_n has what each direction ended with, in its reading order."""
        h_n = np.stack([y[-1] for runs, _ in self.passes for y in runs])
        return self.passes[-1][1], h_n


Differential = tuple[Array, Array, Weights]
"""What differentiating a run gives: gradients of its input, its first state, its weights."""


class Run(NamedTuple):
    """The arguments of differentiate_run, for one direction of one layer."""

    dy: Array
    dh: Array
    x: Array
    h_0: Array
    y: Array
    w: Weights
    activation: Activation
    d: int = 0

    def differentiated(self) -> Differential:
        """Differentiate it as the reference does."""
        *of_run, _ = self
        return differentiate_run(*of_run)

    def part(self, steps: slice, dh: Array) -> Run:
        """Take some steps in a row, of which the last gets dh from what comes after."""
        start = steps.indices(len(self.y))[0]
        h_0 = self.h_0 if start == 0 else self.y[start - 1]
        return self._replace(dy=self.dy[steps], dh=dh, x=self.x[steps], h_0=h_0, y=self.y[steps])


Differentiate = Callable[[Run], Differential]
"""Differentiates a run, in its own way."""


def summed(dxs: Sequence[Array], _l: int) -> Array:
    """Add up the directions' gradients of what they both read, as the reference does."""
    return dxs[0] + dxs[1] if len(dxs) == 2 else dxs[0]


@dataclass(frozen=True)
class BackwardChange:
    """One change of a backward pass; what isn't given is as in the reference.

    `output` and `h_n` change the upstream gradients. Where a place is in `places` (None:
    everywhere), `differentiates` replaces the derivative of a run. `sums` joins the
    directions' gradients of what layer l reads.
    """

    output: Callable[[Array], Array] = lambda dy: dy
    h_n: Callable[[Array], Array] = lambda dh_n: dh_n
    places: Places | None = None
    differentiates: Callable[[Run], Differential] = Run.differentiated
    sums: Callable[[Sequence[Array], int], Array] = summed


class ChangedBackward:
    """The gradients of a reference whose backward pass has a change; its states are right."""

    def __init__(self, oracle: Oracle, change: BackwardChange) -> None:
        self.oracle, self.change = oracle, change

    def gradients(self) -> dict[str, Any]:
        """Compute gradients by name."""
        o, p, change = self.oracle, self.oracle.problem, self.change
        take, D = o.for_gradients, p.D
        dy = np.zeros(p.output_shape) if p.grad_output is None else p.grad_output
        dh_n = np.zeros(p.h_n_shape) if p.grad_h_n is None else p.grad_h_n
        down = change.output(take(o.known(dy)))
        ends, h_0 = change.h_n(take(o.known(dh_n))), take(o.h_0)
        dh_0 = list(ends)
        dlayers = [list(layer) for layer in o.network.layers]
        for l in reversed(range(p.L)):
            below, y = take(o.states[l - 1] if l else o.x), take(o.states[l])
            dxs = []
            for d, (dy_d, y_d) in enumerate(
                zip(directions(down, D), directions(y, D), strict=True)
            ):
                row, w = l * D + d, Weights(*map(take, o.network.layers[l][d]))
                x = in_reading_order(below, d)
                this = Run(dy_d, ends[row], x, h_0[row], y_d, w, o.activation, d)
                dx, dh_0[row], dlayers[l][d] = self.differential(this, Place(l, d))
                dxs.append(in_reading_order(dx, d))
            down = change.sums(dxs, l)
        by_name = o.network.named(dlayers) | {"input": down}
        if p.h_0 is not None:
            by_name["h_0"] = np.stack(dh_0)
        return {name: stored(gradient) for name, gradient in by_name.items()}

    def differential(self, this: Run, place: Place) -> Differential:
        """Differentiate one direction of one layer."""
        change = self.change
        if change.places is not None and place not in change.places:
            return this.differentiated()
        return change.differentiates(this)


def stored(a: Any) -> Any:
    """Charge the rounding of sums; floats have none."""
    return a.stored if isinstance(a, Bounded) else a


def value_of(a: Any) -> Any:
    """Return the values of an array, with or without bounds."""
    return a.stored.value if isinstance(a, Bounded) else a


def error_of(a: Any) -> Any:
    """Return the errors of an array; floats have none."""
    return a.stored.error if isinstance(a, Bounded) else 0.0


def unit_of(a: Any) -> float:
    """Return the unit roundoff of an array's rounding model; floats have none."""
    return a.rounding.u if isinstance(a, Bounded) else 0.0


def replaced(a: Any, value: Any, error: Any) -> Any:
    """Make an array of new values and errors, of the kind of another and its rounding model."""
    if not isinstance(a, Bounded):
        return value
    return Bounded(value, error, rounding=a.rounding, whole=False)


Expected = dict[str, Bounded]
"""The results or the gradients that a hypothesis expects, by name."""


NEAR = 0.02
"""The ratio that errors must reach under wider bounds, for these to be a reason."""


class Hypothesis(NamedTuple):
    """A sentence that may be true of a subject, and what results or gradients are if it is.

    `arrays` names the results or gradients that it may change, `reach` has the directions of
    layers whose h_n, or whose parameters' gradients, it may change; None is all.

    One that `widens` the bounds, for a loss of precision, must do so for a reason: errors come
    near its bounds, to the ratio `least`, and have `both_signs` if they are of rounding. Arrays
    that are rounded to a coarser dtype have no more digits anywhere: `few_digits` names it. Where
    small numbers are taken for zero, what is wrong are `zeros`. What is lost before gradients are
    taken `spreads`: it is in more than one of them. Where arguments are rounded, a first step's
    errors are `centred` on what exact arithmetic makes of these: that is so many times nearer to
    them than the unchanged reference; where sums are rounded too, those of one product are. One
    `of_tanh` is not true of a subject whose tanh was measured, and found accurate, or whose relu
    networks are wrong too; one `of_sums` is not true where these are right. Those of one `kind`
    say the same, up to a `limit`. One of a changed forward pass has its `change`.
    """

    sentence: str
    expected: Callable[[Oracle], Expected]
    arrays: frozenset[str] | None = None
    reach: Places | None = None
    widens: bool = False
    both_signs: bool = False
    least: float = NEAR
    few_digits: str = ""
    zeros: bool = False
    spreads: bool = False
    centred: float = 0.0
    of_tanh: bool = False
    of_sums: bool = False
    summed: bool = False
    change: Change | None = None
    kind: str = ""
    limit: float = 0.0


def results_of(oracle: Oracle) -> Expected:
    """Name an oracle's output and h_n."""
    output, h_n = oracle.results
    return {"output": output, "h_n": h_n}


def changed(sentence: str, change: Change) -> Hypothesis:
    """Make a hypothesis of a change."""
    return Hypothesis(sentence, lambda oracle: results_of(Changed(oracle, change)), change=change)


def changed_backward(sentence: str, change: BackwardChange) -> Hypothesis:
    """Make a hypothesis of a change of the backward pass."""
    return Hypothesis(sentence, lambda oracle: ChangedBackward(oracle, change).gradients())
