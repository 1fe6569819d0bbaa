"""The processes of pytest-xdist in which properties run, as the one that started them sees them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rnn_ref.isolation import PATIENCE, cost

if TYPE_CHECKING:
    from rnn_ref.plugin import Verification

LOADING = "loading"
"""Where a process is, by its note on the trail, while it loads the subject."""

HANDED = ("rnn_seed", "rnn_trail")
"""The options that a run chooses for itself, and its workers must have too."""

REPORTED = "rnn_ref"
"""The name under which a test's report carries what was found of a property."""


def mark(nodeid: str) -> dict[str, Any]:
    """What a property's report carries from the start: its name, and its group."""
    file, _, name = nodeid.partition("::")
    return {"name": name, "group": Path(file).stem.removeprefix("test_")}


class Workers:
    """What the controller does when workers start, have something to say, or are ended."""

    def __init__(self, verification: Verification) -> None:
        self.verification = verification
        self.config = verification.config
        self.last_words: dict[str, str] = {}
        self.lost = 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Give the workers a trail, and leave them out of a brief run's output."""
        distributed: Any = self.config.pluginmanager.get_plugin("dsession")
        if not (distributed and self.config.getoption("numprocesses")):
            return
        self.config.option.rnn_trail = str(self.verification.trail.folder)
        if self.config.option.verbose < -1:
            distributed.terminal = None
            self.config.pluginmanager.unregister(name="terminaldistreporter")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Hand a worker what was not on the command line."""
        node.workerinput |= {name: getattr(self.config.option, name) for name in HANDED}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Say what a worker has to say, now that it is ready or can't be."""
        if refused := self.verification.trail.said("refused"):
            raise pytest.UsageError(refused)
        self.verification.order = ids
        self.verification.announce()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """Read what a worker that the subject ended was at."""
        ended = self.verification.trail.ended(node.gateway.id) if error else None
        if ended is None:
            return
        place, said = ended
        if place == LOADING:
            subject = self.config.option.rnn_subject
            raise pytest.UsageError(f"subject: while {subject} was loaded, {said}")
        self.last_words[place] = said

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """Make of a process that the subject ended a failure of the property that it was at."""
        said = self.last_words.pop(crashitem, "")
        if not said:
            return
        file, _, name = crashitem.partition("::")
        report.when, report.longrepr, report.location = "call", said, (file, None, name)
        report.user_properties.append((REPORTED, mark(crashitem)))
        trail, rows = self.verification.trail, self.verification.rows.values()
        self.lost += cost(said, trail.timeout)
        if self.lost >= PATIENCE:
            trail.say("stop", "the subject has ended too many processes")
        failures = 1 + sum(row.verdict == "FAILS" for row in rows)
        if failures == self.config.getoption("maxfail"):
            distributed: Any = self.config.pluginmanager.get_plugin("dsession")
            distributed.shouldstop = f"stopping after {failures} failures"
