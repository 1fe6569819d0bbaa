"""Which dtypes a run judges: those that are named, else also the 16-bit ones that there are.

Where no dtype is named, a subject that computes in float16 or bfloat16 is judged in them too,
in about a tenth of the examples.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rnn_ref.arithmetic.dtypes import LOW
from rnn_ref.cases.case import Case

if TYPE_CHECKING:
    from collections.abc import Callable

    from rnn_ref.judging.subject import Subject

SHARE = 9
"""How often each other dtype stands beside one of the 16-bit ones."""

PLAIN = Case.parse("tanh L1 D1 bias T3 N2 I4 H5 float16 weights=torch input=normal seed=0")
"""The plainest network, on which a subject is asked."""


def with_low(dtypes: Sequence[str], low: Sequence[str]) -> tuple[str, ...]:
    """List the dtypes to draw from, with the 16-bit ones in about a tenth of the places."""
    return (*dtypes, *(tuple(dtypes) * (SHARE - 1) if low else ()), *low)


def computed(
    subject: Subject, without: frozenset[str], around: Callable[[], AbstractContextManager[Any]]
) -> list[str]:
    """List the 16-bit dtypes in which a subject computes: forward and, if it can, backward.

    A subject that raises, or returns another dtype, in all of its calls computes in none; one
    that returns the right dtype for output is judged, whatever h_n is.
    """
    return [dtype for dtype in LOW if computes(subject, dtype, without, around)]


def computes(
    subject: Subject,
    dtype: str,
    without: frozenset[str],
    around: Callable[[], AbstractContextManager[Any]],
) -> bool:
    """Tell whether a subject computes in a dtype: its call does not raise."""
    import torch

    from rnn_ref.judging.failures import Raised, SubjectFault

    problem = subject.problem(replace(PLAIN, dtype=dtype))
    gradients = "gradients" not in without
    try:
        with around(), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            subject.run(problem, gradients=gradients)
    except SubjectFault as fault:
        return not isinstance(fault.cause, Raised)
    return True
