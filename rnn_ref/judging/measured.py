"""What is known of a subject's own arithmetic before it is judged: its tanh, flushing, relu of NaN.

A tanh that is less accurate than the bounds assume is one fact; so are subnormal numbers that
are taken for zero, and a relu that loses NaN. Each is measured once a run, one property judges
it, and all others take it as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rnn_ref.arithmetic.dtypes import ROUNDING

TANH = 4.0
"""How many u a subject's tanh may be off, unless --tanh says another number."""

MOST_TANH = 8.0
"""The most u that the bounds take of a tanh because it was measured."""

MARGIN = 1.1
"""How much worse a tanh is somewhere than where it was measured, at most.

Of PaddlePaddle's, 200,000 arguments in each binade find 6.25 u in float32, and the measurement
5.9 to 6.2; of XLA's, 400,000 find 4.83, and it 4.5 to 4.8.
"""


@dataclass(frozen=True)
class Accuracy:
    """How far a tanh is off at most: in units of roundoff u, in ULPs, at what argument."""

    units: float
    ulps: float
    argument: float
    got: float
    expected: float

    def __str__(self) -> str:
        return f"{self.units:.3g} u ({self.ulps:.3g} ULP), at {self.argument:.4g}"


ANOTHER = 1e-3
"""From what relative error on a function is no tanh that is inaccurate, but another function."""


@dataclass(frozen=True)
class Measured:
    """What was measured of a subject: its tanh's accuracy, by dtype, and what else is not so.

    `flushed` are the dtypes in which subnormal numbers are taken for zero; `loses_nan` says
    that relu of NaN is a number.
    """

    tanh: Mapping[str, Accuracy] = field(default_factory=dict)
    flushed: tuple[str, ...] = ()
    loses_nan: bool = False

    def loses(self, nonlinearity: str) -> bool:
        """Tell whether NaN gets lost in a nonlinearity: then nothing is said of where it goes."""
        return self.loses_nan and nonlinearity == "relu"

    def as_dict(self) -> dict[str, Any]:
        """Give it as numbers and text, for JSON; an infinite number becomes text."""
        return {
            "tanh": {
                dtype: {name: v if math.isfinite(v) else str(v) for name, v in asdict(a).items()}
                for dtype, a in self.tanh.items()
            },
            "flushed": list(self.flushed),
            "loses_nan": self.loses_nan,
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Measured:
        """Make it of what `as_dict` gave."""
        tanh = {
            dtype: Accuracy(**{name: float(v) for name, v in each.items()})
            for dtype, each in told["tanh"].items()
        }
        return cls(tanh, tuple(told["flushed"]), told["loses_nan"])

    def told(self, limit: float | None, *, all: bool = False) -> list[str]:
        """Say how accurate tanh is, where it is less so than the limit, or of all."""
        limit = TANH if limit is None else limit
        found = [f"subnormal numbers in {dtype}: taken for zero" for dtype in self.flushed]
        found += ["relu of NaN: a number"] if self.loses_nan else []
        for dtype, accuracy in self.tanh.items():
            taken, needed = self.tanh_units(dtype, limit), self.tanh_needed(dtype)
            if all or accuracy.units > limit:
                hint = f" (--tanh {needed:g} takes it)" if needed and needed > taken else ""
                found.append(
                    f"tanh in {dtype}: within {accuracy}; the bounds take {taken:g} u{hint}"
                )
        return found

    def tanh_needed(self, dtype: str) -> float | None:
        """Return with how many u of a tanh a subject would be judged as it was measured.

        That is a whole number, with a margin; None if nothing was measured, or another function.
        """
        accuracy = self.tanh.get(dtype)
        if accuracy is None or accuracy.units * ROUNDING[dtype].u > ANOTHER:
            return None
        return float(math.ceil(MARGIN * accuracy.units))

    def tanh_units(self, dtype: str, limit: float) -> float:
        """Return how many u of a tanh the bounds take: the limit, or more if that was measured.

        Beyond MOST_TANH that is not taken.
        """
        needed = self.tanh_needed(dtype)
        return limit if needed is None or self.is_off(dtype) else max(limit, needed)

    def is_off(self, dtype: str) -> bool:
        """Tell whether a tanh is less accurate than the bounds take, whatever was measured."""
        return dtype in self.tanh and self.tanh[dtype].units > MOST_TANH


NOTHING = Measured()
"""What is known of a subject before."""
