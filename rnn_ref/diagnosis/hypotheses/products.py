"""What may be rounded too much inside a step's sum: the factors of products, products, or sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from rnn_ref.arithmetic.dtypes import ROUNDING, Floats, rounded
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import (
    Change,
    Hypothesis,
    Place,
    Places,
    changed,
    error_of,
    replaced,
    stored,
    value_of,
)
from rnn_ref.diagnosis.places import Where, everywhere
from rnn_ref.reference import Activation, Array, Weights, in_reading_order, run

COARSER = ("float32", "TF32", "float16", "bfloat16")
"""The formats that numbers of a finer dtype are rounded to, from the finest.

TF32 has float32's range and float16's precision: GPUs multiply float32 so.
"""

TF32 = replace(ROUNDING["float32"], u=ROUNDING["float16"].u)


def rounding_of(name: str) -> float:
    """Return the unit roundoff of a format."""
    return TF32.u if name == "TF32" else ROUNDING[name].u


def coarser(p: Problem) -> list[str]:
    """List the formats that are coarser than the problem's dtype."""
    return [name for name in COARSER if rounding_of(name) > p.rounding.u]


def to(name: str, a: Floats) -> Floats:
    """Round an array to a coarser format, in its own."""
    with np.errstate(over="ignore"):
        exact = np.asarray(a, np.float64)
        if name == "TF32":
            mantissa, power = np.frexp(exact)
            exact = np.ldexp(np.rint(mantissa / TF32.u) * TF32.u, power)
            name = "float32"
        return rounded(exact, name).astype(a.dtype)


def about_products(p: Problem) -> list[Hypothesis]:
    """List what may be rounded too much of products and sums.

    The first step shows what is rounded in a single layer: what layers add to it is so large
    that it hides the difference.
    """
    return [*rounded_factors(p), *inexact_products(p), *rounded_reads(p, everywhere(p.L, p.D))]


def rounded_reads(p: Problem, where: Where) -> Iterator[Hypothesis]:
    """List the roundings of each state before the next step reads it, in a part of a network."""
    for name in coarser(p):
        change = Change(
            problem=partial(with_rounded_h_0, name=name, places=where.places),
            places=where.places,
            runs=partial(inexact_states, u=rounding_of(name)),
        )
        sentence = where.named(f"each step reads the state before it rounded to {name}")
        yield changed(sentence, change)._replace(widens=True, both_signs=True, of_sums=True)


def rounded_between(p: Problem) -> Iterator[Hypothesis]:
    """List the roundings of what each layer reads, the input and the states of the one below."""
    for name in coarser(p):
        change = Change(
            problem=lambda p, name=name: replace(p, input=to(name, p.input)),  # type: ignore[misc]
            runs=partial(inexact_reads, u=rounding_of(name)),
        )
        sentence = f"the input is rounded to {name}, and what each layer above reads"
        yield changed(sentence, change)._replace(widens=True, kind=f"input in {name}", limit=1.0)


def inexact_reads(x: Array, h: Array, w: Weights, f: Activation, u: float) -> Array:
    """Run with an error of rounding of what is read, unless it is the input: that has no error."""
    error = error_of(x) + u * np.abs(value_of(x))
    return run(replaced(x, value_of(x), error) if error_of(x).any() else x, h, w, f)


def with_rounded_h_0(p: Problem, name: str, places: Places) -> Problem:
    """Round the initial states of some directions of layers."""
    if p.h_0 is None:
        return p
    h_0 = p.h_0.copy()
    for l, d in places:
        h_0[l * p.D + d] = to(name, h_0[l * p.D + d])
    return replace(p, h_0=h_0)


CENTRED = 1.1
"""How many times nearer to what was got a centre must be than the unchanged reference."""

READ, RECURRENT = "weight_ih", "weight_hh"

OF = {
    f"products with {RECURRENT}": (RECURRENT,),
    f"products with {READ}": (READ,),
    "products": (READ, RECURRENT),
}
"""Which products are meant, by words: those of some weights."""


def rounded_sums(p: Problem) -> Iterator[Hypothesis]:
    """List the roundings of the sum that the nonlinearity is applied to."""
    for name in coarser(p):
        yield changed(
            f"the sum of each step is rounded to {name}, before the nonlinearity",
            Change(activation=partial(of_rounded, u=rounding_of(name))),
        )._replace(widens=True, both_signs=True, least=0.1, of_sums=True)


def of_rounded(own: Activation, u: float) -> Activation:
    """Apply a nonlinearity to sums with an error of rounding."""

    def value(a: Array) -> Array:
        error = error_of(a) + u * np.abs(value_of(a))
        return own.value(replaced(stored(a), value_of(a), error))

    return own._replace(value=value)


def rounded_factors(p: Problem) -> Iterator[Hypothesis]:
    """List the roundings of what products are taken of: of what is read, or of all factors.

    The first layer's arguments are rounded exactly, so that its first step is sharp; what is
    computed, and then rounded, has an error.
    """
    for name in coarser(p):
        u = rounding_of(name)
        change = Change(problem=partial(with_rounded, name=name), reads=partial(inexact_input, u=u))
        yield changed(f"what each layer reads is rounded to {name}", change)._replace(
            widens=True, both_signs=True, of_sums=True
        )
        for words, of in OF.items():
            factors = Factors(name, of)
            yield changed(
                f"{words} are taken of numbers rounded to {name}",
                Change(problem=factors.problem, reads=factors.reads, runs=factors.runs),
            )._replace(widens=True, both_signs=True, centred=CENTRED, of_sums=True)


def with_rounded(p: Problem, name: str) -> Problem:
    """Round the input."""
    return replace(p, input=to(name, p.input))


@dataclass(frozen=True)
class Factors:
    """The factors of products with some weights, rounded to a coarser format."""

    name: str
    of: tuple[str, ...]

    @property
    def u(self) -> float:
        """The format's unit roundoff."""
        return rounding_of(self.name)

    def problem(self, p: Problem) -> Problem:
        """Round what is known before."""
        parameters = {
            name: to(self.name, a) if name.startswith(self.of) else a
            for name, a in p.parameters.items()
        }
        x = to(self.name, p.input) if READ in self.of else p.input
        starts = p.h_0 is not None and RECURRENT in self.of
        h_0 = to(self.name, p.h_0) if starts and p.h_0 is not None else p.h_0
        return replace(p, input=x, h_0=h_0, parameters=parameters)

    def reads(self, x: Array, place: Place) -> Array:
        """Round what a layer above the first reads."""
        if READ in self.of:
            return inexact_input(x, place, self.u)
        return in_reading_order(x, place.d)

    def runs(self, x: Array, h: Array, w: Weights, f: Activation) -> Array:
        """Round each state before it is multiplied."""
        return inexact_states(x, h, w, f, self.u) if RECURRENT in self.of else run(x, h, w, f)


def inexact_input(x: Array, place: Place, u: float) -> Array:
    """Give what a layer above the first reads the error of a rounding."""
    if place.l > 0:
        x = replaced(x, value_of(x), error_of(x) + 2 * u * np.abs(value_of(x)))
    return in_reading_order(x, place.d)


def inexact_states(x: Array, h: Array, w: Weights, f: Activation, u: float) -> Array:
    """Run with an error of rounding of each state that is read, but for h_0.

    The error is put on the weights that multiply it.
    """
    first = run(x[:1], h, w, f)
    if len(x) == 1:
        return first
    error = error_of(w.W_hh) + 2 * u * np.abs(value_of(w.W_hh))
    W_hh = replaced(w.W_hh, value_of(w.W_hh), error)
    return np.concatenate([first, run(x[1:], first[-1], w._replace(W_hh=W_hh), f)])


def inexact_products(p: Problem) -> Iterator[Hypothesis]:
    """List products that are computed in a coarser dtype: of rounded numbers, and rounded.

    Each of their sums may be rounded too; those of bfloat16 are added up in float32.
    """
    for name in coarser(p):
        for words, of in OF.items() if name in ROUNDING else ():
            factors = Computed(name, of)
            yield changed(
                f"{words} are computed in {name}",
                Change(problem=factors.problem, reads=factors.reads, runs=factors.runs),
            )._replace(widens=True, both_signs=True, centred=CENTRED, of_sums=True, summed=True)


FIELDS = {READ: "W_ih", RECURRENT: "W_hh"}


class Computed(Factors):
    """Products with some weights that are computed in a coarser dtype."""

    def runs(self, x: Array, h: Array, w: Weights, f: Activation) -> Array:
        """Run with the errors of products and their sums, put on the weights (H, K)."""
        inexact = {}
        for field in (FIELDS[kind] for kind in self.of):
            W = getattr(w, field)
            roundings = 1 if self.name == "bfloat16" else W.shape[1] + 1
            size = roundings * self.u * np.abs(value_of(W))
            inexact[field] = replaced(W, value_of(W), error_of(W) + size)
        return super().runs(x, h, w._replace(**inexact), f)
