"""The verdicts: rules that were unsound once, and what must never pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnn_ref
from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.cases.case import Case
from rnn_ref.judging.comparison import compare, named, within
from rnn_ref.judging.search import Examination
from rnn_ref.judging.subject import Subject
from tests.subjects.correct import Float64Inside, Float64Throughout
from tests.test_faults import PROPERTIES

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


@pytest.mark.parametrize("name", ONCE_UNSOUND)
def test_a_correct_rnn_is_not_blamed_where_a_rule_was_once_unsound(name: str) -> None:
    """Cases on which a correct RNN was blamed, each by a rule that has been mended."""
    factory, line = ONCE_UNSOUND[name]
    subject = Subject("correct", factory)
    examination = Examination(subject, ("float32",), 1, 0, subject.lacks, Case.parse(line))
    for held in PROPERTIES.values():
        for structure in held.domains:
            try:
                examination.examine(held, structure)
            except pytest.skip.Exception:
                continue


def worst(came: list[float]) -> float:
    """The largest ratio of two elements held to 1 within 0.1, and to 2 exactly."""
    return compare("it", ("i",), np.array(came), ONE).ratio


@pytest.mark.parametrize(
    ("came", "ratio"),
    [
        ([1.0, 2.0], 0),
        ([1.05, 2.0], 0.5),
        ([1.2, 2.0], 2),
        ([1.0, 2.0 + 1e-15], np.inf),
        ([np.nan, 2.0], np.inf),
        ([np.inf, 2.0], np.inf),
    ],
)
def test_ratio_is_error_over_bound_and_nan_never_passes(came: list[float], ratio: float) -> None:
    """Within is at most 1, a number that must be exact and is not is infinitely far, as is NaN."""
    assert worst(came) == pytest.approx(ratio)


def test_open_elements_are_counted_and_kept_out_of_the_ratio() -> None:
    """An infinite bound and a tanh whose bound is its range are open; outside the range is a fault."""
    free = Bounded([0.0, 0.5], np.array([np.inf, 1.6]), rounding=ROUNDING["float64"])
    inside = compare("it", ("i",), np.array([1e9, -0.9]), free, tanh=True)
    assert (inside.open, inside.over, inside.ratio) == (2, 0, 0)
    outside = compare("it", ("i",), np.array([1e9, -1.5]), free, tanh=True)
    assert (outside.open, outside.over) == (2, 1)
    assert "at i 1" in outside.worst


def test_an_element_is_named_by_its_axes() -> None:
    """A direction is named in words, the rest by its number."""
    axes = ("layer", "direction", "step", "row", "unit")
    words = "layer 1, direction reverse, step 3, row 0, unit 5"
    assert named(axes, (1, 1, 3, 0, 5)) == words


def test_two_results_may_differ_by_the_sum_of_their_bounds() -> None:
    """A law allows each of its two results its own error."""
    allowed = within(np.array([1.0, 2.0]), ONE, ONE)
    assert allowed.error.tolist() == [0.2, 0.0]


def test_a_property_that_compared_nothing_fails() -> None:
    """A run in which all elements are left open is no success."""
    held = replace(PROPERTIES["every_step_obeys_the_recurrence"], claim=lambda case, subject: [])
    examination = Examination(Subject("torch.nn:RNN", nn.RNN), ("float32",), 5, 0, frozenset())
    with pytest.raises(pytest.fail.Exception, match="nothing was judged: 5 examples, 0 elements"):
        examination.examine(held, "single")


class Strange(nn.RNN):
    """An RNN that returns what it is told to."""

    returned: Any = None

    def forward(self, input: Tensor, h_0: Tensor | None = None) -> Any:  # type: ignore[override]  # noqa: ARG002
        return self.returned


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        (None, r"the call returned a NoneType, not \(output, h_n\)"),
        ((1, 2, 3), r"the call returned a tuple of 3, not \(output, h_n\)"),
        ((torch.zeros(3, 2, 5), 2), "h_n is a int, not a tensor"),
        ((torch.zeros(3, 2, 4), torch.zeros(1, 2, 5)), r"output has shape \(3, 2, 4\), not \(3, 2, 5\)"),
        ((torch.zeros(3, 2, 5), torch.zeros(1, 2, 5).double()), "h_n has dtype torch.float64, not"),
        ((torch.zeros(3, 2, 5, device="meta"), torch.zeros(1, 2, 5)), "output has device meta, not cpu"),
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
    with pytest.raises(TypeError, match="input: expected one of float64, float32"):
        rnn_ref.check(output, h_n, problem.input + 0j, as_complex)
