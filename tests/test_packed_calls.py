"""What is wrong with packed calls alone is named; of right ones nothing is said."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnn_ref.cases.case import Case
from rnn_ref.diagnosis import packed_calls
from rnn_ref.diagnosis.packed_calls import about_packed_calls
from rnn_ref.judging.subject import Subject
from tests.subjects.correct import CORRECT
from tests.test_mending import planted

SIMPLE = "tanh L1 D1 bias T1 N1 I1 H1 float32 weights=torch input=normal h_0 seed=0"
DEEP = "relu L2 D2 bias T1 N1 I1 H1 float64 batch_first weights=torch input=normal h_0 seed=0"


class TakesH0AsSorted(nn.RNN):
    """h_0 is not sorted as the sequences are."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, PackedSequence) and hx is not None:
            hx = self.permute_hidden(hx, input.unsorted_indices)
        return super().forward(input, hx)


class TakesH0OfReverseAsSorted(nn.RNN):
    """h_0 of the reverse direction is not sorted as the sequences are."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, PackedSequence) and hx is not None:
            moved = self.permute_hidden(hx, input.unsorted_indices)
            hx = torch.stack([moved[k] if k % 2 else h for k, h in enumerate(hx)])
        return super().forward(input, hx)


class RunsOverThePadding(nn.RNN):
    """The reverse direction of a packed sequence begins at the end of the longest."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        if not isinstance(input, PackedSequence) or self.num_layers > 1 or not self.bidirectional:
            return output, h_n
        padded, _ = pad_packed_sequence(input)
        whole, last = super().forward(padded, hx)
        H, order = self.hidden_size, input.sorted_indices
        assert order is not None
        rows = torch.cat([order[:n] for n in input.batch_sizes])
        steps = torch.cat([torch.full((int(n),), t) for t, n in enumerate(input.batch_sizes)])
        data = torch.cat([output.data[:, :H], whole[steps, rows, H:]], 1)
        return output._replace(data=data), torch.stack([h_n[0], last[1]])


class JoinsFromZero(nn.RNN):
    """In reverse, a sequence that ends before the longest starts from zero."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, PackedSequence) and hx is not None:
            _, lengths = pad_packed_sequence(input)
            hx = hx.clone()
            hx[1::2, lengths < lengths.max()] = 0
        return super().forward(input, hx)


class SortsAgain(nn.RNN):
    """h_n of a packed sequence is put back by its order, not by the inverse of that."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        if isinstance(input, PackedSequence) and input.sorted_indices is not None:
            h_n = h_n[:, input.sorted_indices][:, input.sorted_indices]
        return output, h_n


class ReadsThePaddingsEnd(nn.RNN):
    """h_n of some directions is read where the longest sequence ends, and is zero for others."""

    ends: slice

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        if isinstance(input, PackedSequence):
            _, lengths = pad_packed_sequence(input)
            h_n[self.ends, lengths < lengths.max()] = 0
        return output, h_n


class ReadsTheForwardPaddingsEnd(ReadsThePaddingsEnd):
    """It does so in the forward directions alone."""

    ends = slice(None, None, 2)


class ReadsAllPaddingsEnds(ReadsThePaddingsEnd):
    """It does so in all directions."""

    ends = slice(None)


NAMED = [
    (planted("Packed sequences start from zero"), SIMPLE,
     "with packed sequences, h_0 is ignored: all runs start from zero"),
    (planted("h_n of unsorted sequences is returned in the sorted order"), DEEP,
     "h_n of packed sequences is left in the order in which they are sorted"),
    (Subject("tests:subject", TakesH0AsSorted), SIMPLE,
     "h_0 is not put in the order in which packed sequences are sorted"),
    (Subject("tests:subject", TakesH0OfReverseAsSorted), SIMPLE.replace("D1", "D2"),
     "h_0 of the reverse direction is not put in the order in which packed sequences are sorted"),
    (Subject("tests:subject", RunsOverThePadding), SIMPLE.replace("D1", "D2"),
     "the reverse direction of packed sequences begins at the end of the longest, with zeros"),
    (Subject("tests:subject", JoinsFromZero), DEEP,
     "in reverse, packed sequences that end before the longest start from zero"),
    (Subject("tests:subject", SortsAgain), DEEP,
     "h_n of packed sequences is put back by their order, not by its inverse"),
    (Subject("tests:subject", ReadsAllPaddingsEnds), DEEP,
     "h_n of packed sequences is read where the longest ends: shorter ones have zeros"),
    (Subject("tests:subject", ReadsTheForwardPaddingsEnd), DEEP,
     "the forward h_n of packed sequences is read where the longest ends: shorter ones have zeros"),
]  # fmt: skip


@pytest.mark.parametrize(("subject", "line", "sentence"), NAMED)
def test_what_is_wrong_with_packed_sequences_is_named(
    subject: Subject, line: str, sentence: str
) -> None:
    """One sentence is left of all that are tried."""
    said = about_packed_calls(subject, Case.parse(line))
    assert said is not None
    assert said.sentences == (sentence,)


def test_nothing_is_stated_that_there_was_no_time_to_tell_from_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the time ends, what was not tried may fit as well."""
    monkeypatch.setattr(packed_calls, "SECONDS", 0.0)
    said = about_packed_calls(Subject("tests:subject", TakesH0AsSorted), Case.parse(SIMPLE))
    assert said is not None
    assert said.sentences == ()


@pytest.mark.parametrize("line", [SIMPLE, DEEP])
@pytest.mark.parametrize("rnn", [nn.RNN, *CORRECT])
def test_nothing_is_said_of_right_packed_calls(rnn: Any, line: str) -> None:
    """Whatever the order of summation."""
    assert about_packed_calls(Subject("tests:subject", rnn), Case.parse(line)) is None
