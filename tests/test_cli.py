"""The command line, as a person meets it: exit statuses, one sentence, a table, a replay."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rnn_ref import cli

SUBJECTS = """
import os
import sys
import time
import numpy as np
import torch
from torch import nn

number = 7

class Right(nn.RNN):
    pass

class BiasIgnored(nn.RNN):
    def forward(self, input, h_0=None):
        kept = {name: tensor.clone() for name, tensor in self.named_parameters()}
        with torch.no_grad():
            for name, tensor in self.named_parameters():
                tensor.mul_(0 if name.startswith("bias_ih") else 1)
        result = super().forward(input, h_0)
        with torch.no_grad():
            for name, tensor in self.named_parameters():
                tensor.copy_(kept[name])
        return result

class DirectionsSwapped(nn.RNN):
    def forward(self, input, h_0=None):
        output, h_n = super().forward(input, h_0)
        return (torch.cat(output.chunk(2, -1)[::-1], -1) if self.bidirectional else output), h_n

class OneTensor(nn.RNN):
    def forward(self, input, h_0=None):
        return super().forward(input, h_0)[0]

class Arrays(nn.RNN):
    def forward(self, input, h_0=None):
        return tuple(result.detach().numpy() for result in super().forward(input, h_0))

class NoSuchArguments(nn.Module):
    def __init__(self):
        super().__init__()

class OtherNames(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.linear = nn.Linear(input_size, hidden_size)

class Exits(nn.RNN):
    def forward(self, input, h_0=None):
        sys.exit(0)

class NoGradient(nn.RNN):
    def forward(self, input, h_0=None):
        output, h_n = super().forward(input, h_0)
        return output.detach(), h_n.detach()

class Unsteady(nn.RNN):
    calls = 0
    def forward(self, input, h_0=None):
        output, h_n = super().forward(input, h_0)
        Unsteady.calls += 1
        return (output * 1.5 if Unsteady.calls == 75 else output), h_n

class NaNs(nn.RNN):
    def forward(self, input, h_0=None):
        output, h_n = super().forward(input, h_0)
        return output * torch.nan, h_n

class Skips(nn.RNN):
    def forward(self, input, h_0=None):
        import pytest
        pytest.skip("not today")

class Leaves(nn.RNN):
    def forward(self, input, h_0=None):
        if self.num_layers > 1 and not self.bidirectional:
            os._exit(0)
        return super().forward(input, h_0)

class Aborts(nn.RNN):
    def forward(self, input, h_0=None):
        if self.num_layers > 1 and not self.bidirectional:
            os.abort()
        return super().forward(input, h_0)

class Interrupts(nn.RNN):
    def forward(self, input, h_0=None):
        if self.num_layers > 1 and not self.bidirectional:
            raise KeyboardInterrupt
        return super().forward(input, h_0)

class Hangs(nn.RNN):
    def forward(self, input, h_0=None):
        while self.num_layers > 1 and not self.bidirectional:
            time.sleep(1)
        return super().forward(input, h_0)

class Flushes(nn.RNN):
    def forward(self, input, h_0=None):
        torch.set_flush_denormal(True)
        try:
            return super().forward(input, h_0)
        finally:
            torch.set_flush_denormal(False)

class Gathers(nn.RNN):
    kept = []
    def forward(self, input, h_0=None):
        while self.num_layers > 1 and not self.bidirectional:
            self.kept.append(torch.empty(10**8))
        return super().forward(input, h_0)

def not_a_module(*arguments, **options):
    return 3
"""


Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("work")
    (made / "subjects.py").write_text(SUBJECTS, encoding="utf-8")
    (made / "raises.py").write_text("raise ValueError('no such luck')\n", encoding="utf-8")
    (made / "leaves.py").write_text("import sys; sys.exit(0)\n", encoding="utf-8")
    (made / "aborts.py").write_text("import os; os.abort()\n", encoding="utf-8")
    (made / "pytest.ini").write_text("[pytest]\npython_files = nothing_*.py\n", encoding="utf-8")
    return made


def verify(folder: Path, *options: str, **environment: str) -> Done:
    """Run `rnn-ref verify` in a folder, quickly and from a fixed seed unless told otherwise."""
    command = [sys.executable, "-m", "rnn_ref", "verify", "--profile", "quick", "--seed", "1"]
    settled = {"PYTHONWARNINGS": "error::DeprecationWarning", **os.environ, **environment}
    return subprocess.run(
        [*command, *options], cwd=folder, env=settled, capture_output=True, text=True, check=False
    )


REFUSED = {
    "no such module": (
        ["--subject", "nowhere:RNN"],
        "importing nowhere raised ModuleNotFoundError",
    ),
    "no such name": (["--subject", "subjects:Wrong"], "module subjects has no 'Wrong'"),
    "no colon": (["--subject", "subjects"], "expected MODULE:CALLABLE, got 'subjects'"),
    "not callable": (["--subject", "subjects:number"], "subjects:number is a int"),
    "raises at import": (["--subject", "raises:RNN"], "raised ValueError: no such luck"),
    "exits at import": (["--subject", "leaves:RNN"], "importing leaves raised SystemExit"),
    "unknown dtype": (["--dtype", "int8"], "invalid choice: 'int8'"),
    "unknown device": (["--device", "abacus"], "device: 'abacus' is not to be had"),
    "device not there": (["--device", "cuda"], "device: 'cuda' is not to be had"),
    "unknown profile": (["--profile", "endless"], "invalid choice: 'endless'"),
    "unknown capability": (["--without", "magic"], "invalid choice: 'magic'"),
    "seed no number": (["--seed", "one"], "invalid int value: 'one'"),
    "malformed case": (["--case", "tanh L2"], "case: expected D, T, N, I, H"),
    "empty case": (["--case", ""], "case: expected nonlinearity, L, D"),
    "case out of range": (
        ["--case", "tanh L1 D3 T1 N1 I1 H1 float32 weights=torch input=normal seed=0"],
        "case: expected D from 1 to 2, got 3",
    ),
    "no property matches": (["-k", "nonesuch"], "nothing was judged"),
    "wrong expression": (["-k", "a b"], "Wrong expression passed to '-k'"),
    "nothing left": (["-k", "gradients", "--without", "gradients"], "nothing was judged"),
    "no folder for json": (
        ["--json", "nowhere/found.json"],
        "'nowhere/found.json' can't be written",
    ),
    "json is a folder": (["--json", "."], "can't be written"),
    "negative processes": (["-n", "-1"], "-n: expected 0 or more processes, got -1"),
    "unknown option": (["--speed", "9"], "unrecognized arguments: --speed 9"),
}


Here = Callable[..., Done]


@pytest.fixture
def verify_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Here:
    """The command line in this process, pytest's part too, which saves two seconds a run."""

    def call(command: list[str], **_: object) -> int:
        return int(pytest.main(command[3:]))

    def run(*options: str) -> Done:
        arguments = ["verify", "--profile", "quick", "--seed", "1", "-n", "0", *options]
        try:
            status = cli.main(arguments)
        except SystemExit as exit:
            status = int(str(exit.code))
        return Done(arguments, status, *capfd.readouterr())

    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(subprocess, "call", call)
    return run


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_command_line_ends_in_status_2_and_one_sentence(
    verify_here: Here, name: str
) -> None:
    """No traceback, no table: the sentence says what is wrong."""
    options, sentence = REFUSED[name]
    done = verify_here(*options)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stdout + done.stderr


BLAMED = {
    "BiasIgnored": "output of layer 0 at step 0",
    "DirectionsSwapped": "direction forward, unit 0",
    "OneTensor": "the call returned a torch.Tensor, not (output, h_n)",
    "Arrays": "output is a numpy.ndarray, not a tensor",
    "NoSuchArguments": "constructing the module raised TypeError",
    "OtherNames": "expected the names of the module, got others",
    "Exits": "the call raised SystemExit: 0",
    "Skips": "the call raised Skipped: not today",
    "NoGradient": "backward raised RuntimeError",
    "Unsteady": "not repeatable: the subject's results differ between identical runs",
    "NaNs": "came nan, expected",
    "not_a_module": "constructing the module raised AttributeError",
}


@pytest.mark.parametrize("name", BLAMED)
def test_a_wrong_subject_ends_in_status_1_and_a_named_failure(verify_here: Here, name: str) -> None:
    """The failure names the property, says what is wrong, and how to replay it."""
    done = verify_here("--subject", f"subjects:{name}", "-x")
    assert done.returncode == 1
    assert BLAMED[name] in done.stdout
    assert "does not conform, " in done.stdout
    assert f"replay: rnn-ref verify --subject subjects:{name} -k test_" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


MISBEHAVING = {
    "Leaves": "the subject ended the process without a word (os._exit, or killed from outside)",
    "Aborts": "the subject ended the process: Aborted (subjects.py:",
    "Interrupts": "the call raised KeyboardInterrupt (",
    "Hangs": "the subject did not come back within ",
    "Gathers": "the subject ran out of memory: the call raised RuntimeError: ",
}


@pytest.mark.parametrize("name", MISBEHAVING)
def test_a_subject_that_misbehaves_is_one_named_failure_and_the_run_goes_on(
    folder: Path, name: str
) -> None:
    """The message has the case and the replay, and properties after it are judged."""
    options = ["-k", "recurrence and deep", "--timeout", "2"]
    done = verify(folder, "--subject", f"subjects:{name}", *options)
    assert done.returncode == 1
    assert done.stdout.count(MISBEHAVING[name]) == 1
    assert done.stdout.count("\ncase: tanh L2 D1") == 1
    assert f"replay: rnn-ref verify --subject subjects:{name} -k test_every_step" in done.stdout
    assert re.search(r"obeys the recurrence, deep +50 .* holds\n +bidirectional", done.stdout)


@pytest.mark.parametrize(("mode", "status"), [("kept", 1), ("flushed", 0)])
def test_subnormals_are_kept_or_flushed_as_declared(folder: Path, mode: str, status: int) -> None:
    """A module that takes them for zero conforms if that is declared, and not if it is not."""
    line = "relu L2 D2 bias T3 N2 I3 H4 float32 weights=torch input=subnormal seed=1"
    options = ["-n", "0", "--case", line.replace("bias ", ""), "--subnormals", mode]
    options += ["-k", "recurrence and not packed or gradients_are_within or no_h_0"]
    done = verify(folder, "--subject", "subjects:Flushes", *options)
    assert done.returncode == status, done.stdout
    assert ("--subnormals flushed" in done.stdout) == (mode == "flushed" and status == 1)


def test_without_a_process_of_its_own_a_subject_that_ends_it_is_named_too(folder: Path) -> None:
    """The run is over then, in status 1, and the sentence has case and replay."""
    options = ["-n", "0", "-k", "recurrence and deep"]
    done = verify(folder, "--subject", "subjects:Leaves", *options)
    assert done.returncode == 1
    assert MISBEHAVING["Leaves"] in done.stderr
    assert "\ncase: tanh L2" in done.stderr


def test_a_subject_that_ends_the_process_when_it_is_loaded_cannot_be_loaded(folder: Path) -> None:
    """That is status 2 and one sentence."""
    done = verify(folder, "--subject", "aborts:RNN")
    assert done.returncode == 2
    assert "while aborts:RNN was loaded, the subject ended the process: Abort" in done.stderr


def test_a_right_subject_ends_in_status_0_and_a_table(folder: Path) -> None:
    """The table has a row for each property, and the last line the verdict; no line is too long."""
    options = ["--subject", "subjects:Right", "-k", "setup or every_step_obeys or h_n_is"]
    done = verify(folder, *options, COLUMNS="80")
    assert done.returncode == 0
    *lines, last = done.stdout.rstrip().splitlines()
    assert re.search(
        r"^subjects:Right, torch \S+, cpu, float32 float64: conforms\. 6 properties,"
        r" 300 examples, worst error 0\.\d\d of its bound, \d+ s$",
        last,
    )
    rows = [line for line in lines if re.search(r" 50 +[\d,]+ +[01]\.\d\d  holds$", line)]
    assert len(rows) == 6
    assert all(len(line) <= 80 for line in lines)


def test_a_run_repeats_from_its_seed(verify_here: Here) -> None:
    """The same seed gives the same examples, elements and ratios; the seed is printed."""
    first, second = (verify_here("-k", "h_n or step", "--seed", "77").stdout for _ in range(2))
    assert "--seed 77" in first
    table = re.compile(r"^.*(?:holds|FAILS)$", re.MULTILINE)
    assert table.findall(first) == table.findall(second) != []


def test_a_failure_replays_from_its_line(folder: Path) -> None:
    """The command that a failure prints leads to the same failure."""
    first = verify(folder, "--subject", "subjects:BiasIgnored", "-x").stdout
    case = re.search(r"^case: (.*)$", first, re.MULTILINE)
    test = re.search(r"^replay: .* -k (\w+)", first, re.MULTILINE)
    assert case
    assert test
    options = ["--subject", "subjects:BiasIgnored", "-k", test[1], "--case", case[1]]
    again = verify(folder, *options)
    assert again.returncode == 1
    message = first[first.index("output of layer") : first.index("replay:")]
    assert message in again.stdout


def test_json_says_what_the_table_says(folder: Path, verify_here: Here) -> None:
    """The file has verdict, environment, seed, and each property with its counts and message."""
    options = [
        "--subject",
        "subjects:DirectionsSwapped",
        "-k",
        "every_step_obeys",
        "--json",
        "found.json",
    ]
    verify_here(*options)
    found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    assert found["conforms"] is False
    assert found["run"]["seed"] == 1
    assert {"torch", "numpy", "python", "platform", "threads"} <= found["environment"].keys()
    by_name = {row["name"]: row for row in found["properties"]}
    assert len(by_name) == 4
    failing = by_name["test_every_step_obeys_the_recurrence[bidirectional]"]
    assert failing["verdict"] == "FAILS"
    assert "replay: rnn-ref verify" in failing["message"]
    holding = by_name["test_every_step_obeys_the_recurrence[single]"]
    assert (holding["verdict"], holding["examples"]) == ("holds", 50)
    assert sum(holding["drawn"]["weights"].values()) == 50


def test_what_a_subject_lacks_is_shown_as_not_judged(verify_here: Here) -> None:
    """Without a capability, its properties are rows that say so, and the rest is judged."""
    options = ["--without", "bidirectional", "--without", "gradients", "--without", "relu"]
    done = verify_here(*options, "-k", "step or gradients")
    assert done.returncode == 0
    assert done.stdout.count("not judged") >= 10
    assert re.search(r"every step obeys the recurrence, deep +50 .* holds", done.stdout)


def test_what_follows_two_dashes_is_pytests(folder: Path) -> None:
    """pytest takes the rest of the line."""
    done = verify(folder, "-k", "setup", "--", "--collect-only", "-qq")
    assert "test_setup.py: 1" in done.stdout


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_dtypes_are_judged_by_their_own_model(verify_here: Here, dtype: str) -> None:
    """A line of a 16-bit dtype is judged, outputs and gradients, and torch conforms."""
    line = f"tanh L2 D2 bias T5 N3 I4 H6 {dtype} weights=torch input=normal h_0 seed=81"
    done = verify_here(
        "--case", line, "-k", "within_their_bounds or every_step_obeys or from_the_states"
    )
    assert done.returncode == 0, done.stdout
    assert f"cpu, {dtype}: conforms. 4 properties" in done.stdout


@pytest.mark.parametrize("name", ["BiasIgnored", "DirectionsSwapped"])
def test_a_gross_fault_is_found_within_seconds(verify_here: Here, name: str) -> None:
    """With -x, in the default profile, a fault in every element costs few examples."""
    done = verify_here("--subject", f"subjects:{name}", "--profile", "default", "-x")
    seconds = re.search(r", (\d+) s$", done.stdout, re.MULTILINE)
    assert seconds
    assert int(seconds[1]) <= 10
