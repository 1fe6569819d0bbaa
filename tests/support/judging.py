"""Judge a subject by a property of the suite, as the tests of this package do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rnn_ref import parity
from rnn_ref.arithmetic.dtypes import LOW
from rnn_ref.cases.case import Case
from rnn_ref.judging.failures import Failure
from rnn_ref.judging.properties import Property
from rnn_ref.judging.search import Judge, Outcome
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
    **options: Any,
) -> Iterator[Outcome]:
    """Judge a subject by the named property, once for each structure of its cases.

    With a case, that one is judged. What a subject changes of the process's settings is
    put back after each case. Further options are those of Judge. Where no dtypes are named, they
    are float32 and float64, or the 16-bit ones for a property that is about these.
    """
    around = restoring_settings
    dtypes = dtypes or dtypes_of(PROPERTIES[name])
    judge = Judge(subject, dtypes, examples, seed, subject.lacks, case, around=around, **options)
    declared = PROPERTIES[name]
    for structure in declared.domains or ("",):
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
