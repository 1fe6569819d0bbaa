"""Hypothesis strategies that draw cases: small mostly, past the sizes where kernels break."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from rnn_ref.cases.case import LAYOUTS, LOSSES, Case
from rnn_ref.cases.history import DROPOUT, choices, normal
from rnn_ref.cases.random import INPUTS, WEIGHTS
from rnn_ref.cases.selection import FIELDS, Domain, require_domain

SMALL = st.integers(1, 5)
EDGES = (6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
"""Around vector widths and tiles: 8, 16, 32, 64 and their neighbours."""

WIDE = st.sampled_from(EDGES) | st.integers(6, 65)
WIDE_AXES = st.sampled_from(
    ("", "", "", "T", "N", "I", "H", "T", "H", "H", "TH", "NI", "IH", "NH", "TN", "TNIH")
)
"""Which axes are drawn from WIDE; the others are small, so that most cases are cheap."""

SEEDS = st.integers(0, 999_999)

MOST_STEPS = 14
"""The steps of a drawn history at most."""


def cases(
    *,
    dtypes: Sequence[str] = ("float32", "float64"),
    nonlinearities: Sequence[str] = ("tanh", "relu"),
    num_layers: Sequence[int] = (1, 1, 1, 2, 2, 3, 4),
    directions: Sequence[int] = (1, 2),
    biases: Sequence[bool] = (True, True, False),
    layouts: Sequence[str] = ("steps", *LAYOUTS),
    initial_states: Sequence[bool] = (True, True, False),
    weights: Sequence[str] = tuple(WEIGHTS),
    inputs: Sequence[str] = ("normal", "normal", *INPUTS),
    losses: Sequence[str] = LOSSES,
    variants: Sequence[str] = ("",),
    steps: Sequence[str] = (),
) -> st.SearchStrategy[Case]:
    """Draw cases with each field from the sequence given for it; the first entry is the simplest.

    An entry that stands twice is drawn twice as often. `layouts` are "steps" (T, N, I),
    "batch_first" (N, T, I), "unbatched" (T, I) and "unbatched batch_first", which is the
    same. `steps` are the words of histories; without any, cases have none. Cases shrink to
    T = N = I = H = 1 and to each sequence's first entry, as far as the fault allows. Raises
    ValueError for an empty sequence, or an entry that no case has.
    """
    domain: Domain = {
        "nonlinearities": nonlinearities,
        "num_layers": num_layers,
        "directions": directions,
        "biases": biases,
        "dtypes": dtypes,
        "weights": weights,
        "inputs": inputs,
        "initial_states": initial_states,
        "losses": losses,
        "variants": variants,
    }
    require_domain({**domain, "layouts": layouts, **({"steps": steps} if steps else {})})
    chosen = {FIELDS[name]: st.sampled_from(values) for name, values in domain.items()}
    if steps:
        chosen["history"] = histories(steps).filter(bool)
    return sized(chosen, st.sampled_from(layouts))


@st.composite
def histories(draw: st.DrawFn, words: Sequence[str]) -> str:
    """Draw a history of some words, such as `call,eval,call,backward`.

    Each has a few of the words, and those often: so two that matter together meet (Groce et
    al., Swarm testing, 2012).
    """
    few = draw(st.lists(st.sampled_from(words), min_size=2, max_size=8))
    allowed = choices([word for word in words if word in {"backward", *few}])
    steps = draw(st.lists(st.sampled_from(allowed), min_size=3, max_size=MOST_STEPS))
    return normal([DROPOUT, *steps] if DROPOUT in words and draw(st.booleans()) else steps)


@st.composite
def sized(
    draw: st.DrawFn,
    chosen: dict[str, st.SearchStrategy[Any]],
    layouts: st.SearchStrategy[str],
) -> Case:
    """Draw cases with the chosen fields, a layout, sizes and a seed."""
    wide = draw(WIDE_AXES)
    fields: dict[str, Any] = {axis: draw(WIDE if axis in wide else SMALL) for axis in "TNIH"}
    layout = LAYOUTS[draw(layouts)]
    if layout.unbatched:
        fields["N"] = 1
    fields |= {name: draw(strategy) for name, strategy in chosen.items()}
    return Case(**layout._asdict(), seed=draw(SEEDS), **fields)
