"""Cases: one network and what is fed to it, as a line of text.

A line such as

    tanh L2 D2 bias T18 N3 I4 H6 float32 weights=chaotic input=normal h_0 seed=81

gives the same arrays, to the bit, on every platform and with every NumPy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from rnn_ref.arithmetic.dtypes import ROUNDING, Floats, Rounding, rounded
from rnn_ref.cases.history import DROPOUT, STEPS, WORDS
from rnn_ref.cases.problem import Problem
from rnn_ref.cases.random import INPUTS, WEIGHTS, RandomStream
from rnn_ref.parameters import Layout, names

LOSSES = ("both", "output", "h_n")
"""The results that the loss reads: these get upstream gradients."""

LAYOUTS = {
    "steps": Layout(unbatched=False, batch_first=False),
    "batch_first": Layout(unbatched=False, batch_first=True),
    "unbatched": Layout(unbatched=True, batch_first=False),
    "unbatched batch_first": Layout(unbatched=True, batch_first=True),
}
"""Layouts by their words in a line; "steps", (T, N, I), is the default and has no word."""


class Range(NamedTuple):
    """The smallest and the largest number that a field may be."""

    smallest: int
    largest: int


SIZES = {
    "L": Range(1, 64),
    "D": Range(1, 2),
    "T": Range(1, 100_000),
    "N": Range(1, 100_000),
    "I": Range(1, 100_000),
    "H": Range(1, 100_000),
}
RANGES = {**SIZES, "seed": Range(0, 2**64 - 1)}
CHOICES = {
    "nonlinearity": ("tanh", "relu"),
    "dtype": tuple(ROUNDING),
    "weights": tuple(WEIGHTS),
    "input": tuple(INPUTS),
    "loss": LOSSES,
}
FLAGS = ("bias", "batch_first", "unbatched", "h_0")
VARIANT = re.compile(r"[\w.+-]*", re.ASCII)
DEFAULTS = {"loss": "both", "variant": "", "history": ""}
"""The named fields that a line may leave out."""


@dataclass(frozen=True)
class Case:
    """One network, its sizes, its regimes and a seed. `str` and `parse` are each other's inverse.

    T steps, N batch, I input_size, H hidden_size, L num_layers, D directions; `weights`
    and `input` name regimes (WEIGHTS, INPUTS); `loss` names the results that the loss reads;
    `variant` names the one variant of the property to judge, or is empty for all variants;
    `history` has the steps that a module lives through, for the properties that ask.
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
    variant: str = ""
    history: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require_field(name, value)
        if self.unbatched and self.N != 1:
            raise ValueError(f"case: expected N1, as it is unbatched, got N{self.N}")

    @property
    def layout(self) -> str:
        """The key of LAYOUTS."""
        words = [name for name in ("unbatched", "batch_first") if getattr(self, name)]
        return " ".join(words) or "steps"

    def __str__(self) -> str:
        words = []
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in SIZES:
                words.append(f"{name}{value}")
            elif name in FLAGS:
                words += [name] if value else []
            elif name in ("nonlinearity", "dtype"):
                words.append(value)
            elif value != DEFAULTS.get(name):
                words.append(f"{name}={value}")
        return " ".join(words)

    @classmethod
    def parse(cls, line: str) -> Case:
        """Read a line, its words in any order; flags and what has a default may be left out."""
        values: dict[str, Any] = {}
        for word in line.split():
            name, value = read_word(word)
            if name in values:
                raise ValueError(f"case: expected {name} once, got {word!r} as well")
            values[name] = value
        values = dict.fromkeys(FLAGS, False) | DEFAULTS | values
        missing = [field.name for field in fields(cls) if field.name not in values]
        if missing:
            raise ValueError(f"case: expected {', '.join(missing)} too, got {line!r}")
        return cls(**values)

    def problem(
        self, rounding: Rounding | None = None, parameters: dict[str, Floats] | None = None
    ) -> Problem:
        """Make this case's arrays, with a rounding model (default: the dtype's own).

        Parameters that are given take the place of the case's own, which are then not made.
        """
        rows, output = (self.L * self.D, self.N, self.H), (self.T, self.N, self.D * self.H)
        from_above = "integer" if self.input == "integer" else "normal"
        stream = RandomStream(self.seed, "")

        def array(name: str, regime: str, shape: tuple[int, ...]) -> Floats:
            values = INPUTS[regime](stream.restarted(name), shape, self.dtype)
            return rounded(values, self.dtype)

        if parameters is None:
            own = names(self.L, self.D, self.bias)
            parameters = {name: self.parameter(name, stream) for name in own}
        return Problem(
            parameters=parameters,
            input=array("input", self.input, (self.T, self.N, self.I)),
            h_0=array("h_0", self.input, rows) if self.h_0 else None,
            grad_output=array("output", from_above, output) if self.loss != "h_n" else None,
            grad_h_n=array("h_n", from_above, rows) if self.loss != "output" else None,
            nonlinearity=self.nonlinearity,
            dtype=self.dtype,
            rounding=rounding or ROUNDING[self.dtype],
            L=self.L,
            D=self.D,
            bias=self.bias,
            layout=LAYOUTS[self.layout],
        )

    def parameter(self, name: str, stream: RandomStream) -> Floats:
        """Draw one parameter by torch's name: a weight (H, fan) or a bias (H,)."""
        fan = self.H
        if name.startswith("weight_ih"):
            fan = self.I if "_l0" in name else self.D * self.H
        shape = (self.H,) if name.startswith("bias") else (self.H, fan)
        values = WEIGHTS[self.weights](stream.restarted(name), shape, fan, self.H)
        return rounded(values, self.dtype)


def require_field(name: str, value: Any) -> None:
    """Raise ValueError, in one sentence, for a field out of its range."""
    if name in RANGES:
        smallest, largest = RANGES[name]
        if type(value) is not int or not smallest <= value <= largest:
            raise ValueError(f"case: expected {name} from {smallest} to {largest}, got {value!r}")
    if name in FLAGS and type(value) is not bool:
        raise ValueError(f"case: expected {name} to be true or false, got {value!r}")
    if name in CHOICES and value not in CHOICES[name]:
        raise ValueError(
            f"case: expected {name} to be one of {', '.join(CHOICES[name])}, got {value!r}"
        )
    if name == "variant" and not (isinstance(value, str) and VARIANT.fullmatch(value)):
        raise ValueError(f"case: expected a variant without spaces, got {value!r}")
    if name == "history":
        require_history(value)


def require_history(history: Any) -> None:
    """Raise ValueError, in one sentence, for a history that is no text of known steps."""
    for step in filter(None, str(history).split(",")):
        word, *traits = step.split("+")
        known = word in (*STEPS, DROPOUT) and (not traits or word == "call")
        if not known or not all(trait in WORDS and trait not in STEPS for trait in traits):
            raise ValueError(f"case: expected steps such as call or backward, got {step!r}")


def read_word(word: str) -> tuple[str, Any]:
    """Read a word of a line: the field that it gives, and its value."""
    if word in FLAGS:
        return word, True
    if size := re.fullmatch(r"([LDTNIH])(\d+)", word, re.ASCII):
        return size[1], int(size[2])
    if seed := re.fullmatch(r"seed=(\d+)", word, re.ASCII):
        return "seed", int(seed[1])
    if pair := re.fullmatch(r"(weights|input|loss|variant|history)=(.+)", word):
        return pair[1], pair[2]
    for name in ("nonlinearity", "dtype"):
        if word in CHOICES[name]:
            return name, word
    raise ValueError(f"case: expected words like 'tanh', 'L2', 'weights=torch', got {word!r}")
