"""What a failure follows from: it vanishes when that is put right, and nothing else does it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.findings import Explainer
from rnn_ref.diagnosis.mending import forms_built, mended_network, mended_settings
from rnn_ref.judging.comparison import Comparison, counted, left_open
from rnn_ref.judging.failures import Kind
from rnn_ref.judging.judge import Judge
from rnn_ref.judging.subject import Subject
from rnn_ref.process.settings import restoring_settings
from rnn_ref.running.options import DTYPES
from tests.faults import FAULTS
from tests.subjects.plain_rnn import Direction, PlainRNN
from tests.support.judging import PROPERTIES

CASE = Case.parse("tanh L2 D1 bias T3 N2 I2 H2 float32 weights=torch input=normal h_0 seed=0")

FOLLOWS = [
    ("b_hh is dropped", "gradients_have_gradients", "network"),
    ("b_hh is dropped", "a_network_equals_its_cell_unrolled", "network"),
    ("tanh is applied twice", "gradients_of_packed_sequences_have_gradients", "network"),
    ("The cell drops b_hh", "a_cells_arguments_may_be_named_and_its_state_none", "cell"),
    ("The cell drops b_hh", "a_network_equals_its_cell_unrolled", "cell"),
    ("The recurrence is cut: each step starts from h_0", "gradients_have_gradients", "network"),
    ("A call leaves the recording of gradients off", "gradients_of_two_calls_add_up", "settings"),
    ("A call under no_grad leaves the module in evaluation", "masks_do_not_repeat_at_any_lag",
     "settings"),
    ("All calls use the weights of the first", "changed_weights_are_the_ones_that_count",
     "a later call"),
    ("Packed sequences start from zero", "gradients_of_packed_sequences", "packed"),
    ("The strides of the input are ignored", "arguments_may_lie_in_any_way", "arguments"),
    ("Packed sequences start from zero", "packed_arguments_may_be_named_and_h_0_none", "packed"),
    ("tanh is applied twice", "forward_hooks_run_in_order_and_may_replace", "network"),
    ("The input's offset in its storage is ignored", "packed_sequences_are_each_run_alone",
     "arguments"),
    ("Backward writes into the gradient that it is handed",
     "the_gradient_of_a_sum_comes_expanded", "gradients handed"),
    ("Second derivatives are cut", "gradients_have_gradients", "other uses"),
    ("Sequences are packed one after the other", "unpacking_undoes_packing",
     "the functions that pack"),
    ("Padding is zero whatever padding_value is", "unpacking_undoes_packing", None),
    ("A call prints", "nothing_is_printed", None),
    ("An h_0 of more layers is accepted", "a_wrong_call_is_refused_and_leaves_no_trace", None),
    ("repr", "repr_tells_the_sizes", None),
]  # fmt: skip
"""Faults, a property that fails for each, and what the failure follows from."""


def planted(name: str) -> Subject:
    """Plant a fault of the catalogue."""
    names = {"repr": "The representation has no sizes"}
    (fault,) = (fault for fault in FAULTS if fault.name == names.get(name, name))
    return fault.plant()


@pytest.mark.parametrize(("name", "by", "origin"), FOLLOWS)
def test_a_failure_follows_from_what_mends_it(name: str, by: str, origin: str | None) -> None:
    """Wrong numbers of the network, of later or packed calls, of the cell, or changed settings."""
    subject, declared = planted(name), PROPERTIES[by]
    judge = Judge(subject, DTYPES, 20, 0, subject.lacks, around=restoring_settings)
    structure = next(iter(declared.domains))
    failure = judge.judge(declared, structure).failure
    assert failure
    found = Explainer(20).findings(judge, declared, structure, failure)
    assert found.get("follows") == origin


@pytest.mark.parametrize("mended", [mended_network, mended_settings])
def test_a_mended_subject_is_right_and_draws_no_more(mended: Any) -> None:
    """Its results are torch's, and the generator moves on as without the mending."""
    subject = planted("b_hh is dropped")
    problem = subject.problem(CASE)
    right = Subject("torch.nn:RNN", nn.RNN).run(problem)
    before = torch.get_rng_state()
    run = mended(subject).run(problem, mended(subject).build(problem))
    assert (run.output == right.output).all()
    module, plain = mended(subject).build(problem, dropout=0.5), subject.build(problem, dropout=0.5)
    ends = []
    for each in (module, plain):
        torch.set_rng_state(before)
        subject.run(problem, each)
        ends.append(torch.get_rng_state())
    assert torch.equal(*ends)


class HasForwardOfItsOwn(nn.RNN):
    """Its output is too large, by a function that it keeps as an attribute."""

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        right = super().forward

        def forward(*arguments: Any, **named: Any) -> Any:
            output, h_n = right(*arguments, **named)
            return 2 * output, h_n

        self.forward = forward  # type: ignore[method-assign]


def test_a_module_whose_forward_is_an_attribute_is_mended() -> None:
    """A compiled module has such a one, and no class of its own counts."""
    subject = Subject("tests:subject", HasForwardOfItsOwn)
    problem = subject.problem(CASE)
    right = Subject("torch.nn:RNN", nn.RNN).run(problem)
    for mended in (mended_network(subject), mended_settings(subject)):
        assert (mended.run(problem, mended.build(problem)).output == right.output).all()


def test_the_networks_that_a_property_builds_are_known() -> None:
    """A property of dropout builds a network of relu, whatever its case."""
    subject = Subject("torch.nn:RNN", nn.RNN)
    judge = Judge(subject, DTYPES, 1, without=subject.lacks)
    case = Case.parse(f"{CASE}".replace(" seed", " variant=p0.5 seed"))
    built = forms_built(judge, PROPERTIES["dropout_falls_between_layers_at_its_rate"], case)
    assert {form.nonlinearity for form in built} == {"relu"}


class AlwaysNaN(nn.RNN):
    """All results are NaN."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        return torch.nan * output, torch.nan * h_n


def open_where_nan(_: Case, subject: Subject) -> list[Comparison]:
    """Compare a number, if there is one."""
    output = subject.run(subject.problem(CASE)).output
    return [left_open("output", 1) if np.isnan(output).any() else counted("output", 1)]


def always_open(_: Case, __: Subject) -> list[Comparison]:
    """Compare nothing, whatever the results are."""
    return [left_open("output", 1)]


@pytest.mark.parametrize(
    ("claim", "follows"), [(open_where_nan, "other uses"), (always_open, None)]
)
def test_what_compares_nothing_follows_from_results_if_right_ones_are_compared(
    claim: Any, follows: str | None
) -> None:
    """NaN leaves all open; where right results leave all open too, nothing is said."""
    declared = replace(PROPERTIES["nothing_is_printed"], claim=claim)
    judge = Judge(Subject("tests:subject", AlwaysNaN), ("float32",), 2)
    failure = judge.judge(declared).failure
    assert failure
    assert failure.kind == Kind.NOTHING
    found = Explainer(20).findings(judge, declared, "", failure)
    assert found == ({"follows": follows, "nan": True} if follows else {})


class Overwriting(Direction):
    """The last state is added to h_0 itself, which backward then reads."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, h_0: Tensor, *weights: Any) -> Tensor:
        y = Direction.forward(ctx, x, h_0.clone(), *weights)
        ctx.save_for_backward(x, h_0.add_(y[-1]), *weights[:2], y)
        return y


class OverwritesH0(PlainRNN):
    """A call writes into h_0."""

    direction = Overwriting


def test_wrong_gradients_are_told_by_the_argument_that_a_call_writes_into() -> None:
    """Where no hypothesis explains gradients, and h_0 has changed, that is the sentence."""
    subject = Subject("tests:subject", OverwritesH0)
    judge = Judge(subject, ("float32",), 20, 0, subject.lacks, around=restoring_settings)
    declared = PROPERTIES["gradients_follow_from_the_states"]
    failure = judge.judge(declared, "single").failure
    assert failure
    found = Explainer(20).findings(judge, declared, "single", failure)
    assert found["diagnosis"]["sentences"] == ["a call writes into h_0"]
