"""What the wrong elements have in common, and which sizes of a case fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.fields import fields_that_matter, is_regular
from rnn_ref.judging.comparison import compare
from rnn_ref.judging.judge import Judge
from rnn_ref.judging.subject import Subject
from tests.support.judging import PROPERTIES


def test_right_values_in_wrong_places_are_told_by_their_places() -> None:
    """Rows that are exchanged are named, each with the one to which its values belong."""
    value = np.arange(6.0).reshape(2, 3)
    expected = Bounded(value, rounding=ROUNDING["float32"])
    found = compare("h_n", ("row", "unit"), value[::-1], expected).pattern
    assert found
    assert found.moved == ("rows 0, 1 have what belongs to rows 1, 0",)
    repeated = compare("h_n", ("row", "unit"), value[[0, 0]], expected).pattern
    assert repeated
    assert repeated.moved == ("row 1 has what belongs to row 0",)
    elsewhere = compare("h_n", ("row", "unit"), value + 7, expected).pattern
    assert elsewhere
    assert elsewhere.moved == ()


class WrongInOddBatches(torch.nn.RNN):
    """The last row of an odd batch of three or more has a larger h_n."""

    def forward(self, *arguments: Any) -> Any:
        output, h_n = super().forward(*arguments)
        N = h_n.shape[1]
        if h_n.ndim == 3 and N > 2 and N % 2:
            h_n = torch.cat([h_n[:, :-1], h_n[:, -1:] + 1], 1)
        return output, h_n


class WrongInSquareBatches(torch.nn.RNN):
    """Output is wrong where there are as many rows as steps."""

    def forward(self, *arguments: Any) -> Any:
        output, h_n = super().forward(*arguments)
        wrong = output.ndim == 3 and output.shape[0] == output.shape[1]
        return (output + 1 if wrong else output), h_n


class WrongInTables(torch.nn.RNN):
    """Output is wrong where there are several rows and several steps."""

    def forward(self, *arguments: Any) -> Any:
        output, h_n = super().forward(*arguments)
        wrong = output.ndim == 3 and min(output.shape[:2]) > 1
        return (output + 1 if wrong else output), h_n


@pytest.mark.parametrize(
    ("factory", "sizes", "needs"),
    [
        (WrongInOddBatches, "T1 N3", {"N 3, 5 (not 1, 2, 4)"}),
        (WrongInSquareBatches, "T2 N2", {"T = N"}),
        (WrongInTables, "T2 N2", {"T > 1", "N > 1"}),
    ],
)
def test_sizes_that_fail_are_told_from_those_that_hold(
    factory: type, sizes: str, needs: set[str]
) -> None:
    """As a least size, as those that were tried, or as two that must be equal."""
    subject = Subject("tests:subject", factory)
    declared = PROPERTIES["output_and_h_n_are_within_their_bounds"]
    judge = Judge(subject, ("float32",), 1, 0, subject.lacks)
    line = f"tanh L1 D1 bias {sizes} I1 H1 float32 weights=torch input=normal h_0 seed=0"
    found = fields_that_matter(judge, declared, "single", Case.parse(line), seconds=10)
    assert needs <= set(found.needs)


@pytest.mark.parametrize(
    ("failing", "holding", "regular"),
    [
        ((1, 2, 3), (4, 6), True),
        ((2, 4, 8), (1, 3), True),
        ((3, 5), (1, 2, 4), True),
        ((2, 3, 6, 8), (1, 4), False),
        ((1, 4, 5), (2, 3), False),
        ((1, 2, 5), (4,), False),
    ],
)
def test_only_regular_sizes_are_told(
    failing: Sequence[int], holding: Sequence[int], regular: bool
) -> None:
    """Sizes that fail are told where a limit or a divisor tells them from the others."""
    assert is_regular(failing, holding) == regular
