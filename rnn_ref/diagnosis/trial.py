"""One case of a diagnosis: what the subject returned, what is wrong, and what would explain it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.diagnosis.changes import Expected, Hypothesis, Place, Places, Plain, results_of
from rnn_ref.diagnosis.hypotheses.products import to
from rnn_ref.diagnosis.places import KINDS, everywhere
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Run
from rnn_ref.reference import final

FAR = 1e3
"""How many times wider a hypothesis's bounds may be than those of the unchanged reference.

In a 16-bit dtype of unit roundoff u it is u^-1/2: bounds 1,000 times as wide would allow anything.
"""

FEW = 8
"""Of fewer errors nothing is said of their signs: by chance all may have the same."""

MANY = 3
"""Of so many steps, rows or units more than one shows a loss of precision."""

SPARED = 1000
"""How many times wider bounds are in which hardly an error is as small as before.

The errors of a rounding spread over its bound: of FEW, one is below a thousandth of it in less
than one case of a hundred, and all are in none.
"""

NEARER = 10
"""How many times nearer to what was got a known hypothesis is than the unchanged reference."""


@dataclass
class Trial:
    """One problem, what the subject returned for it, and what is wrong of that.

    `kept` are the parameters that the subject's module shows after the call. With `only`, no
    other results or gradients count.
    """

    oracle: Oracle
    run: Run
    of: str
    kept: dict[str, Floats]
    only: frozenset[str] | None = None

    @cached_property
    def got(self) -> dict[str, Floats]:
        """The subject's results, or its gradients, by name."""
        results = {"output": self.run.output, "h_n": self.run.h_n}
        return self.chosen(self.run.gradients if self.of == "gradients" else results)

    @cached_property
    def unchanged(self) -> Expected:
        """What the unchanged reference expects."""
        o = self.oracle
        return self.chosen(results_of(o) if self.of == "results" else o.gradients_end_to_end)

    def chosen(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Take those arrays that count."""
        return {n: a for n, a in arrays.items() if self.only is None or n in self.only}

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

    def is_explained(self, hypothesis: Hypothesis, *, known: bool = False) -> bool:
        """Tell whether a hypothesis expects everything that was got, and for a reason.

        One that is `known` to be true of other forms needs less of one: in a 16-bit dtype its
        bounds may be wide.
        """
        with np.errstate(all="ignore"):
            if self.is_beyond(hypothesis):
                return False
            if not hypothesis.widens and self.is_far(self.chosen(hypothesis.expected(self.plain))):
                return False
            expected = self.chosen(hypothesis.expected(self.oracle))
            if any(over(self.got[name], expected[name]).any() for name in expected):
                return False
            if hypothesis.widens and self.spares_a_step(expected):
                return False
            if not self.wrong_elements:
                return True
            if hypothesis.widens:
                return self.shows_rounding(hypothesis, expected, known=known)
            return self.is_distinct(expected) or (known and self.is_nearer(hypothesis))

    def near(self, hypothesis: Hypothesis) -> frozenset[str]:
        """Name the arrays for which it is not vain to compute the bounds of a hypothesis."""
        with np.errstate(all="ignore"):
            expected = hypothesis.expected(self.plain)
            return frozenset(n for n, value in expected.items() if not self.is_far({n: value}))

    def is_beyond(self, hypothesis: Hypothesis) -> bool:
        """Tell whether something is wrong that a hypothesis leaves as it is."""
        if hypothesis.arrays is not None:
            names = {name for name, mask in self.wrong.items() if mask.any()}
            return not names <= hypothesis.arrays
        return hypothesis.reach is not None and not self.touched <= hypothesis.reach

    def is_far(self, expected: dict[str, Any]) -> bool:
        """Tell, from values without bounds, whether it is vain to compute the bounds.

        They are supposed to be no more than FAR times the largest of the unchanged reference,
        or, where that is exact, than FAR roundings of the largest value.
        """
        u = self.oracle.rounding.u
        far = min(FAR, u**-0.5)
        for name, value in expected.items():
            bound = self.unchanged[name].stored.error.max(initial=0.0)
            bound = bound or u * np.abs(value).max(initial=0.0)
            if (np.abs(self.got[name] - value) > far * bound).any():
                return True
        return False

    def is_distinct(self, expected: Expected) -> bool:
        """Tell whether an expectation is sharp, and other than that of the reference.

        It must be off it by more than its bound in most of what is wrong; a bound so wide
        that it would explain anything explains nothing.
        """
        distinct = sum(
            distinct_elements(mask, expected[name], self.unchanged[name])
            for name, mask in self.wrong.items()
        )
        return 2 * distinct > self.wrong_elements

    def is_nearer(self, hypothesis: Hypothesis) -> bool:
        """Tell whether what is wrong is NEARER times nearer to an expectation, in most elements."""
        expected, nearer = self.chosen(hypothesis.expected(self.plain)), 0
        for name, mask in self.wrong.items():
            right, got = self.unchanged[name].stored.value[mask], self.got[name][mask]
            off = np.abs(got - expected[name][mask])
            nearer += int((NEARER * off <= np.abs(got - right)).sum())
        return 2 * nearer > self.wrong_elements

    @cached_property
    def ends_agree(self) -> bool:
        """Whether h_n of the last layer has the bits of the output where each direction ends."""
        h_n = final([self.got["output"]], self.oracle.problem.D)
        return bool(np.array_equal(h_n, self.got["h_n"][-len(h_n) :], equal_nan=True))

    def shows_rounding(
        self, hypothesis: Hypothesis, expected: Expected, *, known: bool = False
    ) -> bool:
        """Tell whether the errors look like those of the rounding that is supposed.

        Digits show one that is known to be of other forms, wherever it is over a bound.
        """
        alone = hypothesis.arrays is not None
        if self.of == "results" and alone == self.ends_agree:
            return False  # a state that is rounded is so in output and in h_n
        if hypothesis.spreads and self.is_in_one_array():
            return False
        in_digits = known and bool(hypothesis.few_digits)
        if self.of == "results" and not in_digits and self.is_at_one_index():
            return False
        if not hypothesis.zeros and self.allows_anything(expected):
            return False
        shows_centre = self.is_one_step and (self.is_one_product or not hypothesis.summed)
        if shows_centre and self.centring(expected) < hypothesis.centred:
            return False
        largest, signs = 0.0, []
        for name, mask in self.wrong.items():
            bounded, got = expected[name].stored, self.got[name]
            error = (got.astype(np.float64) - bounded.value)[mask]
            largest = max(largest, np.max(np.abs(error) / bounded.error[mask], initial=0.0))
            signs.append(np.sign(error * bounded.value[mask]))
            if hypothesis.zeros and got[mask].any():
                return False
        if hypothesis.few_digits and not self.has_few_digits(hypothesis):
            return False
        up = np.mean(np.concatenate(signs) > 0)
        few = sum(map(len, signs)) < FEW
        mixed = not hypothesis.both_signs or few or bool(0.1 < up < 0.9)
        shown = bool(hypothesis.few_digits) or hypothesis.zeros or largest > hypothesis.least
        return mixed and shown

    def allows_anything(self, expected: Expected) -> bool:
        """Tell whether a bound is as wide as the array's numbers, in most of what is wrong."""
        wide = 0
        for name, mask in self.wrong.items():
            largest = np.abs(self.unchanged[name].stored.value).max(initial=0.0)
            wide += int((2 * expected[name].stored.error[mask] >= largest).sum())
        return 2 * wide > self.wrong_elements

    def spares_a_step(self, expected: Expected) -> bool:
        """Tell whether all of a step is right, where a loss of precision would show in most of it.

        Zero and one are passed over: they are their own roundings.
        """
        p = self.oracle.problem
        for name in {"output", "input"}.intersection(expected):
            right, u = self.unchanged[name].stored, self.oracle.rounding.u
            least = np.maximum(right.error, u * np.abs(right.value))
            wide = expected[name].stored.error >= SPARED * least
            wide &= ~np.isin(np.abs(self.got[name]), (0, 1))
            D = p.D if name == "output" else 1
            wide, wrong = (
                a.reshape(*a.shape[:2], D, -1).sum(axis=(1, 3))
                for a in (wide, wide & self.wrong[name])
            )
            if ((wide >= FEW) & (wrong == 0)).any():
                return True
        return False

    @property
    def is_one_step(self) -> bool:
        """Whether nothing comes before what is returned, but for what is known."""
        p = self.oracle.problem
        return p.input.shape[0] == 1 and p.L == 1

    @property
    def is_one_product(self) -> bool:
        """Whether no sum has more than one product with an input and one with a state."""
        _, N, I = self.oracle.problem.input.shape
        return bool(N >= FEW and I == self.oracle.problem.H == 1)

    def distance(self, expected: Expected) -> float:
        """Add up how far elements are from those expected."""
        return float(sum(np.sum(np.abs(self.got[n] - expected[n].stored.value)) for n in expected))

    def centring(self, expected: Expected) -> float:
        """Say how many times nearer results are to an expectation than to the reference."""
        off = self.distance(expected)
        return self.distance(self.unchanged) / off if off else math.inf

    def is_in_one_array(self) -> bool:
        """Tell whether most of one gradient is wrong, and nothing of the others."""
        shares = [float(mask.mean()) for mask in self.wrong.values() if mask.any()]
        return len(shares) == 1 and shares[0] > 0.5

    def is_at_one_index(self) -> bool:
        """Tell whether all that is wrong of the output is in one step, one row or one unit.

        A loss of precision would be in others too.
        """
        p, wrong = self.oracle.problem, self.wrong["output"]
        of_units = wrong.reshape(*wrong.shape[:2], p.D, p.H)
        if wrong.sum() < FEW:
            return False
        along = [of_units.any(axis=tuple({0, 1, 2, 3} - {axis})) for axis in (0, 1, 3)]
        return any(len(each) >= MANY and each.sum() == 1 for each in along)

    def has_few_digits(self, hypothesis: Hypothesis) -> bool:
        """Tell whether whole arrays are of a coarser dtype, where most of what is wrong is not 0.

        Those are the arrays that a hypothesis is about.
        """
        names = self.got.keys() if hypothesis.arrays is None else hypothesis.arrays
        wrong = np.concatenate([self.got[name][mask] for name, mask in self.wrong.items()])
        alike = all(are_of(hypothesis.few_digits, self.got[n]) for n in names if n in self.got)
        return alike and 2 * int(np.count_nonzero(wrong)) >= wrong.size


def unloaded(trials: Sequence[Trial]) -> str:
    """Say which weights of modules are not those that were loaded, or that they are transposed."""
    others = [
        (name, given, trial.kept[name])
        for trial in trials
        for name, given in trial.oracle.problem.parameters.items()
        if not np.array_equal(given, trial.kept[name])
    ]
    kinds = list(dict.fromkeys(name.partition("_l")[0] for name, _, _ in others))
    names = f"{' and '.join(kinds)} {'are' if len(kinds) > 1 else 'is'}"
    if all(np.array_equal(given.T, kept) for _, given, kept in others):
        return f"{names} loaded transposed"
    if len(others) == sum(len(trial.kept) for trial in trials):
        return "the weights are not those that were loaded: the module keeps its own"
    return f"{names} not what was loaded: the module has other numbers there"


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


def are_of(dtype: str, got: Floats) -> bool:
    """Tell whether all numbers are of a coarser dtype."""
    return bool((to(dtype, got) == got).all())


def distinct_elements(mask: Any, expected: Any, unchanged: Any) -> int:
    """Count the chosen elements of an expectation that are off the reference's by their bound."""
    other = expected.stored
    off = np.abs(other.value - unchanged.stored.value)
    return int((~(off[mask] <= other.error[mask])).sum())  # NaN is distinct too


def over(got: Floats, expected: Any) -> Any:
    """Tell of every element whether it is over its bound; what is left open never is."""
    value, bound = expected.stored.value, expected.stored.error
    with np.errstate(all="ignore"):
        within = np.abs(got.astype(np.float64) - value) <= bound
    return ~(within | (got == value) | np.isinf(bound) | (np.isnan(got) & np.isnan(value)))
