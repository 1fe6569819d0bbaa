"""Explain wrong results: which changed reference computes what a program wrote.

A program that is not at hand can't be called anew. So hypotheses are tried on the cases that
it has computed: one is stated if it explains two wrong cases, and no right one refutes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.budget import Budget
from rnn_ref.diagnosis.causes import size
from rnn_ref.diagnosis.changes import Hypothesis
from rnn_ref.diagnosis.draws import is_quick
from rnn_ref.diagnosis.experiment import WRONG_CASES, Diagnosis, Listing, Sifting
from rnn_ref.diagnosis.findings import as_data
from rnn_ref.diagnosis.trial import Trial, over
from rnn_ref.judging.comparison import Comparison
from rnn_ref.vectors.following import follow
from rnn_ref.vectors.judged import Judged, in_file
from rnn_ref.vectors.vector import GRAD

COMPANIONS = 8
"""On how many other wrong cases, and on how many right ones, a hypothesis is tried."""

SECONDS = 5.0
"""How long the search for one cause may take."""

SHARP = ("torch", "contracting", "sparse", "one-sided")
"""The regimes of weights in which bounds are small."""


class OfGiven(Sifting):
    """The search for what explains the first of some given trials, and others of them."""

    def confirmed(self, tier: Listing, survivors: list[str]) -> list[str]:
        """Keep what no right case refutes; and of that, what explains other wrong cases."""
        explained = 1
        for trial in sorted(self.trials[1:], key=lambda trial: bool(trial.wrong_elements)):
            left = self.filtered(tier, trial, survivors)
            if left and trial.wrong_elements and self.is_about(tier, trial, left):
                explained += 1
            elif trial.wrong_elements:
                continue  # of another cause
            survivors = left
        return survivors if explained >= WRONG_CASES and len(survivors) <= 2 else []

    def is_about(self, tier: Listing, trial: Trial, sentences: Sequence[str]) -> bool:
        """Tell whether sentences are about something that a trial's network has."""
        listed = {hypothesis.sentence for hypothesis in tier(trial.oracle.problem)}
        return bool(listed.intersection(sentences))


def explain(judged: Sequence[Judged]) -> None:
    """Note, of wrong cases, which hypothesis explains them: of their results, then gradients."""
    whole = [each for each in judged if each.whole]
    right = [each for each in whole if each.conforms]
    for of in ("results", "gradients"):
        wrong = [each for each in whole if is_wrong(each, of)]
        while len(wrong) >= WRONG_CASES:
            diagnosis = diagnosis_of(of, wrong, right)
            if diagnosis is None:
                break
            covered = [each for each in wrong if covers(diagnosis, each.trial(of))]
            told = as_data(counted(diagnosis, [each.trial(of) for each in covered]))
            for each in covered:
                each.explained = told
            if of == "results":
                attribute_gradients(diagnosis, whole, told)
            wrong = [each for each in wrong if not each.explained]


def attribute_gradients(
    diagnosis: Diagnosis, judged: Sequence[Judged], told: dict[str, Any]
) -> None:
    """Note, of right results with wrong gradients, that these follow from what is explained."""
    for each in judged:
        if is_wrong(each, "gradients") and quick(each):
            trial = each.trial("gradients")
            stated = hypothesis_of(diagnosis, trial)
            if stated and follow(trial, stated):
                each.explained = told


def is_wrong(judged: Judged, of: str) -> bool:
    """Tell whether results, or the gradients of right results, are over the bounds in the file."""
    results, gradients = (
        any(each.over for each in judged.comparisons if is_gradient(each) == wanted)
        for wanted in (False, True)
    )
    return not judged.explained and (results if of == "results" else gradients and not results)


def is_gradient(comparison: Comparison) -> bool:
    """Tell whether a comparison is of a gradient."""
    return in_file(comparison.name).startswith(GRAD)


def diagnosis_of(of: str, wrong: Sequence[Judged], right: Sequence[Judged]) -> Diagnosis | None:
    """Find what explains the case that tells most, and others; None if nothing does."""
    wrong = sorted(filter(quick, wrong), key=lambda each: telling(each.vector.case))
    right = sorted(filter(quick, right), key=lambda each: telling(each.vector.case))
    single = [each for each in wrong if each.vector.case.L * each.vector.case.D == 1]
    for first in dict.fromkeys((*map(id, wrong[:1]), *map(id, single[:1]))):
        given = sorted(wrong, key=lambda each: id(each) != first)[: COMPANIONS + 1]
        trials = [each.trial(of) for each in (*given, *right[:COMPANIONS])]
        found = OfGiven(of, Budget(SECONDS), trials).diagnosis()
        if found.sentences:
            return found
    return None


def quick(judged: Judged) -> bool:
    """Tell whether hypotheses can be tried on a case in a short time."""
    return is_quick(judged.vector.case)


def is_plain(case: Case) -> bool:
    """Tell whether a case's bounds are small and its numbers of usual sizes."""
    return case.weights in SHARP and case.input in ("normal", "integer")


def telling(case: Case) -> tuple[int, ...]:
    """Order cases: first those in which bounds are small and every change shows, then by size."""
    several = [number > 1 for number in (case.T, case.N, case.I, case.H)]
    full = [case.L > 1, case.D > 1, case.bias, case.h_0, case.loss == "both"]
    return not is_plain(case), -sum(several), -sum(full), *size(str(case))


def covers(diagnosis: Diagnosis, trial: Trial) -> bool:
    """Tell whether what was got is within the bounds of a stated hypothesis."""
    stated = hypothesis_of(diagnosis, trial)
    if stated is None:
        return False
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
