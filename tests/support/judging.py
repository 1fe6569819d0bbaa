"""Judge a subject by a property of the suite, as the tests of this package do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rnn_ref import parity
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


def outcomes(
    subject: Subject,
    name: str,
    examples: int = PROFILES["default"],
    dtypes: Sequence[str] = DTYPES,
    seed: int = 0,
    case: Case | None = None,
    **options: Any,
) -> Iterator[Outcome]:
    """Judge a subject by the named property, once for each structure of its cases.

    With a case, that one is judged. What a subject changes of the process's settings is
    put back after each case. Further options are those of Judge.
    """
    around = restoring_settings
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
