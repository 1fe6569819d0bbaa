"""What is wrong of some units, rows or steps alone is named with them; the rest is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.diagnose import diagnose
from rnn_ref.judging.subject import Subject
from tests.subjects.plain_rnn import PlainRNN

SIMPLE = "tanh L1 D1 bias T1 N1 I1 H1 float32 weights=torch input=normal h_0 seed=0"
LONG = SIMPLE.replace("weights=torch", "weights=contracting")


@contextmanager
def doubled(biases: list[Tensor]) -> Iterator[None]:
    """Double biases for the time of a call."""
    with torch.no_grad():
        for bias in biases:
            bias.mul_(2)
    yield
    with torch.no_grad():
        for bias in biases:
            bias.div_(2)


class OfUnits(nn.RNN):
    """b_hh counts twice in units after the last full tile of 4."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        k = self.hidden_size // 4 * 4
        with doubled([b[k:] for name, b in self.named_parameters() if "bias_hh" in name]):
            return super().forward(input, hx)


class OfTheLastRow(nn.RNN):
    """The last row starts from zero."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if hx is not None:
            hx = torch.cat([hx[:, :-1], 0 * hx[:, -1:]], 1)
        return super().forward(input, hx)


class OfOddRows(nn.RNN):
    """The last row of an odd batch has the h_n of the row before."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        N = h_n.shape[1]
        return output, torch.cat([h_n[:, :-1], h_n[:, -2:-1]], 1) if N > 2 and N % 2 else h_n


class InChunks(nn.RNN):
    """A network that runs some steps at a time, and changes what lies between or in them."""

    steps = 8

    def forward(self, input: Any, hx: Any = None) -> Any:
        outputs: list[Tensor] = []
        for i, chunk in enumerate(input.split(self.steps)):
            output, hx = self.run_chunk(i, chunk, hx)
            outputs.append(output)
        return torch.cat(outputs), hx

    def run_chunk(self, i: int, chunk: Tensor, hx: Any) -> Any:
        """Run the chunk i."""
        raise NotImplementedError


class OfTheLastStep(nn.RNN):
    """b_ih is left out at the last step, whichever direction reads it."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        own, state = self.state_dict(), self.state_dict()
        for name in [name for name in own if name.startswith("weight_ih")]:
            bias = name.replace("weight", "bias")
            state[name] = torch.cat([own[name], own[bias][:, None]], 1)
            state[bias] = 0 * own[bias]
        wide = nn.RNN(self.input_size + 1, self.hidden_size, bidirectional=self.bidirectional)
        wide.load_state_dict(state)
        counts = torch.ones(*input.shape[:-1], 1)
        counts[-1] = 0
        return wide(torch.cat([input, counts], -1), hx)


class OfLayersAbove(PlainRNN):
    """Above the first layer each step reads the state before it rounded to bfloat16."""

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        if weights[0] is self.weight_ih_l0:
            return super().run_direction(x, h_0, *weights)
        h, ys = h_0, []
        for t in range(len(x)):
            ys.append(super().run_direction(x[t : t + 1], h.bfloat16().to(h.dtype), *weights))
            h = ys[-1][0]
        return torch.cat(ys)


class OfLaterSteps(InChunks):
    """b_hh counts twice from the fifth step on."""

    steps = 4

    def run_chunk(self, i: int, chunk: Tensor, hx: Any) -> Any:
        with doubled([self.bias_hh_l0] if i else []):  # type: ignore[list-item]
            return nn.RNN.forward(self, chunk, hx)


class BetweenChunks(InChunks):
    """The state is rounded to bfloat16 every 8 steps."""

    def run_chunk(self, i: int, chunk: Tensor, hx: Any) -> Any:
        return nn.RNN.forward(self, chunk, hx.bfloat16().float() if i else hx)


class BeforeOneChunk(InChunks):
    """The state is rounded to bfloat16 after the first 5 steps, and never again."""

    steps = 5

    def run_chunk(self, i: int, chunk: Tensor, hx: Any) -> Any:
        return nn.RNN.forward(self, chunk, hx.bfloat16().float() if i == 1 else hx)


NAMED: tuple[tuple[Callable[..., Any], str, str], ...] = (
    (OfTheLastStep, SIMPLE, "bias_ih is never added, in the last step alone"),
    (OfTheLastStep, SIMPLE.replace("D1", "D2"), "bias_ih is never added, in the last step alone"),
    (
        OfLayersAbove,
        SIMPLE.replace("L1", "L3"),
        "each step reads the state before it rounded to bfloat16 in the layers above the first",
    ),
    (OfUnits, SIMPLE, "bias_hh is added twice, in units after the last full tile of 4 alone"),
    (OfTheLastRow, SIMPLE, "h_0 is ignored: all runs start from zero, in the last row alone"),
    (OfOddRows, SIMPLE, "h_n repeats the row before in rows after the last full tile of 2"),
    (OfLaterSteps, SIMPLE, "bias_hh is added twice, in steps from 4 on alone"),
    (BetweenChunks, LONG, "the state is rounded to bfloat16 every 8 steps"),
)


@pytest.mark.parametrize(("factory", "line", "sentence"), NAMED)
def test_what_is_wrong_of_a_part_is_named_with_it(factory: Any, line: str, sentence: str) -> None:
    """The diagnosis says what is wrong, and of which units, rows or steps."""
    said = diagnose(Subject("tests:subject", factory), Case.parse(line), seconds=10)
    assert said is not None
    assert said.sentences[0] == sentence


def test_a_loss_of_precision_is_not_stated_where_whole_steps_are_right() -> None:
    """A rounding at each step would show in each."""
    said = diagnose(Subject("tests:subject", BeforeOneChunk), Case.parse(LONG), seconds=10)
    assert said is not None
    assert said.sentences == ()
