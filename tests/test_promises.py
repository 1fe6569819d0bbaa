"""Every promise is held by a property, in our own words, of documentation that has not changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from rnn_ref import parity
from rnn_ref.running.promises import (
    digest,
    documentation,
    holding,
    lines,
    read_promises,
)

READ_ON, PAGES, PROMISES = read_promises()
DOCUMENTED = [name for name, page in PAGES.items() if page.of]
TABLE = Path(parity.__file__).parent.parent / "docs" / "promises.md"

of_the_version_read = pytest.mark.skipif(
    torch.__version__.partition("+")[0] != READ_ON,
    reason=f"the documentation was read on torch {READ_ON}",
)


@of_the_version_read
@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_page_says_what_it_said_when_it_was_read(name: str) -> None:
    """The digest of the installed documentation is the one that is kept."""
    page = PAGES[name]
    assert digest(documentation(page)) == page.digest, (
        f"the documentation of {page.of} has changed: read it, correct its clauses in"
        " rnn_ref/running/promises.toml, and then the digest"
    )


@of_the_version_read
@pytest.mark.parametrize("name", DOCUMENTED)
def test_no_clause_repeats_the_documentation(name: str) -> None:
    """No five words in a row of a clause stand in the page that it is of, a signature apart."""
    word = re.compile(r"[a-z][a-z_]+")
    page = " ".join(word.findall(documentation(PAGES[name]).lower()))
    clauses = {c: p for c, p in PROMISES.items() if p.page == name and p.under != "signature"}
    for clause, promise in clauses.items():
        words = word.findall(promise.says.lower())
        runs = [" ".join(words[i : i + 5]) for i in range(len(words) - 4)]
        assert [run for run in runs if f" {run} " in f" {page} "] == [], clause


def test_every_promise_has_a_property_and_every_property_a_promise() -> None:
    """None is left over on either side, and no name is misspelt."""
    held = holding()
    assert [name for name, properties in held.items() if not properties] == []
    assert held.keys() - PROMISES.keys() == set()
    judged = [p for p in parity.properties().values() if not p.baseline]
    assert [declared.name for declared in judged if not declared.promises] == []


def test_the_table_is_made_of_what_is_there() -> None:
    """docs/promises.md is what `rnn-ref promises` prints."""
    assert TABLE.read_text(encoding="utf-8").splitlines() == list(lines())
