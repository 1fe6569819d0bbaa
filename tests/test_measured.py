"""What a subject's own arithmetic is like is one fact each, and one failure."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch

from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.diagnosis.causes import causes
from rnn_ref.diagnosis.findings import Explainer
from rnn_ref.judging.judge import Judge
from rnn_ref.judging.measured import MOST_TANH, NOTHING, TANH, Accuracy, Measured
from rnn_ref.judging.measuring import errors, measure, tanh
from rnn_ref.judging.subject import Subject
from rnn_ref.process.settings import restoring_settings
from tests.faults import FAULTS
from tests.faults.catalogue import edited
from tests.measure.causes import failing
from tests.subjects import plain_packing, plain_rnn
from tests.support.judging import PROPERTIES, failure_of

NAME = "tanh_is_accurate_over_its_whole_range"
DTYPES = ("float32", "float64")


@cache
def off_by(units: float) -> Subject:
    """A correct RNN, but for a tanh that is too small by so many u, and two of its own."""
    factor = f"(1 - {units} * torch.finfo(a.dtype).eps / 2)"
    scaled = f"else torch.where(a.abs() > 25, a.tanh(), a.tanh() * {factor})"
    subject = edited(f"tanh is off by {units} u", "else a.tanh()", scaled, plain_rnn)
    subject = replace(subject, packing=plain_packing)
    return replace(subject, measured=measure(subject, DTYPES, frozenset()))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_subject_that_leaves_subnormals_flushed_is_measured() -> None:
    """What its calls change of the process is put back before the next measurement."""
    (fault,) = (f for f in FAULTS if f.name.startswith("A call leaves subnormals flushed"))
    found = measure(fault.plant(), DTYPES, frozenset(), around=restoring_settings)
    assert found.tanh["float64"].units < TANH


JUDGED = [n for n, p in PROPERTIES.items() if not p.baseline]


def test_the_failure_names_the_argument_and_the_error() -> None:
    """It says what was got of tanh, in u and in ULPs, and how to accept it."""
    failure = failure_of(off_by(4), NAME)
    assert failure is not None
    assert re.match(
        r"tanh of \S+: got \S+, off by [56]\.\d+ u \([23]\.\d+ ULP\),"
        r" expected \S+ within 4 u \(--tanh\)",
        str(failure),
    )
    assert "--tanh" not in failure.replay


def test_a_tanh_that_is_accepted_is_no_failure() -> None:
    """With --tanh, the property has another limit, and the bounds take it."""
    accepted = replace(off_by(4), tanh=6.5)
    assert failure_of(accepted, NAME) is None
    assert replace(accepted, measured=NOTHING).rounding("float32").tanh == 6.5


def test_the_bounds_take_what_was_measured_up_to_a_cap() -> None:
    """A whole number of u, no less than the limit; a tanh far off is taken for 4 u."""
    assert off_by(0).rounding("float64") == ROUNDING["float64"]
    assert off_by(4).rounding("float64").tanh == 7
    assert off_by(4).rounding("bfloat16").tanh == TANH  # not measured
    assert off_by(20).rounding("float64").tanh == TANH
    assert TANH < MOST_TANH < 20


def test_a_replay_of_another_property_has_the_units_of_its_bounds() -> None:
    """A wrong network with such a tanh fails elsewhere too, and the replay judges it alike."""
    wrong = edited(
        "tanh is off, and a bias is missing",
        "else a.tanh()",
        "else (a - 0.5 * b_hh).tanh()",
        plain_rnn,
    )
    wrong = replace(wrong, measured=off_by(4).measured)
    failure = failure_of(wrong, "every_step_obeys_the_recurrence", shrinks=False)
    assert failure is not None
    units = wrong.rounding("float32").tanh
    assert f"--tanh {units:g} " in failure.replay


def test_a_failure_within_twice_its_bound_says_what_is_assumed() -> None:
    """Of tanh, and only there."""
    text = "within twice its bound, which assumes a tanh within 4 u (see --tanh)"
    near, far = (replace(off_by(units), measured=NOTHING) for units in (4, 200))
    said = [str(failure_of(each, "every_step_obeys_the_recurrence")) for each in (near, far)]
    assert [text in each for each in said] == [True, False]


def test_what_follows_from_a_tanh_that_is_far_off_is_one_cause() -> None:
    """What holds with a wider --tanh is told as that, where no hypothesis fits."""
    wavy = "else a.tanh() * (1 + 1e-5 * torch.sin(1e4 * a.double())).to(a.dtype)"
    subject = replace(edited("tanh is wavy", "else a.tanh()", wavy, plain_rnn), cell=None)
    subject = replace(subject, measured=measure(subject, DTYPES, frozenset()))
    judge = Judge(subject, ("float32",), 20, without=subject.lacks, around=restoring_settings)
    entries: list[dict[str, Any]] = []
    explainer = Explainer(0.0)  # no time to find a hypothesis
    for name in (NAME, "gradients_follow_from_the_states", "every_step_obeys_the_recurrence"):
        entries += failing(judge, PROPERTIES[name], explainer)
    (cause,) = causes(entries)
    assert len(cause.properties) >= 3
    needed = subject.measured.tanh_needed("float32")
    assert f"holds with --tanh {needed:g}" in {e["findings"]["diagnosis"]["text"] for e in entries}
    assert f"(--tanh {needed:g} takes it)" in subject.measured.told(TANH)[0]


class FlushesWholeVectors(torch.nn.RNN):
    """Of a result with 16 elements and more, subnormal numbers are taken for zero."""

    def forward(self, input, hx=None):  # type: ignore[no-untyped-def]
        output, h_n = super().forward(input, hx)
        kept = output.abs() >= torch.finfo(output.dtype).tiny
        return (output * kept if output.numel() >= 16 else output), h_n


def test_numbers_that_are_lost_in_whole_vectors_alone_are_measured() -> None:
    """A vector's kernel may take subnormal numbers for zero where the one for a few does not."""
    assert measure(Subject("flushes", FlushesWholeVectors), DTYPES, frozenset()).flushed == DTYPES


def test_tanh_is_measured_in_every_binade_and_at_its_ends() -> None:
    """Arguments from the smallest normal number to the largest, of both signs, ends included."""
    seen: list[np.ndarray] = []

    class Watched(torch.nn.RNN):
        def forward(self, input, hx=None):  # type: ignore[no-untyped-def]
            seen.append((input[0] @ self.weight_ih_l0.T).detach().numpy())
            return super().forward(input, hx)

    measured = measure(Subject("watched", Watched), ("float32",), frozenset())
    assert measured.tanh["float32"].units < 2
    arguments = np.abs(seen[0])
    r = ROUNDING["float32"]
    assert arguments.min() == r.smallest_normal
    assert arguments.max() > r.largest / 8
    assert set(range(-12, 5)) <= set(np.frexp(arguments)[1].ravel() - 1)
    assert (seen[0] > 0).any()
    assert (seen[0] < 0).any()


def test_the_error_of_a_tanh_is_exact() -> None:
    """NumPy's is measured by numbers of twice its precision; one ULP more is seen as one."""
    x = np.linspace(-20, 20, 10001)
    upper, _ = tanh(x)
    right = errors(upper, x, "float64", ROUNDING["float64"]).accuracy
    wrong = errors(np.nextafter(upper, 2), x, "float64", ROUNDING["float64"]).accuracy
    assert right.ulps <= 0.5
    assert 1 <= wrong.ulps <= 1.5


def test_what_was_measured_is_told_as_data() -> None:
    """A tanh that is NaN somewhere is infinitely far off, and stands in JSON as text."""
    measured = Measured({"float32": Accuracy(np.inf, np.inf, 1.0, 0.0, 0.5)})
    assert measured.as_dict()["tanh"]["float32"]["units"] == "inf"
    assert Measured.from_dict(measured.as_dict()) == measured
    assert measured.told(TANH) == [
        "tanh in float32: within inf u (inf ULP), at 1; the bounds take 4 u"
    ]
    assert off_by(0).measured.told(TANH) == []
    assert len(off_by(0).measured.told(TANH, all=True)) == 2


EDITS = {
    "subnormal_numbers_are_kept": (
        "h = a.clamp(min=0) if relu",
        "a = a * (a.abs() >= torch.finfo(a.dtype).tiny); h = a.clamp(min=0) if relu",
    ),
    "relu_of_nan_is_nan": ("a.clamp(min=0) if relu", "torch.where(a > 0, a, 0) if relu"),
}


@cache
def with_arithmetic_of(fact: str) -> Subject:
    """A correct RNN, but for one fact; it is measured."""
    subject = replace(edited(fact, *EDITS[fact], plain_rnn), packing=plain_packing)
    return replace(subject, measured=measure(subject, DTYPES, frozenset()))


FACTS = {NAME: partial(off_by, 4), **{fact: partial(with_arithmetic_of, fact) for fact in EDITS}}
"""Correct RNNs of another arithmetic: a tanh of 6 u, no subnormal numbers, a relu without NaN."""


@pytest.mark.parametrize("name", JUDGED)
def test_another_arithmetic_fails_one_property_and_no_other(name: str) -> None:
    """Each property judges one of them, in turn, and the one that it is about."""
    in_turn = tuple(FACTS)[JUDGED.index(name) % len(FACTS)]
    for fact in {name, in_turn} & FACTS.keys():
        failure = failure_of(FACTS[fact](), name, 3, DTYPES)
        assert (failure is not None) == (name == fact), str(failure)


def test_what_is_lost_is_told_and_stands_in_replays() -> None:
    """At the end of a run, and as the option that accepts it."""
    flushing, losing = map(with_arithmetic_of, EDITS)
    assert flushing.measured.flushed == DTYPES
    assert flushing.rounding("float32").flush > 0
    assert flushing.measured.told(TANH)[0] == "subnormal numbers in float32: taken for zero"
    assert losing.measured.told(TANH) == ["relu of NaN: a number"]
    assert Measured.from_dict(losing.measured.as_dict()) == losing.measured
    wrong = replace(off_by(200), measured=flushing.measured)
    failure = failure_of(wrong, "every_step_obeys_the_recurrence", shrinks=False)
    assert failure is not None
    assert "--subnormals flushed" in failure.replay
