"""Dropout: between layers only, with fresh masks, and backward through those of the call.

A network of identities shows its masks: relu of an input of ones, passed on by every
layer, comes out as the product of all masks. What is random is judged by exact binomial
tests, each at a level of 1e-14, so that a run of the suite has fewer than one false
alarm in 10^9.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnn_ref.bounded import Bounded
from rnn_ref.case import Case, Problem
from rnn_ref.examination import holds_for
from rnn_ref.judge import Comparison, compare_gradients, compare_results, counted
from rnn_ref.oracle import Oracle
from rnn_ref.parameters import names
from rnn_ref.reference import backward, final, forward
from rnn_ref.subject import Subject, SubjectFault

LEVEL = 1e-14
"""The probability of a false alarm of each binomial test."""

PROBABILITIES = (0.5, 0.25, 0.1, 0.75)
DEEP: dict[str, Any] = {"num_layers": (2, 2, 3), "needs": ("dropout", "deep")}


def probability(case: Case) -> float:
    """The probability of dropout that a case is run with."""
    return PROBABILITIES[case.seed % len(PROBABILITIES)]


def showing_masks(problem: Problem) -> Problem:
    """A network of the problem's form whose output is the product of its masks: H = I."""
    H, L, D = problem.H, problem.L, problem.D
    T, N, _ = problem.input.shape
    identity, parameters = np.eye(H), {}
    for name in names(L, D, problem.bias):
        shape: tuple[int, ...] = (H, H) if "weight" in name else (H,)
        value = np.zeros(shape)
        if name.startswith("weight_ih"):
            value = identity
            if "_l0" not in name and D == 2:
                both = (0 * identity, identity) if "reverse" in name else (identity, 0 * identity)
                value = np.concatenate(both, axis=1)
        parameters[name] = value.astype(problem.input.dtype)
    ones = np.ones((T, N, H), problem.input.dtype)
    return replace(problem, parameters=parameters, input=ones, h_0=None, nonlinearity="relu")


def trained(
    subject: Subject, problem: Problem, p: float, seed: int, module: torch.nn.Module | None = None
) -> NDArray[np.float64]:
    """The output of a call in training mode, after torch.manual_seed."""
    module = subject.build(problem, dropout=p) if module is None else module
    torch.manual_seed(seed)
    return np.asarray(subject.run(problem, module).output, np.float64)


def tails(successes: int, of: int, chance: float) -> float:
    """Twice the smaller tail of the binomial distribution: the exact two-sided test."""

    def at(k: int) -> float:
        ways = math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1)
        return math.exp(ways + k * math.log(chance) + (of - k) * math.log1p(-chance))

    upper = math.fsum(at(k) for k in range(successes, of + 1))
    return 2 * min(upper, math.fsum(at(k) for k in range(successes + 1)))


def require_chance(what: str, events: NDArray[np.bool_], chance: float) -> Comparison:
    """Raise SubjectFault if so many of the events, or so few, do not come by chance."""
    happened, of = int(events.sum()), events.size
    if (p := tails(happened, of, chance)) < LEVEL:
        raise SubjectFault(
            f"{what}: {happened} of {of}, where {chance * of:.0f} are due (p = {p:.0e})"
        )
    return counted(what, of)


def large(case: Case) -> Problem:
    """The case's form, with sizes that leave a few thousand elements to judge."""
    return showing_masks(replace(case, T=16, N=8, I=16, H=16, weights="torch").problem())


LARGE: dict[str, Any] = {"at_most": 12, "layouts": ("steps", "batch_first")}


@holds_for(**DEEP, **LARGE)
def test_dropout_falls_between_layers_at_its_rate(case: Case, subject: Subject) -> list[Comparison]:
    """What is kept is 1/(1-p) for each layer passed, exactly as often as (1-p) says.

    Promise: rnn.dropout, dropout.zeroes, dropout.scaled.
    """
    problem, p = large(case), probability(case)
    came = trained(subject, problem, p, case.seed)
    between = case.L - 1
    kept = came != 0
    due = (1 / (1 - p)) ** between
    off = np.abs(came[kept] - due) / due
    if (off > 4 * between * Oracle(problem).rounding.u).any():
        raise SubjectFault(
            f"dropout of {p} between {case.L} layers: kept elements come as"
            f" {came[kept][off.argmax()]}, not as {due}"
        )
    return [require_chance(f"kept by dropout of {p}", kept, (1 - p) ** between)]


@holds_for(**DEEP, **LARGE)
def test_masks_are_fresh_for_every_step_row_unit_and_call(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Two elements that differ in one of these are kept or dropped independently.

    Promise: dropout.independent.
    """
    problem, p = large(case), probability(case)
    module = subject.build(problem, dropout=p)
    first = trained(subject, problem, p, case.seed, module) != 0
    second = np.asarray(subject.run(problem, module).output) != 0
    keep = (1 - p) ** (case.L - 1)
    pairs: Sequence[tuple[str, Any, Any]] = (
        ("steps", first[::2], first[1::2]),
        ("rows", first[:, ::2], first[:, 1::2]),
        ("units", first[..., ::2], first[..., 1::2]),
        ("calls", first, second),
    )
    return [
        require_chance(f"kept in one of two {name} alone", a != b, 2 * keep * (1 - keep))
        for name, a, b in pairs
    ]


@holds_for(**DEEP, **LARGE)
def test_masks_repeat_from_the_seed(case: Case, subject: Subject) -> list[Comparison]:
    """After torch.manual_seed with the same number the same elements are dropped.

    Promise: seed.sets.
    """
    problem, p = large(case), probability(case)
    first, again = (trained(subject, problem, p, case.seed) for _ in range(2))
    if not np.array_equal(first, again):
        raise SubjectFault("after torch.manual_seed with one number, two masks differ")
    return [counted("elements kept or dropped alike", first.size)]


@holds_for(**DEEP)
def test_without_chance_dropout_does_nothing(case: Case, subject: Subject) -> list[Comparison]:
    """In eval, and at p = 0 in training, output and h_n are those of a network without it.

    Promise: dropout.evaluation, rnn.dropout.
    """
    problem = case.problem()
    evaluated = subject.build(problem, dropout=probability(case)).eval()
    plain = subject.run(problem)
    for module, what in ((evaluated, "in eval"), (subject.build(problem, dropout=0.0), "at p = 0")):
        run = subject.run(problem, module)
        if not np.array_equal(run.output, plain.output, equal_nan=True):
            raise SubjectFault(f"dropout {what} changes the output")
    return [counted("elements of output", 2 * plain.output.size)]


@holds_for(**DEEP)
def test_dropout_of_everything_leaves_zeros(case: Case, subject: Subject) -> list[Comparison]:
    """At p = 1 in training, all but the first layer read zeros, forward and backward.

    Promise: rnn.dropout, dropout.zeroes.
    """
    problem = case.problem()
    zero = np.zeros((*problem.input.shape[:2], problem.D * problem.H))
    return hold_with(case, subject, 1.0, [zero] * (problem.L - 1))


@holds_for(num_layers=(2,), needs=("dropout", "deep", "gradients"))
def test_training_goes_forward_and_back_through_one_mask(
    case: Case, subject: Subject
) -> list[Comparison]:
    """With the mask of a call in the reference, its outputs and gradients are in their bounds.

    Promise: rnn.dropout, dropout.scaled, backward.chain_rule.
    """
    problem, p = case.problem(), probability(case)
    kept = trained(subject, showing_masks(problem), p, case.seed) != 0
    return hold_with(case, subject, p, [kept.astype(np.float64)])


def hold_with(
    case: Case, subject: Subject, p: float, kept: Sequence[NDArray[np.float64]]
) -> list[Comparison]:
    """Compare a call in training mode with the reference, given which elements are kept."""
    problem = case.problem()
    module = subject.build(problem, dropout=p)
    torch.manual_seed(case.seed)
    run = subject.run(problem, module, gradients=True)
    oracle, rounding = Oracle(problem), Oracle(problem).rounding
    scale = 1 / (1 - p) if p < 1 else 0.0
    masks = [
        Bounded(scale * mask, 2 * rounding.u * scale * mask, rounding=rounding) for mask in kept
    ]
    states = forward(oracle.x, oracle.h_0, oracle.layers, oracle.activation, masks)
    results: tuple[Bounded, Bounded] = (states[-1], final(states, problem.D))
    found = compare_results(problem, run.output, run.h_n, results)
    if rounding.ua != rounding.u:
        return found
    dy, dh_n = (
        oracle.take(np.zeros(like.shape) if g is None else g)
        for g, like in ((problem.grad_output, states[-1]), (problem.grad_h_n, oracle.h_0))
    )
    dx, dh_0, dlayers = backward(
        dy, dh_n, oracle.x, oracle.h_0, oracle.layers, states, oracle.activation, masks
    )
    flat = [a.stored for layer in dlayers for w in layer for a in w if a is not None]
    due = dict(zip(names(problem.L, problem.D, problem.bias), flat, strict=True))
    due |= {"input": dx.stored} | ({} if problem.h_0 is None else {"h_0": dh_0.stored})
    return [*found, *compare_gradients(problem, run.gradients, due)]


@holds_for(num_layers=(1,), needs=("dropout",), at_most=5)
def test_dropout_in_one_layer_warns_and_does_nothing(
    case: Case, subject: Subject
) -> list[Comparison]:
    """A single layer has nothing between layers: the constructor warns, and nothing is dropped.

    Promise: rnn.dropout, unwritten.warning.
    """
    problem = case.problem()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = subject.build(problem, dropout=0.5)
    if not any("dropout" in str(warning.message) for warning in caught):
        raise SubjectFault("dropout with num_layers=1 is constructed without a warning")
    output, plain = (subject.run(problem, m).output for m in (module, None))
    if not np.array_equal(output, plain, equal_nan=True):
        raise SubjectFault("dropout with num_layers=1 changes the output")
    return [counted("elements of output", output.size)]
