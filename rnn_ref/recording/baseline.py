"""Judge accuracy by a record made before: the subject is recorded again, and compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rnn_ref.cases.case import Case
from rnn_ref.cases.corpus import ArraysDiffer, read_corpus
from rnn_ref.judging.failures import Failure, Kind
from rnn_ref.judging.judge import Judge
from rnn_ref.judging.outcome import Outcome
from rnn_ref.recording.compare import compare_records
from rnn_ref.recording.measure import measure_case, recorder
from rnn_ref.recording.record import Record, UnusableFile, read_record, require_corpus, totals
from rnn_ref.recording.table import comparison_lines

PROPERTY = "test_accuracy_is_no_worse_than_the_baseline"


def read_baseline(file: str, dtypes: Sequence[str]) -> Record:
    """Read the baseline for the requested dtypes; raise UnusableFile if it has none of them."""
    record = read_record(file)
    require_corpus(record, read_corpus())
    recorded = [d for d in record.header["dtypes"] if not dtypes or d in dtypes]
    if not recorded:
        raise UnusableFile(f"{file} has no case of {', '.join(dtypes)}")
    return Record({**record.header, "dtypes": recorded}, record.cases)


def judge_accuracy(judge: Judge, old: Record | None) -> Outcome:
    """Record the judge's subject on the baseline's dtypes, and judge whether it is worse."""
    if old is None or judge.case is not None:
        return Outcome(
            not_judged="--baseline needs the whole corpus, so it is not judged with --case"
        )
    subject = judge.subject
    # A record names what its subject can't, but not what every module or function lacks.
    declared = set(subject.function.lacks) if subject.function else set()
    without = sorted(judge.without - (subject.lacks - declared))

    def entry(case: Case) -> dict[str, Any]:
        if subject.watch is not None:
            subject.watch.note({"property": PROPERTY, "case": str(case)})
        with judge.around():
            return measure_case(subject, case, without)

    try:
        recording = recorder(subject, old.header["dtypes"], without, entry=entry)
        if not recording.cases:
            return Outcome(not_judged="the options leave no case of the baseline")
        entries = {str(case): entry(case) for case in recording.cases}
        new = Record(json.loads(recording.header()), entries)
        regression = compare_records(old, new)
    except (UnusableFile, ArraysDiffer) as error:
        return Outcome(failure=failed(Kind.OURS, f"baseline: {error}"))
    outcome = Outcome(examples=regression.cases, **totals(new))
    if regression.verdict == "worse":
        lines = comparison_lines(regression, old.header, new.header)
        outcome.failure = failed(Kind.WORSE, "\n".join(lines))
    return outcome


def failed(kind: Kind, how: str) -> Failure:
    """Make the failure of the property that compares with the baseline."""
    return Failure(kind, PROPERTY, "", "", how=how)
