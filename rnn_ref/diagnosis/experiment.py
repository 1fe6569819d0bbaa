"""Diagnosis by experiment: which changed reference computes what a wrong subject does.

Cases of the failing case's form are drawn anew, in sizes that tell hypotheses apart. A
hypothesis is stated if it explains every element of every one of them within its bounds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.bridge import parameters_of
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import Expected, Hypothesis, Place, Places, Plain, results_of
from rnn_ref.diagnosis.gradient_hypotheses import (
    local_gradients,
    named_gradients,
    named_local_gradients,
    precise_gradients,
    wide_gradients,
)
from rnn_ref.diagnosis.hypotheses import local_hypotheses, wide_hypotheses
from rnn_ref.diagnosis.measured_hypotheses import Seen, measured
from rnn_ref.diagnosis.places import KINDS, everywhere
from rnn_ref.diagnosis.precision_hypotheses import precision_hypotheses, to
from rnn_ref.diagnosis.term_hypotheses import about_terms
from rnn_ref.judging.failures import SubjectFault
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Run, Subject
from rnn_ref.reference import final

Listing = Callable[[Problem], list[Hypothesis]]

TIERS: dict[str, tuple[Listing, ...]] = {
    "results": (wide_hypotheses, local_hypotheses, precision_hypotheses),
    "gradients": (
        named_gradients,
        wide_gradients,
        named_local_gradients,
        local_gradients,
        precise_gradients,
    ),
}
"""The hypotheses of each kind; later ones are tried where no earlier one fits."""

WIDE: dict[str, Listing] = {"results": wide_hypotheses, "gradients": wide_gradients}
"""The last tier of each kind that is about the whole network."""

WIDENING = (precision_hypotheses, precise_gradients)
"""The tiers whose hypotheses widen the bounds."""


class Sizes(NamedTuple):
    """The sizes of a case that a diagnosis draws."""

    T: int
    N: int
    I: int
    H: int


FIRST = (Sizes(5, 3, 4, 6), Sizes(20, 5, 3, 9), Sizes(37, 6, 34, 9))
"""Sizes to find a wrong case with."""

MORE = (Sizes(7, 2, 5, 3), Sizes(4, 4, 4, 4), Sizes(20, 5, 3, 9), Sizes(70, 3, 2, 5))
"""Sizes to tell hypotheses apart that all explain the first wrong case."""

LONG = 20
"""From how many steps on weights are drawn that keep bounds small."""

ONE_STEP = Sizes(1, 4, 5, 7)
"""Sizes where a loss of precision has no past to hide in."""

FAR = 1e3
"""How many times wider a hypothesis's bounds may be than those of the unchanged reference."""

NEAR = 0.02
"""The ratio that errors must reach under wider bounds, for these to be a reason."""

WRONG_CASES = 2
"""In how many wrong cases a hypothesis must fit to be stated."""


@dataclass(frozen=True)
class Diagnosis:
    """What experiments say of a fault.

    `of` is what was wrong, "results" or "gradients". `sentences` has one hypothesis that
    explains all `wrong` elements, two that the experiments couldn't tell apart, or none.
    `elements` were compared in the `cases` in which something was wrong; `tried` is the
    number of hypotheses. `listing` has those sentences, for other forms of cases.
    """

    of: str
    sentences: tuple[str, ...]
    wrong: int
    elements: int
    cases: int
    tried: int
    listing: Listing = field(default=lambda _: [], compare=False, repr=False)

    def __str__(self) -> str:
        return ": ".join(filter(None, (" or ".join(self.sentences), self.evidence)))

    @property
    def evidence(self) -> str:
        """How much the sentences explain."""
        if not self.sentences:
            return f"none of the {self.tried} hypotheses tried explains it"
        which = "explains" if len(self.sentences) == 1 else "each explains"
        cases = f"{self.cases} case" + ("s" if self.cases != 1 else "")
        return f"{which} {self.wrong:,} of {self.wrong:,} wrong elements in {cases}"


def diagnose(subject: Subject, case: Case, *, seconds: float = 2.0) -> Diagnosis | None:
    """Find out what a subject computes in place of an RNN, in about so many seconds.

    Return None if nothing is wrong with the results and gradients of plain calls of the
    case's form. Raises nothing, whatever the subject raises.
    """
    deadline = time.monotonic() + seconds
    for of, share in (("results", 0.5), ("gradients", 1.0)):
        search = Search(subject, case, of, deadline)
        if search.find_wrong(time.monotonic() + share * seconds):
            return search.diagnosis()
    return None


@dataclass
class Trial:
    """One problem, what the subject returned for it, and what is wrong of that.

    `kept` are the parameters that the subject's module shows after the call.
    """

    oracle: Oracle
    run: Run
    of: str
    kept: dict[str, Floats]

    @cached_property
    def got(self) -> dict[str, Floats]:
        """The subject's results, or its gradients, by name."""
        if self.of == "gradients":
            return self.run.gradients
        return {"output": self.run.output, "h_n": self.run.h_n}

    @cached_property
    def unchanged(self) -> Expected:
        """What the unchanged reference expects."""
        return results_of(self.oracle) if self.of == "results" else self.oracle.gradients_end_to_end

    @cached_property
    def wrong(self) -> dict[str, Any]:
        """By name, whether each element is over its bound."""
        return {name: over(self.got[name], self.unchanged[name]) for name in self.unchanged}

    @property
    def wrong_elements(self) -> int:
        """How many elements are over their bound."""
        return sum(int(mask.sum()) for mask in self.wrong.values())

    @property
    def elements(self) -> int:
        """How many elements were compared."""
        return sum(mask.size for mask in self.wrong.values())

    @cached_property
    def touched(self) -> Places:
        """The directions of layers whose rows of h_n, or whose parameters' gradients, are wrong."""
        p = self.oracle.problem
        if self.of == "results":
            rows = self.wrong["h_n"].reshape(p.L, p.D, -1).any(axis=2)
            return frozenset(Place(int(l), int(d)) for l, d in np.argwhere(rows))
        return frozenset(
            place
            for place in everywhere(p.L, p.D).places
            if any(self.wrong[kind + place.end].any() for kind in KINDS[: 4 if p.bias else 2])
        )

    @cached_property
    def plain(self) -> Plain:
        """The reference without bounds."""
        return Plain(self.oracle.problem)

    def is_explained(self, hypothesis: Hypothesis) -> bool:
        """Tell whether a hypothesis expects everything that was got, and for a reason."""
        with np.errstate(all="ignore"):
            if self.is_beyond(hypothesis):
                return False
            if not hypothesis.widens and self.is_far(hypothesis.expected(self.plain)):
                return False
            expected = hypothesis.expected(self.oracle)
            if any(over(self.got[name], expected[name]).any() for name in expected):
                return False
            if not self.wrong_elements:
                return True
            if hypothesis.widens:
                return self.shows_rounding(hypothesis, expected)
            return self.is_distinct(expected)

    def is_beyond(self, hypothesis: Hypothesis) -> bool:
        """Tell whether something is wrong that a hypothesis leaves as it is."""
        if hypothesis.arrays is not None:
            names = {name for name, mask in self.wrong.items() if mask.any()}
            return not names <= hypothesis.arrays
        return hypothesis.reach is not None and not self.touched <= hypothesis.reach

    def is_far(self, expected: dict[str, Any]) -> bool:
        """Tell, from values without bounds, whether it is vain to compute the bounds.

        They are supposed to be no more than FAR times the largest of the unchanged reference.
        """
        for name, value in expected.items():
            bound = self.unchanged[name].stored.error
            if bound.size and (np.abs(self.got[name] - value) > FAR * bound.max()).any():
                return True
        return False

    def is_distinct(self, expected: Expected) -> bool:
        """Tell whether an expectation is sharp, and other than that of the reference.

        It must be off it by more than its bound in most of what is wrong; a bound so wide
        that it would explain anything explains nothing.
        """
        distinct = 0
        for name, mask in self.wrong.items():
            other = expected[name].stored
            off = np.abs(other.value - self.unchanged[name].stored.value)
            distinct += int((~(off[mask] <= other.error[mask])).sum())  # NaN is distinct too
        return 2 * distinct > self.wrong_elements

    @cached_property
    def ends_agree(self) -> bool:
        """Whether h_n of the last layer has the bits of the output where each direction ends."""
        h_n = final([self.got["output"]], self.oracle.problem.D)
        return bool(np.array_equal(h_n, self.got["h_n"][-len(h_n) :], equal_nan=True))

    def shows_rounding(self, hypothesis: Hypothesis, expected: Expected) -> bool:
        """Tell whether the errors look like those of the rounding that is supposed."""
        alone = hypothesis.arrays is not None
        if self.of == "results" and alone == self.ends_agree:
            return False  # a state that is rounded is so in output and in h_n
        largest, signs = 0.0, []
        for name, mask in self.wrong.items():
            bounded, got = expected[name].stored, self.got[name]
            error = (got.astype(np.float64) - bounded.value)[mask]
            largest = max(largest, np.max(np.abs(error) / bounded.error[mask], initial=0.0))
            signs.append(np.sign(error * bounded.value[mask]))
            if hypothesis.zeros and got[mask].any():
                return False
            if hypothesis.few_digits and not has_few_digits(got[mask], hypothesis.few_digits):
                return False
        up = np.mean(np.concatenate(signs) > 0)
        mixed = not hypothesis.both_signs or bool(0.1 < up < 0.9)
        shown = bool(hypothesis.few_digits) or hypothesis.zeros or bool(largest > NEAR)
        return mixed and shown


UNLOADED = "the weights are not those that were loaded: the module keeps its own"


def keeps_its_own(trial: Trial) -> bool:
    """Tell whether a module shows other parameters than it was given, and computes with them."""
    given, kept = trial.oracle.problem.parameters, trial.kept
    if given.keys() != kept.keys() or any(given[n].shape != kept[n].shape for n in given):
        return False
    if all(np.array_equal(given[name], kept[name]) for name in given):
        return False
    oracle = Oracle(replace(trial.oracle.problem, parameters=kept))
    expected = results_of(oracle) if trial.of == "results" else oracle.gradients_end_to_end
    return not any(over(trial.got[name], expected[name]).any() for name in expected)


def has_few_digits(got: Floats, dtype: str) -> bool:
    """Tell whether all numbers are of a coarser dtype, and most are not 0, which all have."""
    return bool((to(dtype, got) == got).all()) and 2 * int(np.count_nonzero(got)) >= got.size


def over(got: Floats, expected: Any) -> Any:
    """Tell of every element whether it is over its bound; what is left open never is."""
    value, bound = expected.stored.value, expected.stored.error
    with np.errstate(all="ignore"):
        within = np.abs(got.astype(np.float64) - value) <= bound
    return ~(within | (got == value) | np.isinf(bound) | (np.isnan(got) & np.isnan(value)))


def tiers(of: str, trial: Trial) -> list[Listing]:
    """List the tiers of a kind; those with constants of a wrong trial behind the wide ones."""
    seen = Seen(trial.oracle.problem, trial.got, trial.unchanged, trial.wrong)
    found = [*measured(seen), *about_terms(seen)]
    at = TIERS[of].index(WIDE[of]) + 1
    return [*TIERS[of][:at], lambda _: found, *TIERS[of][at:]]


@dataclass
class Search:
    """The search for what is wrong with the results, or the gradients, of one form of case."""

    subject: Subject
    case: Case
    of: str
    deadline: float
    trials: list[Trial] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    drawn: set[Draw] = field(default_factory=set)
    plan: Iterator[Draw] = field(init=False)

    def __post_init__(self) -> None:
        self.plan = first_cases(self.case)

    @property
    def in_time(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self.deadline

    @property
    def wrong(self) -> list[Trial]:
        """The trials in which something is wrong."""
        return [trial for trial in self.trials if trial.wrong_elements]

    def attempt(self, draw: Draw) -> Trial | None:
        """Run the subject on a new draw; None if it raises, or if that would take too long."""
        if draw in self.drawn or not is_quick(draw.case):
            return None
        self.drawn.add(draw)
        problem = self.subject.problem(draw.case)
        problem = shrunk(problem) if draw.small else problem
        try:
            module = self.subject.build(problem)
            run = self.subject.run(problem, module, gradients=self.of == "gradients")
            with self.subject.calling("reading the parameters"):
                kept = parameters_of(module)
        except SubjectFault:
            return None
        trial = Trial(Oracle(problem), run, self.of, kept)
        self.trials.append(trial)
        return trial

    def find_wrong(self, until: float) -> bool:
        """Run cases until one is wrong; return whether one is."""
        for draw in self.plan:
            if self.wrong or time.monotonic() >= until:
                break
            self.attempt(draw)
        return bool(self.wrong)

    def diagnosis(self) -> Diagnosis:
        """Try the hypotheses tier by tier, and say which is left."""
        if self.is_unloaded():
            return self.said([UNLOADED], lambda _: [])
        for tier in tiers(self.of, self.wrong[0]):
            survivors = self.filtered(tier, self.wrong[0], None)
            if survivors and (sentences := self.confirmed(tier, survivors)):
                return self.said(sentences, tier)
        return self.said([], lambda _: [])

    def said(self, sentences: Sequence[str], listing: Listing) -> Diagnosis:
        """Make a diagnosis of sentences, and of what was tried."""
        return Diagnosis(
            self.of,
            tuple(sentences),
            sum(trial.wrong_elements for trial in self.wrong),
            sum(trial.elements for trial in self.wrong),
            len(self.wrong),
            len(self.tried),
            listing,
        )

    def left_of(self, diagnosis: Diagnosis) -> Diagnosis | None:
        """Say which sentences of another form's diagnosis explain this form too; None if none."""
        left = self.filtered(diagnosis.listing, self.wrong[0], diagnosis.sentences)
        return replace(diagnosis, sentences=tuple(left)) if left else None

    def is_unloaded(self) -> bool:
        """Tell whether the subject computes with weights of its own, not with those loaded."""
        for draw in more_cases(self.case, widens=False):
            if len(self.wrong) >= WRONG_CASES or not all(map(keeps_its_own, self.wrong)):
                break
            self.attempt(draw)
        return len(self.wrong) >= WRONG_CASES and all(map(keeps_its_own, self.wrong))

    def filtered(self, tier: Listing, trial: Trial, among: Sequence[str] | None) -> list[str]:
        """Return the sentences of a tier that explain a trial; none if time runs out."""
        left = []
        hypotheses = {h.sentence: h for h in tier(trial.oracle.problem)}
        for sentence in hypotheses if among is None else among:
            if not self.in_time:
                return []
            self.tried.add(sentence)
            hypothesis = hypotheses.get(sentence)
            if hypothesis is None:  # it is about a step or a layer that this case lacks
                fits = not trial.wrong_elements
            else:
                fits = trial.is_explained(hypothesis)
            left += [sentence] if fits else []
        return left

    def confirmed(self, tier: Listing, survivors: list[str]) -> list[str]:
        """Draw further cases until one hypothesis is left; return it, or two at most."""
        widens = tier in WIDENING
        for trial in [trial for trial in self.trials if trial is not self.wrong[0]]:
            survivors = self.filtered(tier, trial, survivors)
        for draw in more_cases(self.case, widens):
            if not survivors or self.is_enough(survivors, widens) or not self.in_time:
                break
            if (drawn := self.attempt(draw)) is not None:
                survivors = self.filtered(tier, drawn, survivors)
        if widens:
            survivors = survivors[:1]  # those after it allow more
        stated = len(self.wrong) >= WRONG_CASES and len(survivors) <= 2
        return survivors if stated else []

    def is_enough(self, survivors: list[str], widens: bool) -> bool:
        """Tell whether there is nothing more to find out."""
        wrong = len(self.wrong)
        return wrong >= 2 * WRONG_CASES if widens else wrong >= WRONG_CASES and len(survivors) == 1


class Draw(NamedTuple):
    """A case that a diagnosis draws; `small` multiplies all but its weights by a small number."""

    case: Case
    small: bool = False


def is_quick(case: Case) -> bool:
    """Tell whether a case can be run with bounds in a fraction of a second."""
    c = case
    steps = c.T * c.L * c.D
    return steps <= 2000 and steps * c.N * c.H * (max(c.I, c.D * c.H) + c.H) <= 2e8


def shrunk(p: Problem) -> Problem:
    """Multiply the input, h_0 and the biases of a problem by about the root of its roundoff."""
    c = 2.0 ** round(math.log2(p.rounding.u) / 2)
    parameters = {
        name: a if name.startswith("weight") else a * a.dtype.type(c)
        for name, a in p.parameters.items()
    }
    h_0 = None if p.h_0 is None else p.h_0 * p.h_0.dtype.type(c)
    return replace(p, parameters=parameters, input=p.input * p.input.dtype.type(c), h_0=h_0)


def first_cases(case: Case) -> Iterator[Draw]:
    """Draw cases of a case's form: rich ones, larger ones like it, its own sizes, itself."""
    own = Sizes(case.T, case.N, case.I, case.H)
    for sizes in FIRST:
        yield sized(case, sizes, 1, plain=True)
    yield small(case, 1)
    for plain in (True, False):
        yield sized(case, Sizes(*map(max, own, FIRST[0])), 2, plain=plain)
    for seed in range(3, 6):
        yield sized(case, own, seed, plain=False)
    yield Draw(replace(case, variant=""))


def more_cases(case: Case, widens: bool) -> Iterator[Draw]:
    """Draw further cases: other sizes and seeds, both in plain regimes and in the case's."""
    own = Sizes(case.T, case.N, case.I, case.H)
    if widens:
        yield sized(case, ONE_STEP, 9, plain=True)
        yield from (small(case, seed) for seed in (2, 3, 4))
    for seed, sizes in enumerate(MORE, start=10):
        yield sized(case, sizes, seed, plain=True)
    for seed in range(20, 22):
        yield sized(case, Sizes(37, 6, 34, 9), seed, plain=True)
        yield sized(case, Sizes(*map(max, own, MORE[0])), seed, plain=True)
        yield sized(case, Sizes(*map(max, own, FIRST[0])), seed, plain=False)
    for seed in range(30, 34):
        yield sized(case, own, seed, plain=False)


def sized(case: Case, sizes: Sizes, seed: int, *, plain: bool) -> Draw:
    """Give a case other sizes and another seed; if plain, bounds that stay small too."""
    T, N, I, H = sizes
    N = 1 if case.unbatched else N
    drawn = replace(case, T=T, N=N, I=I, H=H, L=min(case.L, 3), variant="", seed=seed)
    if not plain:
        return Draw(drawn)
    weights = "torch" if T < LONG else "contracting"  # bounds on torch's own grow with time
    return Draw(replace(drawn, weights=weights, input="normal", loss="both"))


def small(case: Case, seed: int) -> Draw:
    """Draw a case of small sums, which tanh hardly changes."""
    drawn = sized(case, FIRST[0], seed, plain=True).case
    return Draw(replace(drawn, weights="contracting"), small=True)
