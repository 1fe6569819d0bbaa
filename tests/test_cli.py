"""The command line, as a person meets it: exit statuses, one sentence, a table, a replay."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.commands import MISBEHAVING, ROOT, Here, run, verify

RNN_REF = str(Path(sys.executable).with_name("rnn-ref"))


@pytest.mark.parametrize(
    "command",
    [[RNN_REF], [sys.executable, "-m", "rnn_ref"], [sys.executable, "-m", "rnn_ref.cli"]],
    ids=["rnn-ref", "-m rnn_ref", "-m rnn_ref.cli"],
)
def test_the_command_tells_its_version(tmp_path: Path, command: list[str]) -> None:
    """All three ways to call it are one command."""
    done = run(tmp_path, *command, "--version")
    assert (done.returncode, done.stdout) == (0, f"rnn_ref {version('rnn_ref')}\n")


FILES = {
    "raises.py": "raise ValueError('no such luck, and why:\\n  it was a Friday')\n",
    "broken.py": "number = 7\nnumber number\n",
    "leaves.py": "import sys; sys.exit(0)\n",
    "pytest.ini": "[pytest]\npython_files = nothing_*.py\n",
}
"""What lies in the folder of a person who makes mistakes; the last is not for us to read."""

REFUSED = {
    "no such module": (
        ["--subject", "nowhere:RNN"],
        "importing nowhere raised ModuleNotFoundError",
    ),
    "no such name": (
        ["--subject", f"{MISBEHAVING}:Wrong"],
        f"module {MISBEHAVING} has no 'Wrong'",
    ),
    "no colon": (["--subject", MISBEHAVING], f"expected MODULE:CALLABLE, got '{MISBEHAVING}'"),
    "not callable": (["--subject", f"{MISBEHAVING}:number"], f"{MISBEHAVING}:number, a int"),
    "no such cell": (["--cell", f"{MISBEHAVING}:Wrong"], "cell: module "),
    "raises at import": (
        ["--subject", "raises:RNN"],
        "raised ValueError: no such luck, and why: it was a Friday (raises.py:1)",
    ),
    "no Python": (["--subject", "broken:RNN"], "raised SyntaxError: invalid syntax (broken.py:2)"),
    "exits at import": (["--subject", "leaves:RNN"], "importing leaves raised SystemExit"),
    "unknown dtype": (["--dtype", "int8"], "invalid choice: 'int8'"),
    "unknown device": (["--device", "abacus"], "device 'abacus' is not available: RuntimeError"),
    "device not there": (["--device", "cuda:99"], "device 'cuda:99' is not available: "),
    "unknown profile": (["--profile", "endless"], "invalid choice: 'endless'"),
    "unknown capability": (["--without", "magic"], "invalid choice: 'magic'"),
    "unknown group": (["--group", "magic"], ", values, got 'magic'"),
    "unknown property": (
        ["--omit", "test_nothing"],
        "omit: expected the whole name of a property, got 'test_nothing'",
    ),
    "part of a name": (
        ["--omit", "every_step_obeys"],
        "omit: expected the whole name of a property, got 'every_step_obeys'",
    ),
    "seed no number": (["--seed", "one"], "invalid int value: 'one'"),
    "a tanh of no accuracy": (["--tanh", "0"], "expected a number of units above 0, got '0'"),
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


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_command_line_ends_in_status_2_and_one_sentence(
    verify_here: Here, name: str
) -> None:
    """No traceback, no table: the sentence says what is wrong."""
    for file, text in FILES.items():
        Path(file).write_text(text, encoding="utf-8")
    options, sentence = REFUSED[name]
    done = verify_here(*options)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stdout + done.stderr


BLAMED = {
    "BiasIgnored": "first at step 0, row 0, forward, unit 0: got ",
    "DirectionsSwapped": "row 0, forward, unit 0: got ",
    "OneTensor": "the result of the call: got a torch.Tensor, expected a tuple (output, h_n)",
    "Arrays": "output: got a numpy.ndarray, expected a tensor",
    "NoSuchArguments": "constructing the module raised TypeError",
    "OtherNames": "state_dict: expected torch.nn.RNN's names for this network, got others",
    "Exits": "the call raised SystemExit: 0",
    "Skips": "the call raised Skipped: not today",
    "NoGradient": "backward raised RuntimeError",
    "Unsteady": "not repeatable: identical runs give other results",
    "NaNs": "got nan, expected",
    "not_a_module": "calling the function for a module raised AttributeError",
}


@pytest.mark.parametrize("name", BLAMED)
def test_a_wrong_subject_ends_in_status_1_and_a_named_failure(verify_here: Here, name: str) -> None:
    """The failure names the property, says what is wrong, and how to replay it."""
    few = ["-k", "setup or every_step_obeys or gradients_are_within"]
    done = verify_here("--subject", f"{MISBEHAVING}:{name}", "--profile", "quick", "-x", *few)
    assert done.returncode == 1
    assert BLAMED[name] in " ".join(done.stdout.split())
    assert re.search(r"does not conform: \d causes? in ", done.stdout)
    assert f"   rnn-ref verify --subject {MISBEHAVING}:{name} -k test_" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(("mode", "status"), [("kept", 1), ("flushed", 0)])
def test_subnormals_are_kept_or_flushed_as_declared(
    verify_here: Here, mode: str, status: int
) -> None:
    """A module that takes them for zero conforms if that is declared, and not if it is not."""
    options = ["--subject", f"{MISBEHAVING}:Flushes", "--subnormals", mode]
    options += ["-k", "recurrence and single and not packed or subnormal_numbers"]
    done = verify_here(*options)
    assert done.returncode == status, done.stdout
    assert ("profile; --subnormals flushed" in done.stdout) == (mode == "flushed")


def test_a_right_subject_ends_in_status_0_and_a_table(
    verify_here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With -v each property has a row, and the last line is the verdict; no line is too long."""
    monkeypatch.setenv("COLUMNS", "80")
    some = ["-v", "-k", "setup or every_step_obeys or h_n_is"]
    options = ["--subject", f"{MISBEHAVING}:Right", *some]
    done = verify_here(*options)
    assert done.returncode == 0
    *lines, last = done.stdout.rstrip().splitlines()
    assert re.search(
        rf"^{MISBEHAVING}:Right, torch \S+, cpu, float32 float64 float16 bfloat16: conforms\."
        r" 6 properties, \d+ not judged, \d+ examples, worst error 0\.\d\d of its bound, \d+ s$",
        last,
    )
    rows = [line for line in lines if re.search(r" \d+ +[\d,]+ +[01]\.\d\d  holds$", line)]
    assert len(rows) == 6
    assert all(len(line) <= 80 for line in lines if not line.startswith("judging "))


TABLE = re.compile(r"^.*(?:holds|FAILS)$", re.MULTILINE)
"""The rows of what was judged."""


def test_a_run_repeats_from_its_seed(verify_here: Here) -> None:
    """The same seed gives the same examples, elements and ratios; the seed is printed."""
    first, second = (verify_here("-k", "h_n", "--seed", "77").stdout for _ in range(2))
    assert "--seed 77" in first
    assert TABLE.findall(first) == TABLE.findall(second) != []


def test_what_is_judged_does_not_depend_on_the_number_of_processes(
    tmp_path: Path, verify_here: Here
) -> None:
    """In two processes each property gets the examples that it gets in none of its own."""
    compared = []
    for judge in (verify_here, partial(verify, tmp_path, "-n", "2")):
        options = ["--subject", f"{MISBEHAVING}:Right", "-k", "every_step_obeys or permuted"]
        judge(*options, "--json", "found.json")
        rows = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["properties"]
        numbers = ("name", "examples", "elements", "open", "worst", "verdict")
        compared.append(sorted([row[name] for name in numbers] for row in rows))
    assert compared[0] == compared[1]
    assert len(compared[0]) == 5


def test_a_failure_replays_from_its_line(verify_here: Here) -> None:
    """The command that a failure prints leads to the same failure."""
    first = verify_here("--subject", f"{MISBEHAVING}:BiasIgnored", "-x").stdout
    replay = re.search(r"^   rnn-ref verify (.*)$", first, re.MULTILINE)
    assert replay
    again = verify_here(*shlex.split(replay[1]))
    assert again.returncode == 1
    place = re.search(r"first at .*$", first, re.MULTILINE)
    assert place
    assert place[0] in again.stdout


def test_json_says_what_the_table_says(verify_here: Here) -> None:
    """The file has verdict, environment, seed, and each property with its counts and failure."""
    subject = ["--subject", f"{MISBEHAVING}:DirectionsSwapped"]
    verify_here(*subject, "-k", "every_step_obeys", "--json", "found.json")
    found = json.loads(Path("found.json").read_text(encoding="utf-8"))
    assert found["conforms"] is False
    assert found["run"]["seed"] == 1
    assert {"torch", "numpy", "python", "platform", "threads"} <= found["environment"].keys()
    by_name = {row["name"]: row for row in found["properties"]}
    assert len(by_name) == 4
    failing = by_name["test_every_step_obeys_the_recurrence[bidirectional]"]
    assert (failing["verdict"], failing["group"]) == ("FAILS", "bounds")
    assert "replay: rnn-ref verify" in failing["message"]
    assert failing["failure"]["kind"] == "numbers over their bound"
    assert failing["failure"]["text"] == failing["message"]
    holding = by_name["test_every_step_obeys_the_recurrence[single]"]
    assert (holding["verdict"], holding["examples"]) == ("holds", 3)
    assert sum(holding["drawn"]["weights"].values()) == 3


def test_what_a_subject_lacks_is_shown_as_not_judged(verify_here: Here) -> None:
    """Without a capability, its properties are rows that say so, and the rest is judged."""
    options = ["--without", "bidirectional", "--without", "gradients", "--without", "relu"]
    done = verify_here(*options, "-v", "-k", "step or gradients")
    assert done.returncode == 0
    assert done.stdout.count("not judged") >= 10
    assert re.search(r"every step obeys the recurrence, deep +3 .* holds", done.stdout)


def test_groups_choose_what_is_judged(verify_here: Here) -> None:
    """With --group, its properties are judged and no others; it may be given more than once."""
    done = verify_here("-v", "--group", "process", "--group", "setup")
    assert done.returncode == 0
    assert "conforms. 7 properties, " in done.stdout
    assert re.search(r"^nothing is printed +3 .* holds$", done.stdout, re.MULTILINE)
    assert re.search(
        r"^batch_first is a transposition +- .* not judged$", done.stdout, re.MULTILINE
    )


def test_what_is_omitted_is_not_judged(verify_here: Here) -> None:
    """With --omit, a property is not judged in any structure, and the rest is."""
    omitted = [
        "--omit",
        "test_every_step_obeys_the_recurrence",
        "--omit",
        "test_nothing_is_printed",
    ]
    done = verify_here(*omitted, "-v", "-k", "obeys or printed")
    assert done.returncode == 0
    assert done.stdout.count("not judged") == 6
    assert re.search(r"conforms\. 2 properties, \d+ not judged, ", done.stdout)


def test_what_follows_two_dashes_is_pytests(verify_here: Here) -> None:
    """pytest takes the rest of the line."""
    done = verify_here("-k", "setup", "--", "--collect-only", "-qq")
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
    """With -x, in the default profile, a fault in every element costs little processor time."""
    before = time.process_time()
    done = verify_here("--subject", f"{MISBEHAVING}:{name}", "--profile", "default", "-x")
    assert re.search(r"does not conform: \d causes? in bounds", done.stdout)
    assert time.process_time() - before <= 10


def begun(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start `rnn-ref verify` in a folder, and come back when it has judged some properties.

    It begins with interrupts ignored, as what a script starts in the background does.
    """
    command = ["sh", "-c", 'trap "" INT; exec "$0" "$@"']
    command += [sys.executable, "-m", "rnn_ref", "verify", "--profile", "smoke", "-n", "1"]
    command += ["--group", "setup", "--group", "bounds", "--group", "laws"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*command, *options], cwd=folder, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout
    for line in process.stdout:
        if "properties" in line:
            break
    return process


@pytest.mark.parametrize(
    ("name", "number", "times", "status"),
    [
        ("Right", signal.SIGTERM, 1, 130),
        ("Right", signal.SIGTERM, 2, 130),
        ("DirectionsSwapped", signal.SIGINT, 1, 1),
    ],
)
def test_a_run_that_is_ended_prints_what_it_has(
    tmp_path: Path, name: str, number: signal.Signals, times: int, status: int
) -> None:
    """The causes so far, the groups and the closing line; a signal may come twice at once."""
    process = begun(tmp_path, "--subject", f"{MISBEHAVING}:{name}")
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.1)  # else the second is one with the first
    said, _ = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert re.search(r"^bounds +[1-9]", said, re.MULTILINE)
    verdict = "does not conform" if status == 1 else "not finished, nothing failed"
    *_, last = said.rstrip().splitlines()
    assert re.search(
        rf": (numbers of plain calls hold; )?{verdict}.*\d+ not judged \(.*interrupted\)", last
    )


@pytest.mark.parametrize("apart", [False, True])
def test_a_limit_ends_a_run_in_time(tmp_path: Path, verify_here: Here, *, apart: bool) -> None:
    """What was not judged by then says --limit; where nothing failed, the status is 2."""
    began = time.monotonic()
    limit = "5" if apart else "2"  # a process of its own takes time to begin
    options = ["--subject", f"{MISBEHAVING}:Right", "--profile", "thorough", "--limit", limit]
    options += ["--json", "found.json"]
    done = verify(tmp_path, *options, "-n", "1") if apart else verify_here(*options)
    assert time.monotonic() - began < 40
    assert done.returncode == 2, done.stdout
    *_, last = done.stdout.rstrip().splitlines()
    assert f", --limit {limit}: not finished, nothing failed. " in last
    assert re.search(rf"\d+ not judged \(.*--limit {limit}\)", last)
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["conforms"] is False
    cut = [row for row in found["properties"] if row["cut"]]
    assert cut
    assert {row["message"].partition(":")[0] for row in cut} == {f"--limit {limit}"}


def test_a_run_that_is_interrupted_while_it_closes_still_writes_its_files(
    tmp_path: Path, verify_here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--limit` interrupts a run that goes on, which may be about to close."""
    interrupt = lambda *_: signal.raise_signal(signal.SIGINT)  # noqa: E731
    monkeypatch.setattr("rnn_ref.running.reporting.write_job_summary", interrupt)
    done = verify_here("-k", "setup", "--json", "found.json")
    assert done.returncode == 0
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["conforms"]


def test_the_options_of_a_run_stand_in_its_first_and_last_line_and_in_replays(
    verify_here: Here,
) -> None:
    """What was left out, or judged by another model, is not forgotten with the command line."""
    words = "--cell torch.nn:RNNCell --subnormals flushed --without h_0 --limit 500"
    options = [*shlex.split(words), "--dtype", "float32", "-k", "every_step_obeys or setup"]
    done = verify_here("--subject", f"{MISBEHAVING}:BiasIgnored", *options)
    first, *_, last = done.stdout.strip().splitlines()
    assert f"on cpu, float32; smoke profile; {words}; --seed 1" in first
    assert f", cpu, float32, {words}: does not conform" in last
    replay = rf"verify --subject \S+ {words} --dtype float32 -k test_"
    assert re.search(replay, done.stdout), done.stdout


def test_what_k_leaves_out_is_counted_as_not_judged(verify_here: Here) -> None:
    """A run of one property does not look like one of all."""
    done = verify_here("-k", "test_nothing_is_printed")
    counts = re.search(r"conforms\. 1 property, (\d+) not judged, ", done.stdout)
    assert counts
    assert int(counts[1]) > 100
