"""Hypothesis strategies that draw cases: small mostly, past the sizes where kernels break."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from rnn_ref.case import INPUTS, LOSSES, WEIGHTS, Case

SMALL = st.integers(1, 5)
EDGES = (6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
"""Around vector widths and tiles: 8, 16, 32, 64 and their neighbours."""

WIDE = st.sampled_from(EDGES) | st.integers(6, 65)
WIDE_AXES = st.sampled_from(
    ("", "", "", "T", "N", "I", "H", "T", "H", "H", "TH", "NI", "IH", "NH", "TN", "TNIH")
)
"""Which axes are drawn from WIDE; the rest are small, so that most cases are cheap."""

SEEDS = st.integers(0, 999_999)

LAYOUTS = ("steps", "steps", "batch_first", "unbatched", "unbatched batch_first")


def cases(
    *,
    dtypes: Sequence[str] = ("float32", "float64"),
    nonlinearities: Sequence[str] = ("tanh", "relu"),
    num_layers: Sequence[int] = (1, 1, 1, 2, 2, 3, 4),
    directions: Sequence[int] = (1, 2),
    biases: Sequence[bool] = (True, True, False),
    layouts: Sequence[str] = LAYOUTS,
    initial_states: Sequence[bool] = (True, True, False),
    weights: Sequence[str] = tuple(WEIGHTS),
    inputs: Sequence[str] = ("normal", "normal", *INPUTS),
    losses: Sequence[str] = LOSSES,
) -> st.SearchStrategy[Case]:
    """Cases with each field from the sequence given for it; the first entry is the simplest.

    An entry that stands twice is drawn twice as often. `layouts` are "steps" (T, N, I),
    "batch_first" (N, T, I), "unbatched" (T, I) and "unbatched batch_first", which is the
    same. They shrink to T = N = I = H = 1 and
    to each sequence's first entry, as far as the fault allows.
    """
    choices = {
        "nonlinearity": nonlinearities,
        "L": num_layers,
        "D": directions,
        "bias": biases,
        "dtype": dtypes,
        "weights": weights,
        "input": inputs,
        "h_0": initial_states,
        "loss": losses,
    }
    chosen = {name: st.sampled_from(values) for name, values in choices.items()}
    return sized(chosen, st.sampled_from(layouts))


@st.composite
def sized(
    draw: st.DrawFn,
    chosen: dict[str, st.SearchStrategy[Any]],
    layouts: st.SearchStrategy[str],
) -> Case:
    """Cases with the chosen fields, a layout, sizes and a seed."""
    wide = draw(WIDE_AXES)
    fields: dict[str, Any] = {axis: draw(WIDE if axis in wide else SMALL) for axis in "TNIH"}
    layout = draw(layouts)
    if "unbatched" in layout:
        fields["N"] = 1
    fields |= {name: draw(strategy) for name, strategy in chosen.items()}
    return Case(
        batch_first="batch_first" in layout,
        unbatched="unbatched" in layout,
        seed=draw(SEEDS),
        **fields,
    )
