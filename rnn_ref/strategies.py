"""Hypothesis strategies that draw cases: small mostly, past the sizes where kernels break."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from rnn_ref.case import INPUTS, LOSSES, WEIGHTS, Case

SMALL = st.integers(1, 5)
EDGES = (6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
"""Around vector widths and tiles: 8, 16, 32, 64 and their neighbours."""

WIDE = st.sampled_from(EDGES) | st.integers(6, 65)
WIDE_AXES = ("", "", "", "T", "N", "I", "H", "T", "H", "H", "TH", "NI", "IH", "NH", "TN", "TNIH")
"""Which axes are drawn from WIDE; the rest are small, so that most cases are cheap."""


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    dtypes: Sequence[str] = ("float32", "float64"),
    nonlinearities: Sequence[str] = ("tanh", "relu"),
    num_layers: Sequence[int] = (1, 1, 1, 2, 2, 3, 4),
    directions: Sequence[int] = (1, 2),
    biases: Sequence[bool] = (True, True, False),
    layouts: Sequence[str] = ("steps", "steps", "batch_first", "unbatched"),
    initial_states: Sequence[bool] = (True, True, False),
    weights: Sequence[str] = tuple(WEIGHTS),
    inputs: Sequence[str] = ("normal", "normal", *INPUTS),
    losses: Sequence[str] = LOSSES,
) -> Case:
    """Cases with each field from the sequence given for it; the first entry is the simplest.

    An entry that stands twice is drawn twice as often. `layouts` are "steps" (T, N, I),
    "batch_first" (N, T, I) and "unbatched" (T, I). They shrink to T = N = I = H = 1 and
    to each sequence's first entry, as far as the fault allows.
    """
    wide = draw(st.sampled_from(WIDE_AXES))
    sizes = {axis: draw(WIDE if axis in wide else SMALL) for axis in "TNIH"}
    layout = draw(st.sampled_from(layouts))
    return Case(
        nonlinearity=draw(st.sampled_from(nonlinearities)),
        L=draw(st.sampled_from(num_layers)),
        D=draw(st.sampled_from(directions)),
        bias=draw(st.sampled_from(biases)),
        dtype=draw(st.sampled_from(dtypes)),
        batch_first=layout == "batch_first",
        unbatched=layout == "unbatched",
        weights=draw(st.sampled_from(weights)),
        input=draw(st.sampled_from(inputs)),
        h_0=draw(st.sampled_from(initial_states)),
        loss=draw(st.sampled_from(losses)),
        seed=draw(st.integers(0, 999_999)),
        **sizes | ({"N": 1} if layout == "unbatched" else {}),
    )
