"""Experiments that tell a fault: constants that are measured, masks that are seen, later calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.diagnose import diagnose
from rnn_ref.diagnosis.dropout import about_dropout
from rnn_ref.diagnosis.hypotheses.measured import shortest
from rnn_ref.diagnosis.later_calls import about_later_calls, about_unread
from rnn_ref.diagnosis.regions import parts
from rnn_ref.judging.subject import Subject
from tests.faults import gradients as gradients_of
from tests.faults import laws
from tests.faults.catalogue import with_faulty
from tests.faults.dropout import GivesAllLayersOneMask
from tests.subjects.correct import CORRECT
from tests.subjects.plain_rnn import Direction, PlainRNN

SINGLE = "tanh L1 D1 bias T1 N1 I1 H1 float32 weights=torch input=normal h_0 seed=0"
DEEP = "tanh L2 D2 bias T3 N2 I2 H2 float32 weights=torch input=normal h_0 seed=0"


def results(function: Callable[[Tensor, Tensor], Any]) -> Subject:
    """Change output and h_n."""

    class Faulty(PlainRNN):
        def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
            return function(*super().run_layers(x, h_0))  # type: ignore[no-any-return]

    return with_faulty(Faulty)


def states(function: Callable[[Tensor], Tensor]) -> Subject:
    """Change the states that a run returns."""

    class Faulty(PlainRNN):
        def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
            return function(super().run_direction(x, h_0, *weights))

    return with_faulty(Faulty)


def gradients(function: Callable[[Tensor], Tensor], of: str = "") -> Subject:
    """Change the finished gradients of parameters."""

    class Faulty(PlainRNN):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            for name, parameter in self.named_parameters():
                if of in name:
                    parameter.register_hook(function)  # type: ignore[no-untyped-call]

    return with_faulty(Faulty)


def averaged(over: int) -> Subject:
    """Take the mean over an axis, in place of the sum, in parameters' gradients."""

    class Faulty(Direction):
        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> Any:
            dx, dh, *dw, _ = Direction.backward(ctx, dy)
            return dx, dh, *(g / dy.shape[over] for g in dw), None

    return with_faulty(Faulty)


def from_on(y: Tensor, k: int, c: float, axis: int) -> Tensor:
    """Multiply what stands from k on along an axis."""
    return torch.cat([y.narrow(axis, 0, k), c * y.narrow(axis, k, y.shape[axis] - k)], axis)


FAULTS: dict[str, tuple[Subject, str]] = {
    "the output is zero in the last row": (
        results(lambda y, h: (from_on(y, y.shape[1] - 1, 0, 1), h)), DEEP),
    "the output is scaled by 0.97 in units from 2 on": (
        results(lambda y, h: (from_on(y, 2, 0.97, 2), h)), SINGLE),
    "the output is too large by 0.01 in steps from 3 on": (
        results(lambda y, h: (torch.cat([y[:3], y[3:] + 0.01]), h)), DEEP),
    "h_n is negated": (results(lambda y, h: (y, -h)), DEEP),
    "the rows of h_n are moved on by 1": (results(lambda y, h: (y, h.roll(1, 1))), DEEP),
    "layers and directions of h_n are in the reverse order": (
        results(lambda y, h: (y, h.flip(0))), DEEP),
    "the states that a run returns are clipped to [-0.5, 0.5]": (
        states(lambda y: y.clamp(-0.5, 0.5)), SINGLE),
    "the states that a run returns are zero in units after the last full tile of 4": (
        states(lambda y: from_on(y, y.shape[2] // 4 * 4, 0, 2)), SINGLE),
    "gradients of parameters are clipped to [-0.01, 0.01]": (
        gradients(lambda g: g.clamp(-0.01, 0.01)), DEEP),
    "the norm of the gradient of each parameter is clipped to 0.01": (
        gradients(lambda g: g * min(1, 0.01 / float(g.norm() + 1e-6))), DEEP),
    "the gradient of weight_hh is scaled by 0.97": (
        gradients(lambda g: g * 0.97, "weight_hh"), DEEP),
    "the gradient of the parameters is divided by the batch size": (averaged(1), DEEP),
    "the gradient of the parameters is divided by the number of steps": (averaged(0), DEEP),
}  # fmt: skip
"""By sentence, a subject with that fault, and a case of a form that shows it."""


@pytest.mark.parametrize("sentence", FAULTS)
def test_a_constant_is_measured_and_a_region_named(sentence: str) -> None:
    """The one sentence of the diagnosis has the constant, and where it applies."""
    subject, line = FAULTS[sentence]
    diagnosis = diagnose(subject, Case.parse(line), seconds=10)
    assert diagnosis
    assert diagnosis.sentences == (sentence,)


def dropping(drop: Callable[[Any, Tensor], Tensor]) -> Subject:
    """Drop in another way."""
    return with_faulty(type("Faulty", (PlainRNN,), {"drop": drop}))


def unscaled(rnn: Any, x: Tensor) -> Tensor:
    """Scale back what was kept."""
    dropped = nn.functional.dropout(x, rnn.dropout, rnn.training)
    return dropped * (1 - rnn.dropout) if rnn.training else dropped


def another_mask_back(rnn: Any, x: Tensor) -> Tensor:
    """Go back through a second mask."""
    there, back = (nn.functional.dropout(x, rnn.dropout, rnn.training) for _ in range(2))
    return there.detach() + back - back.detach()


DROPPED: dict[str, Subject] = {
    "what dropout keeps is not scaled by 1 / (1 - p)": dropping(unscaled),
    "dropout keeps elements with probability p, and does not drop them": dropping(
        lambda rnn, x: nn.functional.dropout(x, 1 - rnn.dropout, rnn.training)
    ),
    "all rows share one mask of dropout": dropping(
        lambda rnn, x: (
            x * nn.functional.dropout(torch.ones_like(x[:, :1]), rnn.dropout, rnn.training)
        )
    ),
    "backward goes through another mask of dropout than forward": dropping(another_mask_back),
    "all layers share one mask of dropout": with_faulty(GivesAllLayersOneMask),
}
"""By sentence, a subject whose dropout is so."""


@pytest.mark.parametrize("sentence", DROPPED)
def test_what_dropout_does_is_seen_in_its_masks(sentence: str) -> None:
    """One sentence is true of the masks, at each probability."""
    diagnosis = about_dropout(DROPPED[sentence])
    assert diagnosis
    assert diagnosis.sentences == (sentence,)


def test_dropout_that_is_wrong_in_one_dtype_is_seen_there() -> None:
    """The masks are those of the dtype that is asked for."""

    def unscaled_in_float64(rnn: Any, x: Tensor) -> Tensor:
        dropped = nn.functional.dropout(x, rnn.dropout, rnn.training)
        return unscaled(rnn, x) if x.dtype == torch.float64 else dropped

    subject = dropping(unscaled_in_float64)
    assert about_dropout(subject) is None
    diagnosis = about_dropout(subject, "float64")
    assert diagnosis
    assert diagnosis.sentences == ("what dropout keeps is not scaled by 1 / (1 - p)",)


@pytest.mark.parametrize("correct", [nn.RNN, *CORRECT])
def test_nothing_is_said_of_right_dropout(correct: type) -> None:
    """No sentence is true of the masks of a correct subject."""
    assert about_dropout(Subject(correct.__name__, correct)) is None


class KeepsRows(PlainRNN):
    """Rows from 2 on are those of the call before."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        new = super().run_layers(x, h_0)
        old = self.__dict__.get("kept", new)
        self.__dict__["kept"] = new
        if old[0].shape != new[0].shape:
            return new
        y, h_n = (torch.cat([a[:, :2], b[:, 2:]], 1) for a, b in zip(new, old, strict=True))
        return y, h_n


class CarriesOn(PlainRNN):
    """A call starts where the one before it ended."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.__dict__.get("kept", h_0)
        y, h_n = super().run_layers(x, kept if kept.shape == h_0.shape else h_0)
        self.__dict__["kept"] = h_n.detach()
        return y, h_n


class CarriesOnInAnyModule(PlainRNN):
    """A call starts where the one before it, of any module with such a state, ended."""

    kept: ClassVar[dict[Any, Tensor]] = {}

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        form = h_0.shape, h_0.dtype
        y, h_n = super().run_layers(x, self.kept.get(form, h_0))
        self.kept[form] = h_n.detach()
        return y, h_n


LATER = {
    "rows from 2 on of a later call are those of the call before": KeepsRows,
    "a later call starts from the h_n of the one before": CarriesOn,
    "in a later call h_0 is too large by 0.1": laws.CarriesAStateToTheNextCall,
    "a later call uses the weights of the first": gradients_of.KeepsTheFirstCallsWeights,
}
"""By sentence, a subject whose first call is right."""


def test_what_calls_of_other_modules_leave_is_said() -> None:
    """A state that goes from module to module is told, though no call is right."""
    diagnosis = about_later_calls(with_faulty(CarriesOnInAnyModule), Case.parse(SINGLE))
    assert diagnosis
    assert diagnosis.sentences == ("a later call starts from the h_n of the one before",)


@pytest.mark.parametrize("sentence", LATER)
def test_what_a_later_call_is_made_of_is_said(sentence: str) -> None:
    """Rows, states or weights of the call before, or a constant."""
    diagnosis = about_later_calls(with_faulty(LATER[sentence]), Case.parse(SINGLE))
    assert diagnosis
    assert diagnosis.sentences == (sentence,)


class KeepsWeightsByShape(PlainRNN):
    """Every module uses the first W_hh of its shape that the process saw."""

    kept: ClassVar[dict[Any, Tensor]] = {}

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        W_ih, W_hh, *biases = weights
        first = self.kept.setdefault((W_hh.shape, W_hh.dtype), W_hh.detach().clone())
        return super().run_direction(x, h_0, W_ih, first, *biases)


def test_weights_from_elsewhere_are_said() -> None:
    """Where other weights change nothing, they are named; of a correct RNN none are."""
    subject = Subject("tests:subject", KeepsWeightsByShape)
    diagnosis = about_unread(subject, Case.parse(SINGLE))
    assert diagnosis
    (said,) = diagnosis.sentences
    assert said.startswith("a call takes weight_hh from elsewhere")
    for correct in CORRECT:
        assert about_unread(Subject(correct.__name__, correct), Case.parse(DEEP)) is None


@pytest.mark.parametrize("correct", [nn.RNN, *CORRECT])
@pytest.mark.parametrize("line", [SINGLE, DEEP])
def test_nothing_is_said_of_right_later_calls(correct: type, line: str) -> None:
    """A second call of a correct subject is as right as its first."""
    assert about_later_calls(Subject(correct.__name__, correct), Case.parse(line)) is None


@pytest.mark.parametrize(
    ("low", "high", "number"),
    [
        (0.9994, 1.0013, 1.0),
        (0.33, 0.34, 0.34),
        (1.5, 1.4, None),
        (0.1234567, 0.1234568, 0.1234567),
    ],
)
def test_the_shortest_number_of_an_interval_is_taken(
    low: float, high: float, number: float | None
) -> None:
    """As few decimal digits as do; none where the interval is empty."""
    found = shortest(low, high)
    assert found == number or (found and number and low <= found <= high)


@pytest.mark.parametrize(
    ("wrong", "size", "chosen"),
    [
        ([1, 1, 1], 2, {(0, 1)}),
        ([0, 0, 1], 4, {(2,), (3,), (2, 3), ()}),
        ([1, 1, 0], 5, {(0, 1), (0, 1, 2, 3)}),
        ([0, 1, 0, 1, 0, 1], 4, {(1, 3)}),
    ],
)
def test_a_part_is_named_so_that_any_size_has_it(
    wrong: list[int], size: int, chosen: set[tuple[int, ...]]
) -> None:
    """From k on, before k, the last, a tile's rest, every k-th: each for another size."""
    found = parts("row", np.array(wrong, bool))
    assert {tuple(np.flatnonzero(part.chosen(size)).tolist()) for part in found} == chosen
