"""Measure the smallest planted error that is found, beside what assert_close finds.

    python -m tests.measure.sensitivity

A relative error is planted in every tanh, in one element of W_hh, of b_ih, or of the
output. The smallest, in steps of the square root of 10, that the step residual's four
properties find with the examples of the default profile, or the property that judges tanh,
with the bounds that a run takes of what it measures, stands beside the smallest that
torch.testing.assert_close finds with its defaults, as many cases, and torch.nn.RNN as
the truth. assert_close gets cases of torch's own initialisation only: on chaotic
weights it finds fault with correct RNNs too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hypothesis
import torch
from torch import Tensor

from rnn_ref.cases.case import Case
from rnn_ref.cases.selection import STRUCTURES
from rnn_ref.judging.measuring import measure
from rnn_ref.judging.subject import Subject
from rnn_ref.parity import test_bounds
from rnn_ref.running.options import PROFILES
from rnn_ref.strategies import cases
from tests.subjects.correct import Loop

Finds = Callable[[Case, Subject], bool]


class OffTanh(Loop):
    """Every tanh too large."""

    off = 0.0

    def activate(self, a: Tensor) -> Tensor:
        y = super().activate(a)
        return y * (1 + self.off) if self.nonlinearity == "tanh" else y


class OffWeight(Loop):
    """One element of W_hh too large."""

    off = 0.0

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        W_hh = one_off(weights[1], self.off)
        return super().run_direction(x, h_0, weights[0], W_hh, *weights[2:])


class OffBias(Loop):
    """One element of b_ih too large."""

    off = 0.0

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        return super().run_direction(
            x, h_0, *weights[:2], one_off(weights[2], self.off), weights[3]
        )


class OffElement(Loop):
    """One element of the states too large."""

    off = 0.0

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        return one_off(super().run_direction(x, h_0, *weights), self.off)


def one_off(tensor: Tensor, off: float) -> Tensor:
    """A tensor whose last element is too large by the factor 1 + off."""
    factor = torch.ones_like(tensor)
    factor.view(-1)[-1] += off
    return tensor * factor


def step_residual(case: Case, subject: Subject) -> bool:
    """Whether the step residual finds the fault in a case, or tanh alone is found inaccurate."""
    measured = subject.measured.tanh[case.dtype]
    if measured.units > subject.tanh:
        return True
    test: Any = test_bounds.test_every_step_obeys_the_recurrence
    return any(comparison.over for comparison in test.rnn_property.claim(case, subject))


def assert_close(case: Case, subject: Subject) -> bool:
    """Whether torch.testing.assert_close, with its defaults, finds it."""
    problem = case.problem()
    came, expected = subject.run(problem), Subject("torch.nn:RNN", torch.nn.RNN).run(problem)
    try:
        torch.testing.assert_close(came.output, expected.output)
    except AssertionError:
        return True
    return False


class Found(Exception):
    """Ends the search for a case."""


def finds(method: Finds, planted: type[Loop], dtype: str) -> bool:
    """Whether a method finds what is planted in any of the default profile's cases."""
    subject = Subject(planted.__name__, planted)
    subject = replace(subject, measured=measure(subject, (dtype,), frozenset()))
    own: dict[str, Any] = (
        {} if method is step_residual else {"weights": ("torch",), "inputs": ("normal",)}
    )
    for structure in STRUCTURES.values():

        @hypothesis.seed(0)
        @hypothesis.settings(
            max_examples=PROFILES["default"],
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(cases(dtypes=(dtype,), **structure, **own))
        def search(case: Case) -> None:
            if method(case, subject):
                raise Found

        try:
            search()
        except Found:
            return True
    return False


def smallest(method: Finds, planted: type[Loop], dtype: str) -> str:
    """The smallest relative error that a method finds, by bisection of its exponent."""
    found, missed = 0, 36
    while missed - found > 1:
        exponent = (found + missed) // 2
        planted.off = 10 ** (-exponent / 2)  # type: ignore[attr-defined]
        if finds(method, planted, dtype):
            found = exponent
        else:
            missed = exponent
    return f"{10 ** (-found / 2):.0e}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("| planted in | dtype | this suite finds | `assert_close` finds |\n|---|---|---|---|")
    for planted in (OffTanh, OffWeight, OffBias, OffElement):
        for dtype in ("float32", "float64"):
            ours, theirs = (smallest(m, planted, dtype) for m in (step_residual, assert_close))
            what = str(planted.__doc__).removesuffix(" too large.")
            print(f"| {what} | {dtype} | {ours} | {theirs} |", flush=True)
