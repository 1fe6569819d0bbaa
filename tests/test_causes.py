"""What a run says of a wrong subject: what it lacks, one entry a cause, what a failure needs."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.causes import Rank, causes, histogram, some_of
from rnn_ref.diagnosis.fields import fields_that_matter
from rnn_ref.diagnosis.joining import JOINED
from rnn_ref.diagnosis.probes import PROBES, lacking
from rnn_ref.judging.failures import Fact, Failure, Kind, Raised
from rnn_ref.judging.judge import Judge
from rnn_ref.judging.pattern import common, pattern
from rnn_ref.judging.subject import Subject
from rnn_ref.running.ci import command_value, job_summary, write_badge
from rnn_ref.running.rows import Row
from rnn_ref.running.summary import cause_lines, group_lines
from tests.subjects.correct import CORRECT
from tests.subjects.misbehaving import (
    RaisesInAllWeights,
    RaisesInFlattenParameters,
    RaisesInRepr,
)
from tests.support.commands import MISBEHAVING, Here, verify
from tests.support.judging import PROPERTIES, failure_of

BOTH = ("float32", "float64")


def lacks(factory: Any, *without: str) -> list[str]:
    """The names of what probes find lacking."""
    found = lacking(Subject("tests:subject", factory), BOTH, frozenset(without), lambda _: None)
    return [name for name, _ in found]


@cache
def failing(factory: Any, name: str) -> Failure:
    """A property's failure."""
    failure = failure_of(Subject("tests:subject", factory), name, 50)
    assert failure
    return failure


def entry(factory: Any, name: str, group: str = "bounds", **findings: Any) -> dict[str, Any]:
    """A failing property's row, as causes are made of."""
    failure = failing(factory, name)
    row = Row(f"test_{name}", "FAILS", group, failure=failure.as_dict(), findings=findings)
    told: dict[str, Any] = json.loads(json.dumps(vars(row)))
    return told


class NeedsBatch(nn.RNN):
    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, torch.Tensor) and input.ndim == 2 and hx is not None:
            raise IndexError("no axis 2")
        return super().forward(input, hx)


class NoDropout(nn.RNN):
    def __init__(self, *sizes: int, **options: Any) -> None:
        if options.get("dropout"):
            raise TypeError("dropout is unknown")
        super().__init__(*sizes, **options)


class ScaledReverse(nn.RNN):
    """The reverse direction's output is too large from step 2 of its own on."""

    def forward(self, input: Any, h_0: Any = None) -> Any:
        output, h_n = super().forward(input, h_0)
        if not self.bidirectional or output.ndim == 2:
            return output, h_n
        output = output.clone()
        output[..., self.hidden_size :] *= 1.01
        return output, h_n


class ForwardAlone(nn.RNN):
    """Of two directions, the first one's output is returned."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        if not isinstance(output, torch.Tensor):
            return output, h_n
        return output[..., : self.hidden_size], h_n


class OnlyRelu(nn.RNN):
    """tanh is refused where it is called."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.nonlinearity == "tanh":
            raise NotImplementedError("tanh")
        return super().forward(input, hx)


@pytest.mark.parametrize("factory", [nn.RNN, CORRECT[0]])
def test_a_correct_rnn_lacks_nothing(factory: Any) -> None:
    """No probe raises on a subject that can do all."""
    assert lacks(factory) == []


@pytest.mark.parametrize(("factory", "name"), [(NeedsBatch, "unbatched"), (NoDropout, "dropout")])
def test_what_raises_is_lacking_and_said_once(factory: Any, name: str) -> None:
    """A capability that raises, with or without an initial state, is the only one reported."""
    assert lacks(factory) == [name]


def test_a_result_of_another_shape_is_lacking_and_wrong_numbers_are_not() -> None:
    """What leaves a direction out lacks two; what computes one wrong has it, and is judged."""
    assert lacks(ForwardAlone) == ["bidirectional"]
    assert lacks(ScaledReverse, "keyword") == []


def test_what_has_no_tanh_is_asked_with_relu() -> None:
    """Without tanh, the set-up is judged with relu, and probes find nothing more lacking."""
    assert lacks(OnlyRelu, "tanh") == []
    subject = Subject("tests:subject", OnlyRelu)
    judge = Judge(subject, BOTH, 1, without=frozenset(["tanh"]))
    declared = PROPERTIES["setup_weights_arrive_and_two_tensors_come_back"]
    assert judge.domain(declared, "")["nonlinearities"] == ("relu",)
    assert not judge.passed_over(declared, judge.domain(declared, ""))


@pytest.mark.parametrize(
    ("factory", "name"),
    [
        (RaisesInAllWeights, "all_weights"),
        (RaisesInFlattenParameters, "flatten_parameters"),
        (RaisesInRepr, "repr"),
    ],
)
def test_a_convenience_of_nn_rnn_that_is_not_there_is_said_once(factory: Any, name: str) -> None:
    """A drop-in without all_weights, flatten_parameters or repr lacks that, and nothing else."""
    assert lacks(factory) == [name]


def test_what_is_declared_is_not_asked() -> None:
    """A declared capability is not probed."""
    assert lacks(NeedsBatch, "unbatched") == []
    assert lacks(nn.RNN, *(name for name in PROBES if name != "float64")) == []


def test_one_diagnosis_is_one_cause() -> None:
    """Failures that one hypothesis explains are one entry, and its sentence is the entry's."""
    diagnosis = {"of": "results", "sentences": ["all is too large"], "text": "explains all"}
    names = ("every_step_obeys_the_recurrence", "output_and_h_n_are_within_their_bounds")
    found = causes([entry(ScaledReverse, name, diagnosis=diagnosis) for name in names])
    assert len(found) == 1
    assert found[0].sentence == "all is too large"
    assert found[0].properties == [f"test_{name}" for name in names]


@pytest.mark.parametrize("used", JOINED)
def test_what_is_wrong_with_one_thing_in_histories_too_is_one_cause(used: str) -> None:
    """Dropout, or an argument by name, that is wrong is told once, by its diagnosis."""
    right: dict[str, Any] = {"gradients": None, "uses": [used]}
    names = ("every_step_obeys_the_recurrence", "output_and_h_n_are_within_their_bounds")
    both = [
        entry(ScaledReverse, name, group, **right) for name, group in zip(names, "ab", strict=True)
    ]
    assert len(causes(both)) == 1
    other = {**both[1], "findings": {**right, "gradients": []}}
    assert len(causes([both[0], other])) == 2  # a plain call is wrong too
    said = {"of": "dropout", "sentences": ["nothing is dropped"], "text": ""}
    both[1]["findings"]["diagnosis"] = said
    assert [cause.sentence for cause in causes(both)] == ["nothing is dropped"]


def test_what_no_time_was_left_for_stands_under_the_only_diagnosis() -> None:
    """Wrong results that nothing was tried on are no cause of their own; what was tried is one."""
    said = {"of": "results", "sentences": ["all is too large"], "text": ""}
    none = {"of": "results", "sentences": [], "text": "none of them"}
    name = "every_step_obeys_the_recurrence"
    known = entry(ScaledReverse, name, follows="network", diagnosis=said)
    untried = entry(ScaledReverse, name, follows="network", gradients=[])
    tried = entry(ScaledReverse, name, follows="network", diagnosis=none)
    assert [c.sentence for c in causes([untried, known])] == ["all is too large"]
    assert len(causes([tried, known])) == 2


def test_what_right_results_mend_stands_under_the_only_diagnosis() -> None:
    """Another use in which the network is wrong is no cause of its own; beside two it is one."""
    said = [{"of": "results", "sentences": [text], "text": ""} for text in ("one", "other")]
    name = "every_step_obeys_the_recurrence"
    known = [entry(ScaledReverse, name, follows="network", diagnosis=each) for each in said]
    use = entry(ScaledReverse, name, "memory", follows="other uses", gradients=None)
    assert [cause.sentence for cause in causes([use, known[0]])] == ["one"]
    assert len(causes([use, *known])) == 3


class AlwaysNaN(nn.RNN):
    """All results are NaN."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        return torch.nan * output, torch.nan * h_n


@pytest.mark.parametrize(("factory", "count"), [(AlwaysNaN, 2), (ScaledReverse, 3)])
def test_nan_of_other_uses_stands_under_a_network_of_nan(factory: Any, count: int) -> None:
    """Where no hypothesis explains the network, what is not NaN stands by itself."""
    name = "every_step_obeys_the_recurrence"
    plain = entry(factory, name, follows="network", gradients=[])
    nan = entry(factory, name, "packed", follows="packed", gradients=None, nan=True)
    other = entry(factory, name, follows="other uses", gradients=None, nan=False)
    assert len(causes([plain, nan, other])) == count
    assert len(causes([nan, {**nan, "findings": {**nan["findings"], "nan": False}}])) == 1


def test_one_loss_of_precision_is_one_cause_of_its_largest_limit() -> None:
    """Hypotheses of one kind differ by a number; those of another kind stay another cause."""
    name = "every_step_obeys_the_recurrence"

    def lossy(kind: str, limit: float) -> dict[str, Any]:
        said = {"of": "results", "sentences": [f"{kind} up to {limit}"], "text": ""}
        diagnosis = {**said, "kind": kind, "limit": limit}
        return entry(ScaledReverse, name, follows="network", diagnosis=diagnosis)

    found = causes([lossy("relu", 1.0), lossy("relu", 2.0), lossy("output", 1.0)])
    assert [cause.sentence for cause in found] == ["relu up to 2.0", "output up to 1.0"]


def test_what_one_attribute_breaks_is_one_cause_whatever_else_is_said_of_it() -> None:
    """A hypothesis on later calls is the sentence; what follows from another thing stays apart."""
    name = "every_step_obeys_the_recurrence"
    said = {"of": "a later call", "sentences": ["the first call's input is read"], "text": ""}
    kept: dict[str, Any] = {"gradients": None, "single": ["attribute", "kept"]}
    stale = entry(ScaledReverse, name, **kept, follows="a later call", diagnosis=said)
    copied = entry(ScaledReverse, name, "state", **kept)
    hooks = entry(ScaledReverse, name, "state", gradients=None, single=["method", "__call__"])
    found = causes([stale, copied, hooks])
    assert [len(cause.properties) for cause in found] == [2, 1]
    assert found[0].sentence == "the first call's input is read"
    assert "holds with torch's __call__ in place of the module's own" in found[1].evidence


def test_one_fact_that_two_groups_state_is_one_cause() -> None:
    """Second derivatives are told of once, of padded and packed input."""
    fact = {"what": "second derivatives", "got": "1", "expected": "2"}
    name = "every_step_obeys_the_recurrence"
    both = [entry(ScaledReverse, name, group, follows=group) for group in ("gradients", "packed")]
    for each, got in zip(both, "13", strict=True):
        each["failure"] |= {"kind": Kind.FACT, "comparisons": [], "fact": {**fact, "got": got}}
    assert len(causes(both)) == 1


def test_wrong_numbers_come_before_refusals_and_crashes_between() -> None:
    """Causes are ranked by how bad they are."""
    wrong = entry(ScaledReverse, "every_step_obeys_the_recurrence")
    raising = entry(NoDropout, "dropout_of_everything_leaves_zeros", "dropout")
    crash = {
        **raising,
        "failure": {**raising["failure"], "kind": "the process hung", "raised": None},
    }
    ranks = [cause.rank for cause in causes([raising, crash, wrong])]
    assert ranks == [Rank.NUMBERS, Rank.CRASH, Rank.REFUSAL]


def row(failure: Failure) -> dict[str, Any]:
    """A failing property's row, of a failure that is made here."""
    return vars(Row(failure.property, "FAILS", "state", failure=failure.as_dict()))


def raising(doing: str, type: str, *, own: bool) -> dict[str, Any]:
    """The row of a subject that raised."""
    raised = Raised(doing, type, "no", "module.py:1775", own)
    return row(Failure(Kind.EXCEPTION, "test_a", "", "rnn-ref verify", raised=raised))


def test_exceptions_that_pass_through_no_line_of_the_subject_are_told_apart() -> None:
    """All calls pass through one line of torch's: what was called tells, and the type."""
    called = ("the call", "backward", "backward")
    assert len(causes(raising(doing, "RuntimeError", own=False) for doing in called)) == 2
    assert len(causes(raising("the call", type, own=False) for type in ("A", "B"))) == 2
    assert len(causes(raising(doing, "RuntimeError", own=True) for doing in called)) == 1


def test_wrong_shapes_of_one_result_are_one_cause() -> None:
    """Each case has sizes of its own, so that what was got and expected differ."""
    shapes = (("(1, 1, 1)", "(1, 1)"), ("(2, 3, 1)", "(2, 3)"))
    rows = [
        row(Failure(Kind.FACT, f"test_{group}", "", "rnn-ref verify", fact=Fact(what, *shape)))
        | {"group": group}
        for what in ("shape of h_n", "shape of output")
        for shape, group in zip(shapes, ("bounds", "dropout"), strict=True)
    ]
    found = [cause.sentence.partition(":")[0] for cause in causes(rows)]
    assert found == ["shape of h_n", "shape of output"]


def ended(how: str, *, own: bool) -> dict[str, Any]:
    """The row of a subject whose process ended."""
    at = {"how": how, "place": "a.py:1", "own": own}
    return row(Failure(Kind.ENDED, "test_a", "", "rnn-ref verify", **at))  # type: ignore[arg-type]


def test_processes_that_end_without_a_line_of_the_subject_are_told_apart_by_how() -> None:
    """A segmentation fault in a library is another cause than an abort there."""
    hows = ("ended the process: Aborted", "ended the process: Segmentation fault")
    assert len(causes(ended(how, own=False) for how in hows)) == 2
    assert len(causes(ended(how, own=True) for how in hows)) == 1


def test_an_entry_has_at_most_eight_lines() -> None:
    """Sentence, evidence and replay of a cause fit."""
    one = entry(ScaledReverse, "every_step_obeys_the_recurrence", fields="needs D2; any T")
    lines = cause_lines(1, causes([one])[0], 80)
    assert len(lines) <= 8
    assert lines[0].startswith("1. output of layer 0 is wrong; in 1 property (bounds)")
    assert any("reverse" in line for line in lines)
    assert lines[-1].startswith("   rnn-ref verify --subject tests:subject -k ")


def test_the_first_wrong_element_is_the_first_computed() -> None:
    """In the reverse direction the last step is computed first."""
    over = np.zeros((4, 1, 2, 1), bool)
    over[1:3, 0, 1, 0] = True
    found = pattern(("step", "row", "direction", "unit"), over, 2.0 * over)
    assert found.first == (2, 0, 1, 0)
    assert found.along == ("steps 1 to 2 of 4", "direction reverse only")
    assert found.spread == (2, 0, 0, 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([1, 1, 1], ""),
        ([0, 0, 1], "the last unit only (2 of 3)"),
        ([1, 0, 0], "the unit only (0 of 3)"),
        ([0, 1, 1], "units from 1 on, of 3"),
        ([0, 1, 1, 0], "units 1 to 2 of 4"),
        ([1, 0, 1, 0, 1], "one unit in 2 from 0 on, of 5"),
        ([1, 1, 0, 1], "3 of 4 units"),
    ],
)
def test_what_wrong_indices_have_in_common_is_said(wrong: list[int], said: str) -> None:
    """All, one, a range, from k on, every k-th, or a count."""
    assert common("unit", np.array(wrong, bool)) == said


def test_the_fields_that_a_failure_needs_are_named() -> None:
    """A fault of the reverse direction of batches needs a batch axis, whatever the sizes."""
    judge = Judge(Subject("tests:subject", ScaledReverse), BOTH, 20)
    declared = PROPERTIES["every_step_obeys_the_recurrence"]
    outcome = judge.judge(declared, "bidirectional")
    assert outcome.failure
    case = Case.parse(outcome.failure.case)
    found = fields_that_matter(judge, declared, "bidirectional", case, seconds=20)
    assert {"T", "N", "I", "H", "bias", "dtype"} <= set(found.free)
    assert found.needs == ("a batch axis",)  # the structure has two directions alone


class ScaledWithoutBias(nn.RNN):
    """Output of a tanh network without biases is too large."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        wrong = isinstance(output, torch.Tensor) and not self.bias and self.nonlinearity == "tanh"
        return (1.01 * output if wrong else output), h_n


def test_no_bias_stands_first_among_what_a_failure_needs() -> None:
    """What shrinking could not put back is varied first, though the line has no word for it."""
    declared = PROPERTIES["every_step_obeys_the_recurrence"]
    subject = Subject("tests:subject", ScaledWithoutBias)
    case = Case.parse("tanh L1 D1 T1 N1 I1 H1 float32 weights=torch input=normal h_0 seed=0")
    judge = Judge(subject, BOTH, 50, without=subject.lacks)
    found = fields_that_matter(judge, declared, "single", case, seconds=20)
    assert str(found).startswith("needs no bias and tanh; any ")


class ForgetsH0(nn.RNN):
    """h_0 is lost before it is looked at."""

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: ARG002
        return super().forward(input)


class ForgetsH0AndTakesAnyInput(ForgetsH0):
    """Beside that, input that has a feature too many is cut."""

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: ARG002
        plain = isinstance(input, torch.Tensor)
        return super().forward(input[..., : self.input_size] if plain else input)


@pytest.mark.parametrize(("factory", "number"), [(ForgetsH0, 1), (ForgetsH0AndTakesAnyInput, 2)])
def test_what_is_not_read_is_not_refused_for_that_reason(
    verify_here: Here, factory: type, number: int
) -> None:
    """A wrong h_0 that is ignored as a right one is no cause; another wrong call is."""
    subject = (
        "--subject",
        f"{__name__}:{factory.__name__}",
        "-k",
        "every_step_obeys or refused_and",
    )
    done = verify_here(*subject, "--json", "found.json")
    assert done.returncode == 1
    found = json.loads(Path("found.json").read_text(encoding="utf-8"))
    assert len(found["causes"]) == number
    assert found["causes"][0]["sentence"] == "h_0 is ignored: all runs start from zero"


def test_a_lacking_capability_is_one_entry_of_a_run(verify_here: Here) -> None:
    """What needs it is not judged, and the option that declares it is named."""
    subject = ("--subject", f"{MISBEHAVING}:RaisesInUnbatchedCall", "--profile", "smoke")
    done = verify_here(*subject, "-k", "setup or laws or bounds", "--json", "found.json")
    assert done.returncode == 1
    found = json.loads(Path("found.json").read_text(encoding="utf-8"))
    lacking = [c for c in found["causes"] if c["capabilities"] == ["unbatched"]]
    assert len(lacking) == 1
    assert "--without unbatched declares it lacking" in done.stdout
    declared = verify_here(*subject, "-k", "setup", "--without", "unbatched", "--without", "packed")
    assert declared.returncode == 0, declared.stdout


def test_an_error_in_an_explanation_does_not_hide_the_failure(
    verify_here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is told, with the error beside it."""

    def broken(*_: object) -> None:
        raise ValueError("no such field")

    monkeypatch.setattr("rnn_ref.diagnosis.findings.fields_that_matter", broken)
    done = verify_here("--subject", f"{MISBEHAVING}:DirectionsSwapped", "-k", "every_step_obeys")
    assert "1. output of layer 0 is wrong" in done.stdout
    assert "its explanation ended in ValueError: no such field" in done.stdout


def test_numbers_that_hold_are_said_to(verify_here: Here) -> None:
    """Where only a capability is lacking, the closing line says that the numbers hold."""
    subject = ("--subject", f"{MISBEHAVING}:RaisesInUnbatchedCall", "--profile", "smoke")
    done = verify_here(*subject, "-k", "setup or bounds")
    assert (
        ": numbers of plain calls hold; does not conform: 2 causes in packed, unbatched."
        in done.stdout
    )


@pytest.mark.parametrize(
    ("whats", "said"),
    [
        (["a", "b", "a"], "a; b"),
        (["a", "b", "c", "d"], "a; b; c; and 1 more"),
        (["a" * 200, "b" * 200], "a" * 200 + "; and 1 more"),
        (["a" * 100, "b" * 50, "c" * 50], "; ".join(["a" * 100, "b" * 50, "and 1 more"])),
    ],
)
def test_facts_are_named_as_far_as_there_is_room(whats: list[str], said: str) -> None:
    """What was got and expected stands behind them, and must be seen."""
    assert some_of(whats) == said


def test_a_summary_for_github_keeps_text_from_being_markup() -> None:
    """What a subject says ends neither a code block nor an annotation."""
    one = entry(NoDropout, "dropout_of_everything_leaves_zeros", "dropout")
    one["failure"]["raised"]["message"] = one["failure"]["text"] = "```\n<script>"
    rows = [Row("test_x", "FAILS", "dropout")]
    text = job_summary("a *b*", causes([one]), rows)
    assert "a \\*b\\*" in text
    assert "````text" in text
    assert command_value("50%: a,\nb", title=True) == "50%25%3A a%2C%0Ab"


def test_a_badge_says_the_verdict(tmp_path: Path) -> None:
    """It is what shields.io's endpoint reads."""
    write_badge(str(tmp_path / "badge.json"), [], [Row("test_x", "holds")])
    badge = json.loads((tmp_path / "badge.json").read_text(encoding="utf-8"))
    assert (badge["schemaVersion"], badge["message"]) == (1, "conforms")


def test_groups_that_hold_are_named_beside_those_that_fail() -> None:
    """A failing run has a row for each failing group, and names the others."""
    rows = [Row("a", "FAILS", "laws"), Row("b", "holds", "bounds"), Row("c", "not judged", "cell")]
    _, *lines = group_lines(rows)
    assert re.match(r"laws +1 .*1 of 1 FAIL$", lines[0])
    assert lines[1:] == ["holding: bounds", "not judged: cell"]
    rows = [*rows, Row("d", "not judged", "cell", message="no --cell given")]
    assert group_lines([*rows[:2], rows[3]])[-1] == "not judged: cell (no --cell given)"


def test_probes_leave_the_generator_as_it_was() -> None:
    """What is judged after them draws what it would draw without."""
    before = torch.get_rng_state()
    lacks(nn.RNN)
    assert torch.equal(before, torch.get_rng_state())


CRASHING = """
import os
from torch import nn

class RNN(nn.RNN):
    def forward(self, *arguments):
        if self.bidirectional:
            os.abort()
        return super().forward(*arguments)
"""


def test_a_probe_that_ends_the_process_is_one_cause_and_the_rest_is_judged(tmp_path: Path) -> None:
    """What was probed is lacking, and properties that do not need it hold."""
    (tmp_path / "crashing.py").write_text(CRASHING, encoding="utf-8")
    options = ["--subject", "crashing:RNN", "--profile", "smoke", "-n", "1", "--json", "found.json"]
    done = verify(tmp_path, *options, "-k", "setup or every_step_obeys")
    assert done.returncode == 1
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    (cause,) = found["causes"]
    assert (cause["rank"], cause["capabilities"]) == ("crash", ["bidirectional"])
    verdicts = [row["verdict"] for row in found["properties"]]
    assert sorted(verdicts) == ["FAILS", "holds", "holds", *["not judged"] * 3]


def test_a_run_in_github_actions_writes_a_summary_and_annotations(
    verify_here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to ask for them."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    subject = ("--subject", f"{MISBEHAVING}:DirectionsSwapped", "--profile", "smoke")
    done = verify_here(*subject, "-k", "every_step_obeys and bidirectional and not deep")
    assert re.search(r"^::error title=.*::.*%0A", done.stdout, re.MULTILINE)
    summary = Path("summary.md").read_text(encoding="utf-8")
    assert "does not conform: 1 cause in bounds" in summary
    assert "```text\n1. " in summary


def test_a_programs_folder_has_a_program_for_each_cause_that_a_plain_call_shows(
    verify_here: Here,
) -> None:
    """With --reproducer, the program names its cause."""
    subject = ("--subject", f"{MISBEHAVING}:DirectionsSwapped", "--profile", "smoke")
    options = ("--reproducer", "programs", "--badge", "badge.json")
    verify_here(*subject, *options, "-k", "every_step_obeys and bidirectional and not deep")
    (program,) = Path("programs").iterdir()
    assert program.name == "01_every_step_obeys_the_recurrence.py"
    assert json.loads(Path("badge.json").read_text(encoding="utf-8"))["message"] == "1 cause"


def test_probes_leave_no_setting_changed_that_a_property_watches(verify_here: Here) -> None:
    """A subject that sets the default dtype when it is constructed is found, probes or not."""
    subject = ("--subject", f"{MISBEHAVING}:SetsDefaultDtype", "--profile", "smoke")
    done = verify_here(*subject, "-k", "setup or settings_of_the_process")
    assert done.returncode == 1
    assert "the default dtype" in done.stdout


def test_ratios_are_said_by_decades_where_many_elements_are_wrong() -> None:
    """Few wrong elements need no histogram."""
    assert histogram([3, 0, 2, 0]) == []
    assert histogram([3, 0, 2, 40]) == ["error / bound: 3 up to 10, 2 up to 1,000, 40 beyond"]


def test_attributes_that_are_not_there_are_one_cause_that_names_them() -> None:
    """What a module lacks is one entry, whatever asks for it."""
    entries = []
    for name in ("all_weights", "flatten_parameters"):
        error = Raised(f"reading {name}", "AttributeError", f"no {name}", "module.py:1", own=False)
        failure = Failure(Kind.EXCEPTION, "test_setup", "", "", raised=error)
        entries.append(vars(Row(f"capability {name}", "FAILS", "setup", failure=failure.as_dict())))
    (cause,) = causes(entries)
    said = "reading all_weights; reading flatten_parameters raised AttributeError: no all_weights"
    assert cause.sentence == f"{said} (module.py:1)"
    assert cause.capabilities == ["all_weights", "flatten_parameters"]
