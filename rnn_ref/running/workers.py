"""The processes of pytest-xdist in which properties run, as the controller sees them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from rnn_ref.diagnosis.causes import CAPABILITY, SETUP
from rnn_ref.judging.failures import Failure, Kind, Raised, has_own, place
from rnn_ref.judging.replay import command
from rnn_ref.process.guard import Death, How, death
from rnn_ref.running.reporting import Reporting
from rnn_ref.running.session import (
    HANDED,
    LACKING,
    LOADING,
    READY,
    REFUSED,
    REPORTED,
    STOP,
)

PATIENCE = 60.0
"""How many seconds may be lost to processes that died before the rest is not judged."""


OUT_OF_PATIENCE = f"{PATIENCE:.0f} s were lost to processes that the subject ended"


class Workers:
    """Handle the start, the messages and the deaths of workers in the xdist controller."""

    def __init__(self, reporting: Reporting) -> None:
        self.reporting = reporting
        self.session = reporting.session
        self.config = reporting.config
        self.deaths: dict[str, Death] = {}
        self.lost = 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Give the workers a folder, and leave them out of a brief run's output."""
        distributed: Any = self.config.pluginmanager.get_plugin("dsession")
        if not (distributed and self.config.getoption("numprocesses")):
            return
        self.config.option.rnn_folder = str(self.session.folder.path)
        if self.config.option.verbose < -1:
            distributed.terminal = None
            self.config.pluginmanager.unregister(name="terminaldistreporter")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """End the workers: of a run that stops early, with properties left, or that is done.

        Python takes a second to leave a process with torch in it.
        """
        distributed: Any = self.config.pluginmanager.get_plugin("dsession")
        if distributed:
            distributed.nodemanager.group.terminate(timeout=0.1)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker what was not on the command line."""
        node.workerinput |= {name: getattr(self.config.option, name) for name in HANDED}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Say what a worker has to say, now that it is ready or can't be."""
        if refused := self.session.folder.read_post(REFUSED):
            raise pytest.UsageError(refused)
        self.reporting.order = ids
        self.reporting.announce()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """Read what a worker that died was doing."""
        if not error:
            return
        died = death(self.session.folder.path, node.gateway.id, exit_status(node))
        if died is None:
            return
        if died.place == LOADING:
            subject = self.config.option.rnn_subject
            raise pytest.UsageError(f"subject: while {subject} was loaded, {failure_of(died)}")
        self.deaths[died.place] = died

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """Report a crashed worker as a failure of the property it was running."""
        died = self.deaths.pop(crashitem, None)
        if died is None:
            return
        failure = failure_of(died)
        file, _, name = crashitem.partition("::")
        report.when, report.longrepr, report.location = "call", str(failure), (file, None, name)
        entry = {**died.facts["entry"], "failure": failure.as_dict()}
        if probed := died.facts.get("probe"):
            self.post_lacking(probed, failure)
            entry |= {"setup": False, "not_judged": f"ended by the probe of {probed}"}
            report.outcome, report.longrepr = "skipped", (file, 0, entry["not_judged"])
            del entry["failure"]
        report.user_properties.append((REPORTED, entry))
        if not probed:  # what it lacks costs a process, and is no crash of what it has
            self.spend(cost(died))
        failures = 1 + self.reporting.failures
        if failures == self.config.getoption("maxfail"):
            distributed: Any = self.config.pluginmanager.get_plugin("dsession")
            distributed.shouldstop = f"stopping after {failures} failures"

    def spend(self, seconds: float) -> None:
        """Count the seconds lost with a process; once they are too many, judge no more."""
        had = self.lost < PATIENCE
        self.lost += seconds
        if had and self.lost >= PATIENCE:
            self.session.folder.post(STOP, OUT_OF_PATIENCE)
            self.reporting.say(f"{OUT_OF_PATIENCE}: the rest is not judged")

    def post_lacking(self, name: str, failure: Failure) -> None:
        """Leave for all processes that a probe ended one: what it asked for is lacking."""
        options = self.session.options
        words = ("verify", *options.replayed, "-k", SETUP)
        replay = command(*words, subject=options.subject, device=options.device)
        told = replace(failure, property=CAPABILITY + name, replay=replay)
        found = {"failure": told.as_dict(), "findings": {}}
        self.session.folder.post(LACKING + name, json.dumps(found))
        self.session.folder.post(READY, "yes")


def exit_status(node: Any) -> int | None:
    """Return how a worker's process ended; None if it goes on, or is no child of this one."""
    io = node.gateway._io  # noqa: SLF001 - execnet tells no one how a process ended
    process = getattr(io, "popen", None)
    try:
        return None if process is None else process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return None


def failure_of(died: Death) -> Failure:
    """Make a failure of a process that died while it judged a property."""
    facts = died.facts
    how = "ended the process without any output (os._exit, or killed)"
    if died.how == How.HUNG:
        how = f"did not come back within {died.seconds:g} s"
    elif died.signal:
        how = f"ended the process: {died.signal}"
    kinds = {How.HUNG: Kind.HUNG, How.MEMORY: Kind.MEMORY, How.ENDED: Kind.ENDED}
    names = ("property", "case", "replay", "variant")
    return Failure(
        kinds[died.how],
        **{name: facts.get(name, "") for name in names},
        raised=Raised(**facts["raised"]) if facts.get("raised") else None,
        how=how,
        place=place(died.frames),
        own=has_own(died.frames),
    )


def cost(died: Death) -> float:
    """Estimate the seconds lost with a process: its wait, its 4 GiB, or the new one's start."""
    return {How.HUNG: died.seconds, How.MEMORY: 10.0, How.ENDED: 5.0}[died.how]
