"""Histories: what their words mean, which steps are left out, and what shrinks to what."""

from __future__ import annotations

import pytest
from hypothesis import given
from torch import nn

from rnn_ref.arithmetic.dtypes import LOW
from rnn_ref.cases.case import Case
from rnn_ref.cases.history import (
    BACKWARDS,
    DROPOUT,
    GRADIENTS,
    STEPS,
    TOGETHER,
    TRAITS,
    WORDS,
    chosen,
    normal,
    plan,
    to_pick,
    words_of,
)
from rnn_ref.cases.selection import CAPABILITIES, restrict
from rnn_ref.judging.subject import Subject
from rnn_ref.running.options import DTYPES
from rnn_ref.strategies import cases
from tests.faults import FAULTS
from tests.support.judging import PROPERTIES, failure_of, outcomes

LIVES = "every_step_of_a_history_gives_what_the_reference_gives"
LINE = "tanh L2 D2 bias T2 N2 I2 H2 float32 weights=torch input=normal h_0 history={} seed=1"


@pytest.mark.parametrize(
    "word", [*STEPS, DROPOUT, *(f"call+{t}" for k in TRAITS.values() for t in k)]
)
def test_torch_conforms_after_every_step(word: str) -> None:
    """Each step, between two calls that are gone back through, leaves nn.RNN as it should be."""
    around = ("call", word, "call", "backward:all", "call+no_grad")
    history = ",".join(around if word != DROPOUT else (DROPOUT, *around[2:]))
    subject = Subject("torch.nn:RNN", nn.RNN)
    failure = failure_of(subject, LIVES, case=Case.parse(LINE.format(history)))
    assert failure is None, str(failure)


DOES_NOTHING = {
    "backward": "",
    "call,backward,backward": "call,backward",
    "call+no_grad,backward": "call+no_grad",
    "call,load,backward": "call,load",
    "call,backward:1": "call",
    "unhook,call,thaw": "call",
    "call+carried": "call",
    "call,call+carried": "call,call+carried",
    "call,backward,call+carried": "call,backward,call+detached",
    "call,call+carried+no_grad": "call,call+no_grad+detached",
    "call,cast,call+carried": "call,cast,call",
    "call,call+larger+carried": "call,call+larger",
    "call,call+carried,backward:0,backward": "call,call+carried,backward:0",
    "call,replace,backward": "call,replace,backward",
}
"""Histories, and what is left of them without the steps and traits that can do nothing."""


@pytest.mark.parametrize("history", DOES_NOTHING)
def test_steps_that_can_do_nothing_are_left_out(history: str) -> None:
    """What cannot be done where it stands is no step, and what is left is left as it is."""
    left = normal(history.split(","))
    assert words_of(left) == words_of(DOES_NOTHING[history])
    assert normal(left.split(",")) == left


def test_backward_names_the_calls_that_it_goes_through() -> None:
    """Each backward has the numbers of its calls, and a carried call that of its parent."""
    steps = plan(["call", "call", "call+carried", "backward:0", "backward:all"])
    assert [step.calls for step in steps] == [(), (), (1,), (0,), (1, 2)]


def test_a_line_with_a_history_is_read_and_written_alike() -> None:
    """A history is a part of the case line."""
    line = LINE.format("dropout,call+packed+carried,eval,backward:all")
    assert str(Case.parse(line)) == line


@pytest.mark.parametrize(
    "history", ["calls", "call+fast", "backward+no_grad", "no_grad", "call+call"]
)
def test_unknown_steps_are_no_case(history: str) -> None:
    """A word that is no step, or a trait of anything but a call, is refused."""
    with pytest.raises(ValueError, match="expected steps such as call or backward"):
        Case.parse(LINE.format(history))


def test_every_word_is_drawn() -> None:
    """Each word is picked by itself, comes with another, or is a trait of some calls."""
    some = {word for n in range(256) for word in chosen(n, ["call"], WORDS).split("+")}
    drawn = {"backward", DROPOUT, *some, *to_pick(WORDS)}
    assert drawn | {word for words in TOGETHER.values() for word in words} == WORDS.keys()


def test_what_a_subject_lacks_is_in_no_history() -> None:
    """Without gradients nothing goes backward, and so for each capability that words need."""
    domain = PROPERTIES[LIVES].domains["single"]
    left = restrict(domain, ["gradients"])["steps"]
    assert set(left).isdisjoint({*GRADIENTS, *BACKWARDS})
    for capability in ("packed", "unbatched", "autocast", "dropout", "keyword"):
        assert set(restrict(domain, [capability])["steps"]) == WORDS.keys() - {capability}
    assert "steps" in CAPABILITIES["pickle"].remaining


@given(cases(dtypes=LOW, steps=tuple(WORDS)))
def test_no_module_of_16_bits_is_called_under_autocast(case: Case) -> None:
    """torch.autocast's page advises against it, and torch raises there for some packed calls."""
    assert "autocast" not in words_of(case.history)


SHORT = ("A padded call after", "After a call without gradients")
FEW_STEPS = 5


@pytest.mark.parametrize("name", SHORT)
def test_a_fault_of_a_history_is_shrunk_to_a_few_steps(name: str) -> None:
    """A failing history shrinks to the steps that the fault needs, in a network of one unit."""
    fault = next(fault for fault in FAULTS if fault.name.startswith(name))
    failure = failure_of(fault.plant(), LIVES)
    assert failure is not None
    case = Case.parse(failure.case)
    assert len(case.history.split(",")) <= FEW_STEPS
    assert (case.L, case.N, case.H) == (1, 1, 1)


@pytest.mark.parametrize("dtype", [*DTYPES, *LOW])
def test_a_correct_module_is_compared_in_every_structure(dtype: str) -> None:
    """Histories of single, deep and bidirectional networks leave less than a third open."""
    subject = Subject("torch.nn:RNN", nn.RNN)
    for outcome in outcomes(subject, LIVES, examples=40, dtypes=(dtype,)):
        assert outcome.failure is None, str(outcome.failure)
        assert outcome.elements > 3 * outcome.open
