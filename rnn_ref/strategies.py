"""Hypothesis strategies that draw cases: small mostly, past the sizes where kernels break.

Sizes go to 65 or, where it is asked for, far beyond along one axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from rnn_ref.cases.case import LAYOUTS, LOSSES, Case
from rnn_ref.cases.random import INPUTS, WEIGHTS
from rnn_ref.cases.selection import DEEP_OR_NOT, DEEPEST, FIELDS, Domain, require_domain

TINY = st.integers(1, 3)
SMALL = st.integers(1, 5)
EDGES = (6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
"""Around vector widths and tiles: 8, 16, 32, 64 and their neighbours."""

WIDE = st.sampled_from(EDGES) | st.integers(6, 65)
WIDE_AXES = st.sampled_from(
    ("", "", "", "T", "N", "I", "H", "T", "H", "H", "TH", "NI", "IH", "NH", "TN", "TNIH")
)
"""Which axes are drawn from WIDE; the others are small, so that most cases are cheap."""

SEEDS = st.integers(0, 999_999)

FAR = tuple(power + by for power in (128, 256, 512, 1024) for by in (-1, 0, 1))
"""Around tiles of a large product, threads of a block and steps of an unrolled loop."""

STAIRS = (*range(1, 6), *EDGES)
"""What a far size shrinks to. Far ones stand so often beside it that few others are drawn."""

LAYERS = tuple(range(DEEPEST + 1, 13))

GRID = (65535, 65536, 65537)
"""Around the most blocks along the second axis of a GPU's grid."""

SHAPES: dict[str, tuple[dict[str, int], ...]] = {
    "T": tuple({"T": size} for size in (*STAIRS, *FAR * 24)),
    "N": tuple({"N": size} for size in (*STAIRS, *FAR * 16, *FAR[-1:] * 96)),
    "I": tuple({"I": size} for size in (*STAIRS, *FAR * 16, *FAR[-1:] * 96)),
    "H": tuple({"H": size} for size in (*STAIRS, *FAR[:-3] * 20, *FAR[-4:-3] * 60)),
    "L": tuple({"L": size} for size in (*range(1, DEEPEST + 1), *LAYERS * 8)),
    "NT": ({"N": 1}, *({"N": -(-size // T), "T": T} for T in (1, 2, 3) for size in GRID * 2)),
    "W": tuple({"H": size} for size in (*STAIRS, *FAR[-3:] * 20, *FAR[-1:] * 60)),
}
"""By the axes of FAR_AXES, how far out a case may be along them, from the nearest.

What goes wrong past a size shows in all that are larger, so the largest stands most often;
but many steps take long, and so do the million weights of W.
"""

MOST = {"weights": 270_000, "steps": 1_030, "states": 270_000}
"""The numbers in W_hh, the steps and the states of a far case, at most, in all its runs."""

MOST_OF_W = {**MOST, "weights": 1_060_000}
"""The same for cases that are far out along W."""


def cases(
    *,
    dtypes: Sequence[str] = ("float32", "float64"),
    nonlinearities: Sequence[str] = ("tanh", "relu"),
    num_layers: Sequence[int] = DEEP_OR_NOT,
    directions: Sequence[int] = (1, 2),
    biases: Sequence[bool] = (True, True, False),
    layouts: Sequence[str] = ("steps", *LAYOUTS),
    initial_states: Sequence[bool] = (True, True, False),
    weights: Sequence[str] = tuple(WEIGHTS),
    inputs: Sequence[str] = ("normal", "normal", *INPUTS),
    losses: Sequence[str] = LOSSES,
    variants: Sequence[str] = ("",),
    far: Sequence[str] = (),
) -> st.SearchStrategy[Case]:
    """Draw cases with each field from the sequence given for it; the first entry is the simplest.

    An entry that stands twice is drawn twice as often. `layouts` are "steps" (T, N, I),
    "batch_first" (N, T, I), "unbatched" (T, I) and "unbatched batch_first", which is the
    same. With `far`, of FAR_AXES, cases are far out along one of them, and tiny else. Cases
    shrink to T = N = I = H = 1 and to each sequence's first entry, as far as the fault allows.
    Raises ValueError for an empty sequence, or an entry that no case has.
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
    require_domain({**domain, "layouts": layouts})
    chosen = {FIELDS[name]: st.sampled_from(values) for name, values in domain.items()}
    if far:
        fewest = {"L": min(num_layers), "D": min(directions), "H": 1}
        return far_out(chosen, layouts, far, fewest)
    return sized(chosen, st.sampled_from(layouts))


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


@st.composite
def far_out(
    draw: st.DrawFn,
    chosen: dict[str, st.SearchStrategy[Any]],
    layouts: Sequence[str],
    far: Sequence[str],
    fewest: dict[str, int],
) -> Case:
    """Draw cases with the chosen fields, a far shape along one of the axes, and tiny sizes.

    Where that takes more than MOST, they have as few layers, directions and units as can be.
    """
    fields: dict[str, Any] = {name: draw(strategy) for name, strategy in chosen.items()}
    fields |= {size: draw(TINY) for size in "TNIH"}
    axis = draw(st.sampled_from(far))
    shapes, most = SHAPES[axis], MOST_OF_W if axis == "W" else MOST
    batched = [name for name in layouts if not LAYOUTS[name].unbatched]
    layout = LAYOUTS[draw(st.sampled_from(batched if "N" in shapes[0] else layouts))]
    if layout.unbatched:
        fields["N"] = 1
    if not any(is_affordable(fields | shape, most) for shape in shapes if is_far(shape)):
        fields |= fewest
    fields |= draw(st.sampled_from([s for s in shapes if is_affordable(fields | s, most)]))
    return Case(**layout._asdict(), seed=draw(SEEDS), **fields)


def is_far(shape: Mapping[str, int]) -> bool:
    """Tell whether a shape is beyond the sizes and the depth of other cases."""
    return max(shape.values()) > (DEEPEST if "L" in shape else EDGES[-1])


def is_affordable(fields: Mapping[str, Any], most: Mapping[str, int]) -> bool:
    """Tell whether a case of these sizes takes no more than it may."""
    T, N, H, L, D = (fields[name] for name in "TNHLD")
    needs = {"weights": H * H, "steps": T, "states": T * N * H}
    return all(L * D * needs[name] <= most[name] for name in needs)
