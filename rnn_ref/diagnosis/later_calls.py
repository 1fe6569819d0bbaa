"""What may be wrong with a later call of a module: what the call before has left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.bridge import set_parameters
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import (
    Expected,
    Hypothesis,
    error_of,
    replaced,
    results_of,
    value_of,
)
from rnn_ref.diagnosis.draws import FIRST, MORE, sized
from rnn_ref.diagnosis.experiment import ELSEWHERE, WRONG_CASES, Diagnosis
from rnn_ref.diagnosis.hypotheses.measured import Seen, measured
from rnn_ref.diagnosis.hypotheses.terms import about_terms
from rnn_ref.diagnosis.places import KINDS
from rnn_ref.diagnosis.regions import Part, parts
from rnn_ref.diagnosis.trial import over
from rnn_ref.judging.failures import SubjectFault
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Run, Subject


@dataclass
class TwoCalls:
    """Two calls of one module, with other weights and arguments of the same shapes."""

    earlier: Problem
    problem: Problem
    first: Run
    second: Run

    @cached_property
    def right(self) -> Expected:
        """What the second call is expected to return."""
        return results_of(Oracle(self.problem))

    @cached_property
    def got(self) -> dict[str, Any]:
        """What the second call returned."""
        return {"output": self.second.output, "h_n": self.second.h_n}

    def wrong(self, expected: Expected) -> dict[str, Any]:
        """Tell of each element of the second call whether it is over a bound."""
        return {name: over(self.got[name], expected[name]) for name in expected}

    def count(self, expected: Expected) -> int:
        """Count the elements of the second call that are over a bound."""
        return sum(int(mask.sum()) for mask in self.wrong(expected).values())

    def given(self, **fields: Any) -> Expected:
        """Compute the results of the second problem with some arrays of the first call."""
        return results_of(Oracle(replace(self.problem, **fields)))

    def kept(self, axis: int, part: Part) -> Expected:
        """Put what the first call returned into a part of the right results; axis 1: rows."""
        found = {}
        for name, old in {"output": self.first.output, "h_n": self.first.h_n}.items():
            shape = (*old.shape[:2], -1, self.problem.H)
            chosen = part.chosen(self.problem.H if axis == 3 else old.shape[axis])
            along = [-1 if i == axis else 1 for i in range(4)]
            mask = np.broadcast_to(chosen.reshape(along), old.reshape(shape).shape)
            if name == "h_n" and axis == 0:
                mask = np.zeros_like(mask)  # its first axis has layers, not steps
            mask, right = mask.reshape(old.shape), self.right[name]
            value = np.where(mask, old, value_of(right))
            found[name] = replaced(right, value, np.where(mask, 0.0, error_of(right)))
        return found

    def measured(self, hypotheses: list[Hypothesis]) -> Iterator[tuple[str, Expected]]:
        """List what hypotheses with constants of another second call expect of this one."""
        oracle = Oracle(self.problem)
        for hypothesis in hypotheses:
            yield f"in a later call {hypothesis.sentence}", hypothesis.expected(oracle)

    def expectations(self, chosen: list[tuple[str, int, Part]]) -> Iterator[tuple[str, Expected]]:
        """List what the second call may have been made of, as sentences and results."""
        yield (
            "a later call uses the weights of the first",
            self.given(parameters=self.earlier.parameters),
        )
        yield "a later call reads the input of the first", self.given(input=self.earlier.input)
        yield "a later call starts from the h_n of the one before", self.given(h_0=self.first.h_n)
        if self.problem.h_0 is not None:
            yield "a later call starts from the h_0 of the first", self.given(h_0=self.earlier.h_0)
            both = self.problem.h_0.astype(float) + self.first.h_n
            yield "the h_n of the call before is added to h_0 in a later call", self.given(h_0=both)
        exact = {
            name: Bounded(old, rounding=self.problem.rounding)
            for name, old in (("output", self.first.output), ("h_n", self.first.h_n))
        }
        yield "a later call returns the results of the first", exact
        for words, axis, part in chosen:
            yield f"{words} of a later call are those of the call before", self.kept(axis, part)


def measured_in(calls: TwoCalls) -> list[Hypothesis]:
    """List what may be wrong by a constant with a second call."""
    seen = Seen(calls.problem, calls.got, calls.right, calls.wrong(calls.right))
    return [*measured(seen), *about_terms(seen)]


def about_later_calls(subject: Subject, case: Case) -> Diagnosis | None:
    """Say what a second call computes in place of an RNN, from what the first was given.

    Return None if no second call is wrong. Raises nothing, whatever the subject raises.
    """
    wrong: list[TwoCalls] = []
    for seed, sizes in enumerate((*FIRST[:2], *MORE), start=50):
        calls = two_calls(subject, sized(case, sizes, seed, plain=True).case)
        if calls is None:
            return None
        wrong += [calls] if calls.count(calls.right) else []
    if len(wrong) < WRONG_CASES:
        return None
    chosen, like_first = list(regions(wrong[0])), measured_in(wrong[0])
    left: dict[str, int] = {}
    for calls in wrong:
        for sentence, expected in (*calls.expectations(chosen), *calls.measured(like_first)):
            left[sentence] = left.get(sentence, 0) + (calls.count(expected) == 0)
    sentences = [sentence for sentence, fits in left.items() if fits == len(wrong)]
    elements = sum(calls.count(calls.right) for calls in wrong)
    total = sum(array.size for calls in wrong for array in calls.got.values())
    stated = tuple(sentences) if len(sentences) <= 2 else ()
    return Diagnosis("a later call", stated, elements, total, len(wrong), len(left))


def two_calls(subject: Subject, case: Case) -> TwoCalls | None:
    """Call one module twice; None if it raises."""
    earlier = subject.problem(replace(case, seed=case.seed + 1000))
    problem = subject.problem(case)
    try:
        module = subject.build(earlier)
        first = subject.run(earlier, module)
        with subject.calling("setting other parameters"):
            set_parameters(module, problem.parameters)
        second = subject.run(problem, module)
    except SubjectFault:
        return None
    return TwoCalls(earlier, problem, first, second)


def about_unread(subject: Subject, case: Case) -> Diagnosis | None:
    """Say which weights a call takes from elsewhere: others change nothing in its results.

    Return None if each counts, or if a call raises.
    """
    wrong, elements, cases = 0, 0, 0
    unread: list[str] | None = None
    for seed, sizes in enumerate(FIRST[:WRONG_CASES], start=70):
        calls = two_calls(subject, sized(case, sizes, seed, plain=True).case)
        found = [] if calls is None else unread_in(subject, calls)
        if calls is None or not found or unread not in (None, found):
            return None
        unread, cases = found, cases + 1
        wrong += calls.count(calls.right)
        elements += sum(array.size for array in calls.got.values())
    names = " and ".join(unread or [])
    said = f"a call takes {names} from elsewhere: others change nothing in its results"
    return Diagnosis(ELSEWHERE, (said,), wrong, elements, cases, len(KINDS))


def unread_in(subject: Subject, calls: TwoCalls) -> list[str]:
    """Name the kinds of weights that may be others without a change of the second call."""
    found = []
    for kind in KINDS:
        names = [name for name in calls.problem.parameters if name.startswith(kind)]
        others = {name: calls.earlier.parameters[name] for name in names}
        problem = replace(calls.problem, parameters=calls.problem.parameters | others)
        if not names or not are_apart(results_of(Oracle(problem)), calls.right):
            continue
        try:
            run = subject.run(problem)
        except SubjectFault:
            return []
        again = {"output": run.output, "h_n": run.h_n}
        if all(np.array_equal(again[name], calls.got[name]) for name in again):
            found.append(kind)
    return found


def are_apart(one: Expected, other: Expected) -> bool:
    """Tell whether two results can't be of one call."""
    return any(bool(over(value_of(one[name]), other[name]).any()) for name in one)


def regions(calls: TwoCalls) -> Iterator[tuple[str, int, Part]]:
    """List the steps, rows or units of the output that may be stale, where not all are wrong."""
    output = calls.wrong(calls.right)["output"]
    wrong = output.reshape(*output.shape[:2], -1, calls.problem.H)
    for axis, name in ((0, "step"), (1, "row"), (3, "unit")):
        along = wrong.any(axis=tuple(i for i in range(4) if i != axis))
        if along.any() and not along.all():
            for part in parts(name, np.asarray(along)):
                yield part.words, axis, part
