"""The guard: what a process was doing when it died, and what is made of it."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import rnn_ref
from rnn_ref.judging.failures import Kind, Raised, SubjectFault
from rnn_ref.judging.subject import Subject
from rnn_ref.process.guard import Death, Guard, How, RunFolder, death, read_dump
from rnn_ref.running.workers import PATIENCE, Workers, failure_of
from tests.support.commands import MISBEHAVING, Done, Here, verify

OURS = Path(rnn_ref.__file__).parent / "judging" / "subject.py"
TORCHS = Path(torch.__file__).parent / "nn" / "modules"

HUNG = f"""Timeout (0:00:02.500000)!
Thread 0x00007f2fd3fbb6c0 (most recent call first):
  File "/usr/lib/python3/threading.py", line 982 in run

Thread 0x00007f2fd4a25b80 (most recent call first):
  File "{TORCHS}/module.py", line 1789 in _call_impl
  File "/home/a/mine.py", line 15 in forward
  File "{OURS}", line 96 in forward
  File "/home/a/rnn_ref/run.py", line 250 in hold
"""
OWN_THREAD = 0x00007F2FD4A25B80

SIGNAL = f"""Fatal Python error: Segmentation fault

Current thread 0x00007f2fd4a25b80 (most recent call first):
  File "{TORCHS}/rnn.py", line 500 in forward
  File "{OURS}", line 96 in forward

Current thread's C stack trace (most recent call first):
  Binary file "/usr/lib/libc.so.6", at +0x3c050 [0x7f2fd4a25b80]

Extension modules: numpy._core._multiarray_umath, torch._C, mine (total: 3)
"""


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    """Watch this process as if another one had started it."""
    made = Guard(tmp_path, "gw0")
    yield made
    made.close()


def test_the_dump_of_a_hang_has_the_seconds_and_the_frames_of_its_own_thread() -> None:
    """Of several threads, the one that ran the property is read, outermost frame first."""
    how, signal, frames, seconds = read_dump(HUNG, OWN_THREAD)
    assert (how, signal, seconds) == (How.HUNG, "", 2.5)
    assert frames[0] == ("/home/a/rnn_ref/run.py", 250)
    assert frames[-1] == (f"{TORCHS}/module.py", 1789)
    assert len(frames) == 4


def test_the_dump_of_a_signal_has_its_name_and_no_frames_but_pythons() -> None:
    """What follows the stack, of C and of extension modules, is passed over."""
    how, signal, frames, seconds = read_dump(SIGNAL, OWN_THREAD)
    assert (how, signal, seconds) == (How.ENDED, "Segmentation fault", 0)
    assert frames == [(str(OURS), 96), (f"{TORCHS}/rnn.py", 500)]


def test_a_dump_without_its_own_thread_is_read_all_the_same() -> None:
    """faulthandler names no thread where it dumps but one; then the first stack is taken."""
    nameless = SIGNAL.replace("Current thread 0x00007f2fd4a25b80", "Stack")
    assert read_dump(nameless, OWN_THREAD) == read_dump(SIGNAL, OWN_THREAD)


def test_a_process_that_ended_in_silence_has_no_dump() -> None:
    """os._exit leaves nothing behind."""
    assert read_dump("", OWN_THREAD) == (How.ENDED, "", [], 0)


DEATHS = {
    "hung": (HUNG, "the subject did not come back within 2.5 s (mine.py:15)"),
    "a signal": (SIGNAL, "the subject ended the process: Segmentation fault (rnn.py:500)"),
    "silence": ("", "the subject ended the process without any output (os._exit, or killed)"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEATHS)
def test_a_death_is_told_by_the_line_that_a_person_can_mend(name: str) -> None:
    """Of all frames, the innermost of the subject's own is named; else torch's."""
    dump, says = DEATHS[name]
    failure = failure_of(Death("here", {"case": "x"}, *read_dump(dump, OWN_THREAD)))
    assert str(failure) == f"{says}\ncase: x"


def test_the_first_text_of_a_name_stays(tmp_path: Path) -> None:
    """Of two processes that leave a text, the first is read."""
    folder = RunFolder(tmp_path)
    folder.post("stop", "one")
    folder.post("stop", "two")
    assert folder.read_post("stop") == "one"
    assert folder.read_post("go") == ""


def test_a_process_that_was_done_left_nothing(tmp_path: Path, guard: Guard) -> None:
    """Only one that died inside a place is told of."""
    with guard.inside("here", {"entry": 1}):
        guard.note({"case": "x"})
        died = death(tmp_path, "gw0")
    assert died is not None
    assert (died.place, died.facts, died.how) == ("here", {"entry": 1, "case": "x"}, How.ENDED)
    assert death(tmp_path, "gw0") is None
    assert death(tmp_path, "gw1") is None


def test_a_note_that_was_not_finished_is_none(tmp_path: Path) -> None:
    """A process may die between opening its note and writing it."""
    (tmp_path / "gw0.doing").write_text("", encoding="utf-8")
    assert death(tmp_path, "gw0") is None


def test_a_process_without_memory_ends_with_what_it_knows(
    tmp_path: Path, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure that it leaves is told once, with what was raised."""

    def end(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(os, "_exit", end)
    raised = Raised("the call", "RuntimeError", "can't allocate", "mine.py:3")
    with guard.inside("here", {"entry": 1}):
        with pytest.raises(SystemExit):
            guard.give_up({"case": "x", "raised": raised.__dict__})
        died = death(tmp_path, "gw0")
    assert died is not None
    assert died.facts["entry"] == 1
    failure = failure_of(died)
    assert failure.kind == Kind.MEMORY
    says = "the subject ran out of memory: the call raised RuntimeError: can't allocate (mine.py:3)"
    assert str(failure) == f"{says}\ncase: x"


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.cuda.OutOfMemoryError("CUDA out of memory")]
)
def test_out_of_memory_is_known_by_type(error: Exception) -> None:
    """An exception for want of memory is told apart from any other."""
    subject = Subject("torch.nn:RNN", nn.RNN)
    with pytest.raises(SubjectFault) as fault, subject.calling("the call"):
        raise error
    assert fault.value.out_of_memory
    with pytest.raises(SubjectFault) as fault, subject.calling("the call"):
        raise ValueError("out of memory")
    assert not fault.value.out_of_memory


def test_an_interrupt_is_the_subjects_where_the_process_is_no_persons(guard: Guard) -> None:
    """In a process that was started to run properties, nobody presses Ctrl-C."""
    subject = Subject("torch.nn:RNN", nn.RNN, watch=guard)
    told = pytest.raises(SubjectFault, match="the call raised KeyboardInterrupt")
    with told, subject.calling("the call"):
        raise KeyboardInterrupt


def test_an_interrupt_is_a_persons_elsewhere(tmp_path: Path) -> None:
    """In the process that a person started, Ctrl-C ends the run."""
    alone = Guard(tmp_path)
    subject = Subject("torch.nn:RNN", nn.RNN, watch=alone)
    with pytest.raises(KeyboardInterrupt), subject.calling("the call"):
        raise KeyboardInterrupt
    alone.close()


def test_a_slow_subject_is_given_more_time(guard: Guard) -> None:
    """A call may take ten times as long as the longest before it."""
    assert guard.patience == 20
    with guard.call():
        time.sleep(0.05)
    guard.timeout = 0.01
    assert guard.patience >= 0.5


def test_calls_at_the_same_time_are_watched_together(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch begins with the first call and ends with the last, in whichever thread."""
    events: list[str] = []
    monkeypatch.setattr(
        faulthandler, "dump_traceback_later", lambda *_, **__: events.append("begins")
    )
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: events.append("ends"))

    def call() -> None:
        with guard.call():
            events.append("inside")

    with guard.call():
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert events == ["begins", "inside", "ends"]


# A subject that ends its process, at the command line.

ENDS = {
    "single": "the subject ran out of memory: the call raised RuntimeError: ",
    "deep": "the subject ended the process: Aborted (misbehaving.py:",
    "bidirectional": "the subject did not come back within ",
    "deep bidirectional": "the subject ended the process without any output (os._exit, or killed)",
}
"""What is said of the ways in which `EndsByStructure` ends a process."""

BY_STRUCTURE = ("--subject", f"{MISBEHAVING}:EndsByStructure", "--timeout", "2")
REPLAY = f"replay: rnn-ref verify --subject {MISBEHAVING}:EndsByStructure "


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Judge a subject that ends its process in four ways, and a cell that interrupts it."""
    folder = tmp_path_factory.mktemp("judged")
    cell = ["--cell", f"{MISBEHAVING}:InterruptingCell"]
    options = ["-k", "step_obeys or step_of_a_cell or cell_has_its", "--json", "found.json"]
    done = verify(folder, *BY_STRUCTURE, *cell, *options)
    found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return Done(found, done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("structure", ENDS)
def test_the_end_of_a_worker_is_one_named_failure(judged: Done, structure: str) -> None:
    """The message has the case and the replay, and is the property's alone."""
    assert judged.returncode == 1
    rows = {row["name"]: row for row in judged.args["properties"]}
    message = rows[f"test_every_step_obeys_the_recurrence[{structure}]"]["message"]
    assert message.startswith(ENDS[structure])
    assert re.search(r"^case: (tanh|relu) L\d D\d ", message, re.MULTILINE)
    assert re.search(rf"^{REPLAY}.*-k test_every_step_obeys_the_rec", message, re.MULTILINE)
    assert " ".join(judged.stdout.split()).count(ENDS[structure]) == 1
    assert "Traceback" not in judged.stdout + judged.stderr


def test_an_interrupt_in_a_worker_is_a_failure(judged: Done) -> None:
    """A subject that raises KeyboardInterrupt neither ends nor passes the run."""
    rows = {row["name"]: row for row in judged.args["properties"]}
    failure = rows["test_every_step_of_a_cell_obeys_the_recurrence"]["failure"]
    assert failure["kind"] == "an exception"
    assert failure["text"].startswith("the call raised KeyboardInterrupt (misbehaving.py:")


def test_the_run_goes_on_after_a_worker_has_ended(judged: Done) -> None:
    """What comes after four dead processes is judged in a fifth."""
    row = judged.args["properties"][-1]
    assert row["name"] == "test_a_cell_has_its_documented_parameters"
    assert (row["verdict"], row["examples"]) == ("holds", 3)


def test_without_a_process_of_its_own_a_subject_that_ends_it_is_named_too(tmp_path: Path) -> None:
    """The run is over then, in status 1, and the sentence has case and replay."""
    options = ["-n", "0", "-k", "every_step_obeys and bidirectional and not deep"]
    done = verify(tmp_path, *BY_STRUCTURE, *options)
    assert done.returncode == 1
    assert ENDS["bidirectional"] in done.stderr
    assert "\ncase: " in done.stderr
    assert f"\n{REPLAY}" in done.stderr


def test_a_subject_that_ends_the_process_when_it_is_loaded_cannot_be_loaded(
    tmp_path: Path,
) -> None:
    """That is status 2 and one sentence."""
    (tmp_path / "aborts.py").write_text("import os; os.abort()\n", encoding="utf-8")
    done = verify(tmp_path, "--subject", "aborts:RNN")
    assert done.returncode == 2
    assert "while aborts:RNN was loaded, the subject ended the process: Abort" in done.stderr


def test_a_subject_that_ends_the_process_when_it_is_loaded_is_not_recorded(here: Here) -> None:
    """That is status 2 and one sentence too."""
    Path("aborts.py").write_text("import os; os.abort()\n", encoding="utf-8")
    done = here("record", "new", "--subject", "aborts:RNN")
    assert done.returncode == 2
    assert "while aborts:RNN was loaded, the subject ended the process: Abort" in done.stderr


FAULTS = {
    "float64": "the subject did not come back within ",
    "float32": "the subject ran out of memory",
    "bfloat16": "the subject ended the process: Aborted (misbehaving.py:",
    "float16": "the subject ended the process without any output (os._exit, or killed)",
}
"""What is recorded of the ways in which `EndsByDtype` ends a process."""


def test_a_record_has_each_end_as_its_cases_fault_and_resumes(here: Here) -> None:
    """A crash, a hang, an exit and a lack of memory are four cases' faults; the rest is measured.

    A record of such a subject that was interrupted is taken up where it ended.
    """
    few = ("--without", "h_0", "--without", "relu", "--timeout", "2")
    record = ("record", "new", "--subject", f"{MISBEHAVING}:EndsByDtype", *few)
    done = here(*record)
    assert done.returncode == 0
    assert "faults in 4 of 8 cases: the subject did not come back within " in done.stderr
    whole = Path("new").read_bytes()
    entries = [json.loads(line) for line in whole.splitlines()[1:-1]]
    faults = {entry["case"].split()[8]: entry["fault"] for entry in entries if "fault" in entry}
    assert faults.keys() == FAULTS.keys()
    assert all(faults[dtype].startswith(says) for dtype, says in FAULTS.items())
    measured = [entry["case"] for entry in entries if "bits" in entry]
    assert len(measured) == 4
    assert all(" D1 " in case for case in measured)
    Path("new.part").write_bytes(b"".join(whole.splitlines(keepends=True)[:-2]))
    Path("new").unlink()
    again = here(*record)
    assert again.returncode == 0
    assert Path("new").read_bytes() == whole, "its date, too, is that of the first run"


UNSEEN = ("--subject", f"{MISBEHAVING}:FaultsUnseen")
SEGMENTATION = "the subject ended the process: Segmentation fault"


@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_segmentation_fault_is_called_one_though_no_handler_saw_it(
    tmp_path: Path, processes: str
) -> None:
    """A subject that took over the handlers of signals is known by its exit status."""
    options = ["-n", processes, "-k", "every_step_obeys and bidirectional and not deep"]
    done = verify(tmp_path, *UNSEEN, *options)
    assert done.returncode == 1
    assert SEGMENTATION in done.stdout + done.stderr


def test_a_record_calls_a_segmentation_fault_one_too(here: Here) -> None:
    """The process that measures is known by its exit status as well."""
    case = "tanh L1 D2 bias T1 N1 I1 H1 float32 weights=torch input=normal seed=0"
    done = here("record", "new", *UNSEEN, "--case", case)
    assert f"faults in 1 of 1 cases: {SEGMENTATION}" in done.stderr


class Heard:
    """What the controller of a run is to its workers: a folder, options, and what is said."""

    def __init__(self, folder: Path) -> None:
        options = SimpleNamespace(subject="a:B", device="cpu", replayed=["--dtype", "float32"])
        self.session = SimpleNamespace(folder=RunFolder(folder), options=options)
        self.config = SimpleNamespace(getoption=lambda _: 0)
        self.failures = 0
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def crash(workers: Workers, **facts: str) -> None:
    """Let a worker die after half of the patience, in a hang."""
    entry = {"entry": {"name": "test_it", "group": "bounds", "setup": False}}
    died = Death("f.py::test_it", {**entry, **facts}, How.HUNG, seconds=PATIENCE / 2)
    workers.deaths[died.place] = died
    report: Any = SimpleNamespace(user_properties=[])
    workers.pytest_handlecrashitem(died.place, report)


def test_the_end_of_patience_is_said_once(tmp_path: Path) -> None:
    """After a minute lost to crashes the rest is not judged, and the console has a line on it."""
    heard: Any = Heard(tmp_path)
    workers = Workers(heard)
    crash(workers)
    assert heard.said == []
    for _ in range(3):
        crash(workers)
    assert heard.said == [
        "60 s were lost to processes that the subject ended: the rest is not judged"
    ]
    assert heard.session.folder.read_post("stop") in heard.said[0]


def test_a_lacking_capability_costs_no_patience(tmp_path: Path) -> None:
    """A probe that ends the process says what is lacking, and the rest is judged."""
    heard: Any = Heard(tmp_path)
    workers = Workers(heard)
    for _ in range(3):
        crash(workers, probe="packed", case="", replay="")
    assert heard.said == []
    assert heard.session.folder.read_post("stop") == ""
    assert heard.session.folder.read_posts("lacking.").keys() == {"packed"}
