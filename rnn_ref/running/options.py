"""The options of a run: `rnn-ref verify` has them, and pytest with the prefix --rnn-.

Imports neither torch nor Hypothesis: the plugin is loaded in every pytest run.
"""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.cases.selection import CAPABILITIES
from rnn_ref.judging.replay import DEFAULT_CELL, DEFAULT_DTYPES, DEFAULT_SUBJECT, dtype_words

DTYPES = DEFAULT_DTYPES

PROFILES = {"smoke": 3, "quick": 40, "default": 200, "thorough": 2000}
"""Examples of each property, by profile."""


def units(text: str) -> float:
    """Read how many units of roundoff a tanh may be off; raise ArgumentTypeError for no such."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of units above 0, got {text!r}")
    return number


OPTIONS: dict[str, dict[str, Any]] = {
    "subject": {
        "metavar": "MODULE:CALLABLE",
        "default": DEFAULT_SUBJECT,
        "help": "judge this callable with nn.RNN's signature, or this function of arrays that"
        f" rnn_ref.function has marked (default: {DEFAULT_SUBJECT})",
    },
    "cell": {
        "metavar": "MODULE:CALLABLE",
        "help": "judge this cell too, a callable with nn.RNNCell's signature (default:"
        f" {DEFAULT_CELL} if the subject is {DEFAULT_SUBJECT}, else no cell)",
    },
    "dtype": {
        "action": "append",
        "choices": tuple(ROUNDING),
        "help": "judge this dtype; may be given more than once (default: float32 and float64,"
        " and in a tenth of the examples float16 and bfloat16, where the subject computes in them)",
    },
    "device": {"default": "cpu", "help": "run on this device (default: cpu)"},
    "profile": {
        "choices": tuple(PROFILES),
        "default": "default",
        "help": "how many examples of each property: "
        + ", ".join(f"{name} {examples}" for name, examples in PROFILES.items()),
    },
    "seed": {"type": int, "help": "repeat the run that printed this seed (default: a new one)"},
    "without": {
        "action": "append",
        "choices": tuple(CAPABILITIES),
        "default": [],
        "metavar": "CAPABILITY",
        "help": "do not judge what needs this capability; may be given more than once; one of "
        + "; ".join(f"{name} ({each.meaning})" for name, each in CAPABILITIES.items()),
    },
    "group": {
        "action": "append",
        "default": [],
        "metavar": "GROUP",
        "help": "judge this group of properties only; may be given more than once",
    },
    "omit": {
        "action": "append",
        "default": [],
        "metavar": "PROPERTY",
        "help": "do not judge this property, by its whole name; may be given more than once",
    },
    "case": {"metavar": "LINE", "help": "judge this one case, as a failure's message prints it"},
    "baseline": {
        "metavar": "FILE",
        "help": "fail if the subject is less accurate than this record of `rnn-ref record FILE`",
    },
    "deviations": {
        "metavar": "FILE",
        "help": "known deviations of your subject, a TOML file like"
        " rnn_ref/judging/deviations.toml",
    },
    "subnormals": {
        "choices": ("kept", "flushed"),
        "default": "kept",
        "help": "flushed: accept subnormal numbers that are taken for zero (default: kept)",
    },
    "tanh": {
        "type": units,
        "metavar": "UNITS",
        "help": "accept a tanh that is off by UNITS units of roundoff (default: 4)",
    },
    "timeout": {
        "type": float,
        "default": 20.0,
        "metavar": "SECONDS",
        "help": "end the process if a call of the subject takes longer than SECONDS, and longer"
        " than 10 times the longest call before it (default: 20)",
    },
    "limit": {
        "type": float,
        "metavar": "SECONDS",
        "help": "end the run in SECONDS, with what it has; what was not judged by then says so",
    },
    "json": {"metavar": "FILE", "help": "write the result, with the environment, to FILE"},
    "reproducer": {
        "metavar": "DIR",
        "help": "write each cause, where a plain call shows it, as a program that needs torch and"
        " the subject only",
    },
    "badge": {"metavar": "FILE", "help": "write the verdict as JSON for a badge of shields.io"},
}
"""How each option is declared, as argparse and pytest take it."""


@dataclass(frozen=True)
class RunOptions:
    """What is run: the subject, on what, how much of it, and from which seed.

    `function` says that the subject is a function of arrays.
    """

    subject: str
    device: str
    dtypes: Sequence[str]
    profile: str
    seed: int
    without: Sequence[str]
    subnormals: str = "kept"
    case: str | None = None
    groups: Sequence[str] = ()
    omitted: Sequence[str] = ()
    function: bool = False
    cell: str | None = None
    limit: float | None = None
    tanh: float | None = None

    @property
    def declared(self) -> list[str]:
        """The words of a replay that say what is judged less, as the run was told."""
        words = [word for name in self.without for word in ("--without", name)]
        return words + ([] if self.limit is None else ["--limit", f"{self.limit:g}"])

    @property
    def words(self) -> list[str]:
        """All words that the first and the last line repeat, beside the dtypes."""
        words = [] if self.cell is None else ["--cell", self.cell]
        words += [] if self.subnormals == "kept" else ["--subnormals", self.subnormals]
        words += [] if self.tanh is None else ["--tanh", f"{self.tanh:g}"]
        return words + self.declared

    @property
    def replayed(self) -> list[str]:
        """The words that a replay needs which has no case."""
        return [*self.words, *dtype_words(self.dtypes)]

    def __str__(self) -> str:
        what = f"{self.profile} profile" if self.case is None else f"case {self.case}"
        on = f"{self.subject} on {self.device}, {' '.join(self.dtypes)}"
        told = "; ".join(filter(None, (what, shlex.join(self.words), f"--seed {self.seed}")))
        return f"judging {on}; {told}"
