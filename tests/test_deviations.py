"""Known deviations: what is known is told apart; what is gone, or no ledger, is an error."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from rnn_ref.cases.case import Case
from rnn_ref.judging.deviations import BUILT_IN, Deviation, read_ledger
from rnn_ref.judging.failures import Kind
from rnn_ref.judging.judge import Judge
from rnn_ref.judging.outcome import Outcome
from rnn_ref.judging.subject import Subject
from rnn_ref.running.asking import known_to_fail
from tests.subjects.misbehaving import BiasIgnored
from tests.support.commands import MISBEHAVING, Here
from tests.support.judging import PROPERTIES

GROUPS = {f"test_{name}": declared.group for name, declared in PROPERTIES.items()}
NAME = "test_every_step_obeys_the_recurrence"
CASE = "tanh L1 D1 bias T3 N2 I3 H4 float32 weights=torch input=normal h_0 seed=1"
ENTRY = f"""
[[deviation]]
property = "{NAME}"
case = "{CASE}"
why = "it forgets a bias"
since = "1.0"
"""

KNOWN = Deviation(
    properties=(NAME,),
    group="",
    cases=(Case.parse(CASE),),
    why="it forgets a bias",
    since="1.0",
    upstream="example/kernel#1",
    subjects=("tests:subject",),
)


def judge(subject: type, *deviations: Deviation, name: str = NAME) -> Outcome:
    """Judge a subject by a property, with some known deviations."""
    judge = Judge(Subject("tests:subject", subject), ("float32",), 20, deviations=deviations)
    declared = PROPERTIES[name.removeprefix("test_")]
    return judge.judge(declared, "single" if "single" in (declared.domains or {}) else "")


def test_a_known_deviation_is_told_and_not_judged() -> None:
    """A property of which a deviation is known is passed over, with its reason and its thread."""
    outcome = judge(BiasIgnored, KNOWN)
    assert outcome.known == ["it forgets a bias (example/kernel#1; since 1.0)"]
    assert (outcome.examples, outcome.failure) == (0, None)


def test_a_deviation_that_is_not_known_fails() -> None:
    """Without the entry, the same subject fails by its numbers."""
    outcome = judge(BiasIgnored)
    assert outcome.failure is not None
    assert outcome.failure.kind == Kind.NUMBERS


def test_what_is_known_of_some_cases_leaves_the_rest_judged() -> None:
    """With `where`, the property is judged on all other cases."""
    outcome = judge(BiasIgnored, replace(KNOWN, where={"bias": [True]}))
    assert outcome.known
    assert outcome.failure is None
    assert outcome.examples == 20
    elsewhere = judge(BiasIgnored, replace(KNOWN, where={"h_0": [True]}))
    assert elsewhere.failure is not None
    assert elsewhere.failure.kind == Kind.NUMBERS


def test_a_deviation_that_is_gone_fails() -> None:
    """An entry whose case holds is to be removed, and the failure says so."""
    outcome = judge(nn.RNN, KNOWN)
    assert outcome.failure is not None
    assert outcome.failure.kind == Kind.STALE
    assert str(outcome.failure).startswith(
        "this known deviation no longer occurs: it forgets a bias\n"
        "the property holds for its case; remove the case, or the entry, from the ledger\n"
        f"case: {CASE}\n"
        "replay: rnn-ref verify "
    )


def test_no_probe_asks_for_what_is_known_to_fail() -> None:
    """Nor is a capability called lacking that a known deviation of every case is about."""
    positional = replace(KNOWN, properties=("test_options_by_position_equal_options_by_name",))
    assert known_to_fail([positional]) == {"positional"}
    other = "test_a_state_of_more_rows_than_unsorted_sequences_is_refused"
    assert known_to_fail([replace(KNOWN, properties=(other,))]) == frozenset()
    assert known_to_fail([replace(positional, where={"D": [2]})]) == frozenset()


class Heir(nn.RNN):
    """A subclass of torch.nn.RNN, which inherits what that deviates in."""


def test_a_subclass_inherits_the_known_deviations_of_torch() -> None:
    """What is known of torch.nn:RNN is known of its subclass, and of no other subject."""
    assert Subject("tests:Heir", Heir).names == ("tests:Heir", "torch.nn:RNN")
    assert Subject("tests:other", nn.Module).names == ("tests:other",)


def test_a_subclass_that_does_better_than_torch_is_judged() -> None:
    """Where it lacks a deviation of torch.nn:RNN, the property is judged as if none was known."""
    outcome = judge(Heir, replace(KNOWN, subjects=("torch.nn:RNN",)))
    assert (outcome.known, outcome.failure, outcome.examples) == ([], None, 20)


def test_an_entry_with_one_case_that_holds_is_stale() -> None:
    """Each case of an entry must show the fact."""
    other = replace(KNOWN.cases[0], bias=False)
    outcome = judge(BiasIgnored, replace(KNOWN, cases=(*KNOWN.cases, other)))
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.case) == (Kind.STALE, str(other))


def test_an_entry_of_a_group_covers_its_properties_alone() -> None:
    """It is known of each property of the group, and of no other."""
    of_bounds = replace(KNOWN, properties=(), group="bounds")
    named = {name for name, group in GROUPS.items() if of_bounds.names(name, group)}
    assert named == {name for name, group in GROUPS.items() if group == "bounds"}
    for name in (NAME, "test_output_and_h_n_are_within_their_bounds"):
        assert judge(BiasIgnored, of_bounds, name=name).known
    other = judge(BiasIgnored, of_bounds, name="test_whole_numbers_come_out_exactly")
    assert not other.known


def test_an_entry_applies_by_subject_device_version_and_processor() -> None:
    """Each condition that is given must be met, and one of several subjects."""
    entry = replace(KNOWN, subjects=("a:b", "a:c"), device="cpu", torch=">=2.13,<2.15", cpu="avx")
    assert entry.applies(["a:b"], "cpu", "2.14.1+cu130", ["sse", "avx"])
    assert entry.applies(["a:c"], "cpu", "2.13.0", ["avx"])
    assert not entry.applies(["a:d"], "cpu", "2.14.1", ["avx"])
    assert not entry.applies(["a:b"], "cuda", "2.14.1", ["avx"])
    assert not entry.applies(["a:b"], "cpu", "2.12.0", ["avx"])
    assert not entry.applies(["a:b"], "cpu", "2.15", ["avx"])
    assert not entry.applies(["a:b"], "cpu", "2.13.0", ["sse"])


def ledger(folder: Path, text: str) -> Path:
    """Write a ledger."""
    file = folder / "ledger.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_an_entry_names_several_properties_subjects_and_cases(tmp_path: Path) -> None:
    """One fact that shows in many places is one entry."""
    other = "test_every_step_of_a_cell_obeys_the_recurrence"
    lists: dict[str, Any] = {
        "property": [NAME, other],
        "subject": ["a:b", "a:c"],
        "case": [CASE, CASE.replace("T3", "T4")],
    }
    lines = [f"{key} = {values}".replace("'", '"') for key, values in lists.items()]
    text = "\n".join(["[[deviation]]", *lines, 'why = "so it is"', 'since = "1.0"'])
    (entry,) = read_ledger(ledger(tmp_path, text), GROUPS)
    assert list(entry.properties) == lists["property"]
    assert list(entry.subjects) == lists["subject"]
    assert [str(case) for case in entry.cases] == lists["case"]
    assert entry.names(other, "cell")
    assert not entry.names("test_nothing", "cell")


def test_our_ledger_is_usable() -> None:
    """Every entry names properties and cases, and says why."""
    assert all(entry.why and entry.cases for entry in read_ledger(BUILT_IN, GROUPS))


def test_a_ledger_is_taken_by_the_command_line(tmp_path: Path, verify_here: Here) -> None:
    """What it knows is shown as known, and the run conforms."""
    file = ledger(tmp_path, ENTRY + f'subject = "{MISBEHAVING}:BiasIgnored"\n')
    options = ["--subject", f"{MISBEHAVING}:BiasIgnored", "--deviations", str(file)]
    done = verify_here(*options, "-v", "-k", "every_step_obeys and single")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^every step obeys the recurrence, .* known$", done.stdout, re.MULTILINE)
    assert ", 1 known deviation, " in done.stdout


def test_a_stale_entry_fails_the_run(tmp_path: Path, verify_here: Here) -> None:
    """A ledger that is not kept up to date ends in status 1."""
    file = ledger(tmp_path, ENTRY)
    done = verify_here("--deviations", str(file), "-k", "every_step_obeys and single")
    assert done.returncode == 1
    assert "this known deviation no longer occurs: it forgets a bias" in done.stdout


def without(key: str) -> str:
    """Leave a key out of the entry."""
    return re.sub(rf"^{key} = .*\n", "", ENTRY, flags=re.MULTILINE)


WHOLE_FILE = {
    "wrong TOML": ("[[deviation", "can't be read as TOML"),
    "no text": ("\0", "can't be read as TOML"),
    "another table": (ENTRY + "[other]\nx = 1\n", "expected tables [[deviation]] alone"),
    "one table": (ENTRY.replace("[[deviation]]", "[deviation]"), "expected tables [[deviation]]"),
}
"""Files that are no ledger, and what is said of them."""

ENTRIES = {
    "a number": ("deviation = [3]\n", "expected a table, got 3"),
    "empty": ("[[deviation]]\n", "missing key case, why, since"),
    "no reason": (without("why"), "missing key why"),
    "no case": (without("case"), "missing key case"),
    "no list of cases": (ENTRY.replace(f'"{CASE}"', "[]"), "case: expected a text or a list"),
    "neither property nor group": (without("property"), "expected either property or group"),
    "both property and group": (ENTRY + 'group = "bounds"\n', "expected either property or group"),
    "misspelt property": (
        ENTRY.replace(NAME, "test_nothing"),
        "property: no property is named 'test_nothing'",
    ),
    "property not text": (ENTRY.replace(f'"{NAME}"', "3"), "property: expected a text or a list"),
    "list with a number": (
        ENTRY.replace(f'"{NAME}"', f'["{NAME}", 3]'),
        "property: expected a text or a list of texts, got ['test_every",
    ),
    "unknown group": (
        without("property") + 'group = "magic"\n',
        ", got 'magic'",
    ),
    "group not text": (without("property") + "group = 3\n", "group: expected a text, got 3"),
    "unknown key": (ENTRY + 'reason = "so it is"\n', "unknown key reason; known keys: property"),
    "case that is none": (ENTRY.replace(CASE, "tanh"), "case: expected L, D, T, N, I, H"),
    "misspelt regime": (ENTRY.replace("=torch", "=troch"), "case: expected weights to be one of"),
    "since a number": (ENTRY.replace('"1.0"', "1.0"), "since: expected a text, got 1.0"),
    "subject a number": (ENTRY + "subject = 1\n", "subject: expected a text or a list of texts"),
    "no bounds of torch": (
        ENTRY + 'torch = "new"\n',
        "torch: expected a range of versions such as '>=2.13,<2.15', got 'new'",
    ),
    "where a text": (ENTRY + 'where = "L"\n', "where: expected fields of a case and lists"),
    "where of an unknown field": (ENTRY + "where = {depth = [2]}\n", "a case has no field 'depth'"),
    "where with a plain value": (
        ENTRY + "where = {L = 2}\n",
        "where.L: expected a list of values, got 2",
    ),
    "where with a wrong type": (
        ENTRY + 'where = {L = ["2"]}\n',
        "expected L from 1 to 64, got '2'",
    ),
    "where with a misspelt regime": (
        ENTRY + 'where = {input = ["norml"]}\n',
        "expected input to be one of",
    ),
    "where with a number for a flag": (
        ENTRY + "where = {h_0 = [1]}\n",
        "expected h_0 to be true or false, got 1",
    ),
    "where with a number for a variant": (
        ENTRY + "where = {variant = [1]}\n",
        "expected a variant",
    ),
    "where with a list for a regime": (
        ENTRY + 'where = {weights = [["torch"]]}\n',
        "expected weights to be one of",
    ),
}
"""Entries of which one value is wrong, and what is said of it."""


@pytest.mark.parametrize("name", [*WHOLE_FILE, *ENTRIES])
def test_a_broken_ledger_ends_in_status_2_and_one_sentence(
    tmp_path: Path, verify_here: Here, name: str
) -> None:
    """The sentence names the file, the number of the entry, and what is wrong with it."""
    text, says = {**WHOLE_FILE, **ENTRIES}[name]
    right = ENTRY.replace(NAME, "test_whole_numbers_come_out_exactly")
    if name in ENTRIES and text.startswith("deviation"):
        right = ""
    file = ledger(tmp_path, right + text if name in ENTRIES else text)
    done = verify_here("--deviations", str(file), "-k", "setup")
    assert done.returncode == 2, done.stdout
    (sentence,) = done.stderr.strip().splitlines()
    assert sentence.startswith(f"ERROR: deviations: {file}")
    assert says in sentence
    number = 2 if right else 1
    assert name in WHOLE_FILE or f"{file}: entry {number}: " in sentence


def test_a_ledger_that_is_not_there_ends_in_status_2(verify_here: Here) -> None:
    """The sentence names the file."""
    done = verify_here("--deviations", "nowhere.toml", "-k", "setup")
    assert done.returncode == 2
    assert "deviations: nowhere.toml can't be read" in done.stderr
