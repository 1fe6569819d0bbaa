"""Two records compared: the same bits, changed within noise, better, or worse.

By group of cases (dtype, kind of network, one step or end to end, quantity), two numbers a
case: the error in norm, and the bias. A case speaks for `worse` where the new number is
larger than the old one and than that of the plainest correct program (`plain`), so that
another blocking of the sums is noise, however much more accurate the old one was. The test
is the sign test
(Conover, Practical Nonparametric Statistics, 3rd ed., section 3.4), over the cases whose
bits changed: for an implementation that is no less accurate than the plainest program, each
speaks for `worse` with a probability of 1/2 at most, independently, as each case has arrays
of its own. The level of a test is ALPHA over the number of tests (Bonferroni).

Without a test, a group is worse if results are over their bound, or not finite, that
were not: no correct implementation does that. A loss of accuracy in fewer cases than
the level takes (some 20), and within their bounds, is not seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from rnn_ref.cases.case import Case
from rnn_ref.judging.chance import at_least
from rnn_ref.recording.record import MEASURED, Record, UnusableFile

ALPHA = 1e-3
"""How often, at most, a comparison says `worse` of one that is as accurate."""

STATISTICS = ("error", "bias")
"""What is tested of each quantity: accuracy.COLUMNS["norm"]."""

Key = tuple[str, str, str, str]
"""A group: dtype, kind of network (`kinds`), measured and quantity."""


def size(norm: Sequence[float] | None, statistic: int) -> float:
    """Return the absolute value of one number of a norm; infinity where no result is finite."""
    return abs(norm[statistic]) if norm else math.inf


@dataclass(frozen=True)
class Pair:
    """One quantity of one case, in both records."""

    case: str
    old: dict[str, Any]
    new: dict[str, Any]
    same_bits: bool

    def larger(self, statistic: int, first: str, second: str) -> float:
        """Divide the first record's number by the second's, or by the plain program's if larger.

        Where there is a true value and no finite result, the error is infinite.
        """
        norms = {"old": self.old["norm"], "new": self.new["norm"]}
        number, limit = size(norms[first], statistic), size(norms[second], statistic)
        plain = [size(n, statistic) for n in (self.old["plain"], self.new["plain"]) if n]
        if not plain or not number or math.isinf(limit := max(limit, *plain)):
            return 0.0
        return number / limit if limit else math.inf


@dataclass(frozen=True)
class Sign:
    """One sign test: in how many changed cases a number is larger, and how likely so many are.

    The numbers themselves are typical ones, in units of roundoff; None of zeros alone.
    """

    statistic: str
    cases: int
    of: int
    p: float
    old: float | None
    new: float | None
    plain: float | None


@dataclass(frozen=True)
class Group:
    """The verdict on one group of cases, and the numbers behind it."""

    dtype: str
    kind: str
    measured: str
    quantity: str
    verdict: str
    cases: int
    changed: int
    signs: Sequence[Sign]
    newly_invalid: int
    worst: str

    @property
    def name(self) -> str:
        """The group in words."""
        return f"{self.dtype} {self.kind}, {self.quantity}, {self.measured.replace('_', ' ')}"


@dataclass(frozen=True)
class Regression:
    """The verdict on two records, and on each group of cases."""

    verdict: str
    groups: Sequence[Group]
    level: float
    cases: int
    left_out: int
    faults: dict[str, str] = field(default_factory=dict)

    def of(self, verdict: str) -> list[Group]:
        """List the groups of one verdict."""
        return [group for group in self.groups if group.verdict == verdict]


def compare_records(old: Record, new: Record) -> Regression:
    """Compare what both records have; raise UnusableFile, in one sentence, if that is nothing."""
    for part in ("version", "sha256"):
        if old.header["corpus"][part] != new.header["corpus"][part]:
            raise UnusableFile(
                f"the records are of different corpora, {old.header['corpus']['version']}"
                f" ({old.header['corpus']['sha256'][:8]}) and {new.header['corpus']['version']}"
                f" ({new.header['corpus']['sha256'][:8]}): record both with one version of rnn_ref"
            )
    common = [case for case in old.cases if case in new.cases]
    if not common:
        raise UnusableFile("the records have no case in common")
    if all("fault" in old.cases[case] for case in common):
        raise UnusableFile("nothing can be compared: the older record has faults alone")
    faults = {
        case: new.cases[case]["fault"]
        for case in common
        if "fault" in new.cases[case] and "fault" not in old.cases[case]
    }
    pairs: dict[Key, list[Pair]] = {}
    for case in common:
        for key, pair in pairs_of(case, old.cases[case], new.cases[case]):
            pairs.setdefault(key, []).append(pair)
    level = ALPHA / max(1, len(pairs) * len(STATISTICS))
    groups = [compare_group(key, of, level) for key, of in pairs.items()]
    verdicts = [group.verdict for group in groups] + ["worse"] * bool(faults)
    verdict = next((v for v in ("worse", "better", "within noise") if v in verdicts), "same bits")
    left_out = len(old.cases) + len(new.cases) - 2 * len(common)
    return Regression(verdict, groups, level, len(common), left_out, faults)


def pairs_of(line: str, old: dict[str, Any], new: dict[str, Any]) -> list[tuple[Key, Pair]]:
    """Pair the quantities of one case, by group."""
    if "fault" in old or "fault" in new:
        return []
    case = parsed(line)
    pairs: list[tuple[Key, Pair]] = []
    for measured in MEASURED:
        for quantity in [name for name in old[measured] if name in new[measured]]:
            same = old["bits"][quantity] == new["bits"][quantity]
            pair = Pair(line, old[measured][quantity], new[measured][quantity], same)
            pairs += [((case.dtype, kind, measured, quantity), pair) for kind in kinds(case)]
    return pairs


@cache
def parsed(line: str) -> Case:
    """Read a line of the corpus, which is in every record."""
    return Case.parse(line)


def kinds(case: Case) -> list[str]:
    """List the kinds of networks that a case is of: its nonlinearity, and what a kernel is for."""
    traits = {"deep": case.L > 1, "bidirectional": case.D == 2, "wide": case.H > 100}
    return [case.nonlinearity, *(trait for trait, has in traits.items() if has)]


def compare_group(key: Key, pairs: Sequence[Pair], level: float) -> Group:
    """Judge one group of cases."""
    changed = [pair for pair in pairs if not pair.same_bits]
    worse, better = (
        [sign(changed, i, *roles) for i in range(len(STATISTICS))]
        for roles in (("new", "old"), ("old", "new"))
    )
    newly_invalid = sum(is_wrong(pair.new) and not is_wrong(pair.old) for pair in pairs)
    if newly_invalid or any(s.p <= level for s in worse):
        verdict = "worse"
    elif any(s.p <= level for s in better):
        verdict = "better"
    else:
        verdict = "within noise" if changed else "same bits"
    signs = better if verdict == "better" else worse
    clearest = min(range(len(STATISTICS)), key=lambda i: signs[i].p)
    worst = max(
        pairs,
        key=lambda pair: (
            is_wrong(pair.new) and not is_wrong(pair.old),
            pair.larger(clearest, "new", "old"),
        ),
    )
    return Group(*key, verdict, len(pairs), len(changed), signs, newly_invalid, worst.case)


def sign(changed: Sequence[Pair], statistic: int, first: str, second: str) -> Sign:
    """Test by signs whether the first record's numbers are larger than the second's."""
    cases = sum(pair.larger(statistic, first, second) > 1 for pair in changed)
    of = len(changed)
    p = at_least(cases, of, 0.5)
    old, new, plain = (
        geometric_mean([norm[statistic] for norm in norms if norm])
        for norms in (
            [pair.old["norm"] for pair in changed],
            [pair.new["norm"] for pair in changed],
            [pair.new["plain"] for pair in changed],
        )
    )
    return Sign(STATISTICS[statistic], cases, of, p, old, new, plain)


def is_wrong(quantity: dict[str, Any]) -> bool:
    """Tell whether elements are over their bound, or not finite where the true value is."""
    _, _, _, over, lost = quantity["counts"]
    return bool(over or lost)


def geometric_mean(numbers: Sequence[float]) -> float | None:
    """Average absolute values geometrically, zeros left out; None of zeros alone."""
    logarithms = [math.log(abs(number)) for number in numbers if number]
    mean = math.exp(sum(logarithms) / len(logarithms)) if logarithms else None
    return None if mean is None else float(f"{mean:.3g}")


def as_dict(regression: Regression) -> dict[str, Any]:
    """Give a comparison of records as numbers and text, for a program to read."""
    return {"schema": 1, "alpha": ALPHA, **asdict(regression)}
