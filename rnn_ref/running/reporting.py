"""From the reports of pytest's tests to the rows, the table, the exit status and the JSON file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from rnn_ref.running.rows import Row, as_json, closing_line, row_of, table
from rnn_ref.running.session import (
    ENVIRONMENT,
    FINISHED,
    JUDGING,
    REPORTED,
    SETUP_FAILS,
    STOP,
    Session,
)


class Reporting:
    """What came of the properties of one run, as pytest reports it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.config = session.config
        self.rows: dict[str, Row] = {}
        self.order: list[str] = []
        self.started = time.monotonic()
        self.announced = False

    def announce(self) -> None:
        """Print, once, what is judged."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        judging = self.session.folder.read_post(JUDGING)
        if reporter and judging and not self.announced:
            self.announced = True
            reporter.write_line(judging)

    @property
    def failures(self) -> int:
        """How many properties failed so far."""
        return sum(row.verdict == "FAILS" for row in self.rows.values())

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a property's report as a row of the table; stop if the set-up fails."""
        entry = dict(report.user_properties).get(REPORTED)
        if not isinstance(entry, dict) or (report.when != "call" and report.passed):
            return
        if hasattr(report, "node"):
            del report.node  # else pytest puts a line on the worker above the message
        text = report.longreprtext if report.failed else ""
        if isinstance(report.longrepr, tuple):
            text = report.longrepr[2]
        row = row_of(entry, report.outcome, text)
        self.rows[report.nodeid] = row
        if row.verdict == "FAILS" and entry["setup"]:
            self.session.folder.post(STOP, SETUP_FAILS)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Take a run in which nothing was judged for one without tests.

        And one that stops at a failure (-x) fails, where pytest-xdist calls it interrupted.
        """
        verdicts = [row.verdict for row in self.rows.values()]
        if verdicts and set(verdicts) == {"not judged"} and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        limit = self.config.getoption("maxfail")
        interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        if interrupted and limit and self.failures >= limit:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Close with the table, above pytest's own last line."""
        if self.rows and self.config.option.verbose >= -1:
            self.close(terminalreporter)

    def pytest_unconfigure(self) -> None:
        """Close with the table, where pytest is told to print no last line of its own."""
        if self.session.guard is not None:
            self.session.guard.close()
            if not self.session.is_worker:
                self.session.folder.post(FINISHED, "yes")
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if self.rows and reporter and self.config.option.verbose < -1:
            self.close(reporter)

    def close(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table and the closing line, and write the JSON file."""
        names = [name for name in self.order if name in self.rows] or list(self.rows)
        rows, seconds = [self.rows[name] for name in names], time.monotonic() - self.started
        environment = json.loads(self.session.folder.read_post(ENVIRONMENT))
        options = self.session.options
        terminalreporter.write_line("")
        for line in table(rows, self.config.get_terminal_writer().fullwidth):
            terminalreporter.write_line(line, red="FAILS" in line)
        terminalreporter.write_line("")
        line = closing_line(options, rows, seconds, environment["torch"])
        terminalreporter.write_line(line, bold=True)
        file = self.session.option("json")
        if file is not None:
            result = json.dumps(
                as_json(options, rows, seconds, environment), indent=1, allow_nan=False
            )
            Path(file).write_text(result + "\n", encoding="utf-8")
