"""Dropout: between layers only, with fresh masks, and backward through those of the call.

What is random is judged by exact binomial
tests, each at a level of 1e-14, so that a run of the suite has fewer than one false
alarm in 10^9.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.bridge import to_array
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.chance import agreeing_at_shifts, differing_at_lags
from rnn_ref.judging.comparison import (
    Comparison,
    compare,
    compare_gradients,
    compare_results,
    compare_states,
    counted,
    left_open,
    same_results,
)
from rnn_ref.judging.facts import all_by_chance, by_chance, under
from rnn_ref.judging.failures import Fact, SubjectFault
from rnn_ref.judging.masks import (
    invertible,
    kept_in,
    scaled_mask,
    showing_from,
    showing_masks,
)
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Run, Subject, read_gradients

holds_for = in_group("dropout")

PROBABILITIES = {"p0.5": 0.5, "p0.25": 0.25, "p0.1": 0.1, "p0.75": 0.75}
"""The probabilities of dropout, by the names of variants."""

DEEP: dict[str, Any] = {"num_layers": (2, 2, 3)}
DROPOUT = ("dropout", "deep")
SHOWN = (*DROPOUT, "relu")
"""What a network that shows its masks needs."""

LARGE: dict[str, Any] = {"at_most": 12, "layouts": ("steps", "batch_first"), "far": ()}
ANY_PROBABILITY: dict[str, Any] = {"variants": tuple(PROBABILITIES)}


LARGE_SIZES = ((16, 8, 16), (130, 2, 8), (2, 130, 8), (2, 4, 260))
"""T, N and H of a few thousand elements: about alike, or past two tiles of 64 along one axis."""


def large(case: Case, subject: Subject) -> Problem:
    """Show the masks of a case's form, with sizes that leave a few thousand elements to judge."""
    T, N, H = LARGE_SIZES[case.seed % len(LARGE_SIZES)]
    enlarged = replace(case, T=T, N=N, I=H, H=H, weights="torch")
    return showing_masks(subject.problem(enlarged))


def run_seeded(
    case: Case,
    subject: Subject,
    problem: Problem,
    module: torch.nn.Module,
    *,
    gradients: bool = False,
) -> Run:
    """Run a module, in training mode as it is made, after torch.manual_seed."""
    torch.manual_seed(case.seed)
    return subject.run(problem, module, gradients=gradients)


@holds_for(
    promises=("rnn.dropout", "dropout.zeroes", "dropout.scaled"),
    needs=SHOWN,
    **DEEP,
    **LARGE,
    **ANY_PROBABILITY,
)
def test_dropout_falls_between_layers_at_its_rate(case: Case, subject: Subject) -> list[Comparison]:
    """What is kept is 1/(1-p) for each layer passed, exactly as often as (1-p) says."""
    problem, p = large(case, subject), PROBABILITIES[case.variant]
    module = subject.build(problem, dropout=p)
    output = run_seeded(case, subject, problem, module).output
    between, rounding = problem.L - 1, problem.rounding
    kept = output != 0
    value = (1 / (1 - p)) ** between * kept
    expected = Bounded(value, 4 * between * rounding.u * value, rounding=rounding)
    return [
        compare_states("output", problem, between, output, expected),
        by_chance("elements kept by dropout", kept, (1 - p) ** between),
    ]


RARE = {"p0.0015": 0.0015, "p0.9985": 0.9985}
"""Probabilities that a program of bytes rounds to 0 and 1, or to 1/256 and 255/256."""


@holds_for(
    promises=("rnn.dropout", "dropout.zeroes"),
    needs=SHOWN,
    num_layers=(2,),
    layouts=("steps", "batch_first"),
    far=(),
    at_most=4,
    variants=tuple(RARE),
)
def test_what_is_rare_is_dropped_or_kept_at_its_rate(
    case: Case, subject: Subject
) -> list[Comparison]:
    """A probability near 0, or near 1, is not rounded to that, nor to the next one of a byte."""
    p = RARE[case.variant]
    problem = showing_masks(subject.problem(replace(case, T=16, N=32, I=64, H=64, weights="torch")))
    output = run_seeded(case, subject, problem, subject.build(problem, dropout=p)).output
    return [by_chance("elements kept by dropout", output != 0, 1 - p)]


@holds_for(promises=("dropout.independent",), needs=SHOWN, **DEEP, **LARGE, **ANY_PROBABILITY)
def test_masks_are_fresh_for_every_step_row_unit_and_call(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Two elements that differ in one of these are kept or dropped independently."""
    problem, p = large(case, subject), PROBABILITIES[case.variant]
    module = subject.build(problem, dropout=p)
    first = run_seeded(case, subject, problem, module).output != 0
    second = subject.run(problem, module).output != 0
    keep = (1 - p) ** (problem.L - 1)
    pairs: dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = {
        "steps": (first[::2], first[1::2]),
        "rows": (first[:, ::2], first[:, 1::2]),
        "units": (first[..., ::2], first[..., 1::2]),
        "calls": (first, second),
    }
    return [
        by_chance(f"elements kept in one of two {name} alone", a != b, 2 * keep * (1 - keep))
        for name, (a, b) in pairs.items()
    ]


def kept_after(
    case: Case, subject: Subject, l: int, calls: int = 1
) -> tuple[list[NDArray[np.bool_]], float]:
    """Show which elements (T, N, D, H) the masks after layer l keep, in calls one after another.

    Return with them the probability that an element is kept.
    """
    problem, p = showing_from(large(case, subject), l), PROBABILITIES[case.variant]
    module = subject.build(problem, dropout=p)
    torch.manual_seed(case.seed)
    outputs = [subject.run(problem, module).output for _ in range(calls)]
    shape = (*problem.output_shape[:2], problem.D, problem.H)
    return [output.reshape(shape) != 0 for output in outputs], (1 - p) ** (problem.L - 1 - l)


STATEFUL = (*SHOWN, "h_0")
"""What a network needs that shows the masks after one layer alone."""

ORDERS = {
    "step by step": (0, 1, 2, 3),
    "row by row": (1, 0, 2, 3),
    "direction by direction": (2, 0, 1, 3),
}
"""Orders in which elements (T, N, D, H) may be drawn."""


@holds_for(promises=("dropout.independent",), needs=STATEFUL, **DEEP, **LARGE, **ANY_PROBABILITY)
def test_masks_do_not_repeat_at_any_lag(case: Case, subject: Subject) -> list[Comparison]:
    """No element of a call is dropped because another is: not after a period, nor in a direction.

    Pairs at each lag up to half of the elements, in each order in which they may be drawn.
    """
    (kept,), keep = kept_after(case, subject, case.L - 2)
    return [
        all_by_chance(
            f"pairs of elements of which one is kept, drawn {order}, at lag",
            differing_at_lags(np.ascontiguousarray(kept.transpose(axes))),
            2 * keep * (1 - keep),
        )
        for order, axes in ORDERS.items()
        if case.D == 2 or axes[0] != 2
    ]


@holds_for(promises=("dropout.independent",), needs=STATEFUL, **DEEP, **LARGE, **ANY_PROBABILITY)
def test_masks_move_on_from_call_to_call(case: Case, subject: Subject) -> list[Comparison]:
    """None of three calls has the mask of another, at any shift of it."""
    masks, keep = kept_after(case, subject, case.L - 2, calls=3)
    comparisons = []
    for i, j in ((0, 1), (1, 2), (0, 2)):
        a, b = masks[i], masks[j]
        differing = int(a.sum() + b.sum()) - 2 * agreeing_at_shifts(a, b)
        counts = {k: (int(count), a.size) for k, count in enumerate(differing)}
        what = f"elements kept in call {i} or {j} alone, at shift"
        comparisons.append(all_by_chance(what, counts, 2 * keep * (1 - keep)))
    return comparisons


@holds_for(
    promises=("rnn.dropout", "dropout.independent"),
    needs=STATEFUL,
    num_layers=(3,),
    **LARGE,
    **ANY_PROBABILITY,
)
def test_layers_draw_masks_of_their_own(case: Case, subject: Subject) -> list[Comparison]:
    """The mask after the first layer is not that after the second, at any shift of it.

    The first shows where the second keeps; there, at each shift, it keeps as often where the
    second drops as anywhere. A program may draw other masks for other numbers: then nothing is
    said of two calls.
    """
    (both,), _ = kept_after(case, subject, 0)
    (second,), keep = kept_after(case, subject, 1)
    if (both & ~second).any():
        return [by_chance("elements kept after layer 1", second, keep), left_open("pairs", 1)]
    kept = agreeing_at_shifts(both, ~second)
    shown = agreeing_at_shifts(second, ~second)
    counts = {k: (int(kept[k]), int(n)) for k, n in enumerate(shown) if n}
    what = "elements kept after layer 0 where layer 1 drops, at shift"
    at_its_rate = by_chance("elements kept after layer 1", second, keep)
    return [at_its_rate, all_by_chance(what, counts, keep)]


@holds_for(
    promises=("rnn.dropout", "rnn.packed", "dropout.zeroes", "dropout.scaled"),
    needs=(*SHOWN, "packed"),
    **DEEP,
    **LARGE,
    **ANY_PROBABILITY,
)
def test_packed_input_is_dropped_as_padded_input_is(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Of packed sequences as much is dropped, and what is kept is as large, as of a batch."""
    problem, p = large(case, subject), PROBABILITIES[case.variant]
    module, between = subject.build(problem, dropout=p), problem.L - 1
    T, N, _ = problem.input.shape
    lengths = torch.tensor([max(1, T - n % 4) for n in range(N)])
    first = problem.layout.batch_first
    input = subject.leaves(problem)["input"]
    packed = pack_padded_sequence(input, lengths, first, enforce_sorted=False)
    torch.manual_seed(case.seed)
    with torch.no_grad(), subject.calling("the call with a packed sequence"):
        shown = to_array(module(packed)[0].data)
    kept = shown != 0
    value = (1 / (1 - p)) ** between * kept
    expected = Bounded(value, 4 * between * problem.rounding.u * value, rounding=problem.rounding)
    return [
        compare("data of output", ("element", "unit"), shown, expected),
        by_chance("elements of packed input kept by dropout", kept, (1 - p) ** between),
    ]


@holds_for(promises=("seed.sets",), needs=SHOWN, **DEEP, **LARGE, **ANY_PROBABILITY)
def test_masks_repeat_from_the_seed(case: Case, subject: Subject) -> list[Comparison]:
    """After torch.manual_seed with the same number the same elements are dropped."""
    problem, p = large(case, subject), PROBABILITIES[case.variant]
    first, second = (
        run_seeded(case, subject, problem, subject.build(problem, dropout=p)) for _ in range(2)
    )
    return same_results(problem, "from the same seed again", second.results, first.results)


@holds_for(promises=("dropout.evaluation", "rnn.dropout"), needs=DROPOUT, **DEEP, **ANY_PROBABILITY)
def test_without_chance_dropout_does_nothing(case: Case, subject: Subject) -> list[Comparison]:
    """In eval, and at p = 0, results are those without dropout, within the bounds of both."""
    problem = subject.problem(case)
    expected = Oracle(problem).near(*subject.run(problem).results)
    module = subject.build(problem, dropout=PROBABILITIES[case.variant])
    with subject.calling("eval"):
        module.eval()
    evaluated = subject.run(problem, module).results
    at_zero = subject.run(problem, subject.build(problem, dropout=0.0)).results
    return [
        *under("in eval, against no dropout", compare_results(problem, *evaluated, expected)),
        *under("at p = 0, against no dropout", compare_results(problem, *at_zero, expected)),
    ]


@holds_for(
    promises=("dropout.evaluation", "module.eval"),
    needs=(*DROPOUT, "gradients"),
    **DEEP,
    **ANY_PROBABILITY,
)
def test_evaluation_drops_nothing_while_gradients_are_recorded(
    case: Case, subject: Subject
) -> list[Comparison]:
    """In eval, results and gradients are those without dropout, recorded for backward or not."""
    problem = subject.problem(case)
    module = subject.build(problem, dropout=PROBABILITIES[case.variant])
    with subject.calling("eval"):
        module.eval()
    run, oracle = subject.run(problem, module, gradients=True), Oracle(problem)
    return [
        *compare_results(problem, *run.results, oracle.results),
        *compare_gradients(problem, run.gradients, oracle.gradients()),
    ]


@holds_for(promises=("rnn.dropout", "dropout.zeroes"), needs=(*DROPOUT, "gradients"), **DEEP)
def test_dropout_of_everything_leaves_zeros(case: Case, subject: Subject) -> list[Comparison]:
    """At p = 1 in training, all but the first layer read zeros, forward and backward."""
    problem = subject.problem(case)
    zero = np.zeros(problem.output_shape)
    mask = Bounded(zero, rounding=problem.rounding)
    return compare_with_masks(case, subject, problem, 1.0, [mask] * (problem.L - 1))


@holds_for(
    promises=("rnn.dropout", "dropout.scaled", "backward.chain_rule"),
    num_layers=(2,),
    needs=(*SHOWN, "gradients"),
    **ANY_PROBABILITY,
)
def test_training_goes_forward_and_back_through_one_mask(
    case: Case, subject: Subject
) -> list[Comparison]:
    """With the mask of a call in the reference, its outputs and gradients are in their bounds.

    So they are where another call is made before backward. The mask is that of a call which
    shows it, from the same seed. Where a program draws another one for other numbers, it is read
    from the output of a call that can be inverted.
    """
    problem, p = subject.problem(case), PROBABILITIES[case.variant]
    kept = kept_in_shown(case, subject, problem, p)
    compared = compare_with_masks(case, subject, problem, p, [scaled_mask(problem, kept, p)])
    if any(each.over for each in compared):
        return compare_inverted(case, subject, p) or compared
    masks = [scaled_mask(problem, kept, p)]
    return [*compared, *compare_with_a_call_between(case, subject, Oracle(problem, masks), p)]


def compare_with_a_call_between(
    case: Case, subject: Subject, oracle: Oracle, p: float
) -> list[Comparison]:
    """Judge the gradients of a call after which another is made, before backward."""
    problem, module = oracle.problem, subject.build(oracle.problem, dropout=p)
    leaves = subject.leaves(problem, gradients=True)
    torch.manual_seed(case.seed)
    results = subject.forward(problem, module, leaves)
    subject.forward(problem, module, subject.leaves(problem))
    subject.backward(problem, *results)
    gradients = read_gradients(subject, problem, module, leaves)
    expected = compare_gradients(problem, gradients, oracle.gradients())
    return under("another call is made before backward", expected)


def compare_inverted(case: Case, subject: Subject, p: float) -> list[Comparison]:
    """Judge a call whose output shows its mask, if that is not the mask of a call that shows it.

    Return nothing where the masks of both are the same, or none is read beyond doubt.
    """
    N = 1 if case.unbatched else 5
    tame = replace(case, weights="contracting", input="normal", T=5, N=N, I=4, H=4)
    for turn in range(5):
        problem = invertible(subject.problem(replace(tame, seed=case.seed + turn)))
        shown = kept_in_shown(case, subject, problem, p)
        run = run_seeded(case, subject, problem, subject.build(problem, dropout=p), gradients=True)
        read = kept_in(problem, run.output, p)
        if read is not None and (read[0] != shown)[read[1]].any():
            return compare_run(run, Oracle(problem, [scaled_mask(problem, read[0], p)]))
    return []


def kept_in_shown(case: Case, subject: Subject, problem: Problem, p: float) -> NDArray[np.bool_]:
    """Tell which elements a call keeps that shows its mask, from the case's seed."""
    network = showing_masks(problem)
    output = run_seeded(case, subject, network, subject.build(network, dropout=p)).output
    kept: NDArray[np.bool_] = output != 0
    return kept


def compare_with_masks(
    case: Case, subject: Subject, problem: Problem, p: float, masks: Sequence[Bounded]
) -> list[Comparison]:
    """Judge a call in training mode, and its gradients, by the reference with these masks."""
    module = subject.build(problem, dropout=p)
    run = run_seeded(case, subject, problem, module, gradients=True)
    return compare_run(run, Oracle(problem, masks))


def compare_run(run: Run, oracle: Oracle) -> list[Comparison]:
    """Judge results and gradients by the reference's."""
    problem = oracle.problem
    return [
        *compare_results(problem, *run.results, oracle.results),
        *compare_gradients(problem, run.gradients, oracle.gradients()),
    ]


@holds_for(
    promises=("rnn.dropout", "unwritten.warning"),
    num_layers=(1,),
    needs=("dropout",),
    at_most=5,
)
def test_dropout_in_one_layer_warns_and_does_nothing(
    case: Case, subject: Subject
) -> list[Comparison]:
    """A single layer has nothing between layers: the constructor warns, and nothing is dropped."""
    problem = subject.problem(case)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = subject.build(problem, dropout=0.5)
    named = [warning for warning in caught if "dropout" in str(warning.message)]
    if not named:
        what = "warnings of the constructor about dropout with num_layers=1"
        raise SubjectFault(Fact(what, "none", "at least one"))
    results, plain = subject.run(problem, module).results, subject.run(problem).results
    expected = Oracle(problem).near(*plain)
    note = "with dropout of 0.5 and num_layers=1, against no dropout"
    return [
        counted("warnings about dropout", len(named)),
        *under(note, compare_results(problem, *results, expected)),
    ]
