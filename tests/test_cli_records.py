"""`rnn-ref record`, `rnn-ref compare` and `--baseline`, as a person meets them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rnn_ref import cli

SUBJECTS = """
import torch
from torch import nn

class Halved(nn.RNN):
    def forward(self, input, h_0=None):
        output, h_n = super().forward(input, h_0)
        return output.half().to(output.dtype), h_n

class Leaves(nn.RNN):
    def forward(self, input, h_0=None):
        import os
        print("leaving")
        os._exit(0)

class Raises(nn.RNN):
    def forward(self, input, h_0=None):
        if self.bidirectional:
            raise ValueError("not two")
        return super().forward(input, h_0)
"""
FEW = ("--without", "h_0", "--without", "relu")
"""Options that leave eight cases of the corpus."""

Done = subprocess.CompletedProcess[str]
Here = Callable[..., Done]


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Here:
    """The command line, in this process and in a folder of its own."""

    def run(*arguments: str) -> Done:
        try:
            status = cli.main(arguments)
        except SystemExit as exit:
            status = int(str(exit.code))
        return Done(arguments, status, *capfd.readouterr())

    (tmp_path / "kernels.py").write_text(SUBJECTS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return run


def test_two_records_of_one_build_have_the_same_bits(here: Here) -> None:
    """Recording shows how far it is; comparing says 'same bits' and ends in status 0."""
    for name in ("old", "new"):
        done = here("record", name, *FEW)
        assert (done.returncode, done.stdout) == (0, "")
        assert "8 of 8 cases" in done.stderr
    done = here("compare", "old", "new")
    assert done.returncode == 0
    assert done.stdout.startswith("same bits: 8 cases in ")
    assert "WORSE" not in done.stdout


def test_a_worse_record_ends_in_status_1_and_a_command_that_replays(here: Here) -> None:
    """The verdict comes first; the worst case's command records it again."""
    here("record", "old", *FEW)
    here("record", "new", "--subject", "kernels:Halved", *FEW)
    done = here("compare", "old", "new", "--json", "found.json")
    assert done.returncode == 1
    assert done.stdout.startswith("worse: ")
    assert "subject: torch.nn:RNN -> kernels:Halved" in done.stdout
    found = json.loads(Path("found.json").read_text(encoding="utf-8"))
    assert found["verdict"] == "worse"
    worse = [group for group in found["groups"] if group["verdict"] == "worse"]
    assert "output" in {group["quantity"] for group in worse}
    assert {group["dtype"] for group in worse} <= {"float32", "float64", "bfloat16"}
    replay = re.search(r"replay: rnn-ref (record .*)$", done.stdout, re.MULTILINE)
    assert replay
    again = here(*shlex.split(replay[1]))
    assert again.returncode == 0
    first, case, last = map(json.loads, again.stdout.splitlines())
    assert (first["subject"], last["cases"]) == ("kernels:Halved", 1)
    assert case["case"] in done.stdout
    assert here("compare", "new", "old").returncode == 0


def test_a_case_that_raises_is_worse(here: Here) -> None:
    """A subject's fault is recorded, and told where it was not there before."""
    here("record", "old", *FEW)
    here("record", "new", "--subject", "kernels:Raises", *FEW)
    done = here("compare", "old", "new")
    assert done.returncode == 1
    assert "a fault that was not there: the call raised ValueError: not two" in done.stdout


def test_a_subject_that_leaves_or_prints_does_not_end_the_record(here: Here) -> None:
    """os._exit is a fault of the case, which is told; what is printed stays out of the lines."""
    done = here("record", "new", "--subject", "kernels:Leaves", *FEW)
    assert done.returncode == 0
    assert "faults in 8 of 8 cases: the call raised SystemExit: 0" in done.stderr
    done = here("record", "-", "--subject", "kernels:Leaves", *FEW)
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 10
    done = here("compare", "new", "new")
    assert done.returncode == 2
    assert "the older record has faults alone" in done.stderr


def test_json_is_not_written_over_a_record(here: Here) -> None:
    """A file that is a record stays one."""
    here("record", "old", *FEW)
    before = Path("old").read_bytes()
    done = here("compare", "old", "old", "--json", "old")
    assert done.returncode == 2
    assert "old is a record, and is not written over" in done.stderr
    assert Path("old").read_bytes() == before


def test_a_record_is_not_written_over_what_is_not_one(here: Here) -> None:
    """A file of another kind stays as it is."""
    done = here("record", "kernels.py", *FEW)
    assert done.returncode == 2
    assert "kernels.py is not a record" in done.stderr
    assert Path("kernels.py").read_text(encoding="utf-8") == SUBJECTS


REFUSED = {
    "no such file": (["compare", "a", "b"], "a can't be read: No such file"),
    "a directory": (["compare", ".", "b"], ". is not a record: it is no regular file"),
    "not a record": (["compare", "kernels.py", "b"], "kernels.py is not a record"),
    "one file": (["compare", "a"], "the following arguments are required: NEW"),
    "no file": (["record"], "the following arguments are required: FILE"),
    "into a directory": (["record", "."], "is not a record: it is no regular file"),
    "into no folder": (["record", "nowhere/a"], "nowhere/a can't be written: No such file"),
    "unknown subject": (["record", "a", "--subject", "nowhere:RNN"], "importing nowhere raised"),
    "unknown device": (["record", "a", "--device", "cuda"], "'cuda' is not to be had"),
    "unknown dtype": (["record", "a", "--dtype", "int8"], "invalid choice: 'int8'"),
    "malformed case": (["record", "a", "--case", "tanh"], "case: expected L, D, T, N, I, H"),
    "nothing left": (
        ["record", "a", "--without", "tanh", "--without", "relu"],
        "nothing is left to record",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_command_line_ends_in_status_2_and_one_sentence(here: Here, name: str) -> None:
    """No traceback, and nothing is written."""
    arguments, sentence = REFUSED[name]
    done = here(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["kernels.py"]


def verify(*options: str) -> Done:
    """`rnn-ref verify` with a baseline, in a process of its own."""
    command = [sys.executable, "-m", "rnn_ref", "verify", "--profile", "quick", "--seed", "1"]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


def test_verify_holds_a_subject_to_a_baseline(here: Here) -> None:
    """With --baseline there is one property more, which holds or fails like any."""
    here("record", "old", *FEW)
    options = ("--baseline", "old", "-k", "baseline", *FEW)
    done = verify(*options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"^accuracy is no worse than the baseline +8 .* holds$", done.stdout, re.MULTILINE
    )
    done = verify(*options, "--subject", "kernels:Halved")
    assert done.returncode == 1
    assert "worse: 8 cases in " in done.stdout
    assert re.search(
        r"^accuracy is no worse than the baseline +8 .* FAILS$", done.stdout, re.MULTILINE
    )


def test_a_baseline_that_nothing_is_compared_with_is_an_error(here: Here) -> None:
    """Neither an unusable file nor a selection without the property passes in silence."""
    here("record", "old", *FEW)
    done = verify("--baseline", "old", "-k", "setup")
    assert done.returncode == 2
    assert "baseline: nothing compares with it" in done.stderr
    done = verify("--baseline", "kernels.py", "-k", "baseline")
    assert done.returncode == 2
    assert "baseline: kernels.py is not a record" in done.stderr
