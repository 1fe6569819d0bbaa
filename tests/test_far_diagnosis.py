"""What is wrong past a large size, or for some sizes alone, is named with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.diagnose import diagnose
from rnn_ref.diagnosis.joining import joined
from rnn_ref.diagnosis.mending import forms_built
from rnn_ref.judging.judge import Judge
from rnn_ref.judging.subject import Subject
from rnn_ref.process.settings import restoring_settings
from tests.support.judging import PROPERTIES

SMALLEST = Case.parse("tanh L1 D1 bias T1 N1 I1 H1 float32 weights=torch input=normal h_0 seed=0")


class InTwo(nn.RNN):
    """Steps from the 300th on are computed by a second call."""

    def between(self, h_n: Tensor, /) -> Tensor | None:
        """Give the state from which the second call starts."""
        raise NotImplementedError

    def forward(self, input: Any, hx: Any = None) -> Any:
        first, h_n = super().forward(input[:300], hx)
        if len(input) <= 300:
            return first, h_n
        second, h_n = super().forward(input[300:], self.between(h_n))
        return torch.cat([first, second]), h_n


class Forgets(InTwo):
    """The second call starts from zero."""

    def between(self, _: Tensor, /) -> Tensor | None:
        return None


class Detaches(InTwo):
    """No gradient passes from the second call to the first."""

    def between(self, h_n: Tensor, /) -> Tensor | None:
        return h_n.detach()


class LateRows(nn.RNN):
    """Output of rows from 256 on is 0.1 % too small."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        return torch.cat([output[:, :256], output[:, 256:] * 0.999], 1), h_n


class LateUnits(nn.RNN):
    """Units of h_n from 256 on are zero."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        return output, torch.cat([h_n[..., :256], 0 * h_n[..., 256:]], -1)


class LateFeatures(nn.RNN):
    """Features from 512 on are not read."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        return super().forward(torch.cat([input[..., :512], 0 * input[..., 512:]], -1), hx)


@pytest.mark.parametrize(
    ("factory", "sizes", "sentence"),
    [
        (Forgets, {"T": 511}, "the state is reset to zero at step 300"),
        (Detaches, {"T": 511}, "the recurrent gradient is cut at step 300"),
        (LateRows, {"N": 257}, "the output is scaled by 0.999 in rows from 256 on"),
        (LateUnits, {"H": 257}, "h_n is zero in units from 256 on"),
        (LateFeatures, {"I": 513}, "features of the input from 512 on are not read"),
    ],
)
def test_what_is_wrong_past_a_large_size_is_named_with_it(
    factory: Any, sizes: dict[str, Any], sentence: str
) -> None:
    """Cases that are larger still tell the one index of the smallest case from all after it."""
    said = diagnose(Subject("tests:far", factory), replace(SMALLEST, **sizes), seconds=10)
    assert said is not None
    assert said.sentences == (sentence,)


def test_what_is_wrong_in_a_very_large_case_is_named_in_the_usual_time() -> None:
    """A case that is less far out stands for it, and is run in its place."""
    said = diagnose(Subject("tests:far", LateRows), replace(SMALLEST, N=65_535, D=2))
    assert said is not None
    assert said.sentences == ("the output is scaled by 0.999 in rows from 256 on",)


class ReadsSomeFeatures(nn.RNN):
    """Features from some place on are not read."""

    end: int

    def forward(self, input: Any, hx: Any = None) -> Any:
        input = input.clone()
        input[..., self.end :] = 0
        return super().forward(input, hx)


class ReadsATile(ReadsSomeFeatures):
    """A tile of 2,048 features is read."""

    end = 2048


class ReadsOthers(ReadsSomeFeatures):
    """A number of features is read that no hypothesis is about."""

    end = 2000


@pytest.mark.parametrize(
    ("factory", "said"),
    [(ReadsATile, ("features of the input from 2048 on are not read",)), (ReadsOthers, ())],
)
def test_what_is_lost_of_a_wide_sum_is_no_rounding(factory: Any, said: tuple[str, ...]) -> None:
    """A bound on a sum of thousands in a coarser dtype allows anything, and so explains nothing."""
    found = diagnose(Subject("tests:far", factory), replace(SMALLEST, I=4097), seconds=10)
    assert found is not None
    assert found.sentences == said


class PastTheGrid(nn.RNN):
    """Output of rows past 65,535 is zero."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        return torch.cat([output[:, :65_535], 0 * output[:, 65_535:]], 1), h_n


def test_what_is_wrong_in_the_largest_cases_alone_is_diagnosed() -> None:
    """No larger case is drawn than there can be."""
    said = diagnose(Subject("tests:far", PastTheGrid), replace(SMALLEST, N=65_536))
    assert said is not None


def test_a_property_of_many_steps_is_explained_by_a_network_of_as_many() -> None:
    """Its case has one step; what it runs, and what its diagnosis must run, has a thousand."""
    judge = Judge(Subject("torch.nn:RNN", nn.RNN), ("float32",), 3, around=restoring_settings)
    long = PROPERTIES["gradients_reach_through_a_thousand_steps"]
    assert max(form.T for form in forms_built(judge, long, SMALLEST)) >= 1000


def numbers(*sentences: str) -> dict[str, Any]:
    """Make a failure of numbers with some sentences."""
    failure: dict[str, Any] = {"kind": "numbers over their bound", "raised": None, "fact": None}
    failure |= {"comparisons": [], "repeatable": True}
    found = {"diagnosis": {"of": "results", "sentences": list(sentences)}}
    return {"name": "it", "group": "bounds", "failure": failure, "findings": found}


def test_of_two_hypotheses_left_the_one_that_is_decided_elsewhere_is_told() -> None:
    """A case that can't tell them apart is no second cause."""
    groups = joined([numbers("a", "b"), numbers("b"), numbers("c", "d")])
    assert sorted(map(len, groups)) == [1, 2]


class ForgetsAligned(nn.RNN):
    """h_0 is ignored where a batch fills whole tiles of 8 rows and of 16 units."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        aligned = input.shape[1] % 8 == 0 and self.hidden_size % 16 == 0
        return super().forward(input, None if aligned else hx)


class ForgetsForOneRow(nn.RNN):
    """h_0 is ignored where there is one row."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        return super().forward(input, None if input.shape[1] == 1 else hx)


class ForgetsWhereSquare(nn.RNN):
    """h_0 is ignored where weight_ih is square."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        return super().forward(input, None if self.input_size == self.hidden_size else hx)


@pytest.mark.parametrize(
    ("factory", "sizes", "where"),
    [
        (ForgetsAligned, {"N": 8, "H": 16}, "where N is 8 and H is 16"),
        (ForgetsForOneRow, {}, "where N is 1"),
        (ForgetsWhereSquare, {}, "where I = H"),
    ],
)
def test_what_is_wrong_for_some_sizes_alone_is_named_with_them(
    factory: Any, sizes: dict[str, Any], where: str
) -> None:
    """Cases that have these sizes in common are explained, and others are right."""
    said = diagnose(Subject("tests:some", factory), replace(SMALLEST, **sizes), seconds=10)
    assert said is not None
    assert said.sentences == (f"h_0 is ignored: all runs start from zero, {where}",)
    assert said.kind == "h_0 is ignored: all runs start from zero"
