"""Diagnose a case: what is wrong in all cases of its form, or in those of some sizes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.budget import Budget
from rnn_ref.diagnosis.changes import Hypothesis, value_of
from rnn_ref.diagnosis.draws import FIRST, MORE, Draw, Sizes, sized, sizes_of
from rnn_ref.diagnosis.experiment import Diagnosis, Listing, Search
from rnn_ref.diagnosis.trial import Trial
from rnn_ref.judging.subject import Subject


def diagnose(subject: Subject, case: Case, *, seconds: float = 2.0) -> Diagnosis | None:
    """Find out what a subject computes in place of an RNN, in about so many seconds.

    Return None if nothing is wrong with the results and gradients of plain calls of the
    case's form. Raises nothing, whatever the subject raises.
    """
    budget = Budget(seconds)
    for of, share in (("results", 0.25), ("gradients", 1.0)):
        search = Search(subject, case, of, budget)
        if search.find_wrong(share):
            said = search.diagnosis()
            return said if said.sentences else of_some_sizes(search, said)
    return None


def of_some_sizes(search: Search, otherwise: Diagnosis) -> Diagnosis:
    """Explain what is wrong for some sizes of a case alone, by cases that all have these.

    As few conditions as show the fault are set, and no case may be wrong that does not meet them.
    """
    for where, meeting in conditions(sizes_of(search.case)):
        alike = OfSizes(search.subject, search.case, search.of, search.budget, meeting=meeting)
        if all(map(alike.meets, search.wrong)) and alike.find_wrong():
            said = alike.diagnosis()
            told = tuple(f"{sentence}, where {where}" for sentence in said.sentences)
            kind = "" if len(told) > 1 else said.kind or "".join(said.sentences)
            if told:
                return replace(said, sentences=told, kind=kind, listing=alike.listed(said, where))
    return otherwise


Meeting = Callable[[Sizes], Sizes]
"""Changes sizes so that they meet a condition; those that do are left as they are."""


def conditions(own: Sizes) -> Iterator[tuple[str, Meeting]]:
    """List what a case's sizes may have to be, in words: one, two that are equal, and more."""
    for number in range(1, len(own) + 1):
        for names in combinations(own._fields, number):
            kept = {name: getattr(own, name) for name in names}
            yield " and ".join(f"{name} is {n}" for name, n in kept.items()), keeping(kept)
        for one, other in combinations(own._fields, 2) if number == 1 else ():
            if getattr(own, one) == getattr(own, other):
                yield f"{one} = {other}", equal(one, other)


def keeping(kept: Mapping[str, int]) -> Meeting:
    """Keep some sizes."""
    return lambda sizes: sizes._replace(**kept)


def equal(one: str, other: str) -> Meeting:
    """Make two sizes equal."""
    return lambda sizes: sizes._replace(**{other: getattr(sizes, one)})


@dataclass
class OfSizes(Search):
    """The search for what is wrong in cases whose sizes meet a condition."""

    meeting: Meeting = field(default=lambda sizes: sizes)

    def __post_init__(self) -> None:
        self.plan = iter([self.alike(FIRST[0], 1)])

    def meets(self, trial: Trial) -> bool:
        """Tell whether a trial is of a case that meets the condition."""
        sizes = sizes_of(trial.oracle.problem)
        return self.meeting(sizes) == sizes

    def alike(self, sizes: Sizes, seed: int) -> Draw:
        """Draw a case of other sizes that meet the condition."""
        return sized(self.case, self.meeting(sizes), seed, plain=True)

    def listed(self, said: Diagnosis, where: str) -> Listing:
        """List the hypotheses of a diagnosis, by these sizes' words, for other forms of cases."""

        def listing(p: Problem) -> list[Hypothesis]:
            meets = self.meeting(sizes_of(p)) == sizes_of(p)
            known = said.listing(p) if meets else []
            return [h._replace(sentence=f"{h.sentence}, where {where}") for h in known]

        return listing

    def apart(self, tier: Listing, survivors: list[str]) -> list[str]:
        """Leave out what expects the same of these sizes as another one that is left."""
        left: dict[tuple[bytes, ...], str] = {}
        for sentence in survivors:
            left.setdefault(tuple(self.expected(tier, sentence)), sentence)
        return list(left.values())

    def expected(self, tier: Listing, sentence: str) -> Iterator[bytes]:
        """Yield the numbers that a hypothesis expects in each wrong case."""
        for trial in self.wrong:
            for hypothesis in (h for h in tier(trial.oracle.problem) if h.sentence == sentence):
                for array in hypothesis.expected(trial.oracle).values():
                    yield np.asarray(value_of(array)).tobytes()

    def further(self, *, widens: bool) -> Iterator[Draw]:  # noqa: ARG002
        """Draw further cases whose sizes meet the condition."""
        return (self.alike(sizes, seed) for seed, sizes in enumerate(MORE, start=10))
