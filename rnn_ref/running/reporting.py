"""From the reports of pytest's tests to the rows, the table, the exit status and the JSON file."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rnn_ref.diagnosis.causes import Cause, causes
from rnn_ref.running.ci import error_annotations, write_badge, write_job_summary
from rnn_ref.running.rows import (
    Row,
    as_json,
    closing_line,
    plural,
    row_not_reached,
    row_of,
    row_of_probe,
    table,
)
from rnn_ref.running.session import (
    ENVIRONMENT,
    FINISHED,
    JUDGING,
    MEASURED,
    PLANNED,
    REPORTED,
    SETUP_FAILS,
    STOP,
    Session,
    lacking,
)
from rnn_ref.running.summary import cause_lines, group_lines, reason_lines

if TYPE_CHECKING:
    from rnn_ref.judging.measured import Measured

VERBOSITY = 2
"""How many -q `rnn-ref verify` gives pytest: its run prints no more than what is printed here."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Heed no interrupt meanwhile: by one `rnn-ref verify` ends a run, which then still closes."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no other thread may handle signals
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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

    def say(self, text: str) -> None:
        """Print a line of its own, below the line of the progress."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            reporter.ensure_newline()
            reporter.write_line(text)

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
        self.tell_progress()
        if row.verdict == "FAILS" and entry["setup"]:
            self.session.folder.post(STOP, SETUP_FAILS)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Print no letter for a property in a brief run: its progress is told in words."""
        brief = self.config.option.verbose < -1 and REPORTED in dict(report.user_properties)
        return (report.outcome, "", "") if brief else None

    def tell_progress(self) -> None:
        """Say how far the run is: on one line of a terminal, else after each quarter."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        done, total = len(self.rows), len(self.order)
        if not reporter or not total or self.config.option.verbose > -VERBOSITY:
            return
        left = (time.monotonic() - self.started) / done * (total - done)
        deadline = self.session.option("deadline")
        left = left if deadline is None else min(left, max(0.0, deadline - time.time()))
        failed = f", {self.failures} failed" if self.failures else ""
        text = f"{done} of {total} properties{failed}, about {left:.0f} s left"
        if reporter.isatty:
            reporter.rewrite(text if done < total else "", erase=True)
        elif done * 4 // total > (done - 1) * 4 // total and done < total:
            reporter.write_line(text)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Take a run in which nothing was judged for one without tests.

        And one with failures fails, though it was interrupted or stops at the first (-x).
        """
        verdicts = [row.verdict for row in self.rows.values()]
        if verdicts and set(verdicts) == {"not judged"} and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        if any(row.cut for row in self.rows.values()) and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        ends = (pytest.ExitCode.OK, pytest.ExitCode.INTERRUPTED)
        failing = self.failures or (self.rows and lacking(self.session.folder))
        if failing and exitstatus in ends:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Close with the table, above pytest's own last line."""
        if self.rows and self.config.option.verbose >= -1 and not self.session.is_worker:
            self.close(terminalreporter)

    def pytest_unconfigure(self) -> None:
        """Close with the table, where pytest is told to print no last line of its own."""
        if self.session.guard is not None:
            self.session.guard.close()
        if self.session.is_worker:
            return
        if self.session.guard is not None:
            self.session.folder.post(FINISHED, "yes")
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if self.rows and reporter and self.config.option.verbose < -1:
            with uninterrupted():
                self.close(reporter)

    def close(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the causes, the groups and the closing line, and write the files asked for."""
        names = [name for name in self.order if name in self.rows] or list(self.rows)
        rows, seconds = [self.rows[name] for name in names], time.monotonic() - self.started
        plan = json.loads(self.session.folder.read_post(PLANNED))
        missed = [entry for node, entry in plan["entries"].items() if node not in self.rows]
        rows += [row_not_reached(entry, self.why_cut()) for entry in missed]
        rows += [row_of_probe(*each) for each in lacking(self.session.folder).items()]
        found = causes(vars(row) for row in rows if row.verdict == "FAILS")
        options = self.session.told_options
        environment = json.loads(self.session.folder.read_post(ENVIRONMENT))
        options = replace(options, dtypes=(*options.dtypes, *self.session.low))
        torch, left_out = environment["torch"], plan["left_out"]
        line = closing_line(options, rows, found, seconds, torch, left_out)
        self.print_end(terminalreporter, line, found, rows)
        write_job_summary(line, found, rows)
        for annotation in error_annotations(found):
            terminalreporter.write_line(annotation)
        if file := self.session.option("badge"):
            write_badge(file, found, rows)
        if file := self.session.option("json"):
            told = as_json(options, rows, found, line, seconds, environment)
            told["measured"] = self.measured.as_dict()
            text = json.dumps(told, indent=1, allow_nan=False)
            Path(file).write_text(text + "\n", encoding="utf-8")
        if folder := self.session.option("reproducer"):
            from rnn_ref.running.programs import write_programs

            written = write_programs(Path(folder), options, found, self.measured)
            said = [f"{folder}: {plural(written, 'program', 'programs')}"]
            if others := len(found) - written:
                said.append(f"a plain call does not show {plural(others, 'cause', 'causes')}")
            terminalreporter.write_line("; ".join(said))

    @property
    def measured(self) -> Measured:
        """What was measured of the subject; nothing if the run did not come to it."""
        from rnn_ref.judging.measured import NOTHING, Measured

        told = self.session.folder.read_post(MEASURED)
        return Measured.from_dict(json.loads(told)) if told else NOTHING

    def why_cut(self) -> str:
        """Say why the run did not come to all that was planned."""
        most = self.config.getoption("maxfail")
        if most and self.failures >= most:
            return "-x"
        options = self.session.options
        return f"--limit {options.limit:g}" if self.session.is_over else "interrupted"

    def print_end(
        self,
        terminalreporter: pytest.TerminalReporter,
        line: str,
        found: Sequence[Cause],
        rows: Sequence[Row],
    ) -> None:
        """Print the causes, the groups (with -v, the properties) and the closing line."""
        width = self.config.get_terminal_writer().fullwidth
        verbose = self.session.option("verbose") or self.config.option.verbose > -VERBOSITY
        for number, cause in enumerate(found, 1):
            if not (cause.capabilities and number > 1 and found[number - 2].capabilities):
                terminalreporter.write_line("")  # what is lacking is a list without gaps
            first, *others = cause_lines(number, cause, width, verbose=verbose)
            terminalreporter.write_line(first, bold=True)
            terminalreporter.write_line("\n".join(others))
        terminalreporter.write_line("")
        for each in table(rows, width) if verbose else group_lines(rows):
            terminalreporter.write_line(each, red="FAIL" in each)
        for each in self.measured.told(self.session.options.tanh, all=verbose):
            terminalreporter.write_line(each)
        # No option has said what is not asked of a function.
        reasons = reason_lines(rows) if self.session.told_options.function else []
        for each in ("", *reasons) if reasons else ():
            terminalreporter.write_line(each)
        terminalreporter.write_line("")
        terminalreporter.write_line(line, bold=True)
