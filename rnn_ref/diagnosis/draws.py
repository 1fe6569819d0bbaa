"""Which cases a diagnosis draws: of the failing form, in sizes that tell hypotheses apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from rnn_ref.cases.case import SIZES, Case
from rnn_ref.cases.problem import Problem


class Sizes(NamedTuple):
    """The sizes of a case that a diagnosis draws."""

    T: int
    N: int
    I: int
    H: int


def sizes_of(of: Case | Problem) -> Sizes:
    """Give the sizes of a case or a problem."""
    if isinstance(of, Case):
        return Sizes(of.T, of.N, of.I, of.H)
    T, N, I = of.input.shape
    return Sizes(T, N, I, of.H)


FIRST = (Sizes(5, 3, 4, 6), Sizes(20, 5, 3, 9), Sizes(37, 6, 34, 9), Sizes(3, 35, 5, 35))
"""Sizes to find a wrong case with."""

MORE = (
    Sizes(7, 2, 5, 3), Sizes(4, 4, 4, 4), Sizes(20, 5, 3, 9), Sizes(70, 3, 2, 5),
    Sizes(3, 19, 21, 19), Sizes(5, 5, 6, 6), Sizes(2, 39, 69, 39),
)  # fmt: skip
"""Sizes to tell hypotheses apart that all explain the first wrong case."""

LONG = 20
"""From how many steps on weights are drawn that keep bounds small."""

NEARER = (257, 1025)
"""How far out a case is that stands for one still farther: most tiles and blocks end before."""

WIDENED = 1000
"""How many times a state's bound may grow until weights are drawn that keep it small."""

ONE_STEP = Sizes(1, 4, 5, 7)
"""Sizes where a loss of precision has no past to hide in."""

ONE_PRODUCT = Sizes(1, 128, 1, 1)
"""Sizes where no sum of products hides what its factors were rounded to."""


class Draw(NamedTuple):
    """A case that a diagnosis draws; `small` multiplies all but its weights by a small number."""

    case: Case
    small: bool = False


MOST_STEPS = 2100
"""How many steps a case may have in all its runs: twice those of the longest far case, 1,025."""


def is_quick(case: Case) -> bool:
    """Tell whether a case can be run with bounds in a fraction of a second."""
    c = case
    steps = c.T * c.L * c.D
    return steps <= MOST_STEPS and steps * c.N * c.H * (max(c.I, c.D * c.H) + c.H) <= 2e8


def shrunk(p: Problem) -> Problem:
    """Multiply the input, h_0 and the biases of a problem by about the root of its roundoff."""
    c = 2.0 ** round(math.log2(p.rounding.u) / 2)
    parameters = {
        name: a if name.startswith("weight") else a * a.dtype.type(c)
        for name, a in p.parameters.items()
    }
    h_0 = None if p.h_0 is None else p.h_0 * p.h_0.dtype.type(c)
    return replace(p, parameters=parameters, input=p.input * p.input.dtype.type(c), h_0=h_0)


def first_cases(case: Case) -> Iterator[Draw]:
    """Draw cases of a case's form: rich ones, larger ones like it, its own sizes, itself.

    Of one that is far out, those that are less so come first: they are quick.
    """
    own = sizes_of(case)
    for sizes in FIRST:
        yield sized(case, sizes, 1, plain=True)
    yield small(case, 1)
    if case.nonlinearity == "relu":
        yield whole(case, 1)
    for sizes in nearer(own):
        yield sized(case, Sizes(*map(max, sizes, FIRST[0])), 2, plain=True)
    for plain in (True, False):
        yield sized(case, Sizes(*map(max, own, FIRST[0])), 2, plain=plain)
    for seed in range(3, 6):
        yield sized(case, own, seed, plain=False)
    yield Draw(replace(case, variant=""))


def more_cases(case: Case, widens: bool, of: str = "results") -> Iterator[Draw]:
    """Draw further cases: other sizes and seeds, both in plain regimes and in the case's.

    What is lost of products shows `of` results in the sums of one product.
    """
    own = sizes_of(case)
    yield from larger_still(case, own)
    if widens:
        yield sized(case, ONE_STEP, 8, plain=True)
        yield sized(case, ONE_PRODUCT if of == "results" else ONE_STEP, 9, plain=True)
        yield from (small(case, seed) for seed in (2, 3, 4))
        if case.nonlinearity == "relu":
            yield from (whole(case, seed) for seed in (2, 3))
    for seed, sizes in enumerate(MORE, start=10):
        yield sized(case, sizes, seed, plain=True)
    for seed in range(20, 22):
        yield sized(case, Sizes(37, 6, 34, 9), seed, plain=True)
        yield sized(case, Sizes(*map(max, own, MORE[0])), seed, plain=True)
        yield sized(case, Sizes(*map(max, own, FIRST[0])), seed, plain=False)
    for seed in range(30, 34):
        yield sized(case, own, seed, plain=False)


def larger_still(case: Case, own: Sizes) -> Iterator[Draw]:
    """Draw cases that are larger along the axis along which a case is far out, if it is.

    Where these are wrong tells one index from all that follow it, and from those past a tile.
    """
    beyond = far(own)
    for seed, (times, more) in enumerate(((1, 3), (2, 1)) if beyond else (), start=40):
        larger = {name: min(times * n + more, SIZES[name].largest) for name, n in beyond.items()}
        yield sized(case, FIRST[0]._replace(**larger), seed, plain=True)


def far(own: Sizes) -> dict[str, int]:
    """Name the sizes that are larger than all that a diagnosis draws of itself."""
    most = max(map(max, MORE))
    return {name: n for name, n in own._asdict().items() if n > most}


def nearer(own: Sizes) -> list[Sizes]:
    """List sizes of which none is as far out as the largest of others."""
    return [Sizes(*(min(n, most) for n in own)) for most in NEARER if max(own) > most]


def far_as(own: Sizes, case: Case) -> Case:
    """Make a case as far out as other sizes are."""
    sizes: dict[str, Any] = far(own)
    return replace(case, **sizes)


def sized(case: Case, sizes: Sizes, seed: int, *, plain: bool) -> Draw:
    """Give a case other sizes and another seed; if plain, bounds that stay small too."""
    T, N, I, H = sizes
    N = 1 if case.unbatched else N
    drawn = replace(case, T=T, N=N, I=I, H=H, L=min(case.L, 3), variant="", seed=seed)
    if not plain:
        return Draw(drawn)
    # At each step bounds on torch's own grow by a row of W_hh: H weights of at most 1/sqrt(H).
    tight = T < LONG and (math.sqrt(H) / 2) ** T < WIDENED
    weights = "torch" if tight else "contracting"
    return Draw(replace(drawn, weights=weights, input="normal", loss="both"))


def whole(case: Case, seed: int) -> Draw:
    """Draw a case of whole numbers, of which relu gives whole numbers, without any error."""
    drawn = sized(case, FIRST[0], seed, plain=True).case
    return Draw(replace(drawn, weights="sparse", input="integer"))


def small(case: Case, seed: int) -> Draw:
    """Draw a case of small sums, which tanh hardly changes."""
    drawn = sized(case, FIRST[0], seed, plain=True).case
    return Draw(replace(drawn, weights="contracting"), small=True)
