"""Judge a subject by a property of the suite, as the tests of this package do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from rnn_ref import parity
from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import LOW
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.failures import Failure
from rnn_ref.judging.judge import Judge
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.outcome import Outcome
from rnn_ref.judging.properties import Property
from rnn_ref.judging.subject import Subject
from rnn_ref.process.settings import restoring_settings
from rnn_ref.running.options import DTYPES, PROFILES

PROPERTIES: dict[str, Property] = {
    name.removeprefix("test_"): declared for name, declared in parity.properties().items()
}
"""All properties, by their names without `test_`."""


def dtypes_of(declared: Property) -> Sequence[str]:
    """Return the dtypes that a property is tested in."""
    own = [dtype for domain in declared.domains.values() for dtype in domain.get("dtypes", DTYPES)]
    return DTYPES if set(own) & set(DTYPES) else LOW


def outcomes(
    subject: Subject,
    name: str,
    examples: int = PROFILES["default"],
    dtypes: Sequence[str] = (),
    seed: int = 0,
    case: Case | None = None,
    *,
    fullest_first: bool = False,
    words: Sequence[str] = (),
    **options: Any,
) -> Iterator[Outcome]:
    """Judge a subject by the named property, once for each structure of its cases.

    With a case, that one is judged. With `fullest_first`, the structure with most parts comes
    first: a fault in any part shows in it. With `words`, histories are made of these alone.
    What a subject changes of the process's settings is put back after each case. Further
    options are those of Judge. Where no dtypes are named, they are float32 and float64, or the
    16-bit ones for a property that is about these.
    """
    around = restoring_settings
    dtypes = dtypes or dtypes_of(PROPERTIES[name])
    judge = Judge(subject, dtypes, examples, seed, subject.lacks, case, around=around, **options)
    declared = PROPERTIES[name]
    if words:
        domains = {of: {**domain, "steps": words} for of, domain in declared.domains.items()}
        declared = replace(declared, domains=domains)
    structures = list(declared.domains or [""])
    for structure in reversed(structures) if fullest_first else structures:
        yield judge.judge(declared, structure)


def failure_of(subject: Subject, name: str, *arguments: Any, **options: Any) -> Failure | None:
    """Return the failure of the named property for the first structure that it fails for.

    The arguments are those of `outcomes`. Return None where it holds for all structures, or
    is not judged.
    """
    for outcome in outcomes(subject, name, *arguments, **options):
        if outcome.failure is not None:
            return outcome.failure
    return None


@contextmanager
def sharing_answers() -> Iterator[None]:
    """Compute the reference's answers to a problem once, however many subjects are judged by it."""
    init, differentiate = Oracle.__init__, Oracle.gradients
    known: dict[int, Oracle] = {}
    make, make_once = Case.problem, cache(Case.problem)

    def problem(case: Case, rounding: Any = None, parameters: Any = None) -> Problem:
        # Parameters of a moment in a history are no case's own.
        return make_once(case, rounding) if parameters is None else make(case, rounding, parameters)

    def share(self: Oracle, problem: Problem, masks: Sequence[Bounded] = ()) -> None:
        init(self, problem, masks)
        if not masks:
            self.__dict__ = known.setdefault(id(problem), self).__dict__

    def gradients(self: Oracle, states: Sequence[Any] | None = None) -> dict[str, Any]:
        if states is not None:
            return differentiate(self, states)
        kept = self.__dict__
        if "end to end" not in kept:
            kept["end to end"] = differentiate(self)
        return dict(kept["end to end"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Case, "problem", problem)
        patch.setattr(Oracle, "__init__", share)
        patch.setattr(Oracle, "gradients", gradients)
        yield
