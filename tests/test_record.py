"""Records: whole or refused, the same twice, never half written, taken up where they ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnn_ref.cases.case import Case
from rnn_ref.cases.corpus import read_corpus
from rnn_ref.recording.record import (
    COLUMNS,
    Recorder,
    UnusableFile,
    checksum,
    line,
    partial_path,
    read_record,
)

CASES = read_corpus().cases[:12]
DESCRIBED: dict[str, Any] = {
    "subject": "torch.nn:RNN",
    "device": "cpu",
    "dtypes": ["float64"],
    "environment": {"threads": 2},
}


def measured(case: Case) -> dict[str, Any]:
    """A stand-in for what is measured."""
    quantity = {unit: [0.0] * len(columns) for unit, columns in COLUMNS.items()}
    found = {"output": quantity}
    return {"bits": {"output": f"{case.seed:016x}"}, "step": found, "end_to_end": found}


def recorder(measure: Callable[[Case], dict[str, Any]] = measured, **described: Any) -> Recorder:
    return Recorder(read_corpus(), CASES, DESCRIBED | described, measure)


def write(file: Path, recording: Recorder | None = None) -> str:
    """Record into a file; what is in it, without the date."""
    (recording or recorder()).write(file, lambda done: None)
    return undated(file)


def undated(file: Path) -> str:
    first, *rest = file.read_text(encoding="utf-8").splitlines(keepends=True)
    header = json.loads(first)
    header.pop("date")
    return "".join([line(header), *rest])


def test_recording_twice_gives_the_same_bytes_but_for_the_date(tmp_path: Path) -> None:
    """Nothing else in a record depends on when it was made."""
    assert write(tmp_path / "a") == write(tmp_path / "b")


def test_a_record_reads_as_it_was_written(tmp_path: Path) -> None:
    """Each case is there, with what was measured."""
    write(tmp_path / "a")
    found = read_record(tmp_path / "a")
    assert list(found.cases) == [str(case) for case in CASES]
    assert all(found.cases[str(case)]["bits"] == measured(case)["bits"] for case in CASES)


@pytest.mark.parametrize("after", range(len(CASES)))
def test_an_interrupted_record_leaves_the_old_one_and_is_taken_up(
    tmp_path: Path, after: int
) -> None:
    """Wherever it ends, the file is the old one; then what is done is not done again."""
    file = tmp_path / "a"
    done: list[Case] = []

    def interrupted(case: Case) -> dict[str, Any]:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(case)
        return measured(case)

    expected = write(file)
    old = file.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        recorder(interrupted).write(file, lambda done: None)
    assert file.read_bytes() == old
    again: list[Case] = []
    assert write(file, recorder(lambda case: again.append(case) or measured(case))) == expected  # type: ignore[func-returns-value]
    assert [*done[:-1], *again] == list(CASES)
    assert not partial_path(file).exists()


def test_what_an_older_build_left_is_not_taken_up(tmp_path: Path) -> None:
    """Where the last case is measured otherwise now, the record starts from its first one."""
    file = tmp_path / "a"
    write(tmp_path / "older", recorder(lambda case: {**measured(case), "bits": {"output": "0"}}))
    lines = (tmp_path / "older").read_text(encoding="utf-8").splitlines(keepends=True)
    partial_path(file).write_text("".join(lines[:5]), encoding="utf-8")
    assert write(file) == write(tmp_path / "uninterrupted")


@pytest.mark.parametrize("cut", range(0, 1800, 150))
def test_a_record_cut_anywhere_is_taken_up(tmp_path: Path, cut: int) -> None:
    """A line that was written in part is written anew."""
    file = tmp_path / "a"
    expected = write(file)
    partial_path(file).write_bytes(file.read_bytes()[:cut])
    assert write(file) == expected


def test_what_another_run_left_is_not_taken_up(tmp_path: Path) -> None:
    """A record of another subject or environment starts from its first case."""
    file = tmp_path / "a"
    write(tmp_path / "other", recorder(lambda case: {"fault": "x"}, subject="mylib:RNN"))
    whole = (tmp_path / "other").read_text(encoding="utf-8").splitlines(keepends=True)
    partial_path(file).write_text("".join(whole[:5]), encoding="utf-8")
    assert "fault" not in write(file)


RECORD = """
import sys, time
from pathlib import Path
from tests.test_record import measured, recorder
print(flush=True)
slow = recorder(lambda case: time.sleep(0.05) or measured(case))
slow.write(Path(sys.argv[1]), lambda done: None)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_record_leaves_the_old_one_and_is_taken_up(tmp_path: Path) -> None:
    """Killed at ten moments, the file is whole each time, and the last run ends as any."""
    file = tmp_path / "a"
    expected = write(tmp_path / "uninterrupted")
    write(file, recorder(subject="mylib:RNN"))
    old = file.read_bytes()
    for moment in range(10):
        command = [sys.executable, "-c", RECORD, str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(0.013 * moment)
            process.send_signal(signal.SIGKILL)
        assert file.read_bytes() == old or undated(file) == expected
    assert write(file) == expected


def whole(lines: list[str]) -> bytes:
    """Lines with a last line that fits them."""
    return "".join([*lines, line({"cases": len(lines) - 1, "sha256": checksum(lines)})]).encode()


def joined(*lines: str) -> bytes:
    return "".join(lines).encode()


def headed(lines: list[str], **changes: Any) -> bytes:
    """A record with another first line; a name that becomes None goes."""
    header = json.loads(lines[0]) | changes
    kept = {name: value for name, value in header.items() if value is not None}
    return whole([line(kept), *lines[1:-1]])


SPOILT: dict[str, Callable[[list[str]], bytes]] = {
    "empty": lambda lines: b"",
    "a line feed": lambda lines: b"\n",
    "no last line": lambda lines: joined(*lines[:-1]),
    "no line feed at the end": lambda lines: joined(*lines)[:-1],
    "half of it": lambda lines: joined(*lines)[: len(joined(*lines)) // 2],
    "the first line alone": lambda lines: joined(lines[0]),
    "a case left out": lambda lines: joined(*lines[:3], *lines[4:]),
    "a case twice": lambda lines: joined(*lines[:3], *lines[2:]),
    "two cases in another order": lambda lines: joined(lines[0], lines[2], lines[1], *lines[3:]),
    "a bit of a digest changed": lambda lines: joined(*lines).replace(b"0001", b"0003", 1),
    "a byte in the middle changed": lambda lines: joined(*lines[:4], "~", lines[4][1:], *lines[5:]),
    "a line after the last": lambda lines: joined(*lines, "\n"),
    "another line end": lambda lines: joined(*lines).replace(b"\n", b"\r\n"),
    "another schema": lambda lines: headed(lines, schema=99),
    "no schema": lambda lines: headed(lines, schema=None),
    "no date": lambda lines: headed(lines, date=None),
    "a date that is none": lambda lines: headed(lines, date="yesterday"),
    "no corpus": lambda lines: headed(lines, corpus=None),
    "binary": lambda lines: bytes(range(256)),
    "UTF-16": lambda lines: joined(*lines).decode().encode("utf-16"),
    "a list": lambda lines: b"[]\n",
    "a number": lambda lines: b"1\n",
    "null": lambda lines: b"null\n",
    "an object of another kind": lambda lines: b'{"properties": []}\n',
    "not JSON": lambda lines: b"tanh L1 D1\n",
    "nested without end": lambda lines: b"[" * 100_000,
    "two records": lambda lines: joined(*lines, *lines),
    "lines of another kind": lambda lines: whole([lines[0], "[]\n", "1\n"]),
    "a case that is none": lambda lines: whole([lines[0], line({"case": "foo", "fault": ""})]),
    "a case without errors": lambda lines: whole([lines[0], line({"case": str(CASES[0])})]),
    "a number that is none": lambda lines: whole([lines[0], lines[1].replace("0.0", "NaN", 1)]),
    "a number left out": lambda lines: whole([lines[0], lines[1].replace("0.0,", "", 1)]),
    "no environment": lambda lines: headed(lines, environment=None),
    "a corpus of another kind": lambda lines: headed(lines, corpus={"version": 1, "sha256": 2}),
    "dtypes that are none": lambda lines: headed(lines, dtypes=3),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_no_whole_record_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    """Whatever was done to it, the sentence names the file and says what is wrong."""
    write(tmp_path / "a")
    lines = (tmp_path / "a").read_text(encoding="utf-8").splitlines(keepends=True)
    file = tmp_path / "spoilt"
    file.write_bytes(SPOILT[name](lines))
    with pytest.raises(UnusableFile, match=r"spoilt (is|has)") as refused:
        read_record(file)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("beginning", [b"", b"\xff\xfe", b"# notes\n", b"[]\n", b'{"a": 1}\n'])
def test_what_is_not_ours_is_not_written_over(tmp_path: Path, beginning: bytes) -> None:
    """Neither a file that has the name, nor one that has that of the unfinished record."""
    file = tmp_path / "a"
    file.write_bytes(beginning)
    with pytest.raises(UnusableFile, match="is not a record"):
        write(file)
    assert file.read_bytes() == beginning
    file.unlink()
    if beginning:
        partial_path(file).write_bytes(beginning)
        with pytest.raises(UnusableFile, match="is not a record"):
            write(file)
        assert partial_path(file).read_bytes() == beginning
    assert not file.exists()


def test_paths_that_can_not_be_used_are_refused_in_one_sentence(tmp_path: Path) -> None:
    """A directory, a folder that is not there, a file that is not there."""
    for file in (tmp_path, tmp_path / "nowhere" / "a", tmp_path / "missing", Path(os.devnull)):
        with pytest.raises(UnusableFile, match=r"can't be read|is no regular file"):
            read_record(file)
    for file in (tmp_path, Path(os.devnull)):
        with pytest.raises(UnusableFile, match="is no regular file"):
            write(file)
    with pytest.raises(UnusableFile, match="can't be written: File name too long"):
        write(tmp_path / ("a" * 252))
    with pytest.raises(UnusableFile, match="can't be written: No such file"):
        write(tmp_path / "nowhere" / "a")
