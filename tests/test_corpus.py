"""The corpus: each axis is there, each case has a reason, and the arrays are the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import pytest

from rnn_ref.cases.case import CHOICES, Case
from rnn_ref.cases.corpus import FILE, ArraysDiffer, digest, read_corpus
from rnn_ref.recording.record import read_record

CORPUS = read_corpus()


def test_arrays_are_those_that_the_checksum_is_of() -> None:
    """This platform makes the arrays of the corpus to the bit."""
    CORPUS.check()


def test_other_arrays_are_found_at_once() -> None:
    """A platform on which a single bit differs is told so in one sentence."""
    with pytest.raises(ArraysDiffer, match="expected arrays with the SHA-256"):
        replace(CORPUS, sha256="0" * 64).check()
    first, *rest = CORPUS.cases
    assert digest((replace(first, seed=first.seed + 1000), *rest)) != CORPUS.sha256


def test_no_two_cases_share_arrays() -> None:
    """Every case has a seed of its own, so that cases are independent."""
    assert len({case.seed for case in CORPUS.cases}) == len(CORPUS.cases) >= 300


def test_every_case_stands_under_a_reason() -> None:
    """The lines of the file are reasons and cases; no reason is without one."""
    blocks = FILE.read_text(encoding="utf-8").split("\n\n")[1:]
    assert all(block.startswith("# ") and "\n" in block for block in blocks)
    lines = [line for block in blocks for line in block.splitlines()[1:] if line]
    assert lines == [str(Case.parse(line)) for line in lines]
    assert len(lines) == len(CORPUS.cases)


def test_every_axis_is_covered() -> None:
    """Each choice of each axis, long, wide, single and large sizes, and those around tiles."""
    cases = CORPUS.cases
    for name, choices in CHOICES.items():
        unused = {"zero"} if name == "weights" else {"subnormal"} if name == "input" else set()
        assert {getattr(case, name) for case in cases} == set(choices) - unused, name
    for flag in ("bias", "h_0", "batch_first", "unbatched"):
        assert {getattr(case, flag) for case in cases} == {True, False}, flag
    assert {(case.L > 1, case.D) for case in cases} == {(a, b) for a in (0, 1) for b in (1, 2)}
    seen = {field.name: {getattr(case, field.name) for case in cases} for field in fields(Case)}
    tiles = {size + off for size in (8, 16, 32, 64, 128) for off in (-1, 0, 1)}
    assert tiles - {127} <= seen["H"]
    assert 1000 in seen["T"]
    assert 512 in seen["H"] & seen["I"]
    assert 1 in seen["T"] & seen["N"] & seen["H"] & seen["I"]


def test_each_group_has_cases_enough_to_be_judged() -> None:
    """In each dtype and nonlinearity, a quantity has cases enough for the sign test to speak."""
    everywhere = Counter((case.dtype, case.nonlinearity) for case in CORPUS.cases)
    with_h_0 = Counter((case.dtype, case.nonlinearity) for case in CORPUS.cases if case.h_0)
    assert len(everywhere) == 8
    assert min(everywhere.values()) >= 40
    assert min(with_h_0.values()) >= 35


def test_the_baseline_is_of_this_corpus_and_of_the_pinned_torch() -> None:
    """The record that the repository keeps is whole, and is compared with as it is."""
    root = Path(__file__).parent
    (file,) = (root / "baseline").iterdir()
    header = read_record(file).header
    assert header["corpus"] == {"version": CORPUS.version, "sha256": CORPUS.sha256}
    project = (root.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"torch=={header["environment"]["torch"].partition("+")[0]}"' in project
