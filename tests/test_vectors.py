"""Vectors for other languages: what is written, the commands, and a program in C."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.bridge import to_tensor
from rnn_ref.cases.corpus import read_corpus
from rnn_ref.vectors import folder, safetensors
from rnn_ref.vectors.sets import VARIED, cases_of
from tests.support.commands import Here
from tests.support.programs import (
    RIGHT,
    Written,
    write_results,
)
from tests.test_docs import PAGES, fences, masked

pytestmark = pytest.mark.xdist_group("vectors")

CC = shutil.which("cc") or ""


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
