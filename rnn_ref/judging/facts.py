"""Check what several properties share: expected errors, statistical tests, notes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import starmap
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd.gradcheck import GradcheckError
from torch.nn.utils.rnn import PackedSequence

from rnn_ref.arithmetic.dtypes import Floats, Rounding
from rnn_ref.bridge import parameters_of, to_array
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.chance import as_far_as
from rnn_ref.judging.comparison import (
    INPUT,
    PARAMETER,
    ROWS,
    SECOND,
    Comparison,
    counted,
    same_bits,
)
from rnn_ref.judging.failures import Fact, SubjectFault, require
from rnn_ref.judging.subject import Subject
from rnn_ref.process.settings import settings

LEVEL = 1e-14
"""The probability that a statistical test fails a correct subject.

A run makes some 10^4 of them, so that it has fewer than one false alarm in 10^9. Tests that
are made together, such as one for each lag, have this level together: each has its share.
"""


SAID_FIRST = 3
"""The lines in which torch says what differs; more about its ways of checking follow."""


def has_second_derivatives(
    subject: Subject, doing: str, call: Callable[..., Any], tensors: Sequence[torch.Tensor]
) -> Comparison:
    """Require that second derivatives agree with differences of first ones, in float64.

    Each gradient is differentiated by each input and both upstream gradients, along one
    direction each (torch.autograd.gradgradcheck in its fast mode).
    """
    mismatch = None
    with subject.calling(doing):
        try:
            torch.autograd.gradgradcheck(call, tensors, fast_mode=True)
        except GradcheckError as error:
            mismatch = error
    if mismatch is not None:
        got = " ".join(" ".join(str(mismatch).splitlines()[:SAID_FIRST]).split())
        expected = "the differences of first derivatives"
        raise SubjectFault(Fact(SECOND, got, expected)) from mismatch
    return counted(SECOND, len(tensors) * (len(tensors) + 2))


def under(note: str, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Add a note of what was tried, such as `nan in input[0, 1]`, to each comparison."""
    return [replace(each, note=", ".join(filter(None, (each.note, note)))) for each in comparisons]


def refuses(subject: Subject, what: str, call: Callable[[], Any]) -> Comparison:
    """Raise SubjectFault unless the call raises; `what` names it, with what it was given.

    Frameworks refuse by errors of many types. What is no refusal: an exit, pytest's skip, and
    a lack of memory, which is a crash that was caught in time. Nor may a call that ends early
    leave a setting of the process changed.
    """
    before = settings()
    refused, _ = tried(subject, what, call)
    require(what, "an error" if refused else "no error", "an error")
    same_settings(f"{what}, which is refused", before)
    return counted(what, 1)


def same_settings(doing: str, before: Mapping[str, Any]) -> Comparison:
    """Raise SubjectFault for the first setting that is not as before; else count them."""
    return same_facts(f"after {doing},", settings(), before)


def tried(subject: Subject, what: str, call: Callable[[], Any]) -> tuple[bool, Any]:
    """Tell whether a call is refused, and return what it gives if it isn't."""
    try:
        with subject.calling(what):
            return False, call()
    except SubjectFault as fault:
        if fault.out_of_memory or not isinstance(fault.__cause__, Exception):
            raise
        return True, None


def given(arguments: Mapping[str, Any]) -> str:
    """Describe the arguments of a call, such as `input (3, 2, 4) float32, h_0 (1, 2, 5) float32`.

    A tensor is told by its shape and dtype, a packed sequence by those of its data, and the
    rest, as options are, by `name=value`.
    """
    return ", ".join(starmap(argument, arguments.items()))


def argument(name: str, value: Any) -> str:
    """Describe one argument of a call."""
    if isinstance(value, PackedSequence):
        return argument(f"packed {name}", value.data)
    if isinstance(value, torch.Tensor):
        return f"{name} {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return f"{name}={value!r}"


def same_facts(what: str, got: Mapping[str, object], expected: Mapping[str, object]) -> Comparison:
    """Raise SubjectFault for the first fact, by name, that is not as expected; else count them."""
    for name in {**expected, **got}:
        require(f"{what} {name}", got.get(name, "nothing"), expected.get(name, "nothing"))
    return counted(what, len(expected))


def same_order(what: str, got: Sequence[str], expected: Sequence[str]) -> Comparison:
    """Raise SubjectFault at the first place where two lists differ; else count the places."""
    lists = [{str(i): entry for i, entry in enumerate(entries)} for entries in (got, expected)]
    return same_facts(f"{what}, place", *lists)


def same_arrays(
    note: str, got: Mapping[str, Floats], expected: Mapping[str, Floats], rounding: Rounding
) -> list[Comparison]:
    """Judge whether the arrays of each name are equal; 0 equals -0, and NaN equals NaN.

    `input` is (T, N, I), `h_0` (L, D, N, H), the others are parameters; `note` follows
    the name in a failure, such as `after a call`.
    """
    shapes = [{name: a.shape for name, a in arrays.items()} for arrays in (got, expected)]
    same_facts(f"shapes {note}:", *shapes)
    axes = {"input": INPUT, "h_0": ROWS}
    return [
        same_bits(f"{name} {note}", axes.get(name, PARAMETER[: a.ndim]), got[name], a, rounding)
        for name, a in expected.items()
    ]


def has_parameters(subject: Subject, module: Any, problem: Problem, note: str) -> list[Comparison]:
    """Judge whether a module's parameters equal a problem's; `note` says when."""
    with subject.calling(f"reading the parameters {note}"):
        got = parameters_of(module)
    return same_arrays(note, got, problem.parameters, problem.rounding)


def read(
    subject: Subject, problem: Problem, module: Any, leaves: Mapping[str, Any]
) -> dict[str, Floats]:
    """Read input (T, N, I), h_0 (L, D, N, H) and the parameters, by name."""
    arrays = {"input": problem.layout.to_steps(to_array(leaves["input"]))}
    if "h_0" in leaves:
        h_0 = problem.layout.to_rows(to_array(leaves["h_0"]))
        arrays["h_0"] = h_0.reshape(problem.L, problem.D, *h_0.shape[1:])
    with subject.calling("reading the parameters"):
        return arrays | parameters_of(module)


def all_by_chance(what: str, counts: Mapping[int, tuple[int, int]], p: float) -> Comparison:
    """Raise SubjectFault if a count, at one lag of many, is more extreme than chance explains.

    A count is of the events that happened, and of all; each happens with probability p in a
    correct subject, independently of the others of its count. The level is divided among the
    counts, by Boole's inequality: they may depend on one another.
    """
    for lag, (happened, n) in counts.items():
        if not abs(happened - p * n) > 3 * math.sqrt(n * p * (1 - p)):
            continue  # the tails beyond three deviations are the only ones that may be so thin
        chance = as_far_as(happened, n, p)
        if chance < LEVEL / len(counts):
            expected = f"about {p * n:.0f}; so extreme a count has probability {chance:.0e}"
            raise SubjectFault(Fact(f"{what} {lag}", f"{happened} of {n}", expected))
    return counted(what, len(counts))


def by_chance(what: str, events: NDArray[np.bool_], p: float) -> Comparison:
    """Raise SubjectFault if more or fewer events happened than chance explains.

    In a correct subject each event happens with probability p, independently of the others.
    """
    happened, n = int(events.sum()), events.size
    chance = as_far_as(happened, n, p)
    if chance < LEVEL:
        expected = f"about {p * n:.0f}; so extreme a count has probability {chance:.0e}"
        raise SubjectFault(Fact(what, f"{happened} of {n}", expected))
    return counted(what, n)


def uniform(name: str, numbers: Floats, H: int) -> list[Comparison]:
    """Raise SubjectFault if numbers do not look drawn from U(-1/sqrt(H), 1/sqrt(H)).

    The test counts how many fall into each quarter of the range.
    """
    limit = 1 / math.sqrt(H)
    largest = float(np.abs(numbers).max())
    if not largest <= limit:
        raise SubjectFault(
            Fact(
                f"the largest initial {name}", f"{largest:.9g}", f"at most 1/sqrt(H) = {limit:.9g}"
            )
        )
    quarters = np.clip(np.floor((numbers + limit) / limit * 2), 0, 3)
    return [
        by_chance(f"initial {name} in quarter {q + 1} of its range", quarters == q, 0.25)
        for q in range(4)
    ]
