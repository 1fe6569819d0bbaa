"""NaN and infinities in packed sequences: they stay in their own."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.comparison import Comparison, compare_results
from rnn_ref.judging.facts import under
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject
from rnn_ref.parity.test_packed import BATCHES, Batch, each_alone, pack, run

holds_for = in_group("packed")


@holds_for(
    promises=("rnn.packed", "unwritten.rows", "unwritten.special"),
    **{**BATCHES, "inputs": ("normal", "integer")},
    weights=("torch", "contracting", "one-sided", "sparse"),
    needs=("packed",),
)
def test_special_values_stay_in_their_packed_sequence(
    case: Case, subject: Subject
) -> list[Comparison]:
    """NaN or inf at the end of a packed sequence stays there; all others are within bounds."""
    batch = pack(case, subject)
    p, row = batch.problem, case.seed % len(batch.lengths)
    output, h_n = each_alone(batch, p)
    own = np.zeros((len(p.input), len(batch.lengths), 1), bool)
    own[:, row] = True
    ends = own.copy()
    ends[: batch.lengths[row] - 1] = False
    open_ = batch.beyond[:, :, None] | (own & ~ends)
    lost = subject.measured.loses(p.nonlinearity)
    unsaid = (open_ | own, own[0]) if lost else (open_, np.zeros_like(own[0]))
    with_nan = nan_where(output, ends, unsaid[0]), nan_where(h_n, own[0][None], unsaid[1])
    with_inf = nan_where(output, ends, open_ | own), after_infinity(p, h_n, row)
    comparisons = []
    for number, expected in ((torch.nan, with_nan), (torch.inf, with_inf)):
        spoilt = ending_in(batch, row, number)
        results = run(subject, subject.build(p), batch._replace(packed=spoilt))
        note = f"{number} in sequence {row}, {batch.note}"
        comparisons += under(note, compare_results(p, *results, expected))
    return comparisons


def ending_in(batch: Batch, row: int, number: float) -> PackedSequence:
    """Pack a batch again, with another number for the first feature of a sequence's last step."""
    steps = batch.problem.layout.to_steps(batch.leaves["input"]).clone()
    steps[batch.lengths[row] - 1, row, 0] = number
    in_order = bool(np.all(np.diff(batch.lengths) <= 0))
    return pack_padded_sequence(steps, torch.tensor(batch.lengths), enforce_sorted=in_order)


def after_infinity(p: Problem, h_n: Bounded, row: int) -> Bounded:
    """Expect a row of h_n after an infinite first feature in its last step, of the first run alone.

    There its sums are infinite, with the sign of the weights; what a weight of zero gives, or one
    that may be taken for it, is left open, as what other runs make of that is.
    """
    right, weight = h_n.stored, p.parameters["weight_ih_l0"][:, 0].astype(float)
    value, error = right.value.copy(), right.error.copy()
    ends = np.sign(weight) if p.nonlinearity == "tanh" else np.where(weight > 0, np.inf, 0.0)
    value[0, row], error[:, row] = ends, np.inf
    off = p.rounding.tanh * p.rounding.u if p.nonlinearity == "tanh" else 0.0
    error[0, row] = np.where(np.abs(weight) < p.rounding.smallest_normal, np.inf, off)
    return Bounded(value, error, rounding=right.rounding, whole=False)


def nan_where(expected: Bounded, lost: NDArray[np.bool_], unsaid: NDArray[np.bool_]) -> Bounded:
    """Expect NaN in some places, leave others open, and keep the bounds of the rest."""
    right = expected.stored
    error = np.where(lost, 0.0, right.error)
    value = np.where(lost, np.nan, right.value)
    return Bounded(value, np.where(unsaid, np.inf, error), rounding=right.rounding, whole=False)
