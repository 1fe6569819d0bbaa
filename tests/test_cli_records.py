"""`rnn-ref record`, `rnn-ref compare` and `--baseline`, as a person meets them."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import NoReturn

import pytest

from rnn_ref import cli
from rnn_ref.running import isolated
from rnn_ref.running.isolated import Isolated
from tests.support.commands import MISBEHAVING, Here
from tests.support.recording import InThisProcess

FEW = ("--without", "h_0", "--without", "relu")
"""Options that leave eight cases of the corpus."""

RECORDED = {
    "right": "torch.nn:RNN",
    "halved": f"{MISBEHAVING}:Halved",
    "raises": f"{MISBEHAVING}:RaisesInCall",
}
NOTES = "no record\n"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record a right subject, one that is less accurate, and one that raises."""
    folder = tmp_path_factory.mktemp("records")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolated, "Isolated", InThisProcess)
        for name, subject in RECORDED.items():
            assert cli.main(["record", str(folder / name), "--subject", subject, *FEW]) == 0
    return folder


@pytest.fixture
def right(recorded: Path) -> str:
    """The record of torch.nn.RNN."""
    return str(recorded / "right")


@pytest.fixture
def halved(recorded: Path) -> str:
    """The record of a subject whose output has the precision of float16."""
    return str(recorded / "halved")


def test_two_records_of_one_build_have_the_same_bits(
    here: Here, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recording shows how far it is; comparing says 'same bits' and ends in status 0.

    So it is in two processes, of which each measures what the other one leaves.
    """
    monkeypatch.setattr(cli, "WORTH_A_PROCESS", 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    done = here("record", "new", *FEW)
    assert (done.returncode, done.stdout) == (0, "")
    assert "8 of 8 cases" in done.stderr
    done = here("compare", right, "new")
    assert done.returncode == 0
    assert done.stdout.startswith("same bits: 8 cases in ")
    assert "WORSE" not in done.stdout


def test_a_worse_record_ends_in_status_1_and_says_what_is_worse(
    here: Here, right: str, halved: str
) -> None:
    """The verdict comes first; the JSON file has it by quantity and dtype."""
    done = here("compare", right, halved, "--json", "found.json")
    assert done.returncode == 1
    assert done.stdout.startswith("worse: ")
    assert f"subject: torch.nn:RNN -> {MISBEHAVING}:Halved" in done.stdout
    found = json.loads(Path("found.json").read_text(encoding="utf-8"))
    assert found["verdict"] == "worse"
    worse = [group for group in found["groups"] if group["verdict"] == "worse"]
    assert "output" in {group["quantity"] for group in worse}
    assert {group["dtype"] for group in worse} <= {"float32", "float64", "bfloat16"}


def test_a_better_record_ends_in_status_0(here: Here, right: str, halved: str) -> None:
    """What is worse one way is better the other way."""
    assert here("compare", halved, right).returncode == 0


def test_the_worst_case_replays_from_its_command(here: Here, right: str, halved: str) -> None:
    """The command that a comparison prints records that case alone."""
    compared = here("compare", right, halved).stdout
    replay = re.search(r"replay: rnn-ref (record .*)$", compared, re.MULTILINE)
    assert replay
    again = here(*shlex.split(replay[1]))
    assert again.returncode == 0
    first, case, last = map(json.loads, again.stdout.splitlines())
    assert (first["subject"], last["cases"]) == (f"{MISBEHAVING}:Halved", 1)
    assert case["case"] in compared


def test_a_case_that_raises_is_worse(here: Here, recorded: Path, right: str) -> None:
    """A subject's fault is recorded, and told where it was not there before."""
    done = here("compare", right, str(recorded / "raises"))
    assert done.returncode == 1
    assert "a new fault: the call raised ValueError: not two" in done.stdout


CASE = ("--case", "tanh L1 D1 bias T2 N2 I2 H2 float32 weights=torch input=normal seed=1")


def test_what_a_subject_prints_stays_out_of_its_record(here: Here) -> None:
    """On standard output there are the lines of the record alone."""
    done = here("record", "-", "--subject", f"{MISBEHAVING}:Prints", *CASE)
    assert done.returncode == 0
    _, case, last = map(json.loads, done.stdout.splitlines())
    assert "bits" in case
    assert last["cases"] == 1


def test_a_record_of_faults_alone_is_recorded_but_not_compared_with(here: Here) -> None:
    """A subject that ends the process in every call leaves no number to compare with."""
    done = here("record", "new", "--subject", f"{MISBEHAVING}:Leaves", *CASE)
    assert done.returncode == 0
    assert "faults in 1 of 1 cases: the subject ended the process without any output" in done.stderr
    done = here("compare", "new", "new")
    assert done.returncode == 2
    assert "the older record has faults alone" in done.stderr


@pytest.mark.parametrize("command", [["compare", "old", "old"], ["verify", "-n", "0"]])
def test_json_is_not_written_over_a_record(here: Here, right: str, command: list[str]) -> None:
    """A file that is a record stays one."""
    before = Path(right).read_bytes()
    Path("old").write_bytes(before)
    done = here(*command, "--json", "old")
    assert done.returncode == 2
    assert "refusing to overwrite old: it is a record" in done.stderr
    assert Path("old").read_bytes() == before


REFUSED = {
    "no such file": (["compare", "a", "b"], "a can't be read: No such file"),
    "a directory": (["compare", ".", "b"], ". is not a record: it is no regular file"),
    "not a record": (["compare", "notes.txt", "b"], "notes.txt is not a record"),
    "one file": (["compare", "a"], "the following arguments are required: NEW"),
    "no file": (["record"], "the following arguments are required: FILE"),
    "into a directory": (["record", "."], "is not a record: it is no regular file"),
    "into no folder": (["record", "nowhere/a"], "nowhere/a can't be written: No such file"),
    "over another file": (["record", "notes.txt"], "notes.txt is not a record"),
    "unknown subject": (
        ["record", "a", "--subject", "nowhere:RNN", *FEW],
        "importing nowhere raised",
    ),
    "unknown device": (["record", "a", "--device", "cuda:99", *FEW], "'cuda:99' is not available"),
    "unknown dtype": (["record", "a", "--dtype", "int8"], "invalid choice: 'int8'"),
    "malformed case": (["record", "a", "--case", "tanh"], "case: expected L, D, T, N, I, H"),
    "nothing left": (
        ["record", "a", "--without", "tanh", "--without", "relu"],
        "nothing to record: the options leave no case of the corpus",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_command_line_ends_in_status_2_and_one_sentence(here: Here, name: str) -> None:
    """No traceback, and nothing is written, or overwritten."""
    Path("notes.txt").write_text(NOTES, encoding="utf-8")
    arguments, sentence = REFUSED[name]
    done = here(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["notes.txt"]
    assert Path("notes.txt").read_text(encoding="utf-8") == NOTES


@pytest.mark.parametrize("doing", ["describe", "measure"])
def test_a_record_that_is_interrupted_ends_in_status_130(
    here: Here, monkeypatch: pytest.MonkeyPatch, doing: str
) -> None:
    """Ctrl-C ends it in one line, while the subject is loaded as while it is measured."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(Isolated, "get_ready", lambda *_: None)
    monkeypatch.setattr(Isolated, "describe", lambda *_: {})
    monkeypatch.setattr(Isolated, doing, interrupt)
    done = here("record", "new", *CASE)
    assert done.returncode == 130
    assert re.fullmatch(r"\s*rnn-ref: interrupted(; rerun the command to resume)?\n", done.stderr)


ROW = r"^accuracy is no worse than the baseline +8 .* {}$"


def test_a_subject_that_is_no_worse_than_its_baseline_holds(verify_here: Here, right: str) -> None:
    """With --baseline there is one property more, which holds like any."""
    done = verify_here("-v", "--baseline", right, "-k", "baseline", *FEW)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(ROW.format("holds"), done.stdout, re.MULTILINE)


def test_a_subject_that_is_worse_than_the_baseline_fails(verify_here: Here, right: str) -> None:
    """It fails like any property, and says what a comparison would."""
    subject = ("--subject", f"{MISBEHAVING}:Halved")
    done = verify_here("-v", "--baseline", right, "-k", "baseline", *FEW, *subject)
    assert done.returncode == 1
    assert "worse: 8 cases in " in done.stdout
    assert re.search(ROW.format("FAILS"), done.stdout, re.MULTILINE)


UNUSED = {
    "not selected": (["-k", "setup"], "baseline: its property is not selected"),
    "not of the group": (["--group", "laws"], "baseline: its property is not selected"),
    "omitted": (
        ["--omit", "test_accuracy_is_no_worse_than_the_baseline"],
        "baseline: its property is not selected",
    ),
    "no record": (["--baseline", "notes.txt"], "baseline: notes.txt is not a record"),
}


@pytest.mark.parametrize("name", UNUSED)
def test_a_baseline_that_nothing_is_compared_with_is_an_error(
    verify_here: Here, right: str, name: str
) -> None:
    """Neither an unusable file nor a selection without the property passes in silence."""
    Path("notes.txt").write_text(NOTES, encoding="utf-8")
    options, sentence = UNUSED[name]
    done = verify_here("--baseline", right, "-k", "baseline", *options)
    assert done.returncode == 2
    assert sentence in done.stderr
