"""Write numbers, lists and calls of a program, each as words between which a line may end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from rnn_ref.arithmetic.dtypes import Floats, rounded
from rnn_ref.cases.problem import Problem

WIDTH = 100
"""The most characters that a line of a program has."""

DIGITS = 4
"""The digits to which bounds are rounded, upwards."""

INDENT = 4 * " "

Entry = Sequence[str]
"""The words of a literal: a line may end between any two of them."""


class Statement(NamedTuple):
    """A statement that holds numbers: how it begins, its entries, and how it ends."""

    begins: str
    entries: Sequence[Entry]
    ends: str

    def lines(self, *, dense: bool) -> list[str]:
        """Write it in one line if it fits, else in several.

        The entries have lines of their own, and only those longer than a line are broken. If
        it shall be dense, or has a single entry, a line may end between any two words.
        """
        words = list(chain(*self.entries))
        words[-1] = words[-1].removesuffix(",")
        whole = self.begins + " ".join(words) + self.ends
        if len(whole) <= WIDTH:
            return [whole]
        if not dense and len(self.entries) > 1:
            return [self.begins, *filled(self.entries), self.ends]
        words[-1] += self.ends
        if len(self.begins + words[0]) <= WIDTH:
            words[0] = self.begins + words[0]
        else:
            words.insert(0, self.begins)
        first, *others = filled([[word] for word in words])
        return [first.removeprefix(INDENT), *others]


def numbers(array: Floats, p: Problem) -> Entry:
    """Write an array as nested lists of numbers that are its own when rounded to the dtype."""
    return nested(array, lambda x: decimal(float(x), p.dtype))


def nested(array: Any, write: Callable[[Any], str]) -> list[str]:
    """Write nested lists, as words; `write` writes an element."""
    if np.ndim(array) == 0:
        return [write(array)]
    words = [word for each in array for word in close(nested(each, write), ",")]
    words[0] = "[" + words[0]
    words[-1] = words[-1].removesuffix(",") + "]"
    return words


def decimal(x: float, dtype: str) -> str:
    """Write a number in as few digits as tell it from all others of its dtype."""
    if x == 0 and np.signbit(x):
        return "-0.0"
    texts = (f"{x:.{digits}g}" for digits in range(1, 18))
    return next(text for text in texts if as_dtype(float(text), dtype) == as_dtype(x, dtype))


def as_dtype(x: float, dtype: str) -> float:
    """Round a number to a dtype."""
    return float(rounded(np.array([x]), dtype)[0])


def upwards(bound: float) -> str:
    """Write a bound in a few digits, rounded up."""
    text = f"{bound:.{DIGITS}g}"
    return text if float(text) >= bound else f"{bound * (1 + 10.0**-DIGITS):.{DIGITS}g}"


def entry(name: str, words: Entry) -> Entry:
    """Write an entry of a dictionary."""
    return [f'"{name}":', *close(words, ",")]


def called(function: str, words: Entry) -> Entry:
    """Write a call of a function, as an entry."""
    return close([f"{function}({words[0]}", *words[1:]], "),")


def close(words: Entry, ends: str) -> Entry:
    """Add text to the last word."""
    return [*words[:-1], words[-1] + ends]


def filled(entries: Iterable[Entry], indent: str = INDENT) -> list[str]:
    """Fill lines with entries, of which only those longer than a line are broken."""
    room = WIDTH - len(indent)
    lines: list[str] = []
    for words in entries:
        whole = " ".join(words)
        for word in [whole] if len(whole) <= room else words:
            if lines and len(lines[-1]) + 1 + len(word) <= room:
                lines[-1] += " " + word
            else:
                lines.append(word)
    return [indent + line for line in lines]
