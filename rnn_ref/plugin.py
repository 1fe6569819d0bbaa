"""The pytest plugin: options, the subject, and the closing table.

It is loaded in every pytest run of an environment in which rnn_ref is installed, so it
imports neither torch nor Hypothesis until a property is collected.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rnn_ref.case import Case
from rnn_ref.corpus import read_corpus
from rnn_ref.domain import CAPABILITIES
from rnn_ref.environment import environment
from rnn_ref.isolation import ALONE, Trail, limited_memory
from rnn_ref.record import Record, Unusable, read_record, require_corpus, require_no_record
from rnn_ref.report import Row, Run, as_json, closing_line, table
from rnn_ref.workers import HANDED, LOADING, REPORTED, Workers, mark

if TYPE_CHECKING:
    from rnn_ref.examination import Examination
    from rnn_ref.ledger import Deviation

SETUP = "test_setup_"
"""How the name of the property begins that runs first, and without which none is judged."""

BASELINE = "test_accuracy_is_no_worse_than_the_baseline"
"""The property that needs a record to compare with."""

PROFILES = {"smoke": 3, "quick": 50, "default": 200, "thorough": 2000}
"""Examples of each property, by profile."""

OPTIONS: dict[str, dict[str, Any]] = {
    "subject": {
        "metavar": "MODULE:CALLABLE",
        "default": "torch.nn:RNN",
        "help": "what to judge: a callable with nn.RNN's signature (default: torch.nn:RNN)",
    },
    "cell": {
        "metavar": "MODULE:CALLABLE",
        "help": "judge this cell too, a callable with nn.RNNCell's signature (default: torch's own"
        " for torch.nn:RNN, none for others)",
    },
    "dtype": {
        "action": "append",
        "choices": ("float32", "float64", "bfloat16", "float16"),
        "help": "judge this dtype; may be given more than once (default: float32 and float64)",
    },
    "device": {"default": "cpu", "help": "the device to run on (default: cpu)"},
    "profile": {
        "choices": tuple(PROFILES),
        "default": "default",
        "help": "how many examples of each property: smoke 3, quick 50, default 200, thorough 2000",
    },
    "seed": {"type": int, "help": "repeat the run that printed this seed (default: a new one)"},
    "without": {
        "action": "append",
        "choices": tuple(CAPABILITIES),
        "default": [],
        "metavar": "CAPABILITY",
        "help": "do not judge what needs it; may be given more than once; of "
        + ", ".join(CAPABILITIES),
    },
    "case": {"metavar": "LINE", "help": "judge this one case, as a failure's message prints it"},
    "baseline": {
        "metavar": "FILE",
        "help": "be no less accurate than this record, which `rnn-ref record FILE` made",
    },
    "deviations": {
        "metavar": "FILE",
        "help": "known deviations of a subject of yours, a TOML file like rnn_ref/deviations.toml",
    },
    "subnormals": {
        "choices": ("kept", "flushed"),
        "default": "kept",
        "help": "whether subnormal numbers may be taken for zero (default: kept, they may not)",
    },
    "timeout": {
        "type": float,
        "default": 20.0,
        "metavar": "SECONDS",
        "help": "end a process in which a call of the subject takes longer, and 10 times as long"
        " as any before it (default: 20)",
    },
    "json": {"metavar": "FILE", "help": "write what was found, with the environment, to FILE"},
}
"""The options of a run: pytest has them with the prefix --rnn-, `rnn-ref verify` without."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("rnn_ref", "parity with torch.nn.RNN")
    for name, described in OPTIONS.items():
        group.addoption(f"--rnn-{name}", **described)
    group.addoption("--rnn-trail", help=argparse.SUPPRESS)  # the folder: see isolation.py


def pytest_configure(config: pytest.Config) -> None:
    """Choose a seed, unless one is given, and set up the run."""
    for name in HANDED:
        setattr(config.option, name, handed(config).get(name, getattr(config.option, name)))
    if config.option.rnn_seed is None:
        config.option.rnn_seed = secrets.randbits(32)
    verification = Verification(config)
    config.pluginmanager.register(verification, "rnn_ref.verification")
    config.pluginmanager.register(Workers(verification), "rnn_ref.workers")


def handed(config: pytest.Config) -> dict[str, Any]:
    """What a worker of pytest-xdist was handed; nothing in other processes."""
    given: dict[str, Any] = getattr(config, "workerinput", {})
    return given


@pytest.fixture
def rnn_examination(request: pytest.FixtureRequest) -> Iterator[Examination]:
    """What a property is examined with; what comes of it goes into the test's report."""
    verification: Any = request.config.pluginmanager.get_plugin("rnn_ref.verification")
    record = dict(request.node.user_properties)[REPORTED].update
    with verification.at(request.node.nodeid) as trail:
        yield replace(verification.examination, record=record, trail=trail)


def is_property(item: pytest.Item) -> bool:
    """Whether a test is one of the suite's properties."""
    return item.name == BASELINE or hasattr(getattr(item, "function", None), "rnn_property")


class Verification:
    """The properties of one pytest run: what they are judged with, and what came of them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.rows: dict[str, Row] = {}
        self.started = time.monotonic()
        self.announced = False
        self.order: list[str] = []

    def option(self, name: str) -> Any:
        """The value of --rnn-{name}."""
        return self.config.getoption(f"rnn_{name}")

    @cached_property
    def trail(self) -> Trail:
        """What the processes of this run leave for each other."""
        given = self.option("trail")
        folder = Path(given or tempfile.mkdtemp(prefix="rnn_ref-"))
        if given is None:
            self.config.add_cleanup(partial(shutil.rmtree, folder, ignore_errors=True))
        process = handed(self.config).get("workerid", ALONE)
        return Trail(folder, process, self.option("timeout"))

    @contextmanager
    def at(self, place: str) -> Iterator[Trail | None]:
        """The trail, on which it is noted where this process is, if another one may read it."""
        if self.option("trail") is None:
            yield None
            return
        spare = limited_memory() if self.option("device") == "cpu" else nullcontext()
        with self.trail.at(place), spare:
            yield self.trail

    @cached_property
    def case(self) -> Case | None:
        """The one case to judge, if one is given; a UsageError if its line is no case."""
        line = self.option("case")
        try:
            return None if line is None else Case.parse(line)
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error

    @cached_property
    def run(self) -> Run:
        """What is run, as the options say."""
        given = self.option("dtype") or ("float32", "float64")
        return Run(
            subject=self.option("subject"),
            device=self.option("device"),
            dtypes=(self.case.dtype,) if self.case else tuple(dict.fromkeys(given)),
            profile=self.option("profile"),
            seed=self.option("seed"),
            without=sorted(set(self.option("without"))),
            subnormals=self.option("subnormals"),
            case=str(self.case) if self.case else None,
        )

    @cached_property
    def examination(self) -> Examination:
        """The subject, loaded, and what is drawn for it; a UsageError if it can't be loaded."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in cli.ENVIRONMENT
        from rnn_ref.bounded import allow_flushing
        from rnn_ref.examination import Examination
        from rnn_ref.subject import CannotLoad, load

        run = self.run
        try:
            with self.at(LOADING):
                subject = load(run.subject, run.device, self.option("cell"))
        except CannotLoad as error:
            raise pytest.UsageError(str(error)) from error
        if run.subnormals == "flushed":
            allow_flushing()
        return Examination(
            subject=subject,
            dtypes=tuple(run.dtypes),
            examples=PROFILES[run.profile],
            seed=run.seed,
            without=frozenset(run.without) | subject.lacks,
            case=self.case,
            baseline=self.baseline,
            deviations=self.deviations(subject.name, run.device),
        )

    def deviations(self, subject: str, device: str) -> list[Deviation]:
        """The known deviations that apply to this run; a UsageError for an unusable ledger."""
        import torch

        from rnn_ref import parity
        from rnn_ref.environment import processor_flags
        from rnn_ref.ledger import OURS, Unreadable, read_ledger

        given = self.option("deviations")
        properties, flags = list(parity.properties()), processor_flags()
        try:
            files = [OURS] if given is None else [OURS, Path(given)]
            entries = [entry for file in files for entry in read_ledger(file, properties)]
        except Unreadable as error:
            raise pytest.UsageError(f"deviations: {error}") from error
        return [e for e in entries if e.applies(subject, device, torch.__version__, flags)]

    @cached_property
    def baseline(self) -> Record | None:
        """The record to compare with, of the dtypes that were asked for; a UsageError without."""
        file, dtypes = self.option("baseline"), self.option("dtype")
        if file is None:
            return None
        try:
            found = read_record(file)
            require_corpus(found, read_corpus())
        except Unusable as error:
            raise pytest.UsageError(f"baseline: {error}") from error
        found.header["dtypes"] = [d for d in found.header["dtypes"] if d in (dtypes or [d])]
        if not found.header["dtypes"]:
            raise pytest.UsageError(f"baseline: {file} has no case of {', '.join(dtypes)}")
        return found

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Make ready; a worker leaves it to the controller to say why that can't be."""
        try:
            self.make_ready(items)
        except pytest.UsageError as error:
            if not handed(self.config):
                raise
            self.trail.say("refused", str(error))
            items.clear()

    def make_ready(self, items: list[pytest.Item]) -> None:
        """Put the set-up property first, and load the subject, if any property is to run."""
        if self.option("baseline") is None:
            items[:] = [item for item in items if item.name != BASELINE]
        elif BASELINE not in (item.name for item in items):
            raise pytest.UsageError(f"baseline: nothing compares with it: {BASELINE} is not run")
        if not any(map(is_property, items)):
            return
        items.sort(key=lambda item: not (is_property(item) and item.name.startswith(SETUP)))
        self.check_json()
        subject, run = self.examination.subject, self.run
        self.trail.say("environment", json.dumps(environment(run.device)))
        what = f"{run.profile} profile" if run.case is None else f"case {run.case}"
        self.trail.say(
            "judging",
            f"judging {subject.name} on {run.device}, {' '.join(run.dtypes)}; {what};"
            f" --seed {run.seed}",
        )
        self.announce()

    def announce(self) -> None:
        """Print, once, what is judged."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        said = self.trail.said("judging")
        if reporter and said and not self.announced:
            self.announced = True
            reporter.write_line(said)

    def check_json(self) -> None:
        """A UsageError if the file that is to be written can't be."""
        file = self.option("json")
        try:
            if file is not None:
                require_no_record(file)
                Path(file).open("a").close()
        except Unusable as error:
            raise pytest.UsageError(f"json: {error}") from error
        except OSError as error:
            raise pytest.UsageError(f"json: {file!r} can't be written: {error.strerror}") from error

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Mark a property, so that its report is known as one; judge none if the set-up fails."""
        if not is_property(item):
            return
        item.user_properties.append((REPORTED, mark(item.nodeid)))
        if reason := self.trail.said("stop"):
            pytest.skip(reason)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a property's report as a row of the table."""
        found: Any = dict(report.user_properties).get(REPORTED)
        if found is None or (report.when != "call" and report.passed):
            return
        if hasattr(report, "node"):
            del report.node  # else pytest puts a line on the worker above the message
        verdict = {"passed": "holds", "failed": "FAILS", "skipped": "not judged"}[report.outcome]
        message = report.longreprtext if report.failed else ""
        if isinstance(report.longrepr, tuple):
            message = report.longrepr[2].removeprefix("Skipped: ")
        message = message or found.get("message", "")
        if message.startswith("known deviation: ") and verdict != "FAILS":
            verdict = "known"
        self.rows[report.nodeid] = Row(**{**found, "verdict": verdict, "message": message})
        if verdict == "FAILS" and found["name"].startswith(SETUP):
            self.trail.say("stop", "the set-up property fails: see to the wiring first")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """A run whose properties were all passed over is as one without tests.

        And one that stops at a failure (-x) fails, where pytest-xdist calls it interrupted.
        """
        verdicts = [row.verdict for row in self.rows.values()]
        if verdicts and set(verdicts) == {"not judged"} and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        limit = self.config.getoption("maxfail")
        interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        if interrupted and limit and verdicts.count("FAILS") >= limit:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Close with the table, above pytest's own last line."""
        if self.rows and self.config.option.verbose >= -1:
            self.close(terminalreporter)

    def pytest_unconfigure(self) -> None:
        """Close with the table, where pytest is told to print no last line of its own."""
        if self.option("trail") is not None:
            self.trail.close()
            if not handed(self.config):
                self.trail.say("finished", "")
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if self.rows and reporter and self.config.option.verbose < -1:
            self.close(reporter)

    def close(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table and the closing line, and write the JSON file."""
        order = [name for name in self.order if name in self.rows] or self.rows
        rows, seconds = [self.rows[name] for name in order], time.monotonic() - self.started
        where = json.loads(self.trail.said("environment"))
        terminalreporter.write_line("")
        for line in table(rows, self.config.get_terminal_writer().fullwidth):
            terminalreporter.write_line(line, red="FAILS" in line)
        terminalreporter.write_line("")
        terminalreporter.write_line(
            closing_line(self.run, rows, seconds, where["torch"]), bold=True
        )
        if self.option("json") is not None:
            found = json.dumps(as_json(self.run, rows, seconds, where), indent=1, allow_nan=False)
            Path(self.option("json")).write_text(found + "\n", encoding="utf-8")
