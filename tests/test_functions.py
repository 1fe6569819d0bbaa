"""Functions of arrays as subjects: judged by the same properties, for what they declare."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import rnn_ref
from rnn_ref.bridge import parameters_of, set_parameters, to_array
from rnn_ref.cases.case import Case
from rnn_ref.container import container
from rnn_ref.diagnosis.probes import lacking
from rnn_ref.diagnosis.reproducer import reproducer, shown
from rnn_ref.judging.failures import CannotLoad
from rnn_ref.judging.loading import load
from rnn_ref.judging.subject import Subject
from rnn_ref.recording.measure import describe_subject, measure_case
from rnn_ref.running.options import DTYPES
from tests.subjects import functions
from tests.support.commands import Here, run
from tests.support.judging import PROPERTIES, failure_of, outcomes, sharing_answers

FUNCTIONS = "tests.subjects.functions"
JUDGED = [name for name, declared in PROPERTIES.items() if not declared.baseline]
LINE = "tanh L1 D1 bias T3 N2 I2 H3 float32 weights=torch input=normal h_0 seed=4"


def subject_of(function: rnn_ref.Function) -> Subject:
    return Subject("tests:function", container(function), function=function)


def reasons(subject: Subject, name: str) -> set[str]:
    return {outcome.not_judged for outcome in outcomes(subject, name, examples=1)}


@pytest.mark.parametrize("name", JUDGED)
def test_a_correct_function_conforms(name: str) -> None:
    """No property blames a right function, and each compares something or says why not."""
    with sharing_answers():
        for function in (functions.forward_only, functions.able):
            for outcome in outcomes(subject_of(function), name, examples=3, dtypes=DTYPES):
                assert outcome.failure is None, str(outcome.failure)
                assert bool(outcome.not_judged) != (outcome.elements > outcome.open)


def test_a_function_that_can_all_is_asked_all_but_what_is_a_modules() -> None:
    """Refusals, packed sequences, dropout and gradients are judged where they are declared."""
    subject = subject_of(functions.able)
    asked = {name for name in JUDGED if reasons(subject, name) == {""}}
    groups = {PROPERTIES[name].group for name in asked}
    assert groups >= {"bounds", "gradients", "packed", "dropout", "errors", "memory", "process"}
    assert not groups & {"state", "calling", "histories", "cell", "packing"}
    assert list(lacking(subject, ("float32", "float64"), subject.lacks, lambda _: None)) == []


@pytest.mark.parametrize("wrong", functions.WRONG)
def test_a_wrong_function_is_found_and_named(wrong: str) -> None:
    """Each planted fault of a function is found by the property named, with a replay."""
    function, name = functions.WRONG[wrong]
    failure = failure_of(subject_of(function), name, 40)
    assert failure is not None
    assert failure.replay.startswith("rnn-ref verify --subject tests:function -k test_")
    assert failure.raised is None or failure.raised.place


def test_the_printed_command_judges_a_wrong_function_again(verify_here: Here) -> None:
    """First line, diagnosis, replay and last line name the function, and the replay fails too."""
    few = ["--dtype", "float32", "-k", "every_step_obeys and single"]
    done = verify_here("--subject", f"{FUNCTIONS}:forgetful", *few)
    assert done.stdout.startswith(f"judging {FUNCTIONS}:forgetful on cpu, float32; ")
    assert "1. {bias_hh} is left out" in done.stdout or "bias_hh" in done.stdout
    found = re.search(r"^ +(rnn-ref verify .*)$", done.stdout, re.MULTILINE)
    assert found
    again = verify_here(*shlex.split(found[1])[2:])
    assert (done.returncode, again.returncode) == (1, 1)
    assert "does not conform: 1 cause in bounds" in again.stdout


def test_a_function_without_a_vjp_is_judged_forward_only() -> None:
    """Its gradients are not judged, which is said, and nothing need be declared for it."""
    subject = load(f"{FUNCTIONS}:forward_only")
    assert reasons(subject, "gradients_are_within_their_bounds") >= {"a function without a vjp"}
    assert reasons(subject, "whole_gradients_come_out_exactly") == {"a function without a vjp"}
    assert reasons(subject, "whole_numbers_come_out_exactly") == {""}
    assert not subject.run(subject.problem(Case.parse(LINE))).gradients


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("reverse_direction_equals_forward_on_flipped_input", "the function lacks bidirectional"),
        ("a_stack_equals_its_layers_composed", "the function lacks deep"),
        ("packed_sequences_are_each_run_alone", "a function that is not marked with packed=True"),
        ("dropout_in_one_layer_warns_and_does_nothing",
         "a function that is not marked with dropout=True"),
        ("an_input_that_nearly_fits_is_refused", "a function that is not marked with refuses=True"),
        ("state_dict_is_strict", "a function: it is no module"),
        ("nonsense_is_not_constructed", "a function: it is no module"),
        ("options_by_position_equal_options_by_name", "a function: it is no module"),
    ],
)  # fmt: skip
def test_what_a_function_cannot_is_not_judged(name: str, why: str) -> None:
    """What it lacks, and what is a module's, is shown with its own reason."""
    assert reasons(subject_of(functions.forward_only), name) == {why}


def test_what_is_not_asked_of_a_function_is_printed_by_reason(verify_here: Here) -> None:
    """Below the table stands, for each reason, how many properties were not judged."""
    names = ["-k", "setup or whole_ or hooks or repr"]
    done = verify_here("--subject", f"{FUNCTIONS}:forward_only", *names)
    assert done.returncode == 0
    told = re.findall(r"^not judged: (.*)$", done.stdout, re.MULTILINE)
    assert told == [
        "2 properties: a function: it is no module",
        "2 properties: a function without a vjp",
    ]
    assert "not judged: " not in verify_here(*names, "--without", "gradients").stdout


def test_a_capability_that_a_function_lacks_undeclared_is_found() -> None:
    """The probes ask a function what they ask a module."""
    subject = subject_of(functions.undeclared)
    asked = lacking(subject, ("float32", "float64"), subject.lacks, lambda _: None)
    assert [name for name, _ in asked] == ["deep", "bidirectional"]


def test_the_dtypes_of_a_function_are_the_ones_judged(verify_here: Here) -> None:
    """By default its own are judged, and printed; another one that is named is refused."""
    options = ["--subject", f"{FUNCTIONS}:single", "-k", "setup"]
    done = verify_here(*options)
    assert done.stdout.startswith(f"judging {FUNCTIONS}:single on cpu, float32; ")
    assert f"\n{FUNCTIONS}:single, torch {torch.__version__}, cpu, float32: conforms" in done.stdout
    refused = verify_here(*options, "--dtype", "float64")
    assert refused.returncode == 2
    assert "dtype: expected one of the function's, float32, got float64" in refused.stderr


def test_an_unmarked_function_is_told_how_to_be_marked(verify_here: Here) -> None:
    """The set-up fails, once, and the hint is the mark."""
    done = verify_here("--subject", f"{FUNCTIONS}:unmarked", "-k", "setup")
    assert done.returncode == 1
    assert "1. calling the function for a module raised TypeError: plain() " in done.stdout
    assert "one that computes on arrays is marked by @rnn_ref.function()" in done.stdout


def test_a_function_is_judged_on_the_cpu_alone() -> None:
    """Another device is refused in one sentence, before any property."""
    with pytest.raises(CannotLoad, match="device: a function computes on the cpu, got 'meta'"):
        load(f"{FUNCTIONS}:forward_only", "meta")


@pytest.mark.parametrize(
    ("marks", "error", "says"),
    [
        ({"dtypes": ("bfloat16",)}, ValueError, "dtypes: expected some of float32, float64, got"),
        ({"lacks": ("magic",)}, ValueError, "lacks: expected some of .*, got 'magic'"),
        ({"lacks": "deep"}, TypeError, "lacks: expected a tuple of names, got 'deep'"),
    ],
)
def test_a_mark_that_says_nothing_is_refused(
    marks: dict[str, Any], error: type[Exception], says: str
) -> None:
    """Unknown dtypes and capabilities raise when the function is marked."""
    with pytest.raises(error, match=says):
        rnn_ref.function(**marks)(functions.plain)


def test_a_marked_function_is_still_the_function() -> None:
    """It is called as before, and a vjp may be given to it later."""
    marked = rnn_ref.function()(functions.whole)
    x, p = np.ones((2, 1, 3)), parameters_of(nn.RNN(3, 4).double())
    assert np.array_equal(marked(x, None, p, nonlinearity="tanh")[0], rnn_ref.rnn(x, p)[0])
    assert "gradients" in marked.not_judged
    marked.vjp = functions.vjp
    assert "gradients" not in marked.not_judged


# The container.


def modules(**options: Any) -> tuple[nn.RNN, nn.RNN]:
    """Make torch's module in float64, and a container with its weights."""
    right = nn.RNN(3, 4, **options).double()
    made = container(functions.able)(3, 4, **options).double()
    set_parameters(made, parameters_of(right))
    return right, made


def test_a_container_is_an_rnn_to_look_at() -> None:
    """A function in a container trains as torch's own module does."""
    x, gradients = torch.randn(5, 2, 3, dtype=torch.float64), []
    for module in modules(num_layers=2, bidirectional=True):
        output, h_n = module(x)
        (output.square().sum() + h_n.sum()).backward()
        gradients.append(
            {name: to_array(p.grad) for name, p in module.named_parameters() if p.grad is not None}
        )
    right, made = gradients
    assert len(made) == 16
    for name, gradient in right.items():
        assert np.allclose(made[name], gradient), name


def test_gradients_that_share_memory_are_kept_apart() -> None:
    """A vjp may return one array for both biases: added up, neither counts twice."""
    _, made = modules()
    x, gradients = torch.ones(2, 1, 3, dtype=torch.float64), []
    for _ in range(2):
        made(x)[0].sum().backward()
        gradient = made.get_parameter("bias_ih_l0").grad
        assert gradient is not None
        gradients.append(to_array(gradient))
    assert np.allclose(gradients[1], 2 * gradients[0])


def test_packed_sequences_come_back_in_their_own_order() -> None:
    """The function gets the caller's order, and the output is packed as the input was."""
    right, made = modules()
    x = torch.randn(4, 3, 3, dtype=torch.float64)
    packed = pack_padded_sequence(x, torch.tensor([2, 4, 1]), enforce_sorted=False)
    (expected, last), (got, h_n) = right(packed), made(packed)
    assert isinstance(got, PackedSequence)
    assert torch.allclose(got.data, expected.data)
    assert torch.equal(got.batch_sizes, expected.batch_sizes)
    assert torch.allclose(h_n, last)


def test_a_container_refuses_what_its_function_does_not_take() -> None:
    """Dropout is refused when it is made, a packed sequence when it is called."""
    make = container(functions.forward_only)
    with pytest.raises(ValueError, match="not marked with dropout=True"):
        make(3, 4, num_layers=2, dropout=0.5)
    packed = pack_padded_sequence(torch.ones(2, 1, 3), torch.tensor([2]))
    with pytest.raises(TypeError, match="not marked with packed=True"):
        make(3, 4)(packed)


# What is written down of a function.


def test_a_record_of_a_function_has_no_gradients_without_a_vjp() -> None:
    """A case is measured forward alone, and the source is the function's."""
    subject, case = load(f"{FUNCTIONS}:forward_only"), Case.parse(LINE)
    entry = measure_case(subject, case)
    assert "fault" not in entry
    assert "gradient" not in str(entry)
    described = [
        describe_subject(each, [case], ()) for each in (subject, subject_of(functions.able))
    ]
    assert described[0]["source"] == described[1]["source"] != ""


def test_a_program_calls_the_function_in_a_container(tmp_path: Path) -> None:
    """The program of a wrong function fails on it, and passes on torch.nn.RNN."""
    subject, case = load(f"{FUNCTIONS}:forgetful"), Case.parse(LINE)
    assert shown(subject, case) == []
    assert shown(load(f"{FUNCTIONS}:forward_only"), case) is None
    file = tmp_path / "program.py"
    file.write_text(reproducer(subject.name, case, function=True), encoding="utf-8")
    assert "result output[0, 0, 0]: got" in run(tmp_path, sys.executable, file.name).stderr
    done = run(tmp_path, sys.executable, file.name, "torch.nn:RNN")
    assert done.stdout == "within the bounds\n"
