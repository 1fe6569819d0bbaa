"""The verdicts: rules that were unsound once, and what must never pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnn_ref
from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.cases.case import Case
from rnn_ref.judging.comparison import (
    Comparison,
    Element,
    compare,
    counted,
    left_open,
    same_results,
    within,
)
from rnn_ref.judging.failures import Kind, SubjectFault, about_element, named
from rnn_ref.judging.judge import Judge
from rnn_ref.judging.outcome import Outcome
from rnn_ref.judging.properties import Property
from rnn_ref.judging.subject import Subject
from tests.subjects.correct import Float64Inside, Float64Throughout
from tests.subjects.misbehaving import Halved
from tests.subjects.unusual import (
    ClippedArgument,
    ColumnsFirst,
    ComputedAnew,
    DropsOfNonzero,
    OtherMasksWithGradients,
    OtherOrderBesideNaN,
    SlopeThroughExp,
)
from tests.support.judging import PROPERTIES, failure_of, sharing_answers
from tests.support.judging import outcomes as outcomes_of

ONE = Bounded([1.0, 2.0], np.array([0.1, 0.0]), rounding=ROUNDING["float64"])

ONCE_UNSOUND = {
    # Another run of the lower layers led to the same output to the bit, by other states.
    "hidden states": (nn.RNN, "relu L4 D1 bias T1 N1 I1 H13 float32 weights=torch input=normal h_0 seed=1"),
    # States that overflow have no slope to go by.
    "overflow": (nn.RNN, "relu L4 D2 bias T11 N1 I1 H5 float32 weights=saturating input=normal h_0 seed=0"),
    # A state of 0 may have been above 0 in a wider dtype.
    "underflow": (Float64Inside, "relu L1 D1 T6 N1 I1 H6 float32 weights=torch input=subnormal h_0 seed=0"),
    "underflow, deep": (Float64Inside, "relu L2 D2 T6 N6 I6 H6 float32 weights=torch input=subnormal h_0 seed=0"),
    # A state that is not rounded yet may be another, times a large weight, than the one shown.
    "underflow between steps": (Float64Throughout, "tanh L1 D2 T6 N1 I1 H1 float32 weights=saturating input=subnormal h_0 seed=0"),
    "underflow between layers": (Float64Throughout, "relu L4 D2 T2 N1 I1 H1 float32 weights=saturating input=subnormal h_0 seed=0"),
}  # fmt: skip


KNOWN = frozenset({"test_a_state_of_more_rows_than_unsorted_sequences_is_refused"})
"""What torch itself gets wrong, whatever the case (rnn_ref/judging/deviations.toml)."""


@pytest.mark.parametrize("name", ONCE_UNSOUND)
def test_a_correct_rnn_is_not_blamed_where_a_rule_was_once_unsound(name: str) -> None:
    """Cases on which a correct RNN was blamed, each by a rule that has been mended."""
    factory, line = ONCE_UNSOUND[name]
    subject = Subject("correct", factory)
    case = Case.parse(line)
    judge = Judge(subject, ("float32",), 1, without=subject.lacks, case=case, omitted=KNOWN)
    with sharing_answers():
        outcomes = [
            judge.judge(declared, structure)
            for declared in PROPERTIES.values()
            if not declared.baseline
            for structure in declared.domains or {"": {}}
        ]
    assert [str(outcome.failure) for outcome in outcomes if outcome.failure] == []
    judged = [outcome for outcome in outcomes if not outcome.not_judged]
    assert len(judged) >= 20
    assert all(outcome.elements > outcome.open for outcome in judged)


OWN_WAYS = (
    (OtherOrderBesideNaN, "special_values_stay_in_their_row"),
    (OtherOrderBesideNaN, "special_values_stay_in_their_packed_sequence"),
    (ClippedArgument, "tanh_of_what_is_large_is_one"),
    (OtherMasksWithGradients, "training_goes_forward_and_back_through_one_mask"),
    (DropsOfNonzero, "training_goes_forward_and_back_through_one_mask"),
    (DropsOfNonzero, "layers_draw_masks_of_their_own"),
)


@pytest.mark.parametrize(("factory", "name"), OWN_WAYS)
def test_a_correct_rnn_may_go_a_way_of_its_own(factory: type, name: str) -> None:
    """Other orders beside NaN, a clipped argument of tanh, or other masks are no faults."""
    subject = Subject("correct", factory)
    found = [outcome.failure for outcome in outcomes_of(subject, name, seed=2)]
    assert found == [None] * len(found)


@dataclass(frozen=True)
class NotingJudge(Judge):
    """A judge that notes the cases, and finds all right."""

    noted: list[Case] = field(default_factory=list)

    def judge_case(self, _: Property, case: Case, outcome: Outcome) -> float:
        self.noted.append(case)
        outcome.elements += 1
        return 0.0


def test_each_structure_has_cases_of_its_own() -> None:
    """What is rare among the cases of one structure is met among those of another."""
    declared, drawn = PROPERTIES["output_and_h_n_are_within_their_bounds"], []
    for structure in ("deep", "bidirectional"):
        judge = NotingJudge(Subject("it", nn.RNN), ("float32",), 100)
        judge.judge(declared, structure)
        drawn.append({replace(case, L=1, D=1) for case in judge.noted if case.T > 1})
    assert min(map(len, drawn)) > 5
    assert drawn[0].isdisjoint(drawn[1])


LONG = "tanh L1 D1 bias T31 N1 I1 H1 float32 weights=torch input=normal h_0 loss=h_n seed=0"
LIFE = "tanh L1 D1 bias T2 N2 I3 H4 float64 weights=torch input=normal h_0 history={} seed=0"
FROZEN = LIFE.format("call,freeze,backward")
EXCHANGED = LIFE.format("call,backward,exchange,call,backward")
HISTORY = "every_step_of_a_history_gives_what_the_reference_gives"


@pytest.mark.parametrize(
    ("factory", "name", "line"),
    [
        (SlopeThroughExp, "no_size_is_too_large_for_gradients", LONG),
        (ComputedAnew, HISTORY, FROZEN),
        (ColumnsFirst, HISTORY, EXCHANGED),
    ],
)
def test_a_correct_rnn_is_not_blamed_for_what_others_do(
    factory: type, name: str, line: str
) -> None:
    """Underflow in several operations, computing anew for backward, and layouts are no faults."""
    assert failure_of(Subject("correct", factory), name, case=Case.parse(line)) is None


def worst(got: list[float]) -> float:
    """The largest ratio of two elements held to 1 within 0.1, and to 2 exactly."""
    return compare("it", ("i",), np.array(got), ONE).ratio


@pytest.mark.parametrize(
    ("got", "ratio"),
    [
        ([1.0, 2.0], 0),
        ([1.05, 2.0], 0.5),
        ([1.2, 2.0], 2),
        ([1.0, 2.0 + 1e-15], np.inf),
        ([np.nan, 2.0], np.inf),
        ([np.inf, 2.0], np.inf),
    ],
)
def test_ratio_is_error_over_bound_and_nan_never_passes(got: list[float], ratio: float) -> None:
    """Within is at most 1, a number that must be exact and is not is infinitely far, as is NaN."""
    assert worst(got) == pytest.approx(ratio)


def test_open_elements_are_counted_and_kept_out_of_the_ratio() -> None:
    """An infinite bound and a tanh whose bound is its range are open; outside the range is a fault."""
    free = Bounded([0.0, 0.5], np.array([np.inf, 1.6]), rounding=ROUNDING["float64"])
    inside = compare("it", ("i",), np.array([1e9, -0.9]), free, tanh=True)
    assert (inside.open, inside.over, inside.ratio) == (2, 0, 0)
    outside = compare("it", ("i",), np.array([1e9, -1.5]), free, tanh=True)
    assert (outside.open, outside.over) == (2, 1)
    assert outside.worst is not None
    assert outside.worst.index == (1,)


def test_an_element_is_named_by_its_axes() -> None:
    """A direction is named in words, the rest by its number."""
    axes = ("layer", "direction", "step", "row", "unit")
    element = Element(axes, (1, 1, 3, 0, 5), 0.1, 0.2, 0.1, 0.01, 10, 9)
    assert named(element) == "layer 1, direction reverse, step 3, row 0, unit 5"


def test_numbers_are_told_with_the_digits_that_their_dtype_has() -> None:
    """Nine digits tell two float32 apart, and seventeen two float64."""
    third = float(np.float32(1 / 3))
    element = Element((), (), third, 0.25, 0.1, 0.01, 10, ROUNDING["float32"].digits)
    assert "got 0.333333343, expected 0.25,\n" in about_element(element)
    element = Element((), (), 1 / 3, 0.25, 0.1, 0.0, np.inf, ROUNDING["float64"].digits)
    assert "got 0.33333333333333331, expected 0.25, which must be equal" in about_element(element)


def test_two_results_may_differ_by_the_sum_of_their_bounds() -> None:
    """A law allows each of its two results its own error."""
    allowed = within(np.array([1.0, 2.0]), ONE, ONE)
    assert allowed.error.tolist() == [0.2, 0.0]


def judged(claim: Any, case: str | None = None) -> Outcome:
    """Judge torch by a claim in the place of a property's own."""
    declared = replace(PROPERTIES["every_step_obeys_the_recurrence"], claim=claim)
    parsed = Case.parse(case) if case else None
    judge = Judge(Subject("torch.nn:RNN", nn.RNN), ("float32",), 5, case=parsed)
    return judge.judge(declared, "single")


def test_a_property_that_compared_nothing_fails() -> None:
    """A run in which there was no element is no success."""
    outcome = judged(lambda case, subject: [])
    assert outcome.failure is not None
    assert outcome.failure.kind == Kind.NOTHING
    assert str(outcome.failure).startswith("nothing was compared: 50 examples, 0 elements")


def test_a_property_that_left_all_open_fails() -> None:
    """A run in which nothing could be said of any element is no success either."""
    outcome = judged(lambda case, subject: [left_open("it", 3)])
    assert outcome.failure is not None
    assert outcome.failure.kind == Kind.NOTHING
    assert (outcome.elements, outcome.open) == (150, 150)


def test_examples_that_leave_all_open_are_drawn_anew() -> None:
    """A property whose first examples say nothing is judged on the next ones."""
    judged_cases: list[Case] = []

    def of_later_ones(case: Case, _: Subject) -> list[Comparison]:
        judged_cases.append(case)
        alike = counted("it", 3)
        return [alike if len(judged_cases) > 5 else left_open("it", 3)]

    outcome = judged(of_later_ones)
    assert outcome.failure is None
    assert (outcome.examples, outcome.open) == (10, 15)
    assert len(set(judged_cases)) > 5


def test_one_case_in_which_nothing_can_be_compared_is_not_judged() -> None:
    """A case that is given may say nothing of a property: that is neither success nor failure."""
    line = "tanh L1 D1 bias T3 N2 I3 H4 float32 weights=torch input=normal seed=1"
    outcome = judged(lambda case, subject: [], line)
    assert outcome.failure is None
    assert outcome.not_judged == "nothing to compare in this case"


def test_a_case_without_a_variant_is_judged_in_all_of_them() -> None:
    """A case that names a variant is judged in that one."""
    line = "tanh L1 D1 bias T3 N2 I3 H4 float32 weights=torch input=normal seed=1"
    declared = PROPERTIES["arguments_may_lie_in_any_way"]
    examples = {}
    for case in (line, f"{line} variant={declared.variants[1]}"):
        judge = Judge(Subject("torch.nn:RNN", nn.RNN), ("float32",), 5, case=Case.parse(case))
        outcome = judge.judge(declared)
        assert outcome.failure is None
        examples[case] = outcome.examples
    assert list(examples.values()) == [len(declared.variants), 1]


def test_results_are_equal_to_the_bit_or_a_place_is_named() -> None:
    """Of an output that is off by one bit, the place, both values and the number are known."""
    problem = Case("tanh", 1, 2, True, 3, 2, 4, 5, "float32").problem()
    output, h_n = np.zeros(problem.output_shape), np.zeros(problem.h_n_shape)
    other = output.copy()
    other[2, 1, 7] = 2.0**-149
    of_output, of_h_n = same_results(problem, "again", (other, h_n), (output, h_n))
    assert (of_output.over, of_output.elements) == (1, output.size)
    assert of_output.worst is not None
    assert named(of_output.worst) == "step 2, row 1, direction reverse, unit 2"
    assert (of_h_n.over, of_h_n.elements) == (0, h_n.size)


class Strange(nn.RNN):
    """An RNN that returns what it is told to."""

    returned: Any = None

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: ARG002
        return self.returned


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        (None, r"the result of the call: got a NoneType, expected a tuple \(output, h_n\)"),
        ((1, 2, 3), r"the result of the call: got a tuple of 3, expected a tuple \(output, h_n\)"),
        ((torch.zeros(3, 2, 5), 2), "h_n: got a int, expected a tensor"),
        ((torch.zeros(3, 2, 4), torch.zeros(1, 2, 5)), r"shape of output: got \(3, 2, 4\), expected \(3, 2, 5\)"),
        ((torch.zeros(3, 2, 5), torch.zeros(1, 2, 5).double()), "dtype of h_n: got torch.float64, expected torch.float32"),
        ((torch.zeros(3, 2, 5, device="meta"), torch.zeros(1, 2, 5)), "device of output: got meta, expected cpu"),
    ],
)  # fmt: skip
def test_a_result_that_is_none_is_a_fault_of_the_subject(returned: Any, complaint: str) -> None:
    """Form comes first: what is not two tensors of the documented form is named."""
    Strange.returned = returned
    problem = Case("tanh", 1, 1, True, 3, 2, 4, 5, "float32").problem()
    with pytest.raises(SubjectFault, match=complaint):
        Subject("strange", Strange).run(problem)


def test_a_check_finds_conforming_results_and_says_so() -> None:
    """check of the reference's own results conforms, in every layout, with and without h_n."""
    problem = Case("tanh", 2, 2, True, 4, 1, 3, 5, "float32", h_0=True).problem()
    output, h_n = rnn_ref.rnn(problem.input, problem.parameters, problem.h_0)
    assert problem.h_0 is not None
    for both in (h_n, None):
        found = rnn_ref.check(output, both, problem.input, problem.parameters, problem.h_0)
        assert found.conforms
        assert str(found).startswith("conforms: ")
    unbatched = (output[:, 0], h_n[:, 0], problem.input[:, 0])
    assert rnn_ref.check(*unbatched, problem.parameters, problem.h_0[:, 0]).conforms
    first = (output.swapaxes(0, 1), h_n, problem.input.swapaxes(0, 1))
    assert rnn_ref.check(*first, problem.parameters, problem.h_0, batch_first=True).conforms


def test_a_check_names_what_is_wrong() -> None:
    """check of a result that is off says where, and is not True."""
    problem = Case("tanh", 1, 1, True, 4, 2, 3, 5, "float64").problem()
    output, h_n = rnn_ref.rnn(problem.input, problem.parameters)
    output[2, 1, 3] += 1e-9
    found = rnn_ref.check(output, h_n, problem.input, problem.parameters)
    assert not found.conforms
    assert "output of layer 0 at step 2, row 1, direction forward, unit 3" in str(found)


def test_a_check_refuses_other_shapes_and_dtypes() -> None:
    """A wrong shape is a ValueError, a dtype without a rounding model a TypeError."""
    problem = Case("tanh", 1, 1, True, 4, 2, 3, 5, "float64").problem()
    output, h_n = rnn_ref.rnn(problem.input, problem.parameters)
    with pytest.raises(ValueError, match=r"output: expected shape \(4, 2, 5\), got \(4, 5\)"):
        rnn_ref.check(output[:, 0], h_n, problem.input, problem.parameters)
    as_complex = {name: array + 0j for name, array in problem.parameters.items()}
    with pytest.raises(TypeError, match="input: expected one of "):
        rnn_ref.check(output, h_n, problem.input + 0j, as_complex)


def test_a_fault_of_every_size_is_told_by_a_small_case() -> None:
    """What fails far out, and near by as well, is shrunk from a small case."""
    judge = Judge(Subject("tests:subject", Halved), ("float32",), 40)
    declared = PROPERTIES["no_size_is_too_large_for_a_step"]
    for structure in declared.domains:
        outcome = judge.judge(declared, structure)
        assert outcome.failure is not None
        case = Case.parse(outcome.failure.case)
        assert max(case.T, case.N, case.I, case.H) == 1


class LongSequencesCut(nn.RNN):
    """Gives step 512 again for all later ones."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        time = int(self.batch_first and input.ndim == 3)
        steps = torch.arange(output.shape[time]).clamp(max=511)
        return output.index_select(time, steps), h_n


def test_a_fault_of_a_large_size_alone_is_shrunk_far_out() -> None:
    """Where no small case fails, the case is the smallest of the large ones that do."""
    judge = Judge(Subject("tests:subject", LongSequencesCut), ("float32",), 200)
    outcome = judge.judge(PROPERTIES["no_size_is_too_large_for_a_step"], "T")
    assert outcome.failure is not None
    case = Case.parse(outcome.failure.case)
    assert (case.T, case.N, case.I, case.H) == (513, 1, 1, 1)
