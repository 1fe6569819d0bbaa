"""The command lines that repeat what was judged or recorded."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

DEFAULT_SUBJECT = "torch.nn:RNN"
"""The subject that is judged unless another is named."""

DEFAULT_CELL = "torch.nn:RNNCell"
"""The cell that is judged with it."""


DEFAULT_DTYPES = ("float32", "float64")
"""The dtypes that are judged unless others are named."""


def dtype_words(dtypes: Sequence[str]) -> list[str]:
    """Write the options that name the dtypes of a run; none for those judged by default."""
    others = () if tuple(dtypes) == DEFAULT_DTYPES else dtypes
    return [word for dtype in others for word in ("--dtype", dtype)]


def command(*words: str, subject: str, device: str) -> str:
    """Write a command line of `rnn-ref` for a subject on a device."""
    options = [] if subject == DEFAULT_SUBJECT else ["--subject", subject]
    options += [] if device == "cpu" else ["--device", device]
    return shlex.join(["rnn-ref", words[0], *options, *words[1:]])
