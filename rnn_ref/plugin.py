"""The pytest plugin: options, fixtures and hooks.

It is loaded in every pytest run of an environment in which rnn_ref is installed, so it
imports neither torch nor Hypothesis until a property is collected.
"""

from __future__ import annotations

import argparse
import secrets
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from rnn_ref.process.environment import importing_torch
from rnn_ref.running.asking import ask_for_dtypes, probe
from rnn_ref.running.options import OPTIONS
from rnn_ref.running.preparing import prepare, wait_for_setup
from rnn_ref.running.reporting import Reporting
from rnn_ref.running.session import (
    HANDED,
    READY,
    REFUSED,
    REPORTED,
    SETUP_FAILS,
    STOP,
    Session,
    measure,
    property_of,
    report_entry,
    worker_input,
)

if TYPE_CHECKING:
    from rnn_ref.judging.failures import Failure
    from rnn_ref.judging.outcome import Outcome
    from rnn_ref.judging.properties import Property

REPORTING = pytest.StashKey[Reporting]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("rnn_ref", "parity with torch.nn.RNN")
    for name, declared in OPTIONS.items():
        group.addoption(f"--rnn-{name}", **declared)
    group.addoption("--rnn-verbose", action="store_true", help="list every property")
    group.addoption("--rnn-deadline", type=float, help=argparse.SUPPRESS)  # when --limit is up
    group.addoption("--rnn-folder", help=argparse.SUPPRESS)  # see process/guard.py


def pytest_configure(config: pytest.Config) -> None:
    """Choose a seed, unless one is given, and set up the run."""
    for name in HANDED:
        if name in worker_input(config):
            setattr(config.option, name, worker_input(config)[name])
    if config.option.rnn_folder is not None and not worker_input(config):
        heed_interrupts()
    if config.option.rnn_seed is None:
        config.option.rnn_seed = secrets.randbits(32)
    if config.option.rnn_limit is not None and config.option.rnn_deadline is None:
        config.option.rnn_deadline = time.time() + config.option.rnn_limit
    reporting = config.stash[REPORTING] = Reporting(Session(config))
    config.pluginmanager.register(reporting, "rnn_ref.reporting")
    if config.pluginmanager.hasplugin("xdist"):
        from rnn_ref.running.workers import Workers

        config.pluginmanager.register(Workers(reporting), "rnn_ref.workers")


def heed_interrupts() -> None:
    """Let an interrupt end this process, by which `rnn-ref verify` ends a run.

    A process that a script started in the background begins with interrupts ignored.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect the properties, which import torch, in less time.

    In a run that `rnn-ref verify` or pytest-xdist started; another's is left as it is.
    """
    if session.config.option.rnn_folder is None:
        return (yield)
    with importing_torch():
        return (yield)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count the properties that -k leaves out: they are not judged."""
    for item in items:
        if declared := property_of(item):
            item.config.stash[REPORTING].session.left_out.append(declared)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Make ready to judge; a worker leaves it to the controller to say why that can't be."""
    reporting = config.stash[REPORTING]
    try:
        prepare(reporting.session, items)
    except pytest.UsageError as error:
        if not reporting.session.is_worker:
            raise
        reporting.session.folder.post(REFUSED, str(error))
        items.clear()
        return
    if any(map(property_of, items)):
        reporting.order = [item.nodeid for item in items]
        reporting.announce()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Mark a property, so that its report is known as one; judge none after the set-up failed."""
    declared = property_of(item)
    if declared is None:
        return
    entry = report_entry(item, declared)
    item.user_properties.append((REPORTED, entry))
    session = item.config.stash[REPORTING].session
    reason = wait_for_setup(session, declared)
    if not reason and session.is_over:
        reason, entry["cut"] = f"--limit {session.options.limit:g}", True
    if reason:
        entry["not_judged"] = reason
        pytest.skip(reason)


@pytest.fixture
def rnn_judge(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Judge a property; its outcome goes into the test's report."""
    session = request.config.stash[REPORTING].session

    def judge(declared: Property, structure: str) -> None:
        judge = session.judge if declared.setup else session.informed_judge
        explaining = replace(judge, explains=True)
        explain = partial(session.explainer.findings, explaining, declared, structure)
        end(request, lambda: judge.judge(declared, structure), explain)

    return judge


@pytest.fixture
def rnn_baseline(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Judge accuracy by the baseline; the outcome goes into the test's report."""
    session = request.config.stash[REPORTING].session
    return lambda: end(request, session.judge_accuracy)


def found_out(entry: dict[str, Any]) -> list[str]:
    """Say what was found out of a failure, in lines below its text."""
    found = entry.get("findings", {})
    lines = [found[name] for name in ("fields", "error") if found.get(name)]
    if diagnosis := found.get("diagnosis"):
        lines += [*diagnosis["sentences"], diagnosis["text"]]
    return lines


def explained(explain: Callable[[Failure], dict[str, Any]], failure: Failure) -> dict[str, Any]:
    """Explain a failure; an error in that must not stand in the failure's place."""
    try:
        return explain(failure)
    except Exception as error:  # noqa: BLE001 - whatever it is, the failure is told
        return {
            "error": f"its explanation ended in {type(error).__name__}: {error}; an error in"
            " rnn_ref itself, please report it"
        }


def end(
    request: pytest.FixtureRequest,
    judge: Callable[[], Outcome],
    explain: Callable[[Failure], dict[str, Any]] = lambda _: {},
) -> None:
    """Judge, put the outcome into the test's report, and fail or skip the test by it."""
    session = request.config.stash[REPORTING].session
    entry: Any = dict(request.node.user_properties)[REPORTED]
    from rnn_ref.judging.outcome import TimeIsUp

    with session.inside(request.node.nodeid, entry):
        outcome = judge()
        if outcome.failure and not session.is_over:
            with suppress(TimeIsUp):
                entry["findings"] = explained(explain, outcome.failure)
        elif entry["setup"] and outcome.examples and not outcome.failure:
            probe(session)
            ask_for_dtypes(session)
            if session.guard is not None:
                session.guard.note({"probe": "tanh"})
            measure(session)
    if outcome.cut:
        outcome.not_judged = f"--limit {session.options.limit:g}: {outcome.not_judged}"
    entry.update(outcome.as_dict())
    if entry["setup"]:
        if outcome.failure:
            session.folder.post(STOP, SETUP_FAILS)
        session.folder.post(READY, "yes")
    if outcome.failure:
        pytest.fail("\n".join([str(outcome.failure), *found_out(entry)]), pytrace=False)
    if outcome.not_judged:
        pytest.skip(outcome.not_judged)
    if outcome.known and not outcome.examples:
        pytest.skip("; ".join(outcome.known))
