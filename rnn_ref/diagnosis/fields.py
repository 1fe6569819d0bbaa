"""Which fields of a failing case matter: each is varied, and the property judged again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from rnn_ref.cases.case import DEFAULTS, FLAGS, LOSSES, SIZES, Case
from rnn_ref.cases.selection import outside
from rnn_ref.diagnosis.budget import Budget
from rnn_ref.diagnosis.causes import SIMPLEST
from rnn_ref.diagnosis.draws import is_quick
from rnn_ref.judging.judge import Judge
from rnn_ref.judging.outcome import Outcome, Violation
from rnn_ref.judging.properties import Property

OTHERS: dict[str, Sequence[Any]] = {
    "nonlinearity": ("tanh", "relu"),
    "L": (1, 2, 3),
    "D": (1, 2),
    "bias": (True, False),
    "h_0": (True, False),
    "T": (1, 2, 5),
    "N": (1, 2, 3, 4, 5),
    "I": (1, 2, 4, 5),
    "H": (1, 2, 3, 4, 6, 8),
    "loss": LOSSES,
}
"""The values that each field is given, one at a time, in order of what tells most."""

SEEDS = 3
"""How many other seeds must hold as well, before a value is said to hold."""

PAIRS = ((2, 2), (3, 3), (5, 5), (2, 3), (3, 2), (2, 5), (5, 3))
"""The values that two sizes are given together, where each of them alone may not be another."""

RICHER = {"T": 5, "N": 3, "I": 3, "H": 4}
"""Sizes of a case that must hold as well: in the smallest a fault may need more than elsewhere."""

WITHOUT = {"batch_first": "steps before rows", "unbatched": "a batch axis"}
"""What a failure needs that needs a flag's absence, where that has a name."""

LAYOUT = ("batch_first", "unbatched")
"""The fields that are tried last, and named together if both are free."""


@dataclass(frozen=True)
class Fields:
    """What a failure needs, such as `D2` or `T > 1`, and the fields that may have any value.

    They are `complete` if there was time for all fields.
    """

    needs: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    complete: bool = True

    def __str__(self) -> str:
        names = [name for name in (*OTHERS, "dtype") if name in self.free]
        names += ["layout"] if {*LAYOUT} <= {*self.free} else []
        free = f"any {', '.join(names)}" if names else ""
        if not self.needs:
            return f"fails for {free}" if free and self.complete else ""
        return "; ".join(filter(None, (f"needs {' and '.join(self.needs)}", free)))


def fields_that_matter(
    judge: Judge, declared: Property, structure: str, case: Case, seconds: float = 1.0
) -> Fields:
    """Vary each field of a failing case while the time lasts; say which matter.

    Those that shrinking could not make simpler, such as no bias, come first: they matter most.
    """
    budget = Budget(seconds)
    needs: dict[str, str] = {}
    free: list[str] = []
    seeds = [case.seed, *range(SEEDS)]
    others = {**OTHERS, "dtype": judge.dtypes, **dict.fromkeys(LAYOUT, (True, False))}
    for name in sorted(others, key=lambda name: is_simplest(case, name)):
        values = others[name]
        if name in SIZES and (own := getattr(case, name)) > max(values):
            nearer = dict.fromkeys((own // 16, own // 4, own // 2, own - 1))
            values = (*values, *(size for size in nearer if size > max(values)))
        fail: dict[Any, bool] = {}
        for other in variations(judge, declared, structure, case, name, values):
            if not budget.left:
                return Fields(tuple(filter(None, needs.values())), tuple(free), complete=False)
            failed = any_fails(judge, declared, structure, other, name, seeds)
            if failed is not None:
                fail[getattr(other, name)] = failed
        if fail and all(fail.values()) and is_simple(name, {getattr(case, name), *fail}):
            free.append(name)
        elif fail:
            needs[name] = needed(name, getattr(case, name), fail)
    for pair in combinations([name for name in RICHER if name in needs], 2):
        if budget.left and must_be_equal(judge, declared, structure, case, pair):
            needs |= {pair[0]: " = ".join(pair), pair[1]: ""}
    return Fields(tuple(filter(None, needs.values())), tuple(free))


def must_be_equal(
    judge: Judge, declared: Property, structure: str, case: Case, names: tuple[str, str]
) -> bool:
    """Tell whether a case fails where two of its sizes, which are equal, have another value each.

    And not where these values differ: the sizes may only have to be larger than 1.
    """
    if len({getattr(case, name) for name in names}) > 1:
        return False
    domain = judge.domain(declared, structure)
    for pair in PAIRS:
        sizes: dict[str, Any] = dict(zip(names, pair, strict=True))
        other = replace(case, **sizes)
        equal = pair[0] == pair[1]
        if outside(other, domain) or bool(fails_or_is_open(judge, declared, other)) != equal:
            return False
    return True


def any_fails(
    judge: Judge, declared: Property, structure: str, case: Case, name: str, seeds: Sequence[int]
) -> bool | None:
    """Tell whether a case fails from some seed, or one of larger sizes does.

    Return None where no element can be compared, which tells nothing.
    """
    larger = {size: max(getattr(case, size), most) for size, most in RICHER.items() if size != name}
    richer = replace(case, **larger | ({"N": 1} if case.unbatched else {}))
    told = [fails_or_is_open(judge, declared, replace(case, seed=seed)) for seed in seeds]
    if (
        not any(told)
        and is_quick(richer)
        and not outside(richer, judge.domain(declared, structure))
    ):
        told += [fails_or_is_open(judge, declared, replace(richer, seed=seed)) for seed in seeds]
    return None if all(each is None for each in told) else any(told)


def fails_or_is_open(judge: Judge, declared: Property, case: Case) -> bool | None:
    """Tell whether a property fails for a case; None if it holds, but most of it is left open."""
    outcome = Outcome()
    try:
        judge.judge_case(declared, case, outcome)
    except Violation:
        return True
    return None if 2 * outcome.open >= outcome.elements else False


def is_simple(name: str, tried: set[Any]) -> bool:
    """Tell whether the value to which a field shrinks was tried: a structure may not have it."""
    return name not in SIMPLEST or SIMPLEST[name] in tried


def is_simplest(case: Case, name: str) -> bool:
    """Tell whether a field has the value to which it shrinks."""
    return bool(getattr(case, name) == (SIMPLEST | DEFAULTS).get(name, 1))


def variations(
    judge: Judge,
    declared: Property,
    structure: str,
    case: Case,
    name: str,
    values: Sequence[Any],
) -> Iterator[Case]:
    """Yield the case with other values of one field, where the property is defined for them."""
    domain = judge.domain(declared, structure)
    for value in values:
        if value == getattr(case, name) or (name == "N" and case.unbatched):
            continue
        rows = {"N": 1} if name == "unbatched" and value else {}
        other = replace(case, **{name: value} | rows)
        if not outside(other, domain):
            yield other


def needed(name: str, own: Any, fail: dict[Any, bool]) -> str:
    """Say which value of a field a failure needs, if the other values tell; else nothing."""
    holding = [value for value, failed in fail.items() if not failed]
    if not holding:
        return ""
    failing = [own, *(value for value, failed in fail.items() if failed)]
    if name in SIZES and len(failing) > 1 and min(failing) > max(holding):
        return f"{name} > {max(holding)}"
    if name in SIZES and len(fail) > 2:
        if not is_regular(failing, holding):
            return ""  # it is the numbers of each case that matter
        some, others = (", ".join(map(str, sorted(values))) for values in (failing, holding))
        return f"{name} {some} (not {others})"
    if len(failing) > 1:
        return ""
    if name in FLAGS:
        return name if own else WITHOUT.get(name, f"no {name}")
    if name == "loss":
        return f"loss={own}"
    return f"{name}{own}" if name in SIZES else str(own)


def is_regular(failing: Sequence[int], holding: Sequence[int]) -> bool:
    """Tell whether sizes that fail are one, or below all others, or are told by a divisor."""
    if len(failing) == 1 or max(failing) < min(holding):
        return True
    for k in range(2, max(*failing, *holding) + 1):
        divisible = [size % k == 0 for size in failing]
        others = [size % k == 0 for size in holding if size > 1]  # 1 is too small for most faults
        by_others = len(others) > 1 and all(others) and not any(divisible)
        if by_others or (all(divisible) and not any(others)):
            return True
    return False
