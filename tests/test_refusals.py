"""Refusals and empty sequences: what a framework does in its own way is no fault."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rnn_ref.judging.subject import Subject
from tests.faults.errors import TakesAnyHiddenSize
from tests.subjects.plain_rnn import PlainRNN
from tests.support.judging import failure_of

CONSTRUCTIONS = "nonsense_is_not_constructed"
CALLS = "a_wrong_call_is_refused_and_leaves_no_trace"
STATES = "a_state_that_nearly_fits_is_refused"
EMPTY = "an_empty_sequence_is_refused_or_gives_nothing"
SPECIAL = "special_values_go_where_the_equations_send_them"


def refusing(error: type[Exception]) -> Subject:
    """Make a correct RNN that refuses what it does not take with errors of one type."""

    class Refuses(PlainRNN):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            try:
                super().__init__(*arguments, **options)
            except (ValueError, TypeError, RuntimeError) as refusal:
                raise error(str(refusal)) from refusal

        def require(self, input: Tensor, h_0: Tensor | None) -> None:
            try:
                super().require(input, h_0)
            except (ValueError, TypeError, RuntimeError) as refusal:
                raise error(str(refusal)) from refusal

    return Subject("refuses", Refuses)


@pytest.mark.parametrize("name", [CONSTRUCTIONS, CALLS, STATES, EMPTY])
@pytest.mark.parametrize("error", [IndexError, AssertionError, KeyError, LookupError, Exception])
def test_any_exception_is_a_refusal(error: type[Exception], name: str) -> None:
    """The type of the error is the framework's own affair."""
    assert failure_of(refusing(error), name, examples=3) is None


class TakesAnything(PlainRNN):
    """Refuses no call."""

    def require(self, input: Tensor, h_0: Tensor | None) -> None:
        pass

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        try:
            return super().run_padded(input, h_0)
        except (IndexError, TypeError, ValueError, RuntimeError):
            return input, input


def test_a_call_that_is_not_refused_is_named_by_its_arguments() -> None:
    """The failure has the shapes and dtypes of the call, or the options of the constructor."""
    failure = failure_of(Subject("takes", TakesAnything), STATES)
    assert failure is not None
    assert str(failure).startswith(
        "a call with h_0 of one layer or direction more"
        " (input (1, 1, 1) float32, h_0 (2, 1, 1) float32): got no error, expected an error"
    )
    failure = failure_of(Subject("takes", TakesAnyHiddenSize), CONSTRUCTIONS)
    assert failure is not None
    assert "hidden_size 0 (input_size=1, hidden_size=0): got no error" in str(failure)


class BeginsWithoutAState(PlainRNN):
    """Leaves the product of W_hh out of the first step, where no state is given."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        self.__dict__["begins"] = h_0 is None
        return super().run_padded(input, h_0)

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        if not self.__dict__["begins"] or not len(x):
            return super().run_direction(x, h_0, *weights)
        W_ih, W_hh, *biases = weights
        first = super().run_direction(x[:1], h_0, W_ih, torch.zeros_like(W_hh), *biases)
        if len(x) == 1:
            return first
        return torch.cat([first, super().run_direction(x[1:], first[0], *weights)])


@pytest.mark.parametrize("seed", [1, 2])
def test_a_product_with_an_absent_state_may_be_left_out(seed: int) -> None:
    """An infinite W_hh times the zeros of a state that is not given may be NaN, or nothing."""
    subject = Subject("begins", BeginsWithoutAState)
    assert failure_of(subject, SPECIAL, seed=seed) is None


class GivesNothing(PlainRNN):
    """Returns an empty output, and the initial state, for an empty sequence."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        axis = 1 if self.batch_first and input.dim() == 3 else 0
        if input.shape[axis]:
            return super().run_padded(input, h_0)
        D = 2 if self.bidirectional else 1
        N = (input.shape[1 - axis],) if input.dim() == 3 else ()
        zeros = input.new_zeros(D * self.num_layers, *N, self.hidden_size)
        output = input.new_zeros(*input.shape[:-1], D * self.hidden_size)
        return output, zeros if h_0 is None else h_0


def test_an_empty_sequence_may_give_an_empty_result() -> None:
    """A program that loops over no steps returns no states, and the state it began with."""
    assert failure_of(Subject("gives", GivesNothing), EMPTY) is None
