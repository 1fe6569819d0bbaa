"""Vectors for other languages: the files say what is expected, and results are judged by them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.bridge import to_tensor
from rnn_ref.cases.corpus import read_corpus
from rnn_ref.vectors import folder, safetensors
from rnn_ref.vectors.judged import Judged, judge
from rnn_ref.vectors.sets import VARIED, cases_of
from rnn_ref.vectors.vector import Vector, caller_index, to_caller
from rnn_ref.vectors.verdict import Verdict, verdict
from tests.support.commands import Here
from tests.support.programs import Program, Results, program_of, summing, write_results
from tests.test_docs import PAGES, fences, masked

pytestmark = pytest.mark.xdist_group("vectors")

RIGHT = program_of(nn.RNN)
CC = shutil.which("cc") or ""


class Written(NamedTuple):
    """A folder of vectors, the vectors, and right results of each."""

    path: Path
    vectors: list[Vector]
    right: list[Results]

    def some(self, number: int) -> Written:
        """Take the first few vectors."""
        return Written(self.path, self.vectors[:number], self.right[:number])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The smallest set, in all dtypes."""
    path = tmp_path_factory.mktemp("vectors")
    folder.write(path, cases_of("smoke", tuple(ROUNDING), ()), {}, gradients=True, flushed=False)
    read = folder.read(path)
    vectors = list(read.vectors(read.entries))
    return Written(path, vectors, [RIGHT(vector) for vector in vectors])


def judged_of(vector: Vector, results: Results, path: Path) -> Judged:
    """Write results, and judge them."""
    write_results(path, vector, results)
    return judge(vector, path)


def verdict_of(
    written: Written, path: Path, change: Callable[[Vector, Results], Results] = lambda _, r: r
) -> Verdict:
    """Judge the right results of all vectors, changed."""
    pairs = zip(written.vectors, written.right, strict=True)
    return verdict([judged_of(v, change(v, dict(right)), path) for v, right in pairs])


def verdict_on(program: Program, written: Written, path: Path) -> Verdict:
    """Judge what a program computes."""
    return verdict([judged_of(vector, program(vector), path) for vector in written.vectors])


# What is written.


def test_sets_have_the_cases_that_are_told() -> None:
    """200 by default, the corpus as it is; the smallest is a part of the default of its size."""
    smoke, default = (set(cases_of(name, None, ())) for name in ("smoke", "default"))
    assert (len(smoke), len(default)) == (20, 200)
    assert smoke < default
    assert cases_of("corpus", None, ()) == list(read_corpus().cases)


@pytest.mark.parametrize("name", VARIED)
def test_the_smallest_set_has_all_there_is(name: str) -> None:
    """Every option, layout and regime of the default set is in the smallest one."""
    smoke, default = (
        {getattr(case, name) for case in cases_of(of, None, ())} for of in ("smoke", "default")
    )
    assert smoke == default


def test_what_a_program_lacks_is_left_out() -> None:
    """Options leave no case that needs what they exclude, and as many of the others."""
    cases = cases_of("default", ("float32",), ("relu", "deep", "unbatched"))
    assert len(cases) == 200
    assert {(c.nonlinearity, c.L, c.unbatched, c.dtype) for c in cases} == {
        ("tanh", 1, False, "float32")
    }


def test_the_same_options_write_the_same_files(written: Written, tmp_path: Path) -> None:
    """A second folder has the bytes of the first; so has the first, written again."""
    cases = [vector.case for vector in written.vectors]
    before = {each.name: each.read_bytes() for each in written.path.iterdir()}
    for path in (tmp_path / "new", written.path):
        folder.write(path, cases, {}, gradients=True, flushed=False)
        assert {each.name: each.read_bytes() for each in path.iterdir()} == before


def test_arrays_come_back_from_a_file_as_they_were(tmp_path: Path) -> None:
    """In every dtype, bfloat16 among them, with the shapes of scalars and of no elements."""
    numbers = np.array([[1.0, -0.0, np.inf], [-2.5, 2.0**-14, np.nan]])
    arrays = {
        f"{dtype} {i}": (dtype, array.astype(np.float32 if dtype == "bfloat16" else dtype))
        for dtype in ROUNDING
        for i, array in enumerate((numbers, numbers[0, 0], numbers[:0]))
    }
    safetensors.write(tmp_path / "file", arrays, {"a text": "é"})
    read, texts = safetensors.read(tmp_path / "file")
    assert texts == {"a text": "é"}
    for name, (dtype, array) in arrays.items():
        assert read[name][0] == dtype
        assert read[name][1].shape == array.shape
        np.testing.assert_array_equal(read[name][1], array)


def test_the_format_is_that_of_its_library(written: Written) -> None:
    """The library that defines the format reads the same numbers."""
    library = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    file = written.path / written.vectors[0].file
    arrays, _ = safetensors.read(file)
    for name, tensor in library.load_file(file).items():
        np.testing.assert_array_equal(tensor.double().numpy(), arrays[name][1])


def called_from(file: Path) -> tuple[nn.RNN, dict[str, torch.Tensor]]:
    """Make the module that a file describes, with its weights; and the file's other arrays."""
    arrays, texts = safetensors.read(file)
    tensors = {name: to_tensor(array, dtype) for name, (dtype, array) in arrays.items()}
    sizes = [int(texts[name]) for name in ("input_size", "hidden_size", "num_layers")]
    options: dict[str, bool] = {
        name: json.loads(texts[name]) for name in ("bias", "batch_first", "bidirectional")
    }
    dtype = tensors["input"].dtype
    rnn = nn.RNN(*sizes, nonlinearity=texts["nonlinearity"], dtype=dtype, **options)
    rnn.load_state_dict({name: tensors.pop(name) for name in rnn.state_dict()})
    return rnn, tensors


def test_a_caller_of_torch_finds_what_a_file_says(written: Written) -> None:
    """With the texts as options and the arrays as they are, by the rule that the page states."""
    for vector in written.vectors:
        rnn, tensors = called_from(written.path / vector.file)
        leaves = {n: tensors[n].requires_grad_() for n in ("input", "h_0") if n in tensors}
        got = dict(zip(("output", "h_n"), rnn(*leaves.values()), strict=True))
        begun = [name for name in got if f"grad.{name}" in tensors]
        upstream = [tensors[f"grad.{name}"] for name in begun]
        torch.autograd.backward([got[name] for name in begun], upstream)
        named = leaves | dict(rnn.named_parameters())
        got |= {
            f"grad.{n}": torch.zeros_like(t) if t.grad is None else t.grad for n, t in named.items()
        }
        assert {f"expected.{name}" for name in got} == {n for n in tensors if "expected" in n}
        for name, result in got.items():
            numbers, expected, bound = (
                t.detach().double()
                for t in (result, tensors[f"expected.{name}"], tensors[f"bound.{name}"])
            )
            within = ((numbers - expected).abs() <= bound) | (numbers == expected) | bound.isinf()
            assert (within | numbers.isnan() & expected.isnan()).all()


# What conforms.


def test_results_of_torch_conform(written: Written, tmp_path: Path) -> None:
    """In every dtype and layout, deep and in both directions; each case compares something."""
    found = verdict_of(written, tmp_path)
    assert found.conforms, found.lines("torch", 100)
    assert all(c.elements for each in found.judged for c in (*each.comparisons, *each.closer))


@pytest.mark.parametrize("order", ["reversed", "pairwise", "sorted"])
def test_results_of_other_orders_of_summation_conform(
    order: str, written: Written, tmp_path: Path
) -> None:
    """Sums in any order are within their bounds, end to end and step by step."""
    found = verdict_on(summing(order), written, tmp_path)
    assert found.conforms, found.lines(order, 100)


# What is found.


def off_by_twice(vector: Vector, results: Results, name: str) -> tuple[int, ...] | None:
    """Put one element off by twice its bound, that of the widest; None where all are exact."""
    bounded, array = vector.expected[name], results[name].copy()
    bound = np.where(np.isfinite(bounded.error), bounded.error, 0.0)
    at = tuple(map(int, np.unravel_index(int(bound.argmax()), bound.shape)))
    if not 0 < 2 * bound[at] < vector.problem.rounding.largest:
        return None
    away = 1 if bounded.value[at] > 0 else -1
    with np.errstate(over="ignore"):
        array[at] = bounded.value[at] + 2 * away * bound[at]
    if vector.case.dtype == "bfloat16":
        array = (array.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    results[name] = array
    return at


def test_one_element_off_by_twice_its_bound_is_found_and_alone(
    written: Written, tmp_path: Path
) -> None:
    """In each array of each case: it is named by array and index, and nothing else is."""
    tried = 0
    for vector, right in zip(written.vectors, written.right, strict=True):
        for name in right:
            results = dict(right)
            if (at := off_by_twice(vector, results, name)) is None:
                continue
            tried += 1
            (wrong,) = judged_of(vector, results, tmp_path).over
            assert (wrong.over, wrong.note) == (1, "")
            assert wrong.first
            assert wrong.first.got == results[name][at]
            index = tuple(caller_index(wrong.first, vector.problem))
            seen = to_caller(name, results[name], vector.problem.layout)
            assert seen[index] == wrong.first.got
    assert tried > 100


def test_a_single_wrong_element_is_told_with_its_place(written: Written, tmp_path: Path) -> None:
    """Its file, array and index, and its step, row, direction and unit, in one cause."""
    deep = next(v for v in written.vectors if v.case.L > 1 and v.case.D == 2 and v.case.h_0)

    def change(vector: Vector, results: Results) -> Results:
        if vector is deep:
            results["h_n"][0, 0, 0] += 1
        return results

    found = verdict_of(written, tmp_path, change)
    (cause,) = found.causes
    assert cause.sentence == "h_n is wrong"
    assert f"in 1 of 20 cases, as in {deep.file}: h_n[0, 0" in cause.evidence[0]
    assert cause.evidence[1].startswith("first at layer 0, forward, row 0, unit 0: got ")
    assert cause.case == str(deep.case)
    assert [each.vector for each in found.judged if not each.conforms] == [deep]


def test_an_error_within_a_wide_bound_is_found_by_its_step(
    written: Written, tmp_path: Path
) -> None:
    """After many steps the bound is wide; the step from the states before is still sharp."""
    vector = max(
        (each for each in written.vectors if each.case.dtype == "float32"),
        key=lambda each: (each.case.weights == "torch", each.case.T),
    )
    results = RIGHT(vector)
    results["output"][-1, 0, 0] += 0.4 * vector.expected["output"].error[-1, 0, 0]
    judged = judged_of(vector, results, tmp_path)
    assert not any(each.over for each in judged.comparisons)
    (wrong, *_) = judged.over
    assert wrong.note == "from the states in output"
    assert wrong.first
    assert wrong.first.index == (vector.case.T - 1, 0, 0, 0)


def forgetful(_: Vector, results: Results) -> Results:
    return {name: array for name, array in results.items() if name != "h_n"}


def misnamed(_: Vector, results: Results) -> Results:
    return {name.replace("h_n", "last"): array for name, array in results.items()}


def flattened(_: Vector, results: Results) -> Results:
    name = "grad.weight_ih_l0"
    return {**results, name: results[name].ravel()}


def nan(_: Vector, results: Results) -> Results:
    return {**results, "output": np.full_like(results["output"], np.nan)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (forgetful, r"h_n: got no such array, expected an array of results"),
        (misnamed, r"h_n: got no such array \(but last\), expected an array of results"),
        (flattened, r"shape of grad\.weight_ih_l0: got \[\d+\], expected \[\d+, \d+\]"),
        (nan, r"output of layer \d is NaN"),
    ],
)
def test_a_wrong_form_is_told_in_one_sentence(
    change: Callable[[Vector, Results], Results], sentence: str, written: Written, tmp_path: Path
) -> None:
    """What is missing, misnamed, misshaped or NaN is one cause, of all cases that it is in."""
    (cause,) = verdict_of(written.some(4), tmp_path, change).causes
    assert re.fullmatch(sentence, cause.sentence)
    assert cause.evidence[0].startswith("in 4 of 4 cases, as in 0")


def test_another_dtype_is_told(written: Written, tmp_path: Path) -> None:
    """A result of another dtype than its case's is not compared."""
    vector = next(each for each in written.vectors if each.case.dtype == "float32")
    arrays = {n: ("float32", a) for n, a in RIGHT(vector).items()}
    arrays["h_n"] = "float64", arrays["h_n"][1].astype(np.float64)
    layout = vector.problem.layout
    shown = {name: (dtype, to_caller(name, a, layout)) for name, (dtype, a) in arrays.items()}
    safetensors.write(tmp_path / vector.file, shown, {})
    (fact,) = judge(vector, tmp_path).facts
    assert (fact.what, fact.got, fact.expected) == ("dtype of h_n", "F64", "F32")


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (None, "no such file"),
        (b"", "a file that has 0 bytes, too few for a header and its length"),
        (b"\xff" * 20, "a file that has 20 bytes, too few for a header and its length"),
        (b"\2" + bytes(7) + b"{]", "a file that has a header that is not that of safetensors"),
    ],
)
def test_an_unreadable_file_is_told_in_one_sentence(
    content: bytes | None, got: str, written: Written, tmp_path: Path
) -> None:
    """A file that is not there, cut short, or of another format."""
    vector = written.vectors[3]
    if content is not None:
        (tmp_path / vector.file).write_bytes(content)
    (fact,) = judge(vector, tmp_path).facts
    assert str(fact.got) == got


def test_numbers_that_lie_beyond_the_end_are_told(written: Written, tmp_path: Path) -> None:
    """A file that lost its last bytes is no file of results."""
    vector, file = written.vectors[0], tmp_path / written.vectors[0].file
    write_results(tmp_path, vector, written.right[0])
    file.write_bytes(file.read_bytes()[:-1])
    (fact,) = judge(vector, tmp_path).facts
    assert "a file that has grad." in fact.got
    assert "needs" in fact.got


# Causes.


class LosesState(nn.RNN):
    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: ARG002
        return super().forward(input)


class WithOtherWeights(nn.RNN):
    """Computes with changed parameters, and has their gradients."""

    def changed(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.__dict__.get("inside"):
            return super().forward(input, hx)
        weights = {name: self.changed(name, p) for name, p in self.named_parameters()}
        self.__dict__["inside"] = True
        try:
            return torch.func.functional_call(self, weights, (input, hx))
        finally:
            self.__dict__["inside"] = False


class DoublesBiases(WithOtherWeights):
    def changed(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        return 2 * tensor if name.startswith("bias") else tensor


class TransposesStates(WithOtherWeights):
    def changed(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.mT if name.startswith("weight_hh") else tensor


class HalvesAGradient(nn.RNN):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        for name, parameter in self.named_parameters():
            if name.startswith("weight_hh") and parameter.requires_grad:
                parameter.register_hook(lambda gradient: gradient / 2)  # type: ignore[no-untyped-call]
        return output, h_n


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        (LosesState, "h_0 is ignored: all runs start from zero"),
        (DoublesBiases, "both biases are added twice"),
        (TransposesStates, "weight_hh is used transposed"),
        (HalvesAGradient, "the gradient of weight_hh is halved"),
    ],
)
def test_a_wrong_program_has_one_cause(
    factory: Callable[..., nn.Module], sentence: str, written: Written, tmp_path: Path
) -> None:
    """The right hypothesis explains results, and gradients that follow from them."""
    found = verdict_on(program_of(factory), written, tmp_path)
    assert [cause.sentence for cause in found.causes] == [sentence], found.lines("it", 100)
    assert "explains" in found.causes[0].evidence[1]


# The commands.


def test_commands_write_judge_and_say_the_verdict(here: Here, tmp_path: Path) -> None:
    """Status 0 and 1, with what was judged; and the same in the JSON file."""
    options = ("--dtype", "float32", "--without", "deep", "--without", "gradients")
    assert here("vectors", "vectors", "--set", "smoke", *options).returncode == 0
    read = folder.read(tmp_path / "vectors")
    for vector in read.vectors(read.entries):
        results = RIGHT(vector)
        write_results(tmp_path / "right", vector, results)
        write_results(tmp_path / "wrong", vector, {**results, "h_n": -results["h_n"]})
    right = here("judge", "vectors", "right")
    assert (right.returncode, right.stdout.startswith("right: conforms. 20 cases, ")) == (0, True)
    wrong = here("judge", "vectors", "wrong", "--json", "verdict.json")
    assert wrong.returncode == 1
    assert wrong.stdout.startswith("1. h_n is negated\n")
    told = json.loads((tmp_path / "verdict.json").read_text(encoding="utf-8"))
    assert not told["conforms"]
    assert told["summary"] == wrong.stdout.splitlines()[-1]
    assert [cause["sentence"] for cause in told["causes"]] == ["h_n is negated"]
    assert len(told["cases"]) == 20


def test_what_is_left_out_is_not_judged(here: Here, written: Written, tmp_path: Path) -> None:
    """Gradients that a program lacks are nothing missing, nor are cases that it can't do."""
    judged = 0
    for vector, right in zip(written.vectors, written.right, strict=True):
        if vector.case.dtype == "float32" and vector.case.L == 1:
            judged += 1
            results = {n: a for n, a in right.items() if not n.startswith("grad.")}
            write_results(tmp_path / "results", vector, results)
    options = ("--dtype", "float32", "--without", "deep", "--without", "gradients")
    done = here("judge", str(written.path), "results", *options)
    assert done.returncode == 0
    assert f"{judged} cases" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("judge", "none", "none"), "manifest.json can't be read: No such file or directory"),
        (("judge", "{vectors}", "none"), "nothing was judged: none has no 000.safetensors"),
        (("vectors", "."), "is not empty, and has no vectors: choose another folder"),
        (("vectors", "v", "--without", "tanh", "--without", "relu"), "the options leave no case"),
    ],
)
def test_what_can_t_be_done_is_said_in_one_line(
    words: tuple[str, ...], message: str, here: Here, written: Written, tmp_path: Path
) -> None:
    """Status 2, and one line on standard error."""
    (tmp_path / "a file").touch()
    done = here(*(word.format(vectors=written.path) for word in words))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "manifest",
    [
        "{",
        '{"rnn_ref": "record"}',
        '{"rnn_ref": "vectors", "schema": 0}',
        '{"rnn_ref": "vectors", "schema": 1, "cases": [{"case": "tanh"}]}',
    ],
)
def test_another_manifest_is_refused(manifest: str, here: Here, tmp_path: Path) -> None:
    """Status 2, and one line that names the file."""
    (tmp_path / "manifest.json").write_text(manifest, encoding="utf-8")
    done = here("judge", ".", ".")
    assert done.returncode == 2
    assert done.stderr.startswith("rnn-ref: manifest.json ")


def test_vectors_that_were_changed_are_refused(
    written: Written, here: Here, tmp_path: Path
) -> None:
    """What a program is given must be what the case says, or the verdict means nothing."""
    copied = tmp_path / "vectors"
    shutil.copytree(written.path, copied)
    file = copied / written.vectors[0].file
    file.write_bytes(file.read_bytes()[:-1] + b"\x11")
    write_results(tmp_path / "results", written.vectors[0], written.right[0])
    done = here("judge", "vectors", "results")
    assert done.returncode == 2
    assert "is not as it was written" in done.stderr


# The page.


@pytest.mark.skipif(not CC, reason="no C compiler: cc is not on the PATH")
def test_the_program_of_the_page_conforms_and_a_fault_in_it_is_named(
    here: Here, tmp_path: Path
) -> None:
    """The page's C compiles without a warning, its results conform as shown; h_0 left out shows."""
    ((_, program),) = fences("vectors.md", "c")
    ((_, shell),) = fences("vectors.md", "sh")
    (command,) = re.findall(r"^\$ rnn-ref (vectors .*)$", PAGES["vectors.md"], re.MULTILINE)
    assert here(*command.split()).returncode == 0
    faulty = program.replace("h_0 ? h_0 + row * H : NULL", "NULL")
    assert faulty != program
    printed: list[str] = []
    for name, source in (("results", program), ("faulty", faulty)):
        (tmp_path / f"{name}.c").write_text(source, encoding="utf-8")
        (tmp_path / name).mkdir()
        options = ("-std=c99", "-O2", "-Wall", *(() if printed else ("-Werror",)))
        subprocess.run([CC, *options, f"{name}.c", "-o", f"{name}.run", "-lm"], check=True)
        subprocess.run([tmp_path / f"{name}.run", "vectors", name], check=True)
        printed.append(here("judge", "vectors", name).stdout)
    shown = re.findall(r"^# (.*)$", shell, re.MULTILINE)
    assert masked(printed[0]) == masked("\n".join(shown))
    (sentence,) = re.findall(r"such as `(.*?)`", PAGES["vectors.md"])
    assert printed[1].startswith(f"1. {sentence}\n")
