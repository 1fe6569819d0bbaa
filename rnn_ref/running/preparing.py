"""What comes before the first property: the subject is loaded, and what is to be judged is told."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rnn_ref.process.environment import environment
from rnn_ref.recording.record import UnusableFile, require_no_record
from rnn_ref.running.session import (
    ENVIRONMENT,
    JUDGING,
    PLANNED,
    READY,
    STOP,
    TOLD,
    Session,
    property_of,
    report_entry,
)

if TYPE_CHECKING:
    from rnn_ref.judging.properties import Property


def prepare(session: Session, items: list[pytest.Item]) -> None:
    """Put the set-up property first, and load the subject, if any property is to run."""
    declared = {item: property_of(item) for item in items}
    compares = [item for item, p in declared.items() if p is not None and p.baseline]
    if session.option("baseline") is None:
        items[:] = [item for item in items if item not in compares]
    elif not any(session.selects(declared[item]) for item in compares):
        raise pytest.UsageError(
            "baseline: its property is not selected (see -k, --group and --omit)"
        )
    if all(declared[item] is None for item in items):
        return
    items.sort(key=lambda item: not getattr(declared[item], "setup", False))
    session.waits = session.is_worker and getattr(declared[items[0]], "setup", False)
    require_writable(session.option("json"))
    session.judge  # noqa: B018 - loads the subject now, for what can't be loaded ends the run
    session.baseline  # noqa: B018 - the same
    session.folder.post(ENVIRONMENT, json.dumps(environment(session.options.device)))
    judge = session.judge
    told = {"dtypes": judge.dtypes, "function": judge.subject.function is not None}
    session.folder.post(TOLD, json.dumps(told))
    session.folder.post(JUDGING, "\n".join([str(session.told_options), *told_of_flushing(session)]))
    session.folder.post(PLANNED, json.dumps(plan(session, declared, items)))


def told_of_flushing(session: Session) -> list[str]:
    """Say, where it is so, that products take subnormal numbers for zero, and what follows."""
    flushed = sorted(session.judge.subject.flushed)
    if not flushed:
        return []
    products = " and ".join(flushed)
    return [
        f"products in {products} take subnormal numbers for zero here (measured);",
        "in these dtypes the bounds allow it, as with --subnormals flushed",
    ]


def plan(
    session: Session, declared: dict[pytest.Item, Property | None], items: Sequence[pytest.Item]
) -> dict[str, Any]:
    """Tell what is to be judged, by its node, and how many properties -k leaves out."""
    entries = {item.nodeid: report_entry(item, p) for item in items if (p := declared[item])}
    compares = session.option("baseline") is not None
    return {
        "entries": entries,
        "left_out": sum(compares or not p.baseline for p in session.left_out),
    }


def wait_for_setup(session: Session, declared: Property) -> str:
    """Wait until the set-up property has ended; return why no other is judged, or nothing.

    Processes run at the same time, and what a subject's wiring gets wrong is one failure.
    """
    folder = session.folder
    while session.waits and not declared.setup and not session.is_over:
        if folder.read_post(READY) or folder.read_post(STOP):
            session.waits = False
        else:
            time.sleep(0.02)
    return folder.read_post(STOP)


def require_writable(file: str | None) -> None:
    """Raise a UsageError if the JSON file that is to be written can't be."""
    try:
        if file is not None:
            require_no_record(file)
            Path(file).open("a").close()
    except UnusableFile as error:
        raise pytest.UsageError(f"json: {error}") from error
    except OSError as error:
        raise pytest.UsageError(f"json: {file!r} can't be written: {error.strerror}") from error
