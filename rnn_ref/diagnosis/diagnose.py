"""Diagnose a case: what is wrong in all cases of its form, or in those of some sizes alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.budget import Budget
from rnn_ref.diagnosis.changes import value_of
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

    As few of its sizes as show the fault are kept, and no case may be wrong that has others.
    """
    own = sizes_of(search.case)._asdict()
    for number in range(1, len(own) + 1):
        for names in combinations(own, number):
            kept = {name: own[name] for name in names}
            alike = OfSizes(search.subject, search.case, search.of, search.budget, kept=kept)
            if all(map(alike.has_sizes, search.wrong)) and alike.find_wrong():
                said = alike.diagnosis()
                where = " and ".join(f"{name} is {size}" for name, size in kept.items())
                told = tuple(f"{sentence}, where {where}" for sentence in said.sentences)
                kind = "" if len(told) > 1 else said.kind or "".join(said.sentences)
                return replace(said, sentences=told, kind=kind) if told else otherwise
    return otherwise


@dataclass
class OfSizes(Search):
    """The search for what is wrong in cases that have some sizes in common, `kept` by name."""

    kept: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plan = iter([self.alike(FIRST[0], 1)])

    def has_sizes(self, trial: Trial) -> bool:
        """Tell whether a trial is of a case that has the sizes that are kept."""
        return self.kept.items() <= sizes_of(trial.oracle.problem)._asdict().items()

    def alike(self, sizes: Sizes, seed: int) -> Draw:
        """Draw a case of other sizes but for those that are kept."""
        return sized(self.case, sizes._replace(**self.kept), seed, plain=True)

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
        """Draw further cases that have these sizes."""
        return (self.alike(sizes, seed) for seed, sizes in enumerate(MORE, start=10))
