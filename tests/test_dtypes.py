"""The 16-bit dtypes of a run: asked for where the subject has them, with the machine's rounding."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from rnn_ref.arithmetic.dtypes import LOW, ROUNDING
from rnn_ref.judging.flushing import losing_subnormals
from rnn_ref.judging.subject import Subject
from rnn_ref.running.dtypes import computed, with_low
from rnn_ref.running.options import DTYPES
from rnn_ref.running.preparing import told_of_flushing


class NoHalves(nn.RNN):
    """An RNN that raises for 16-bit input."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if input.element_size() == 2:
            raise NotImplementedError("16 bits")
        return super().forward(input, hx)


class WideHn(nn.RNN):
    """An RNN whose h_n is float32, whatever the dtype."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        return output, h_n.float()


@pytest.mark.parametrize(("factory", "found"), [(nn.RNN, [*LOW]), (NoHalves, []), (WideHn, [*LOW])])
def test_a_subject_is_judged_in_the_16_bit_dtypes_that_it_computes_in(
    factory: Any, found: list[str]
) -> None:
    """What raises is not judged in them; what returns something wrong is."""
    assert computed(Subject("it", factory), frozenset(), nullcontext) == found


def test_a_tenth_of_the_examples_is_in_16_bits() -> None:
    """Drawn from the list, one in ten; and none where the subject has no such dtype."""
    drawn = with_low(DTYPES, LOW)
    assert sum(dtype in LOW for dtype in drawn) * 10 == len(drawn)
    assert drawn[:2] == DTYPES  # to which cases shrink
    assert with_low(DTYPES, []) == DTYPES


def test_products_that_lose_subnormals_are_noticed_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where they do, the dtype is judged by the bounds that allow it, and the run says so."""
    monkeypatch.setattr(torch.nn.functional, "linear", lambda x, _: 0 * x)
    assert losing_subnormals.__wrapped__("cpu") == set(LOW)
    monkeypatch.setattr("rnn_ref.judging.subject.losing_subnormals", lambda _: {"bfloat16"})
    subject = Subject("it", nn.RNN)
    assert subject.rounding("bfloat16") == ROUNDING["bfloat16"].flushing
    assert subject.rounding("float16") == ROUNDING["float16"]
    session: Any = SimpleNamespace(judge=SimpleNamespace(subject=subject))
    lines = told_of_flushing(session)
    assert "bfloat16" in lines[0]
    assert "float16" not in lines[0].replace("bfloat16", "")
    assert all(len(line) <= 79 for line in lines)


def test_products_that_keep_subnormals_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every sum of subnormal numbers is there, the bounds are the dtype's own."""
    monkeypatch.setattr(torch.nn.functional, "linear", lambda x, w: x.double() @ w.double())
    assert losing_subnormals.__wrapped__("cpu") == set()
    monkeypatch.setattr("rnn_ref.judging.subject.losing_subnormals", losing_subnormals.__wrapped__)
    session: Any = SimpleNamespace(judge=SimpleNamespace(subject=Subject("it", nn.RNN)))
    assert told_of_flushing(session) == []
