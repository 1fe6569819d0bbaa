"""The suite is judged by the faults it finds: each of the catalogue is, by the property named."""

from __future__ import annotations

import re

import pytest

from rnn_ref.arithmetic.dtypes import LOW
from rnn_ref.cases.case import Case
from rnn_ref.judging.failures import Kind
from rnn_ref.judging.subject import Subject
from rnn_ref.running.options import PROFILES
from tests.faults import FAULTS, Fault
from tests.subjects import plain_packing
from tests.subjects.correct import CORRECT, ONE_BY_ONE
from tests.subjects.plain_rnn import PlainCell
from tests.support.judging import (
    PROPERTIES,
    dtypes_of,
    failure_of,
    outcomes,
    sharing_answers,
)

JUDGED = [name for name, declared in PROPERTIES.items() if not declared.baseline]
"""The properties that need no record made before."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found_by_the_property_named(fault: Fault) -> None:
    """The property fails in the default profile, and its failure says where and how to replay."""
    found = (
        failure_of(
            fault.plant(),
            fault.found_by,
            PROFILES[few],
            shrinks=False,
            fullest_first=True,
            words=fault.words,
        )
        for few in ("quick", "default")
    )
    failure = next(filter(None, found), None)
    assert failure is not None
    assert failure.kind in (Kind.NUMBERS, Kind.FACT, Kind.EXCEPTION), str(failure)
    assert failure.property == f"test_{fault.found_by}"
    assert failure.replay.startswith("rnn-ref verify ")
    assert len(str(failure).splitlines()) <= 12
    assert (failure.kind == Kind.NUMBERS) == bool(failure.comparisons)
    for comparison in failure.comparisons:
        worst = comparison.worst
        assert worst is not None
        assert worst.axes
        assert len(worst.axes) == len(worst.index)
    assert (failure.kind == Kind.FACT) == (failure.fact is not None)
    assert (failure.kind == Kind.EXCEPTION) == (failure.raised is not None)
    assert failure.raised is None or failure.raised.place
    again = failure_of(fault.plant(), fault.found_by, case=Case.parse(failure.case))
    assert again is not None
    assert (again.kind, again.case) == (failure.kind, failure.case)


def test_every_property_has_a_fault_and_every_fault_a_property() -> None:
    """No property without a fault that it finds, and no fault whose property is not there."""
    assert {fault.found_by for fault in FAULTS} == set(JUDGED)


def test_faults_have_names_of_their_own_and_threads_by_number() -> None:
    """No two faults have one name, of one line; a thread is cited as owner/repository#number."""
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert [name for name in names if "\n" in name or name.endswith(".")] == []
    threads = [fault.seen for fault in FAULTS if fault.seen]
    assert [thread for thread in threads if not re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", thread)] == []


@pytest.mark.parametrize("name", JUDGED)
def test_a_correct_rnn_is_never_blamed(name: str) -> None:
    """Whatever its order of summation, a correct RNN satisfies a property, and is compared.

    All are judged by the group of bounds, and by each other property a third of them, in turn.
    Those that add up one by one are correct in float32 and float64 alone.
    """
    declared = PROPERTIES[name]
    low = dtypes_of(declared) == LOW
    correct = [each for each in CORRECT if not (low and each in ONE_BY_ONE)]
    if declared.group != "bounds":
        correct = correct[JUDGED.index(name) % 3 :: 3]
    examples = 1 if declared.only_far else min(3, declared.at_most // 2)
    with sharing_answers():
        for rnn in correct:
            subject = Subject(rnn.__name__, rnn, cell=PlainCell, packing=plain_packing)
            for outcome in outcomes(subject, name, examples):
                assert outcome.failure is None, f"{rnn.__name__}: {outcome.failure}"
                assert outcome.not_judged == ""  # it lacks nothing, and both dtypes are judged
                assert outcome.elements > outcome.open
