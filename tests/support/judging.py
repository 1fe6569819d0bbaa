"""Judge a subject by a property of the suite, as a test of this package does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rnn_ref import parity
from rnn_ref.judging.failures import Failure
from rnn_ref.judging.properties import Property
from rnn_ref.judging.search import Judge, Outcome
from rnn_ref.judging.subject import Subject
from rnn_ref.process.settings import restoring_settings

PROPERTIES: dict[str, Property] = {
    name.removeprefix("test_"): declared for name, declared in parity.properties().items()
}
"""All properties, by their names without `test_`."""

DTYPES = ("float32", "float64")


def outcomes(
    subject: Subject,
    name: str,
    examples: int = 200,
    dtypes: Sequence[str] = DTYPES,
    seed: int = 0,
) -> Iterator[Outcome]:
    """Judge a subject by the named property, once for each structure of its cases.

    What a case changes of the process's settings is put back.
    """
    judge = Judge(
        subject, dtypes, examples, seed, without=subject.lacks, around=restoring_settings
    )
    declared = PROPERTIES[name]
    for structure in declared.domains or ("",):
        yield judge.judge(declared, structure)


def failure_of(
    subject: Subject,
    name: str,
    examples: int = 200,
    dtypes: Sequence[str] = DTYPES,
    seed: int = 0,
) -> Failure | None:
    """Return the failure of the named property for the first structure that it fails for.

    Return None where it holds for all of them, or is not judged.
    """
    for outcome in outcomes(subject, name, examples, dtypes, seed):
        if outcome.failure is not None:
            return outcome.failure
    return None
