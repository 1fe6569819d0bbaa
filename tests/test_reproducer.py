"""Reproducers: stand-alone programs that fail on a subject's fault, and pass on torch."""

from __future__ import annotations

import ast
import runpy
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

from rnn_ref.cases.case import LAYOUTS, Case
from rnn_ref.diagnosis.literals import decimal, upwards
from rnn_ref.diagnosis.reproducer import file_name, reproducer, shown
from rnn_ref.judging.failures import Failure
from rnn_ref.judging.loading import load
from rnn_ref.judging.subject import Subject
from tests.subjects import misbehaving
from tests.support.commands import run
from tests.support.judging import failure_of

PLANTED = """
from torch import nn


class OutputScaled(nn.RNN):
    def forward(self, input, hx=None):
        output, h_n = super().forward(input, hx)
        return (output * 1.01 if hx is not None else output), h_n


class Gradients:
    class Doubled(nn.RNN):
        def forward(self, input, hx=None):
            output, h_n = super().forward(input, hx)
            return output + (output - output.detach()), h_n


class RaisesForTwo(nn.RNN):
    def forward(self, input, hx=None):
        if self.bidirectional:
            raise ValueError("not two")
        return super().forward(input, hx)


class StateFlattened(nn.RNN):
    def forward(self, input, hx=None):
        output, h_n = super().forward(input, hx)
        return output, (h_n.flatten() if self.num_layers > 1 else h_n)
"""
STEP = "every_step_obeys_the_recurrence"


class Fault(NamedTuple):
    """The property that a planted subject fails, and what its program says."""

    by: str
    says: str


FAULTS = {
    "OutputScaled": Fault(STEP, "result output[0, 0, 0]: got "),
    "Gradients.Doubled": Fault("gradients_are_within_their_bounds", "gradient of weight_ih_l0"),
    "RaisesForTwo": Fault(STEP, "ValueError: not two"),
    "StateFlattened": Fault(STEP, "result h_n: got (torch.Size([2]), "),
}
EACH_FAULT = pytest.mark.parametrize("name", FAULTS)
SIMPLEST = Case.parse("tanh L1 D1 bias T1 N1 I1 H1 float32 weights=torch input=normal seed=0")

ON_TORCH = """
import runpy, sys
files, sys.argv = sys.argv[1:], ["", "torch.nn:RNN"]
for file in files:
    runpy.run_path(file)
"""


class Written(NamedTuple):
    """The program of a planted fault, and what it was made from."""

    subject: Subject
    failure: Failure
    gradients: list[str]
    file: Path

    @property
    def case(self) -> Case:
        return Case.parse(self.failure.case)

    @property
    def text(self) -> str:
        return self.file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Written]]:
    """The program of every planted fault, for the case to which its failure was shrunk."""
    folder = tmp_path_factory.mktemp("reproducers")
    (folder / "planted_rnns.py").write_text(PLANTED, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield {name: write(folder, n, name) for n, name in enumerate(FAULTS)}
        sys.modules.pop("planted_rnns")


def write(folder: Path, number: int, name: str) -> Written:
    """Write the program of a planted fault to a folder."""
    by = FAULTS[name].by
    subject = load(f"planted_rnns:{name}")
    failure = failure_of(subject, by, 20)
    assert failure is not None
    gradients = shown(subject, Case.parse(failure.case)) or []
    text = reproducer(
        subject.name,
        Case.parse(failure.case),
        sentence=str(failure).partition("\ncase")[0],
        replay=failure.replay,
        gradients=gradients,
    )
    file = folder / file_name(number, failure.property)
    file.write_text(text, encoding="utf-8")
    return Written(subject, failure, gradients, file)


def run_here(text: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a program in this process; it raises SystemExit if a number is over its bound."""
    file.write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [str(file)])
    runpy.run_path(str(file))


# Programs of planted faults.


@EACH_FAULT
def test_a_program_fails_on_its_fault(written: dict[str, Written], name: str) -> None:
    """In a clean process the program of a fault ends with status 1, and says what is wrong."""
    file = written[name].file
    done = run(file.parent, sys.executable, file.name, PYTHONPATH="")
    assert (done.returncode, FAULTS[name].says in done.stdout + done.stderr) == (1, True)


def test_every_program_passes_on_torch(written: dict[str, Written]) -> None:
    """In a clean process the programs find torch.nn.RNN, named as their argument, right."""
    files = [each.file for each in written.values()]
    command = [sys.executable, "-c", ON_TORCH, *(file.name for file in files)]
    done = run(files[0].parent, *command, PYTHONPATH="")
    assert done.stdout == "within the bounds\n" * len(files), done.stderr


@EACH_FAULT
def test_a_shrunk_case_takes_60_lines_of_100_characters(
    written: dict[str, Written], name: str
) -> None:
    """The program of a shrunk case fits on a page."""
    lines = written[name].text.splitlines()
    assert (len(lines) <= 60, max(map(len, lines)) <= 100) == (True, True)


@EACH_FAULT
def test_a_program_needs_torch_and_its_subject_only(written: dict[str, Written], name: str) -> None:
    """A program imports torch, two modules of Python's own, and its subject."""
    imported = set()
    for node in ast.walk(ast.parse(written[name].text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    assert imported == {"importlib", "sys", "torch", "planted_rnns"}


@EACH_FAULT
def test_a_fault_of_the_plain_call_reproduces(written: dict[str, Written], name: str) -> None:
    """The comparison in this process finds the fault that the program shows."""
    subject, case = written[name].subject, written[name].case
    assert shown(subject, case) == written[name].gradients


def test_a_fault_of_gradients_names_those_that_are_wrong(written: dict[str, Written]) -> None:
    """A program goes backward only where the results are right."""
    assert "weight_ih_l0" in written["Gradients.Doubled"].gradients
    assert written["OutputScaled"].gradients == []


# Programs on torch, in this process.


@pytest.mark.parametrize(
    "line",
    [
        *(f"tanh L1 D1 bias T2 N1 I3 H2 float64 {layout} seed=1" for layout in LAYOUTS),
        "relu L2 D2 T3 N2 I2 H3 float32 batch_first h_0 seed=2",
        "tanh L1 D2 bias T2 N2 I1 H2 bfloat16 h_0 seed=3",
        "tanh L2 D1 bias T2 N2 I1 H2 float16 loss=output seed=4",
        "relu L1 D1 bias T2 N1 I1 H2 float64 unbatched h_0 loss=h_n seed=5",
    ],
)
def test_programs_pass_on_torch_whatever_the_case(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values, bounds and gradients of a program are torch's in every layout and dtype."""
    words = line.replace("steps ", "") + " weights=torch input=normal"
    names = ["input", "weight_hh_l0", "bias_ih_l0" if " bias " in words else "weight_ih_l0"]
    for gradients in ((), names):
        text = reproducer("torch.nn:RNN", Case.parse(words), gradients=gradients)
        run_here(text, tmp_path / "on_torch.py", monkeypatch)


@pytest.mark.parametrize("network", ["L2 D2 bias T2", "L4 D2 bias T3", "L3 D1 bias T5", "L1 D1 T3"])
@pytest.mark.parametrize("wrong", [(), ("weight_hh", "bias_ih", "input", "h_0", "weight_ih")])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_a_small_case_of_any_structure_takes_60_lines(
    network: str, dtype: str, wrong: tuple[str, ...]
) -> None:
    """A program fits on a page if all sizes are 1, whatever the structure of the network."""
    line = f"tanh {network} N1 I1 H1 {dtype} weights=torch input=normal h_0 seed=0"
    replay = f"rnn-ref verify --subject mylib:RNN -k test_{STEP} --case '{line}'"
    case = Case.parse(line)
    gradients = [name for name in (*case.problem().parameters, "input", "h_0")
                 if wrong and name.startswith(wrong)]  # fmt: skip
    text = reproducer("mylib:RNN", case, replay=replay, gradients=gradients)
    assert text.count("\n") <= 60


@pytest.mark.parametrize("gradients", [(), ("weight_ih_l2_reverse", "input")])
def test_no_line_has_more_than_100_characters(gradients: tuple[str, ...]) -> None:
    """Many options, many numbers and long comments are broken into lines."""
    line = "relu L3 D2 T3 N3 I3 H3 float64 batch_first weights=torch input=normal h_0 seed=0"
    text = reproducer(
        "mylib:RNN",
        Case.parse(line),
        sentence="far off " * 20,
        replay="x" * 150,
        gradients=gradients,
        device="cuda",
    )
    assert max(map(len, text.splitlines())) <= 100


def test_infinite_bounds_leave_elements_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sum that may overflow has an infinite bound, which anything is within."""
    case = Case.parse("relu L3 D1 bias T9 N1 I3 H3 float16 weights=saturating input=large seed=0")
    text = reproducer("torch.nn:RNN", case)
    assert 'inf = float("inf")' in text
    run_here(text, tmp_path / "open.py", monkeypatch)


def test_a_program_flushes_as_its_rounding_model() -> None:
    """The bounds follow the rounding model that the program is made with."""
    rounding = Subject("torch.nn:RNN", nn.RNN, flushes=True).rounding("float32")
    case = Case.parse("relu L1 D1 T1 N1 I1 H1 float32 weights=torch input=subnormal seed=0")
    assert reproducer("torch.nn:RNN", case) != reproducer("torch.nn:RNN", case, rounding)


@cache
def header() -> str:
    return reproducer("torch.nn:RNN", SIMPLEST, sentence="h_n is off\n  by 1", replay="rnn-ref x")


@pytest.mark.parametrize(
    "line",
    [
        "# h_n is off",
        "#   by 1",
        "# replay: rnn-ref x",
        f"# made with torch {torch.__version__}",
    ],
)
def test_a_program_says_where_it_comes_from(line: str) -> None:
    """A program begins with what is wrong, its case, the command that replays it, and torch's."""
    assert line in header().splitlines()[:4]


def test_a_program_names_its_device() -> None:
    """The tensors and the module of a program are on the device that it is made for."""
    text = reproducer("torch.nn:RNN", SIMPLEST, device="cuda")
    assert (text.count('device="cuda"'), bool(ast.parse(text))) == (2, True)


# The parts.


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("x", [0.0, 1.0, -1.5, 16.0, 0.1, 1 / 3, 2.0**-14, 2.0**-20, 60000.0])
def test_numbers_are_exact_when_rounded_to_their_dtype(x: float, dtype: str) -> None:
    """A number is read back to the bit, and -0 too."""
    tensor = torch.tensor([x, -x], dtype=getattr(torch, dtype))
    texts = [decimal(each, dtype) for each in tensor.tolist()]
    again = torch.tensor(ast.literal_eval(f"[{', '.join(texts)}]"), dtype=tensor.dtype)
    assert torch.equal(again, tensor)
    assert torch.equal(again.signbit(), tensor.signbit())


@pytest.mark.parametrize("bound", [1.0, 1.23456e-7, 9.99999e-300, 5e-324, 0.0, 2.0])
def test_bounds_are_never_rounded_down(bound: float) -> None:
    """A bound of a few digits is at most a thousandth larger."""
    assert bound <= float(upwards(bound)) <= max(1.001 * bound, 5e-324)


def test_a_number_takes_no_more_digits_than_its_dtype_has() -> None:
    """A number of a narrow dtype takes fewer characters."""
    assert decimal(0.1, "float64") == "0.1"
    assert decimal(float(torch.tensor(1 / 3)), "float32") == "0.33333334"


@pytest.mark.parametrize("name", ["RNN", "mylib:", ":RNN", "my-lib:RNN", "mylib:class", "a:b c"])
def test_a_subject_that_no_program_can_name_is_refused(name: str) -> None:
    """A name that is not MODULE:ATTRIBUTE, of identifiers, raises a ValueError that shows it."""
    with pytest.raises(ValueError, match=f"expected MODULE:ATTRIBUTE, got '{name}'"):
        reproducer(name, SIMPLEST)


@pytest.mark.parametrize("subject", [nn.RNN, misbehaving.OneBitInASecondCall])
def test_a_fault_beyond_the_plain_call_does_not_reproduce(subject: type[nn.RNN]) -> None:
    """A subject that is right in a first call, within the bounds, has no program."""
    assert shown(Subject("", subject), SIMPLEST) is None


def test_a_file_is_named_by_number_and_property() -> None:
    """Files sort by number, and say which property failed."""
    assert file_name(1, f"test_{STEP}") == file_name(1, STEP) == f"01_{STEP}.py"
