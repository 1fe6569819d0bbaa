"""Explain wrong results: which changed reference computes what a program wrote.

A program that is not at hand can't be called anew. So hypotheses are tried on the cases that
it has computed: one is stated if it explains two wrong cases, and no right one refutes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.budget import Budget
from rnn_ref.diagnosis.causes import size
from rnn_ref.diagnosis.changes import Hypothesis
from rnn_ref.diagnosis.draws import is_quick
from rnn_ref.diagnosis.experiment import WIDENING, WRONG_CASES, Diagnosis, Listing, Sifting
from rnn_ref.diagnosis.findings import as_data
from rnn_ref.diagnosis.trial import Trial, over
from rnn_ref.vectors.following import follow
from rnn_ref.vectors.judged import Judged

COMPANIONS = 8
"""On how many other wrong cases, and on how many right ones, a hypothesis is tried."""

SECONDS = 5.0
"""How long the search for one cause may take."""

LEADS = 3
"""How many wrong cases of a single run a hypothesis may be found from."""

PLAIN = ("torch", "contracting")
"""The regimes of weights in which bounds are small, and hardly a number is zero or exact."""


class OfGiven(Sifting):
    """The search for what explains the first of some given trials, and others of them."""

    def confirmed(self, tier: Listing, survivors: list[str]) -> list[str]:
        """Keep what no right case refutes; and of that, what explains other wrong cases."""
        explained = 1
        unlike = 0
        for trial in sorted(self.trials[1:], key=lambda trial: bool(trial.wrong_elements)):
            left = self.filtered(tier, trial, survivors)
            if left and trial.wrong_elements and self.is_about(tier, trial, left):
                explained += 1
            elif trial.wrong_elements:
                unlike += wrong_kinds(trial) == wrong_kinds(self.trials[0])
                continue  # of another cause
            survivors = left
        if tier in WIDENING:
            survivors = survivors[:1]  # those after it allow more
        # What is so by chance of two cases is not of most that are wrong in the same arrays.
        stated = explained >= WRONG_CASES and explained > unlike
        return survivors if stated and len(survivors) <= 2 else []

    def is_about(self, tier: Listing, trial: Trial, sentences: Sequence[str]) -> bool:
        """Tell whether sentences are about something that a trial's network has."""
        listed = {hypothesis.sentence for hypothesis in tier(trial.oracle.problem)}
        return bool(listed.intersection(sentences))


def wrong_kinds(trial: Trial) -> set[str]:
    """Name the arrays that are wrong, of parameters their kinds."""
    return {name.partition("_l")[0] for name, mask in trial.wrong.items() if mask.any()}


def explain(judged: Sequence[Judged]) -> None:
    """Note, of wrong cases, which hypothesis explains them: of their results, then gradients."""
    for of in ("results", "gradients"):
        there = [each for each in judged if of in each.trials and quick(each)]
        while diagnosis := diagnosis_of(of, [each for each in there if not each.explained]):
            covered = [each for each in there if covers(diagnosis, each, of)]
            if not covered:
                break
            told = as_data(counted(diagnosis, [each.trials[of] for each in covered]))
            for each in covered:
                each.explained = told
            if of == "results":
                attribute_gradients(diagnosis, judged, told)


def attribute_gradients(
    diagnosis: Diagnosis, judged: Sequence[Judged], told: dict[str, Any]
) -> None:
    """Note, of right results with wrong gradients, that these follow from what is explained."""
    for each in judged:
        if each.explained or each.over_of("results") or not each.over_of("gradients"):
            continue
        if "gradients" in each.trials and quick(each):
            stated = hypothesis_of(diagnosis, each.trials["gradients"])
            if stated and follow(each.trials["gradients"], stated):
                each.explained = told


def diagnosis_of(of: str, judged: Sequence[Judged]) -> Diagnosis | None:
    """Find what explains the wrong case that tells most, and others; None if nothing does.

    Then the same of a few single runs, in which terms of sums can be told apart.
    """
    ordered = sorted(judged, key=lambda each: telling(each.vector.case))
    wrong = [each for each in ordered if each.over_of(of) and each.trials[of].wrong_elements]
    if of == "gradients":
        wrong = [each for each in wrong if not each.over_of("results")]
    right = [each for each in ordered if not each.over]
    single = [each for each in wrong if each.vector.case.L * each.vector.case.D == 1]
    for first in [*wrong[:1], *single[:LEADS]] if len(wrong) >= WRONG_CASES else []:
        others = [each for each in wrong if each is not first][:COMPANIONS]
        alike = [each for each in right if form(each.vector.case) == form(first.vector.case)]
        given = [each.trials[of] for each in (first, *others, *alike[:COMPANIONS])]
        found = OfGiven(of, Budget(SECONDS), given).diagnosis()
        if found.sentences:
            return found
    return None


def form(case: Case) -> tuple[Any, ...]:
    """Say which operations a case's network has, whatever its sizes."""
    return case.nonlinearity, case.bias, case.h_0


def quick(judged: Judged) -> bool:
    """Tell whether hypotheses can be tried on a case in a short time."""
    return is_quick(judged.vector.case)


def is_plain(case: Case) -> bool:
    """Tell whether a case's bounds are small and its numbers of usual sizes."""
    return case.weights in PLAIN and case.input == "normal"


def telling(case: Case) -> tuple[int, ...]:
    """Order cases: first those in which bounds are small and every change shows, then by size."""
    several = [number > 1 for number in (case.T, case.N, case.I, case.H)]
    full = [case.L > 1, case.D > 1, case.bias, case.h_0, case.loss == "both"]
    return not is_plain(case), -sum(several), -sum(full), *size(str(case))


def covers(diagnosis: Diagnosis, judged: Judged, of: str) -> bool:
    """Tell whether wrong numbers of no other cause are within the bounds of a stated hypothesis."""
    trial = judged.trials[of]
    stated = hypothesis_of(diagnosis, trial)
    if stated is None or judged.explained or not judged.over_of(of):
        return False
    with np.errstate(all="ignore"):
        expected = trial.chosen(stated.expected(trial.oracle))
        return not any(over(trial.got[name], expected[name]).any() for name in expected)


def hypothesis_of(diagnosis: Diagnosis, trial: Trial) -> Hypothesis | None:
    """Return the first hypothesis stated; None where it is about what a network lacks."""
    listed = diagnosis.listing(trial.oracle.problem)
    return next((each for each in listed if each.sentence in diagnosis.sentences), None)


def counted(diagnosis: Diagnosis, trials: Sequence[Trial]) -> Diagnosis:
    """Say of a diagnosis how much it explains of all trials."""
    wrong, elements = (sum(getattr(t, n) for t in trials) for n in ("wrong_elements", "elements"))
    return replace(diagnosis, wrong=wrong, elements=elements, cases=len(trials))
