"""Cases: one network and what is fed to it, as a line of text and the arrays that follow.

A line such as

    tanh L2 D2 bias T18 N3 I4 H6 float32 weights=chaotic input=normal h_0 seed=81

gives the same arrays, to the bit, on every platform and with every NumPy: raw words of
a counter-based generator (Philox: Salmon et al., Parallel random numbers: as easy as
1, 2, 3, 2011), turned into numbers by operations that IEEE 754 rounds in one way only.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnn_ref.bounded import ROUNDING
from rnn_ref.functional import Layout
from rnn_ref.parameters import names

Floats = NDArray[np.floating[Any]]

ARRAY_DTYPES = {
    "float64": np.float64,
    "float32": np.float32,
    "bfloat16": np.float32,  # NumPy has none; float32 holds each of its numbers exactly
    "float16": np.float16,
}
"""By dtype of a case, the dtype of the arrays that hold its numbers."""


class Words:
    """A stream of random words, and the numbers made of them."""

    def __init__(self, seed: int, name: str) -> None:
        self.generator = np.random.Philox(
            key=np.array([seed, zlib.crc32(name.encode())], np.uint64)
        )

    def raw(self, shape: tuple[int, ...]) -> NDArray[np.uint64]:
        """Words of 64 random bits."""
        return np.asarray(self.generator.random_raw(int(np.prod(shape)))).reshape(shape)

    def uniform(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Uniform in [-1, 1), in multiples of 2^-52."""
        return (self.raw(shape) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1

    def normal(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Nearly normal, of variance 1: the sum of four numbers uniform on 16 bits, to +-3.46."""
        words = self.raw(shape)
        lanes = np.stack([words >> np.uint64(16 * i) for i in range(4)]) & np.uint64(0xFFFF)
        centred: NDArray[np.float64] = lanes.sum(axis=0).astype(np.float64) - 2 * 0xFFFF
        return centred * (math.sqrt(3.0) / 0x10000)

    def integers(self, largest: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Whole numbers, uniform in [-largest, largest]."""
        return (self.raw(shape) % np.uint64(2 * largest + 1)).astype(np.float64) - largest


def sparse(words: Words, shape: tuple[int, ...], fan: int) -> NDArray[np.float64]:
    """Whole numbers to +-2, of which about two in a row of `fan` are not zero."""
    kept = words.raw(shape) % np.uint64(fan) < np.uint64(2)
    return words.integers(2, shape) * kept


WEIGHTS: dict[str, Callable[[Words, tuple[int, ...], int, int], NDArray[np.float64]]] = {
    "torch": lambda words, shape, fan, H: words.uniform(shape) / np.sqrt(float(H)),
    "contracting": lambda words, shape, fan, H: words.normal(shape) / (4 * np.sqrt(float(fan))),
    "chaotic": lambda words, shape, fan, H: words.normal(shape),
    "saturating": lambda words, shape, fan, H: 8 * words.normal(shape),
    "sparse": lambda words, shape, fan, H: sparse(words, shape, fan),
    "one-sided": lambda words, shape, fan, H: np.abs(words.normal(shape)) / fan,
    "zero": lambda words, shape, fan, H: np.zeros(shape),
}
"""Weight regimes: from words, a parameter's shape and fan (its last axis), and H.

`torch` is torch.nn.RNN's own initialisation, U(-1/sqrt(H), 1/sqrt(H)) for all; errors
grow with time under `chaotic` and die out under `contracting`; `saturating` drives tanh
to its ends; `sparse` has whole numbers, so that relu networks on them are exact; sums
of `one-sided` weights do not cancel.
"""


def scale(dtype: str) -> float:
    """A third of the dtype's range of exponents: large, while products stay in range."""
    return 2.0 ** (math.frexp(ROUNDING[dtype].largest)[1] // 3)


INPUTS: dict[str, Callable[[Words, tuple[int, ...], str], NDArray[np.float64]]] = {
    "normal": lambda words, shape, dtype: words.normal(shape),
    "large": lambda words, shape, dtype: words.normal(shape) * scale(dtype),
    "tiny": lambda words, shape, dtype: words.normal(shape) / scale(dtype),
    "subnormal": lambda words, shape, dtype: words.integers(100, shape) * ROUNDING[dtype].eta,
    "integer": lambda words, shape, dtype: words.integers(3, shape),
}
"""Value regimes of the input and of h_0: from words, a shape and the dtype."""

LOSSES = ("both", "output", "h_n")
"""Which of the results the loss reads, and so which gradients come from above."""


def rounded(values: NDArray[np.float64], dtype: str) -> Floats:
    """Numbers of the dtype, in the array that holds them."""
    array = values.astype(ARRAY_DTYPES[dtype])
    if dtype != "bfloat16":
        return array
    bits = array.view(np.uint32)
    to_even = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + to_even) & np.uint32(0xFFFF0000)).view(np.float32)


@dataclass(frozen=True)
class Problem:
    """A network with its weights, what it is fed, and the upstream gradients.

    `input` is (T, N, I), `h_0` (L*D, N, H) or None, `grad_output` (T, N, D*H) or None,
    `grad_h_n` (L*D, N, H) or None; `parameters` has torch's names. `layout` says
    how the subject is to be called, nothing of these arrays.
    """

    parameters: dict[str, Floats]
    input: Floats
    h_0: Floats | None
    grad_output: Floats | None
    grad_h_n: Floats | None
    nonlinearity: str
    dtype: str
    L: int
    D: int
    bias: bool
    layout: Layout

    @property
    def H(self) -> int:
        """hidden_size."""
        return len(self.parameters["weight_hh_l0"])

    def layer(self, l: int, input: Floats) -> Problem:
        """Layer l as a network of its own, fed with `input`, the states of the layer below."""
        lower, D = names(1, self.D, self.bias), self.D
        upper = names(self.L, self.D, self.bias)[l * len(lower) : (l + 1) * len(lower)]
        return replace(
            self,
            parameters={name: self.parameters[of] for name, of in zip(lower, upper, strict=True)},
            input=input,
            h_0=None if self.h_0 is None else self.h_0[l * D : (l + 1) * D],
            grad_output=None,
            grad_h_n=None,
            L=1,
        )


class Size(NamedTuple):
    """What a letter of a line may be."""

    smallest: int
    largest: int


SIZES = {
    "L": Size(1, 64),
    "D": Size(1, 2),
    "T": Size(1, 100_000),
    "N": Size(1, 100_000),
    "I": Size(1, 100_000),
    "H": Size(1, 100_000),
}
CHOICES = {
    "nonlinearity": ("tanh", "relu"),
    "dtype": tuple(ROUNDING),
    "weights": tuple(WEIGHTS),
    "input": tuple(INPUTS),
    "loss": LOSSES,
}
FLAGS = ("bias", "batch_first", "unbatched", "h_0")


@dataclass(frozen=True)
class Case:
    """One network, its sizes, its regimes and a seed. `str` and `parse` are each other's inverse.

    T steps, N batch, I input_size, H hidden_size, L num_layers, D directions; `weights`
    and `input` name regimes (WEIGHTS, INPUTS), `loss` what the gradients come from.
    Raises ValueError, in one sentence, for anything out of range.
    """

    nonlinearity: str
    L: int
    D: int
    bias: bool
    T: int
    N: int
    I: int
    H: int
    dtype: str
    batch_first: bool = False
    unbatched: bool = False
    weights: str = "torch"
    input: str = "normal"
    h_0: bool = False
    loss: str = "both"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (smallest, largest) in {**SIZES, "seed": Size(0, 2**64 - 1)}.items():
            value = getattr(self, name)
            if not smallest <= value <= largest:
                raise ValueError(
                    f"case: expected {name} from {smallest} to {largest}, came {value}"
                )
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"case: expected {name} to be one of {', '.join(choices)},"
                    f" came {getattr(self, name)!r}"
                )
        if self.unbatched and self.N != 1:
            raise ValueError(f"case: expected N1, as it is unbatched, came N{self.N}")

    @property
    def layout(self) -> str:
        """How input and output lie: "unbatched", "batch_first", both, or "steps" for neither."""
        flags = ["unbatched"] * self.unbatched + ["batch_first"] * self.batch_first
        return " ".join(flags) or "steps"

    def __str__(self) -> str:
        words = []
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in SIZES:
                words.append(f"{name}{value}")
            elif name in FLAGS:
                words += [name] * value
            elif name in ("nonlinearity", "dtype"):
                words.append(value)
            elif (name, value) != ("loss", "both"):
                words.append(f"{name}={value}")
        return " ".join(words)

    @classmethod
    def parse(cls, line: str) -> Case:
        """Read a line, its words in any order; the flags and `loss` may be left out."""
        found: dict[str, Any] = {}
        for word in line.split():
            name, value = cls.read_word(word)
            if name in found:
                raise ValueError(f"case: expected {name} once, came {word!r} as well")
            found[name] = value
        found = dict.fromkeys(FLAGS, False) | {"loss": "both"} | found
        missing = [field.name for field in fields(cls) if field.name not in found]
        if missing:
            raise ValueError(f"case: expected {', '.join(missing)} too, came {line!r}")
        return cls(**found)

    @staticmethod
    def read_word(word: str) -> tuple[str, Any]:
        """The field that a word of a line gives, and its value."""
        if word in FLAGS:
            return word, True
        if size := re.fullmatch(r"([LDTNIH])(\d+)", word, re.ASCII):
            return size[1], int(size[2])
        if seed := re.fullmatch(r"seed=(\d+)", word, re.ASCII):
            return "seed", int(seed[1])
        if pair := re.fullmatch(r"(weights|input|loss)=(.+)", word):
            return pair[1], pair[2]
        for name in ("nonlinearity", "dtype"):
            if word in CHOICES[name]:
                return name, word
        raise ValueError(f"case: expected words like 'tanh', 'L2', 'weights=torch', came {word!r}")

    def problem(self) -> Problem:
        """The arrays that this case stands for."""
        rows, H = (self.L * self.D, self.N, self.H), self.H
        parameters = {}
        for name in names(self.L, self.D, self.bias):
            fan = H
            if name.startswith("weight_ih"):
                fan = self.I if "_l0" in name else self.D * H
            shape = (H,) if name.startswith("bias") else (H, fan)
            values = WEIGHTS[self.weights](Words(self.seed, name), shape, fan, H)
            parameters[name] = rounded(values, self.dtype)
        regime = INPUTS[self.input]
        from_above = INPUTS["integer" if self.input == "integer" else "normal"]

        def drawn(what: str, of: Any, shape: tuple[int, ...]) -> Floats:
            return rounded(of(Words(self.seed, what), shape, self.dtype), self.dtype)

        output = (self.T, self.N, self.D * H)
        return Problem(
            parameters=parameters,
            input=drawn("input", regime, (self.T, self.N, self.I)),
            h_0=drawn("h_0", regime, rows) if self.h_0 else None,
            grad_output=drawn("output", from_above, output) if self.loss != "h_n" else None,
            grad_h_n=drawn("h_n", from_above, rows) if self.loss != "output" else None,
            nonlinearity=self.nonlinearity,
            dtype=self.dtype,
            L=self.L,
            D=self.D,
            bias=self.bias,
            layout=Layout(self.unbatched, self.batch_first),
        )
