"""Two faults at once: a hypothesis about some arrays, and one about the others.

The first explains all that is wrong outside of some arrays; the second is of what became of
these arrays after that. Together they must explain everything, as a single hypothesis must.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import Expected, Hypothesis
from rnn_ref.diagnosis.hypotheses.measured import Seen, are_there, measured
from rnn_ref.diagnosis.trial import Trial, over
from rnn_ref.judging.oracle import Oracle


class Given(Oracle):
    """An oracle whose results, or gradients, are those of a hypothesis."""

    def __init__(self, oracle: Oracle, expected: Expected) -> None:
        super().__init__(oracle.problem)
        self.known = oracle.known  # type: ignore[method-assign]
        self.expected = expected
        if "output" in expected:
            self.states = [*oracle.states[:-1], expected["output"]]
        else:
            self.gradients_end_to_end = expected

    @property
    def h_n(self) -> Any:
        """The final states, (L*D, N, H)."""
        return self.expected["h_n"]


def both(first: Hypothesis, second: Hypothesis) -> Hypothesis:
    """Make one hypothesis of two, of which the second is about finished arrays."""

    def expected(oracle: Oracle) -> Expected:
        given = first.expected(oracle)
        after = second.expected(Given(oracle, given))
        return given | {name: after[name] for name in second.arrays or ()}

    return Hypothesis(f"two at once: {first.sentence}, and {second.sentence}", expected)


@dataclass
class Pairs:
    """The pairs that may explain a trial; called with a problem, it lists them for that.

    `listing` has the single hypotheses, of which the pairs are made, and `renamed` those that
    other problems have by other names; `measured` has those whose
    constants are the trial's, which are the same for all problems that have its arrays.
    """

    listing: Callable[[Problem], Sequence[Hypothesis]]
    renamed: Callable[[Problem], Sequence[Hypothesis]] = lambda _: ()
    found: list[tuple[str, str]] = field(default_factory=list)
    measured: dict[str, Hypothesis] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    def __call__(self, p: Problem) -> list[Hypothesis]:
        """List the pairs for a problem."""
        if not are_there(self.names, p):
            return []
        known = self.measured | {h.sentence: h for h in (*self.renamed(p), *self.listing(p))}
        return [both(known[a], known[b]) for a, b in self.found if {a, b} <= known.keys()]

    def search(self, trial: Trial, in_time: Callable[[], bool]) -> None:
        """Find the pairs of which the first part explains what it has to, while there is time."""
        self.names = frozenset(trial.got)
        listed = self.listing(trial.oracle.problem)
        finished = [h for h in listed if h.arrays]
        wrong = frozenset(name for name, mask in trial.wrong.items() if mask.any())
        parts = [s for s in dict.fromkeys(h.arrays for h in finished) if s and wrong & s]
        others = {s: replace(trial, only=wrong - s) for s in parts if wrong - s}
        noted = [h for part in others.values() for h in self.noted(part, part.unchanged)]
        for first in (*listed, *noted):
            if not in_time():
                return
            near = trial.near(first)
            for arrays, part in others.items():
                if wrong - arrays <= near and part.is_explained(first._replace(reach=None)):
                    after = self.noted(replace(trial, only=arrays), first.expected(trial.oracle))
                    for second in (h for h in (*finished, *after) if h.arrays == arrays):
                        if (second.sentence, first.sentence) not in self.found:
                            self.found.append((first.sentence, second.sentence))

    def noted(self, trial: Trial, right: Expected) -> list[Hypothesis]:
        """Measure what may have become of a trial's arrays, and note it for other problems."""
        found = measured(seen(trial, right))
        self.measured |= {h.sentence: h for h in found}
        return found


def seen(trial: Trial, right: Expected) -> Seen:
    """Take a trial's arrays, and what is right by a hypothesis."""
    wrong = {name: over(got, right[name]) for name, got in trial.got.items()}
    return Seen(trial.oracle.problem, trial.got, right, wrong)
