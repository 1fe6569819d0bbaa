"""Declare a property: a claim about a case and a subject, and what a run must know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from rnn_ref.cases.selection import (
    CAPABILITIES,
    FAR_AXES,
    STRUCTURES,
    Domain,
    require_domain,
)

if TYPE_CHECKING:
    from rnn_ref.cases.case import Case
    from rnn_ref.judging.comparison import Comparison
    from rnn_ref.judging.subject import Subject

    Claim = Callable[[Case, Subject], Sequence[Comparison]]
    Test = Callable[..., None]

ANY_NUMBER = 10**9


@dataclass(frozen=True)
class Property:
    """A claim, and what a run must know of it.

    `name` is the name of its test, and `group` its group. `promises` are the clauses of the
    documentation that it tests. `needs` are the capabilities without which it is not judged.
    `needs_dtypes` are the dtypes without all of which a run does not judge it.
    `domains` has the cases by structure ("" if there is only one). `variants` names what it
    tries in turn. At most `at_most` examples are drawn; some are far out along one of the axes
    `far` (see `strategies.cases`); with `only_far` all are, along the axis that is the structure.
    Without `shrinks`, a case that fails, which may take long, is not made simpler.
    If the `setup` property fails, no other is judged. The `baseline` property compares with a
    record. What `judges_measured` is not judged by what was measured.
    Raises ValueError for a domain without cases, or an unknown capability.
    """

    name: str
    claim: Callable[..., Any]
    group: str
    promises: Sequence[str] = ()
    needs: Sequence[str] = ()
    needs_dtypes: Sequence[str] = ()
    domains: dict[str, Domain] = field(default_factory=lambda: {"": {}})
    variants: Sequence[str] = ()
    at_most: int = ANY_NUMBER
    setup: bool = False
    baseline: bool = False
    far: Sequence[str] = FAR_AXES
    only_far: bool = False
    shrinks: bool = True
    judges_measured: bool = False

    def __post_init__(self) -> None:
        for domain in self.domains.values():
            require_domain(domain)
        if unknown := set(self.needs) - CAPABILITIES.keys():
            raise ValueError(f"needs: expected capabilities, got {', '.join(sorted(unknown))}")

    def domain(self, structure: str) -> Domain:
        """Return the cases of a structure, variants included."""
        return {**self.domains[structure], "variants": tuple(self.variants) or ("",)}

    def far_axes(self, structure: str) -> Sequence[str]:
        """Return the axes along which some cases of a structure are far out, or all are."""
        return (structure,) if self.only_far else self.far


def holds_for(
    *,
    group: str,
    promises: Sequence[str],
    needs: Sequence[str] = (),
    needs_dtypes: Sequence[str] = (),
    structures: bool = False,
    variants: Sequence[str] = (),
    at_most: int = ANY_NUMBER,
    setup: bool = False,
    far: Sequence[str] = FAR_AXES,
    only_far: bool = False,
    shrinks: bool = True,
    judges_measured: bool = False,
    **domain: Sequence[Any],
) -> Callable[[Claim], Test]:
    """Turn a claim about a case and a subject into a test over many drawn cases.

    `domain` narrows the cases; its arguments are those of `strategies.cases`. With
    `structures` there are four tests: for single, deep, bidirectional and deep bidirectional
    networks; with `only_far` there is one for each axis of `far`. The claim finds the variant to
    try in `case.variant`. For the other arguments, and for what is raised, see Property.
    """
    domains = {"": domain}
    if structures:
        domains = {name: domain | STRUCTURES[name] for name in STRUCTURES}
    if only_far:
        domains = dict.fromkeys(far, domain)

    def decorate(claim: Claim) -> Test:
        declared = Property(
            claim.__name__, claim, group, promises, needs, needs_dtypes, domains, variants,
            at_most, setup, far=far, only_far=only_far, shrinks=shrinks,
            judges_measured=judges_measured,
        )  # fmt: skip

        def by_structure(rnn_judge: Any, structure: str) -> None:
            rnn_judge(declared, structure)

        def at_once(rnn_judge: Any) -> None:
            rnn_judge(declared, "")

        test: Test = at_once
        if domains.keys() != {""}:
            test = pytest.mark.parametrize("structure", domains)(by_structure)
        return as_test(test, claim, declared)

    return decorate


def no_worse_than_the_baseline(*, group: str) -> Callable[[Test], Test]:
    """Turn a claim about accuracy into a test that compares with a record made before."""

    def decorate(claim: Test) -> Test:
        def test(rnn_baseline: Any) -> None:
            rnn_baseline()

        return as_test(test, claim, Property(claim.__name__, claim, group, baseline=True))

    return decorate


def as_test(test: Test, claim: Callable[..., Any], declared: Property) -> Test:
    """Give a test the name of its claim, and the property that it judges."""
    test.__name__, test.__doc__, test.__module__ = claim.__name__, claim.__doc__, claim.__module__
    test.rnn_property = declared  # type: ignore[attr-defined]
    return test


def in_group(group: str) -> Callable[..., Callable[[Claim], Test]]:
    """Return `holds_for` for the properties of one group."""
    return partial(holds_for, group=group)
