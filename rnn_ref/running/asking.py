"""What is asked of a subject whose set-up holds: what it lacks, and its 16-bit dtypes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rnn_ref.arithmetic.dtypes import LOW
from rnn_ref.running.dtypes import computed
from rnn_ref.running.session import COMPUTES, LACKING, Session

if TYPE_CHECKING:
    from rnn_ref.judging.deviations import Deviation


def probe(session: Session) -> None:
    """Ask what the subject can do, and leave for all processes what it can't.

    A run of one case, or of chosen groups, asks nothing: it judges what it is told to.
    """
    from rnn_ref.diagnosis.findings import of_probe
    from rnn_ref.diagnosis.probes import lacking

    if session.case is not None or session.options.groups:
        return

    def asking(name: str) -> None:
        if session.guard is not None:
            session.guard.note({"probe": name})

    judge = session.judge
    unasked = judge.without | known_to_fail(judge.deviations)
    asked = lacking(judge.subject, judge.dtypes, unasked, asking, judge.around, judge.words)
    for name, failure in asked:
        found = {"failure": failure.as_dict(), "findings": of_probe(judge, name, failure)}
        session.folder.post(LACKING + name, json.dumps(found))


def known_to_fail(deviations: Sequence[Deviation]) -> frozenset[str]:
    """List what is needed by none but properties that are known to fail: no probe asks for it."""
    from rnn_ref.parity import properties

    everywhere = [deviation for deviation in deviations if not deviation.where]
    known, others = set[str](), set[str]()
    for declared in properties().values():
        fails = any(each.names(declared.name, declared.group) for each in everywhere)
        (known if fails else others).update(declared.needs)
    return frozenset(known - others)


def ask_for_dtypes(session: Session) -> None:
    """Ask in which 16-bit dtypes the subject computes, unless the options name dtypes.

    A function of arrays names its own.
    """
    judge = session.judge
    if session.case is not None or session.option("dtype") or judge.subject.function:
        return
    if session.guard is not None:
        session.guard.note({"probe": LOW[0]})
    found = computed(judge.subject, judge.without, judge.around)
    session.folder.post(COMPUTES, " ".join(found))
