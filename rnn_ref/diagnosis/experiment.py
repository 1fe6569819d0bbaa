"""Diagnosis by experiment: which changed reference computes what a wrong subject does.

Cases of the failing case's form are drawn anew, in sizes that tell hypotheses apart. A
hypothesis is stated if it explains every element of every one of them within its bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from rnn_ref.bridge import parameters_of
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.budget import Budget
from rnn_ref.diagnosis.changes import Hypothesis
from rnn_ref.diagnosis.draws import (
    Draw,
    Sizes,
    far,
    first_cases,
    is_quick,
    more_cases,
    shrunk,
    sizes_of,
)
from rnn_ref.diagnosis.hypotheses.first_step import from_a_step
from rnn_ref.diagnosis.hypotheses.gradient_precision import precise_gradients
from rnn_ref.diagnosis.hypotheses.gradients import (
    local_gradients,
    named_gradients,
    named_local_gradients,
    renamed_gradients,
    wide_gradients,
)
from rnn_ref.diagnosis.hypotheses.measured import Seen, are_there, measured
from rnn_ref.diagnosis.hypotheses.parts import confined, copied, in_parts
from rnn_ref.diagnosis.hypotheses.precision import of_one_layer, precision_hypotheses
from rnn_ref.diagnosis.hypotheses.results import (
    local_hypotheses,
    renamed_hypotheses,
    wide_hypotheses,
)
from rnn_ref.diagnosis.hypotheses.terms import about_terms
from rnn_ref.diagnosis.pairs import Pairs
from rnn_ref.diagnosis.trial import Trial, keeps_its_own, unloaded
from rnn_ref.judging.failures import SubjectFault
from rnn_ref.judging.measured import TANH
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Subject

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

WIDE: dict[str, Listing] = {"results": wide_hypotheses, "gradients": local_gradients}
"""The tier of each kind behind which hypotheses with measured constants are tried."""

RENAMED: dict[str, Listing] = {
    "results": lambda p: [*renamed_hypotheses(p), *of_one_layer(p)],
    "gradients": renamed_gradients,
}
"""Hypotheses that other forms of cases have: about parts by all names, and about one layer."""

WIDENING = (precision_hypotheses, precise_gradients)
"""The tiers whose hypotheses widen the bounds."""


FARTHER = 4
"""How many times as large the limit of a loss of precision may be in another form of case."""

WRONG_CASES = 2
"""In how many wrong cases a hypothesis must fit to be stated."""


ELSEWHERE = "weights from elsewhere"
"""What is wrong with calls whose results other weights do not change."""


@dataclass(frozen=True)
class Diagnosis:
    """What experiments say of a fault.

    `of` is what was wrong, "results", "gradients" or another use. `sentences` has one hypothesis
    that explains all `wrong` elements, two that the experiments couldn't tell apart, or none.
    `elements` were compared in the `cases` in which something was wrong; `tried` is the
    number of hypotheses. `listing` has those sentences, for other forms of cases. A hypothesis of
    a `kind` says something up to a `limit`. `base` is the sentence of calls of other kinds that
    are wrong in the same way. `right` is the result that is so where the other is not.
    """

    of: str
    sentences: tuple[str, ...]
    wrong: int
    elements: int
    cases: int
    tried: int
    listing: Listing = field(default=lambda _: [], compare=False, repr=False)
    kind: str = ""
    limit: float = 0.0
    base: str = ""
    right: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, (" or ".join(self.sentences), self.evidence)))

    @property
    def evidence(self) -> str:
        """How much the sentences explain."""
        if not self.sentences:
            return f"none of the {self.tried} hypotheses tried explains it"
        if self.of == "dropout":
            masks = f"all {self.wrong:,} elements of masks drawn for it"
            return f"so in {masks}, at {self.cases} probabilities"
        if self.of == ELSEWHERE:
            return f"with others the results are the same, to the bit, in {self.cases} cases"
        which = "explains" if len(self.sentences) == 1 else "each explains"
        cases = f"{self.cases} case{'s' if self.cases != 1 else ''} drawn for it"
        right = f"; {self.right} is right" if self.right else ""
        return f"{which} {self.wrong:,} of {self.wrong:,} wrong elements in {cases}{right}"


def tiers(of: str, trial: Trial) -> list[Listing]:
    """List the tiers of a kind; those with constants of a wrong trial behind the wide ones.

    Before the losses of precision stand the changes of parts to which what is wrong is confined.
    """
    seen = Seen(trial.oracle.problem, trial.got, trial.unchanged, trial.wrong)
    among = confined(seen)
    found = [*measured(seen), *about_terms(seen), *copied(seen), *from_a_step(seen)]
    at = TIERS[of].index(WIDE[of]) + 1
    return [
        *TIERS[of][:at],
        lambda p: found if are_there(seen.got, p) else [],
        *TIERS[of][at:-1],
        *([lambda p: in_parts(p, among)] if among else []),
        TIERS[of][-1],
    ]


def beside(hypothesis: Hypothesis) -> str:
    """Name the result that is right by a hypothesis, if it is about the other alone."""
    right = {frozenset(["output"]): "h_n", frozenset(["h_n"]): "output"}
    return right.get(hypothesis.arrays or frozenset(), "")


class Sifting:
    """Sifts hypotheses by trials: which one explains all that is wrong in them.

    `of` is what is wrong, "results" or "gradients". Of `trials` that are given no more can be
    drawn; `Search` draws its own.
    """

    of: str
    budget: Budget
    trials: list[Trial]
    tried: set[str]

    def __init__(self, of: str, budget: Budget, trials: Sequence[Trial]) -> None:
        self.of, self.budget, self.trials, self.tried = of, budget, list(trials), set()

    def further(self, *, widens: bool) -> Iterator[Draw]:  # noqa: ARG002
        """Yield what more may be drawn to tell hypotheses apart."""
        return iter(())

    def attempt(self, draw: Draw) -> Trial | None:  # noqa: ARG002
        """Make a trial of a draw; None where that can't be."""
        return None

    def may_be(self, hypothesis: Hypothesis, problem: Problem) -> bool:  # noqa: ARG002
        """Tell whether what else is known of the subject leaves a hypothesis possible."""
        return True

    @property
    def wrong(self) -> list[Trial]:
        """The trials in which something is wrong."""
        return [trial for trial in self.trials if trial.wrong_elements]

    def diagnosis(self) -> Diagnosis:
        """Try the hypotheses tier by tier, and say which is left."""
        if self.is_unloaded():
            return self.said([unloaded(self.wrong)], lambda _: [])
        for tier in tiers(self.of, self.wrong[0]):
            survivors = self.filtered(tier, self.wrong[0], None)
            if survivors and (sentences := self.confirmed(tier, survivors)):
                return self.said(sentences, tier)
        single = [tier for tier in tiers(self.of, self.wrong[0]) if tier not in WIDENING]
        found = Pairs(lambda p: [h for tier in single for h in tier(p)], RENAMED[self.of])
        found.search(self.wrong[0], lambda: self.budget.left)
        sentences = self.confirmed(found, self.filtered(found, self.wrong[0], None))
        return self.said(sentences, found)

    def said(self, sentences: Sequence[str], listing: Listing) -> Diagnosis:
        """Make a diagnosis of sentences, and of what was tried."""
        chosen = [
            h for h in listing(self.wrong[0].oracle.problem) if [h.sentence] == list(sentences)
        ]
        return Diagnosis(
            self.of,
            tuple(sentences),
            sum(trial.wrong_elements for trial in self.wrong),
            sum(trial.elements for trial in self.wrong),
            len(self.wrong),
            len(self.tried),
            listing,
            kind=chosen[0].kind if chosen else "",
            limit=chosen[0].limit if chosen else 0.0,
            right=beside(chosen[0]) if chosen else "",
        )

    def is_unloaded(self) -> bool:
        """Tell whether the subject computes with weights of its own, not with those loaded."""
        for draw in self.further(widens=False):
            if len(self.wrong) >= WRONG_CASES or not all(map(keeps_its_own, self.wrong)):
                break
            self.attempt(draw)
        return len(self.wrong) >= WRONG_CASES and all(map(keeps_its_own, self.wrong))

    def filtered(
        self, tier: Listing, trial: Trial, among: Sequence[str] | None, *, known: bool = False
    ) -> list[str]:
        """Return the sentences of a tier that explain a trial; none if time runs out.

        Those that are `known` explain another form of case.
        """
        left, p = [], trial.oracle.problem
        hypotheses = {h.sentence: h for h in tier(p) if self.may_be(h, p)}
        if among is not None and not hypotheses.keys() >= set(among):
            hypotheses = {h.sentence: h for h in RENAMED[self.of](p)} | hypotheses
        for sentence in hypotheses if among is None else among:
            if not self.budget.left:
                return []
            self.tried.add(sentence)
            hypothesis = hypotheses.get(sentence)
            if hypothesis is None:  # it is about a step or a layer that this case lacks
                fits = not trial.wrong_elements
            else:
                fits = trial.is_explained(hypothesis, known=known)
            left += [sentence] if fits else []
        return left

    def confirmed(self, tier: Listing, survivors: list[str]) -> list[str]:
        """Draw further cases until one hypothesis is left; return it, or two at most."""
        widens = tier in WIDENING
        for trial in [trial for trial in self.trials if trial is not self.wrong[0]]:
            survivors = self.filtered(tier, trial, survivors)
        for draw in self.further(widens=widens):
            if not survivors or self.is_enough(survivors, widens) or not self.budget.left:
                break
            if (drawn := self.attempt(draw)) is not None:
                survivors = self.filtered(tier, drawn, survivors)
        if widens:
            survivors = self.likeliest(tier, survivors)
        survivors = self.apart(tier, survivors)
        stated = len(self.wrong) >= WRONG_CASES and len(survivors) <= 2
        return survivors if stated else []

    def apart(self, tier: Listing, survivors: list[str]) -> list[str]:  # noqa: ARG002
        """Leave out what no further case could tell from another one that is left."""
        return survivors

    def likeliest(self, tier: Listing, survivors: list[str]) -> list[str]:
        """Choose one of several losses of precision.

        The first, as those after it allow more; of those that say on what a first step's errors
        are centred, the one that is nearest.
        """
        distances = dict.fromkeys(survivors, 0.0)
        for trial in (trial for trial in self.wrong if trial.is_one_step):
            hypotheses = {h.sentence: h for h in tier(trial.oracle.problem)}
            if not (survivors and hypotheses[survivors[0]].centred):
                break
            for sentence in survivors:
                chosen = hypotheses[sentence]
                off = trial.distance(chosen.expected(trial.oracle)) if chosen.centred else math.inf
                distances[sentence] += off
        return sorted(survivors, key=distances.__getitem__)[:1]

    def is_enough(self, survivors: list[str], widens: bool) -> bool:
        """Tell whether there is nothing more to find out."""
        wrong = len(self.wrong)
        return wrong >= 2 * WRONG_CASES if widens else wrong >= WRONG_CASES and len(survivors) == 1


@dataclass
class Search(Sifting):
    """The search for what is wrong with the results, or the gradients, of one form of case."""

    subject: Subject
    case: Case
    of: str
    budget: Budget
    trials: list[Trial] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    drawn: set[Draw] = field(default_factory=set)
    plan: Iterator[Draw] = field(init=False)

    def __post_init__(self) -> None:
        self.plan = first_cases(self.case)

    def further(self, *, widens: bool) -> Iterator[Draw]:
        """Draw further cases of the form, as far out as what was found to be wrong."""
        case, own = self.case, sizes_of(self.case)
        if far(own):
            found = sizes_of(self.wrong[0].oracle.problem)
            case = replace(case, **Sizes(*map(min, own, found))._asdict())
        return more_cases(case, widens, self.of)

    def may_be(self, hypothesis: Hypothesis, problem: Problem) -> bool:
        """Tell whether the subject's tanh, as measured, and its relu networks leave it possible."""
        if hypothesis.of_tanh:
            accuracy = self.subject.measured.tanh.get(problem.dtype)
            accurate = accuracy is not None and accuracy.units <= TANH
            return not accurate and self.is_relu_wrong is not True
        sums_of_tanh = hypothesis.of_sums and problem.nonlinearity == "tanh"
        return not sums_of_tanh or self.is_relu_wrong is not False

    @cached_property
    def is_relu_wrong(self) -> bool | None:
        """Whether networks of relu are wrong too; None if none can be run, or this is one."""
        if self.case.nonlinearity == "relu":
            return None
        other = replace(self.case, nonlinearity="relu")
        search = Search(self.subject, other, self.of, Budget(0.25 * self.budget.seconds))
        wrong = search.find_wrong()
        return wrong if search.trials else None

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

    def find_wrong(self, share: float = 1.0) -> bool:
        """Run cases until one is wrong, or a share of the time is used; return whether one is."""
        for draw in self.plan:
            if self.wrong or self.budget.used >= share * self.budget.seconds:
                break
            self.attempt(draw)
        return bool(self.wrong)

    def left_of(self, diagnosis: Diagnosis) -> Diagnosis | None:
        """Say which sentences of another form's diagnosis explain this form too; None if none."""
        said, listing = diagnosis.sentences, diagnosis.listing
        left = self.filtered(listing, self.wrong[0], said, known=True)
        if diagnosis.kind and not left:
            return self.farther(diagnosis)
        return replace(diagnosis, sentences=tuple(left)) if left else None

    def farther(self, diagnosis: Diagnosis) -> Diagnosis | None:
        """Say which hypothesis of another form's kind explains this form, up to a larger limit."""
        problem, least = self.wrong[0].oracle.problem, diagnosis.limit
        for h in RENAMED[self.of](problem):
            alike = h.kind == diagnosis.kind and least < h.limit <= FARTHER * least
            if alike and self.may_be(h, problem) and self.wrong[0].is_explained(h, known=True):
                return replace(diagnosis, sentences=(h.sentence,), limit=h.limit)
        return None
