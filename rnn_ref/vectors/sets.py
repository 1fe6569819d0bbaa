"""Which cases are written: of the corpus, and drawn from a fixed seed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import cache

from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.cases.case import LAYOUTS, LOSSES, Case
from rnn_ref.cases.corpus import read_corpus
from rnn_ref.cases.random import INPUTS, WEIGHTS, RandomStream
from rnn_ref.cases.selection import DEEP_OR_NOT, Domain, outside, restrict
from rnn_ref.judging.replay import DEFAULT_DTYPES

SETS: dict[str, int | None] = {"smoke": 20, "default": 200, "corpus": None}
"""How many cases a set has: half of them from the corpus, half drawn; None is all of the corpus."""

MOST = 5_000
"""The results that a case of a set has at most, gradients included, unless it is the corpus."""

DOMAIN: Domain = {
    "nonlinearities": ("tanh", "relu"),
    "num_layers": DEEP_OR_NOT,
    "directions": (1, 2),
    "biases": (True, True, False),
    "initial_states": (True, True, False),
    "weights": tuple(WEIGHTS),
    "inputs": ("normal", "normal", *INPUTS),
    "losses": LOSSES,
}
"""What is drawn, apart from dtypes, layouts and sizes."""

VARIED = (*("nonlinearity", "D", "bias", "layout", "h_0", "weights", "input", "loss", "dtype"),)
"""The fields of which the smallest set has every value, too."""

SEED = 0
BYTES = 32
"""The seed, and the bytes that a case is drawn from."""

TRIES = 100
"""How many cases are drawn at most for each that is wanted."""


def cases_of(name: str, dtypes: Sequence[str] | None, without: Iterable[str]) -> list[Case]:
    """List the cases of a set, of some dtypes, less what a program lacks.

    Without dtypes, the corpus comes in all, another set in float32 and float64. A smaller set is
    a part of a larger one of the same options, the corpus apart.
    """
    number = SETS[name]
    dtypes = tuple(ROUNDING) if number is None and not dtypes else dtypes or DEFAULT_DTYPES
    asked = restrict({"dtypes": tuple(dtypes)}, without)
    fit = [case for case in read_corpus().cases if not outside(case, asked)]
    if number is None:
        return fit
    of_corpus = sorted(filter(is_small, fit), key=lambda case: zlib.crc32(str(case).encode()))
    chosen = of_corpus[: number // 2]
    pool = drawn(tuple(dtypes), tuple(without), max(filter(None, SETS.values())))
    return [*chosen, *pool[: number - len(chosen)]]


def is_small(case: Case) -> bool:
    """Tell whether a case has few results."""
    c = case
    fan = c.I + (c.L - 1) * c.D * c.H
    parameters = c.D * c.H * (fan + c.L * (c.H + 2 * c.bias))
    states = c.T * c.N * c.D * c.H + (1 + c.h_0) * c.L * c.D * c.N * c.H
    return parameters + states + c.T * c.N * c.I <= MOST


@cache
def drawn(dtypes: tuple[str, ...], without: tuple[str, ...], number: int) -> list[Case]:
    """Draw different small cases, the same ones always; none where the options leave nothing.

    Those come first that have every value of the VARIED fields together.
    """
    from rnn_ref.strategies import sized

    domain = restrict({**DOMAIN, "dtypes": dtypes, "layouts": ("steps", *LAYOUTS)}, without)
    if not all(domain.values()):
        return []
    layouts = domain.pop("layouts")

    stream, found = RandomStream(SEED, ""), dict[Case, None]()
    for i in range(TRIES * number):
        if len(found) == number:
            break
        words = stream.restarted(f"case {i}").words((BYTES // 8,))
        case = sized(domain, layouts, (), words.astype("<u8").tobytes())
        found |= {case: None} if is_small(case) else {}
    return varied_first(found)


def varied_first(cases: Iterable[Case]) -> list[Case]:
    """Put those cases first that have, together, every value of the VARIED fields."""
    values = {case: {(name, getattr(case, name)) for name in VARIED} for case in cases}
    first, missing = list[Case](), set().union(*values.values())
    while missing:
        first.append(max(values, key=lambda case: len(values[case] & missing)))
        missing -= values[first[-1]]
    return list(dict.fromkeys([*first, *values]))
