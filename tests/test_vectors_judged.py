"""Results in files: what conforms, what is found, and which cause it has."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnn_ref.arithmetic.dtypes import ROUNDING, Floats
from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.causes import size
from rnn_ref.diagnosis.experiment import Listing, tiers
from rnn_ref.diagnosis.hypotheses.gradients import named_gradients
from rnn_ref.diagnosis.hypotheses.results import wide_hypotheses
from rnn_ref.diagnosis.pairs import Pairs
from rnn_ref.judging.oracle import Oracle
from rnn_ref.vectors import folder, safetensors
from rnn_ref.vectors.explained import is_plain
from rnn_ref.vectors.following import follow
from rnn_ref.vectors.judged import Judged, judge
from rnn_ref.vectors.sets import cases_of
from rnn_ref.vectors.vector import Vector, caller_index, to_caller
from rnn_ref.vectors.verdict import Verdict, verdict
from tests.subjects.correct import Loop
from tests.support.programs import (
    RIGHT,
    Results,
    Written,
    judged_of,
    program_of,
    summing,
    verdict_of,
    verdict_on,
    write_results,
)

pytestmark = pytest.mark.xdist_group("vectors")


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


class CoarseTanh(Loop):
    """tanh is 6 units of roundoff too large."""

    def activate(self, a: Tensor) -> Tensor:
        tanh = a.double().tanh() * (1 + 6 * ROUNDING["float32"].u)
        return a.relu() if self.nonlinearity == "relu" else tanh.to(a.dtype)


def test_a_coarse_tanh_conforms_where_the_bounds_take_it(tmp_path: Path) -> None:
    """The manifest keeps --tanh; without it the same results are wrong, and the option is named."""
    cases = cases_of("smoke", ("float32",), ("deep", "bidirectional", "gradients"))[:3]
    lines = {}
    for units in (None, 7.0):
        path = tmp_path / str(units)
        folder.write(path, cases, {}, gradients=False, flushed=False, tanh=units)
        read = folder.read(path)
        vectors = list(read.vectors(read.entries))
        written = Written(path, vectors, [dict[str, Floats]() for _ in vectors])
        lines[units] = verdict_on(program_of(CoarseTanh), written, path).lines("it", 120)
    (hint,) = {line.strip() for line in lines[None] if "tanh" in line and "case:" not in line}
    assert hint.startswith("within twice its bound, which assumes a tanh within 4 u (see rnn-ref")
    assert lines[7.0][-1].startswith("it: conforms. 3 cases, ")
    assert lines[7.0][-1].endswith(" of its bound, vectors --tanh 7")
    assert "--tanh" not in lines[None][-1]


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


class TriplesABias(WithOtherWeights):
    def changed(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        return 3 * tensor if name.startswith("bias_hh") else tensor


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
        (TriplesABias, "bias_hh is scaled by 3"),
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
    assert is_plain(Case.parse(found.causes[0].case))
    about_gradients = ": grad." in found.causes[0].evidence[0]
    assert about_gradients == (factory is HalvesAGradient)


def sentences_of(found: Verdict) -> list[str]:
    return [cause.sentence for cause in found.causes]


def shifted(results: Results) -> Results:
    """Results that nothing explains."""
    numbers = np.random.default_rng(0)
    y = results["output"]
    return {**results, "output": y + numbers.uniform(0.1, 0.2, y.shape).astype(y.dtype)}


def test_a_hypothesis_that_right_cases_refute_is_not_stated(
    written: Written, tmp_path: Path
) -> None:
    """h_0 is not said to be ignored where most of the cases that have one read it."""
    lost = program_of(LosesState)
    some = [v for v in written.vectors if v.case.h_0][:3]
    found = verdict_of(written, tmp_path, lambda v, right: lost(v) if v in some else right)
    assert not found.conforms
    assert not any("ignored" in sentence for sentence in sentences_of(found))


def test_a_hypothesis_of_one_case_alone_is_not_stated(written: Written, tmp_path: Path) -> None:
    """Two wrong cases of which it explains one are too few."""
    one, other = [v for v in written.vectors if v.case.h_0 and is_plain(v.case)][:2]
    results = [(one, program_of(LosesState)(one)), (other, shifted(RIGHT(other)))]
    found = verdict([judged_of(vector, each, tmp_path) for vector, each in results])
    assert sentences_of(found) == [f"output of layer {one.case.L - 1} is wrong"]


def test_what_a_cause_does_not_explain_stands_by_itself(written: Written, tmp_path: Path) -> None:
    """A case with another fault is not counted to those of the hypothesis."""
    lost = program_of(LosesState)
    other = next(v for v in written.vectors if v.case.h_0 and is_plain(v.case))
    found = verdict_of(written, tmp_path, lambda v, r: shifted(r) if v is other else lost(v))
    assert sentences_of(found) == [
        "h_0 is ignored: all runs start from zero",
        f"output of layer {other.case.L - 1} is wrong",
    ]
    assert found.causes[1].evidence[0].startswith("in 1 of 20 cases")


def test_gradients_follow_from_a_changed_forward_pass_or_do_not(written: Written) -> None:
    """The gradients of doubled biases are that network's own; one that is 5% off is not."""
    vector = next(v for v in written.vectors if v.case.bias and v.case.dtype == "float64")
    results = program_of(DoublesBiases)(vector)
    listed = wide_hypotheses(vector.problem)
    stated = next(each for each in listed if each.sentence == "both biases are added twice")
    for factor, expected in ((1.0, True), (1.05, False)):
        wrong = results | {name: factor * a for name, a in results.items() if "grad." in name}
        trial = Judged(vector, wrong, [], []).trials["gradients"]
        assert trial.wrong_elements
        assert follow(trial, stated) is expected


def test_a_hypothesis_found_in_one_network_can_be_tried_on_another(written: Written) -> None:
    """What is measured in gradients of two directions says nothing of one that lacks them."""
    small = sorted(written.vectors, key=lambda v: size(str(v.case)))
    both = next(v for v in small if v.case.D == 2 and v.case.bias and v.case.h_0)
    one = next(v for v in small if v.case.D == 1 and not v.case.bias)
    results = {name: array * (1 + ("reverse" in name)) for name, array in RIGHT(both).items()}
    trial = Judged(both, results, [], []).trials["gradients"]
    pairs = Pairs(named_gradients)
    pairs.search(trial, lambda: True)
    assert pairs.measured
    oracle = Oracle(one.problem)
    listings: list[Listing] = [*tiers("gradients", trial), pairs]
    listed = [hypothesis for listing in listings for hypothesis in listing(one.problem)]
    with np.errstate(all="ignore"):
        expected = [hypothesis.expected(oracle).keys() for hypothesis in listed]
    assert all(names == oracle.gradients_end_to_end.keys() for names in expected)
