"""What torch's documentation promises, the properties that test it, and what torch does.

`rnn-ref promises` prints the table, which is saved in docs/promises.md.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnn_ref import parity
from rnn_ref.judging.deviations import BUILT_IN, Deviation, read_ledger
from rnn_ref.judging.properties import Property
from rnn_ref.judging.replay import DEFAULT_SUBJECT

FILE = Path(__file__).parent / "promises.toml"
PAGES = "https://docs.pytorch.org/docs/stable/generated/"


class Page(NamedTuple):
    """A page of the documentation, with the digest of its text as it was read.

    `of` is what it documents, `also` the methods whose docstrings belong to it; both are
    empty for promises that no page makes.
    """

    of: str
    also: Sequence[str]
    digest: str


class Promise(NamedTuple):
    """A clause in our words: its page, the section that it is in, and its text."""

    page: str
    under: str
    says: str


def read_promises() -> tuple[str, dict[str, Page], dict[str, Promise]]:
    """Load torch's version when the pages were read, the pages, and all clauses by name."""
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    pages, promises = {}, {}
    for name, page in content["page"].items():
        pages[name] = Page(page["of"], page.get("also", []), page.get("digest", ""))
        for clause, text in page["clauses"].items():
            promises[f"{name}.{clause}"] = Promise(name, text.get("under", ""), text["says"])
    return content["read_on"], pages, promises


def documentation(page: Page) -> str:
    """Read what the installed torch says on a page, in one line without markup."""
    module, _, name = page.of.rpartition(".")
    documented: Any = getattr(importlib.import_module(module), name)
    objects = [documented, *(getattr(documented, method) for method in page.also)]
    return without_markup("\n".join(inspect.getdoc(each) or "" for each in objects))


def without_markup(text: str) -> str:
    """Remove markup and collapse white space, so that formatting does not change the digest."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text)
    return " ".join(text.replace("`", "").replace("**", "").split())


def digest(text: str) -> str:
    """Compute the first 16 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def holding() -> dict[str, list[Property]]:
    """List the properties that test each promise."""
    by_promise: dict[str, list[Property]] = {name: [] for name in read_promises()[2]}
    for declared in parity.properties().values():
        for name in declared.promises:
            by_promise.setdefault(name, []).append(declared)
    return by_promise


def on_torch(declared: Property, ledger: Sequence[Deviation]) -> str:
    """Say whether torch satisfies a property, by the ledger."""
    deviations = [d for d in ledger if d.names(declared.name, declared.group)]
    if not deviations:
        return "holds"
    facts = []
    for deviation in deviations:
        others = [name for name in deviation.subjects if name != DEFAULT_SUBJECT]
        facts.append(deviation.why + (f" ({', '.join(others)})" if others else ""))
    return "known deviation: " + "; ".join(facts)


def lines() -> Iterator[str]:
    """Write the table, page by page, in Markdown."""
    read_on, pages, promises = read_promises()
    by_promise = holding()
    groups = {name: declared.group for name, declared in parity.properties().items()}
    ledger = read_ledger(BUILT_IN, groups)
    yield "# Promises"
    yield ""
    yield "What torch's documentation promises of RNNs, in our words; the properties that test it;"
    yield f"and what torch does. Read on torch {read_on}. `rnn-ref promises` prints this page."
    for name, page in pages.items():
        yield ""
        yield f"## [{page.of}]({PAGES}{page.of}.html)" if page.of else "## What no page says"
        yield ""
        yield "| promise | section | property | torch |"
        yield "|---|---|---|---|"
        for clause, promise in promises.items():
            if promise.page == name:
                yield from rows(promise, by_promise[clause], ledger)


def rows(
    promise: Promise, properties: Sequence[Property], ledger: Sequence[Deviation]
) -> Iterator[str]:
    """Write a row for each property that tests a promise."""
    says, under = promise.says.replace("*", r"\*").replace("|", r"\|"), promise.under
    for declared in properties:
        claim = " ".join((declared.claim.__doc__ or "").split("\n\n")[0].split())
        claim = claim.replace("*", r"\*")
        yield f"| {says} | {under} | `{declared.name}`: {claim} | {on_torch(declared, ledger)} |"
        says = under = ""
