"""The ledger: what is known is told apart, what is gone or unknown is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rnn_ref import parity
from rnn_ref.judging.deviations import OURS, Deviation, Unreadable, read_ledger
from rnn_ref.judging.search import KNOWN, Examination
from rnn_ref.judging.subject import Subject
from tests.faults import FAULTS
from tests.test_faults import PROPERTIES

NAME = "test_every_step_obeys_the_recurrence"
CASE = "tanh L1 D1 bias T3 N2 I3 H4 float32 weights=torch input=normal h_0 seed=1"
ENTRY = f"""
[[deviation]]
property = "{NAME}"
case = "{CASE}"
why = "it forgets a bias"
since = "1.0"
"""
FAULTY: Any = next(fault for fault in FAULTS if fault.name == "b_hh dropped").plant().factory


def examine(subject: type, *deviations: Deviation) -> str:
    """How the property ends for a subject: the reason for which it fails or is passed over."""
    told: dict[str, str] = {}
    examination = Examination(
        Subject("tests:subject", subject), ("float32",), 20, 0, frozenset(),
        deviations=deviations, record=told.update,
    )  # fmt: skip
    try:
        examination.examine(PROPERTIES[NAME.removeprefix("test_")], "single")
    except (pytest.fail.Exception, pytest.skip.Exception) as ended:
        return str(ended)
    return str(told.get("message", ""))


def deviation(**where: list[object]) -> Deviation:
    return Deviation(NAME, CASE, "it forgets a bias", "1.0", "example/kernel#1", where=where)


def test_a_known_deviation_is_told_and_not_judged() -> None:
    """A property of which a deviation is known is passed over, with its reason and its thread."""
    told = "known deviation: it forgets a bias (example/kernel#1; since 1.0)"
    assert examine(FAULTY, deviation()) == told
    assert examine(FAULTY).startswith("output of layer 0")


def test_what_is_known_of_some_cases_leaves_the_rest_judged() -> None:
    """With `where`, the property is judged on all other cases."""
    assert examine(FAULTY, deviation(bias=[True])).startswith(KNOWN)
    assert examine(FAULTY, deviation(h_0=[True])).startswith("output of layer 0")


def test_a_deviation_that_is_gone_fails() -> None:
    """An entry whose case holds is to be removed."""
    import torch

    assert examine(torch.nn.RNN, deviation()).startswith("remove this entry: ")


def test_an_entry_applies_by_subject_device_version_and_processor() -> None:
    """Each condition that is given must be met."""
    made = Deviation(NAME, CASE, "", "", subject="a:b", device="cpu", torch=">=2.13", cpu="avx")
    assert made.applies("a:b", "cpu", "2.14.1+cu130", ["sse", "avx"])
    assert not made.applies("a:c", "cpu", "2.14.1", ["avx"])
    assert not made.applies("a:b", "cuda", "2.14.1", ["avx"])
    assert not made.applies("a:b", "cpu", "2.12.0", ["avx"])
    assert not made.applies("a:b", "cpu", "2.13.0", ["sse"])


UNUSABLE = {
    "no TOML": "[[deviation",
    "another table": "[other]\nx = 1\n",
    "no reason": ENTRY.replace("why", "whence"),
    "no such property": ENTRY.replace(NAME, "test_nothing"),
    "no case": ENTRY.replace(CASE, "tanh"),
    "no version": ENTRY + 'torch = "new"\n',
    "no such field": ENTRY + "where = {depth = [2]}\n",
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_ledger_that_can_not_be_used_is_an_error(tmp_path: Path, name: str) -> None:
    """One sentence, which names the file."""
    file = tmp_path / "ledger.toml"
    file.write_text(UNUSABLE[name], encoding="utf-8")
    with pytest.raises(Unreadable, match=r"ledger\.toml"):
        read_ledger(file, list(parity.properties()))


def test_our_ledger_is_usable() -> None:
    """Every entry names a property and a case."""
    assert read_ledger(OURS, list(parity.properties()))
