"""Mark a function that computes an RNN on arrays, so that it can be judged as a subject.

Imports neither torch nor Hypothesis: a marked function costs its own library nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rnn_ref.cases.selection import CAPABILITIES

Compute = Callable[..., Any]
"""A function of arrays; its arguments are those that Function describes."""

DTYPES = ("float32", "float64")
"""The dtypes of which a function may take one or both."""

BESIDE = "a function: it is no module"
"""Why what only a module has is not judged of a function."""

OF_MODULES = (
    "module", "pickle", "parametrized", "meta", "placement", "positional", "keyword",
    "autocast", "double_backward",
)  # fmt: skip
"""The capabilities that only a module has."""

NOT_MARKED = {
    "packed": "a function that is not marked with packed=True",
    "dropout": "a function that is not marked with dropout=True",
    "refusals": "a function that is not marked with refuses=True",
}
"""Why what is beside the plain call is not judged of a function."""


@dataclass
class Function:
    """A function that computes an RNN on NumPy's arrays, and what it can.

    `compute(input, h_0, parameters, *, nonlinearity)` returns `(output, h_n)`, arrays of the
    input's dtype. `input` is (T, N, I); (N, T, I) in a call that has `batch_first=True` besides;
    (T, I) without a batch. `h_0` is (L*D, N, H), (L*D, H) without a batch, or None for zeros.
    `parameters` has torch's names, such as `weight_ih_l0` (H, I) and `bias_hh_l1_reverse` (H,):
    depth, directions, sizes and bias follow from them. `nonlinearity` is "tanh" or "relu".
    Arrays may have any strides, and belong to the caller.

    `vjp(grad_output, grad_h_n, input, h_0, parameters, *, nonlinearity)`, if there is one,
    returns the gradients of a loss, `(grad_input, grad_h_0, {name: gradient})`, given those of
    the two results. It takes the options of the call. That of h_0 is not read where h_0 is None.

    `dtypes` are those that it takes, and `lacks` the capabilities that it lacks, such as
    "bidirectional". With `packed`, a call may have `lengths`, N numbers of steps in any order:
    then `input` is (T, N, I), and each sequence is run for its own steps; the output beyond them
    is not read. With `dropout`, a call in training has `dropout`, a probability, and `seed`, a
    whole number below 2**32: an equal seed draws equal masks. With `refuses`, it raises a
    ValueError, a TypeError or a RuntimeError for wrong ranks, sizes and dtypes.

    It is called as `compute` is. Raises TypeError or ValueError unless `dtypes` and `lacks` are
    tuples of known names.
    """

    compute: Compute
    vjp: Compute | None = None
    dtypes: Sequence[str] = DTYPES
    lacks: Sequence[str] = ()
    packed: bool = False
    dropout: bool = False
    refuses: bool = False

    def __post_init__(self) -> None:
        require_names("dtypes", self.dtypes, DTYPES)
        require_names("lacks", self.lacks, tuple(CAPABILITIES))

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function."""
        return self.compute(*arguments, **options)

    @property
    def __wrapped__(self) -> Compute:
        """The function itself, where `inspect` looks for the source."""
        return self.compute

    @property
    def not_judged(self) -> dict[str, str]:
        """The capabilities without which it is judged, each with the reason."""
        marked = {"packed": self.packed, "dropout": self.dropout, "refusals": self.refuses}
        reasons = dict.fromkeys(OF_MODULES, BESIDE)
        reasons |= {name: why for name, why in NOT_MARKED.items() if not marked[name]}
        if self.vjp is None:
            reasons["gradients"] = "a function without a vjp"
        return reasons | {name: f"the function lacks {name}" for name in self.lacks}


def function(
    *,
    vjp: Compute | None = None,
    dtypes: Sequence[str] = DTYPES,
    lacks: Sequence[str] = (),
    packed: bool = False,
    dropout: bool = False,
    refuses: bool = False,
) -> Callable[[Compute], Function]:
    """Mark a function of arrays as a subject; for what it takes and can, see Function."""

    def mark(compute: Compute) -> Function:
        return Function(compute, vjp, dtypes, lacks, packed, dropout, refuses)

    return mark


def require_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Raise TypeError or ValueError, in one sentence, unless names are some of the known ones."""
    if isinstance(names, str):
        raise TypeError(f"{what}: expected a tuple of names, got {names!r}")
    for name in names:
        if name not in known:
            raise ValueError(f"{what}: expected some of {', '.join(known)}, got {name!r}")
