"""What the documentation promises, what holds it, and what was found: makes promises.md.

`python -m rnn_ref.promises` prints it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rnn_ref import parity
from rnn_ref.ledger import OURS, Deviation, read_ledger

HERE = Path(__file__).parent
PAGES = "https://docs.pytorch.org/docs/stable/generated/"


class Promise(NamedTuple):
    """A sentence, and the name of what it is said of; none where nothing says it."""

    of: str
    says: str


def promises() -> dict[str, Promise]:
    """All promises by their names, such as `rnn.equation`."""
    pages = tomllib.loads((HERE / "promises.toml").read_text(encoding="utf-8"))
    return {
        f"{page}.{name}": Promise(sentences["of"], says)
        for page, sentences in pages.items()
        for name, says in sentences.items()
        if name != "of"
    }


def named(docstring: str) -> list[str]:
    """The names of the promises that a property's docstring says it holds."""
    found = re.search(r"^ *Promises?: ([^.]*(?:\.\w[^.]*)*)\.$", docstring, re.MULTILINE)
    return re.split(r",\s+", found[1]) if found else []


def holding() -> dict[str, list[str]]:
    """The names of the properties that hold each promise."""
    held: dict[str, list[str]] = {name: [] for name in promises()}
    for prop, docstring in parity.properties().items():
        for name in named(docstring):
            held.setdefault(name, []).append(prop)
    return held


def found(deviations: list[Deviation]) -> str:
    """What was found of a property on torch, by the ledger."""
    if not deviations:
        return "holds"
    told = dict.fromkeys(
        f"{d.why}{f' ({d.subject})' if d.subject != 'torch.nn:RNN' else ''}" for d in deviations
    )
    return "known deviation: " + "; ".join(told)


def lines() -> Iterator[str]:
    """The table, page by page, in Markdown."""
    said, held, docstrings = promises(), holding(), parity.properties()
    ledger = read_ledger(OURS, list(docstrings))
    yield "# Promises"
    yield ""
    yield "What torch's documentation promises of RNNs, the properties that hold it, and what was"
    yield "found on torch. Made by `python -m rnn_ref.promises` from the properties' docstrings,"
    yield "[promises.toml](promises.toml) and the ledger, [deviations.toml](deviations.toml)."
    page = None
    for name, promise in said.items():
        if promise.of != page:
            page = promise.of
            yield ""
            yield f"## [{page}]({PAGES}{page}.html)" if page else "## What no sentence says"
            yield ""
            yield "| promise | property | found on torch |"
            yield "|---|---|---|"
        says = promise.says
        for prop in held[name]:
            claim = " ".join(docstrings[prop].split("\n\n")[0].split())
            of_this = [deviation for deviation in ledger if deviation.property == prop]
            yield f"| {says} | `{prop}`: {claim} | {found(of_this)} |"
            says = ""


if __name__ == "__main__":
    print("\n".join(lines()))  # noqa: T201
