"""Hypothesis strategies that draw cases: small mostly, past the sizes where kernels break.

Sizes go to 65 or, where it is asked for, far beyond along one axis. Hypothesis draws a case
as a row of bytes, each of which picks one thing from a table. So every case is drawn anew (of
a case drawn in parts, most of the next ones are variations) and costs one draw, not twenty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

from rnn_ref.arithmetic.dtypes import LOW
from rnn_ref.cases.case import LAYOUTS, LOSSES, Case
from rnn_ref.cases.history import (
    DROPOUT,
    FULL_PRECISION,
    choices,
    chosen,
    normal,
    to_pick,
    with_partners,
)
from rnn_ref.cases.random import INPUTS, WEIGHTS
from rnn_ref.cases.selection import DEEP_OR_NOT, DEEPEST, FIELDS, Domain, require_domain

Value = TypeVar("Value")

TINY = (1, 2, 3)
SMALL = (1, 2, 3, 4, 5)
EDGES = (6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
"""Around vector widths and tiles: 8, 16, 32, 64 and their neighbours."""

WIDE = (*EDGES * 4, *range(6, 66))
LONG = (*EDGES[:7] * 9, *EDGES[7:], *range(6, 66, 4))
"""Many steps: mostly up to 17, as a case costs what its steps cost."""

ALIGNED = (8, 16, 32, 64)
"""Sizes that fill whole tiles. What is wrong where several axes do is hardly met by chance."""

UPPER_HALF = 128
"""The smallest number of a byte with which, where two axes are wide, all but T are ALIGNED."""

WIDE_AXES = (
    *("", "", "", "", "", "T", "T", "N", "N", "I", "H", "H", "H", "H"),
    *("TH", "NI", "IH", "IH", "NH", "TNIH"),
)
"""Which axes are drawn from WIDE, or LONG; the others are small, so that most cases are cheap."""

FIELDS_BYTES = 32
"""More bytes than the fields of any case take."""

FEW = 4
"""The words, of all, that one history is made of."""

HISTORY_BYTES = range(FEW + 2, FEW + 26)
"""The bytes that a history is drawn with: for its words, for dropout, then one for each step."""

FAR = tuple(power + by for power in (128, 256, 512, 1024) for by in (-1, 0, 1))
"""Around tiles of a large product, threads of a block and steps of an unrolled loop."""

WIDEST = (4097,)
"""Past a tile of 4,096 rows or features, which cost little."""

STAIRS = (*range(1, 6), *EDGES)
"""What a far size shrinks to. Far ones stand so often beside it that few others are drawn."""

LAYERS = tuple(range(DEEPEST + 1, 13))

GRID = (65535, 65536, 65537)
"""Around the most blocks along the second axis of a GPU's grid."""

SHAPES: dict[str, tuple[dict[str, int], ...]] = {
    "T": tuple({"T": size} for size in (*STAIRS, *FAR * 14, *FAR[8:9] * 60)),
    "N": tuple({"N": size} for size in (*STAIRS, *FAR * 12, *WIDEST * 72)),
    "I": tuple({"I": size} for size in (*STAIRS, *FAR * 12, *WIDEST * 72)),
    "H": tuple({"H": size} for size in (*STAIRS, *FAR[:-3] * 14, *FAR[-4:-3] * 50)),
    "L": tuple({"L": size} for size in (*range(1, DEEPEST + 1), *LAYERS * 8)),
    "NT": ({"N": 1}, *({"N": -(-size // T), "T": T} for T in (1, 2, 3) for size in GRID * 2)),
    "W": tuple({"H": size} for size in (*STAIRS, *FAR[-3:] * 20, *FAR[-1:] * 60)),
}
"""By the axes of FAR_AXES, how far out a case may be along them, from the nearest.

What goes wrong past a size shows in all that are larger, so the largest stands most often;
but a thousand steps take long, and so do the million weights of W.
"""

MOST = {"weights": 270_000, "steps": 1_030, "states": 140_000}
"""The numbers in W_hh, the steps and the states of a far case, at most, in all its runs.

Two runs of 65,537 rows and steps of one unit are within it: two directions, or two layers.
"""

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
    steps: Sequence[str] = (),
    far: Sequence[str] = (),
) -> st.SearchStrategy[Case]:
    """Draw cases with each field from the sequence given for it; the first entry is the simplest.

    An entry that stands twice is drawn twice as often. `layouts` are "steps" (T, N, I),
    "batch_first" (N, T, I), "unbatched" (T, I) and "unbatched batch_first", which is the
    same. `steps` are the words of histories; without any, cases have none. With `far`, of
    FAR_AXES, cases are far out along one of them, and tiny else. Cases
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
    require_domain({**domain, "layouts": layouts, **({"steps": steps} if steps else {})})

    # Not a partial of these: Hypothesis prints a strategy whole at each draw that is refused.
    def make(drawn: bytes) -> Case:
        if far:
            return far_out(domain, layouts, far, drawn)
        return sized(domain, layouts, steps, drawn)

    most = FIELDS_BYTES + (HISTORY_BYTES[-1] if steps else 0)
    fewest = FIELDS_BYTES + (HISTORY_BYTES[0] if steps else 0)
    return st.binary(min_size=fewest, max_size=most).map(make)


class Picker:
    """Picks from tables by bytes, one after another; the first entry once they are used up."""

    def __init__(self, drawn: bytes) -> None:
        self.numbers = iter(drawn)

    def pick(self, table: Sequence[Value]) -> Value:
        """Pick an entry of a table of at most 256: the first for a byte of 0."""
        return table[next(self.numbers, 0) % len(table)]

    def picks(self, domain: Domain) -> dict[str, Any]:
        """Pick each field of a domain."""
        return {FIELDS[name]: self.pick(values) for name, values in domain.items()}

    def seed(self) -> int:
        """Pick the seed of a case."""
        return sum(self.pick(range(100)) * power for power in (1, 100, 10_000))


def sized(domain: Domain, layouts: Sequence[str], steps: Sequence[str], drawn: bytes) -> Case:
    """Make a case with the fields of a domain, a layout, sizes and, of some steps, a history."""
    picker = Picker(drawn[:FIELDS_BYTES])
    wide = picker.pick(WIDE_AXES)
    large: dict[str, Sequence[int]] = {"T": LONG, "N": WIDE, "I": WIDE, "H": WIDE}
    if len(wide) == 2 and "T" not in wide and drawn[FIELDS_BYTES - 1] >= UPPER_HALF:
        wide, large = "NIH", dict.fromkeys("NIH", ALIGNED)
    fields: dict[str, Any] = {a: picker.pick(large[a] if a in wide else SMALL) for a in "TNIH"}
    layout = LAYOUTS[picker.pick(layouts)]
    if layout.unbatched:
        fields["N"] = 1
    fields |= picker.picks(domain) | {"seed": picker.seed()}
    if steps:
        left_out = FULL_PRECISION if fields["dtype"] in LOW else ()
        words = [word for word in steps if word not in left_out]
        fields["history"] = history(words, Picker(drawn[FIELDS_BYTES:]))
    return Case(**layout._asdict(), **fields)


def history(words: Sequence[str], picker: Picker) -> str:
    """Make a history of some words, such as `call,eval,call,backward`.

    Each has a few of the words, and those often: so two that matter together meet (Groce et
    al., Swarm testing, 2012).
    """
    table = to_pick(words)
    few = with_partners(picker.pick(table) for _ in range(FEW))
    allowed = choices([word for word in words if word in few])
    begun = [DROPOUT] if DROPOUT in words and picker.pick((False, True)) else []
    return normal([*begun, *(chosen(number, allowed, words) for number in picker.numbers)])


def far_out(domain: Domain, layouts: Sequence[str], far: Sequence[str], drawn: bytes) -> Case:
    """Make a case with the fields of a domain, far out along one axis, and tiny else.

    Where that takes more than MOST, it has as few layers, directions and units as can be.
    """
    picker = Picker(drawn)
    fields = picker.picks(domain)
    fields |= {size: picker.pick(TINY) for size in "TNIH"}
    axis = picker.pick(far)
    shapes, most = SHAPES[axis], MOST_OF_W if axis == "W" else MOST
    batched = [name for name in layouts if not LAYOUTS[name].unbatched]
    layout = LAYOUTS[picker.pick(batched if "N" in shapes[0] else layouts)]
    if layout.unbatched:
        fields["N"] = 1
    if not any(is_affordable(fields | shape, most) for shape in shapes if is_far(shape)):
        fields |= {"L": min(domain["num_layers"]), "D": min(domain["directions"]), "H": 1}
    fields |= picker.pick([s for s in shapes if is_affordable(fields | s, most)])
    return Case(**layout._asdict(), seed=picker.seed(), **fields)


def is_far(shape: Mapping[str, int]) -> bool:
    """Tell whether a shape is beyond the sizes and the depth of other cases."""
    return max(shape.values()) > (DEEPEST if "L" in shape else EDGES[-1])


def is_affordable(fields: Mapping[str, Any], most: Mapping[str, int]) -> bool:
    """Tell whether a case of these sizes takes no more than it may."""
    T, N, H, L, D = (fields[name] for name in "TNHLD")
    needs = {"weights": H * H, "steps": T, "states": T * N * H}
    return all(L * D * needs[name] <= most[name] for name in needs)
