"""The dtypes that a case may have: how each rounds, and which array holds its numbers.

The standard model of floating-point arithmetic is Higham's (Accuracy and Stability of
Numerical Algorithms, 2nd ed., section 2.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
"""Numbers of any floating-point dtype."""

ARRAY_DTYPES = {
    "float64": np.float64,
    "float32": np.float32,
    "bfloat16": np.float32,  # NumPy has none; float32 holds each of its numbers exactly
    "float16": np.float16,
}
"""By dtype of a case, the dtype of the arrays that hold its numbers."""


@dataclass(frozen=True)
class Rounding:
    """How a subject rounds.

    `u` is the unit roundoff of stored numbers, `ua` that of sums while they accumulate,
    `eta` the smallest subnormal, `largest` the largest finite number, and `tanh` the
    relative error of the subject's tanh in units of u. Libraries of 1 to 3 are common
    (1.25 was measured for torch on CPU); 4 is the default that a subject is held to.
    Numbers below `flush` in magnitude may be taken for zero: none, or the subnormal ones.
    """

    u: float
    ua: float
    eta: float
    largest: float
    tanh: float = 4.0
    flush: float = 0.0

    @property
    def smallest_normal(self) -> float:
        """The smallest number of full precision."""
        return self.eta / (2 * self.u)

    @property
    def underflow(self) -> float:
        """The most that a number may be off because it is small."""
        return max(self.eta, self.flush)

    @property
    def slope_underflow(self) -> float:
        """The most that tanh's slope may be off because a number on the way to it is small.

        Through e^(2|a|), which is at most 2/u where tanh is not 1 yet, an underflow of one
        subnormal unit is multiplied by twice that. In float16 that is no small number, and none
        is allowed.
        """
        most = 4 * self.eta / self.u
        return most if most < self.u**2 else 0.0

    @property
    def digits(self) -> int:
        """The decimal digits that tell any two numbers of the dtype apart."""
        return math.ceil(1 - math.log2(self.u) * math.log10(2))

    @property
    def flushing(self) -> Rounding:
        """The same, where subnormal numbers may be taken for zero, read or written.

        Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, section
        10.2.3: denormals-are-zeros and flush-to-zero.
        """
        return replace(self, flush=self.smallest_normal)


ROUNDING = {
    "float64": Rounding(2.0**-53, 2.0**-53, 2.0**-1074, (2 - 2.0**-52) * 2.0**1023),
    "float32": Rounding(2.0**-24, 2.0**-24, 2.0**-149, (2 - 2.0**-23) * 2.0**127),
    "bfloat16": Rounding(2.0**-8, 2.0**-24, 2.0**-133, (2 - 2.0**-7) * 2.0**127),
    "float16": Rounding(2.0**-11, 2.0**-24, 2.0**-24, (2 - 2.0**-10) * 2.0**15),
}
"""The rounding models by dtype; sums of 16-bit numbers are accumulated in float32."""


LOW = ("float16", "bfloat16")
"""The 16-bit dtypes."""


def gamma(k: float, u: float) -> float:
    """Compute k u / (1 - k u), the most that k roundings change a number (Higham, lemma 3.1)."""
    return k * u / (1 - k * u) if k * u < 1 else math.inf


def rounded(values: NDArray[np.float64], dtype: str) -> Floats:
    """Round numbers to the dtype, to nearest even, in the array that holds them."""
    array = values.astype(ARRAY_DTYPES[dtype])
    if dtype != "bfloat16":
        return array
    bits = array.view(np.uint32)
    to_even = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + to_even) & np.uint32(0xFFFF0000)).view(np.float32)


def ulp(x: Floats, dtype: str) -> Floats:
    """Compute one unit in the last place at each x: the distance of the dtype's numbers there.

    Muller et al., Handbook of Floating-Point Arithmetic, 2nd ed., section 2.3.2.
    """
    r = ROUNDING[dtype]
    power = np.frexp(np.abs(x))[1]
    unit: Floats = np.where(x == 0, r.eta, np.maximum(np.ldexp(2 * r.u, power - 1), r.eta))
    return unit
