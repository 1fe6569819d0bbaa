"""One pytest run: from its options to the subject, the judge and the processes' folder."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rnn_ref.cases.case import Case
from rnn_ref.cases.selection import CAPABILITIES
from rnn_ref.judging.failures import CannotLoad
from rnn_ref.judging.replay import dtype_words
from rnn_ref.process.environment import processor_flags, set_threads
from rnn_ref.process.guard import ALONE, Guard, RunFolder, limited_memory
from rnn_ref.recording.record import UnusableFile
from rnn_ref.running.dtypes import with_low
from rnn_ref.running.options import DTYPES, PROFILES, RunOptions

if TYPE_CHECKING:
    from rnn_ref.diagnosis.findings import Explainer
    from rnn_ref.judging.deviations import Deviation
    from rnn_ref.judging.judge import Judge
    from rnn_ref.judging.measured import Measured
    from rnn_ref.judging.outcome import Outcome
    from rnn_ref.judging.properties import Property
    from rnn_ref.judging.subject import Subject
    from rnn_ref.recording.record import Record

LOADING = "loading"
"""The place of a process that loads the subject, as its guard notes it."""

STOP, READY, REFUSED, JUDGING, ENVIRONMENT, FINISHED, PLANNED = (
    "stop", "ready", "refused", "judging", "environment", "finished", "planned",
)  # fmt: skip
"""The names under which the processes of a run leave texts for one another."""

TOLD = "told"
"""The name under which is left what only the loaded subject tells of the run's options."""

LACKING = "lacking."
"""How the name begins under which a capability is left that probes found lacking."""

COMPUTES = "computes"
"""The name under which the 16-bit dtypes are left in which the subject computes."""

MEASURED = "measured"
"""The name under which what was measured of the subject is left."""

EXPLAINING = 20.0
"""How many seconds a process may take, in all, to explain failures."""

SETUP_FAILS = "the set-up property fails: fix it first; the other properties need it"

REPORTED = "rnn_ref"
"""The name under which a test's report carries how a property ended."""

HANDED = ("rnn_seed", "rnn_folder", "rnn_deadline")
"""The options that a run chooses for itself, and its workers must have too."""


def worker_input(config: pytest.Config) -> dict[str, Any]:
    """Return what a worker of pytest-xdist got from its controller; nothing elsewhere."""
    values: dict[str, Any] = getattr(config, "workerinput", {})
    return values


def property_of(item: pytest.Item) -> Property | None:
    """Return the property that a test judges, if it is one of the suite's."""
    declared: Property | None = getattr(getattr(item, "function", None), "rnn_property", None)
    return declared


def report_entry(item: pytest.Item, declared: Property) -> dict[str, Any]:
    """Make what a property's report carries from the start: its name, group and part."""
    name = item.nodeid.partition("::")[2]
    return {"name": name, "group": declared.group, "setup": declared.setup}


class Session:
    """What the properties of one pytest run are judged with."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.waits = False
        self.left_out: list[Property] = []

    def option(self, name: str) -> Any:
        """Return the value of --rnn-{name}."""
        return self.config.getoption(f"rnn_{name}")

    @property
    def is_over(self) -> bool:
        """Whether the time of the run is up."""
        deadline = self.option("deadline")
        return deadline is not None and time.time() >= deadline

    @property
    def is_worker(self) -> bool:
        """Whether this process is a worker of pytest-xdist."""
        return bool(worker_input(self.config))

    @cached_property
    def folder(self) -> RunFolder:
        """The folder through which the processes of this run tell one another what they do."""
        existing = self.option("folder")
        path = Path(existing or tempfile.mkdtemp(prefix="rnn_ref-"))
        if existing is None:
            self.config.add_cleanup(partial(shutil.rmtree, path, ignore_errors=True))
        return RunFolder(path)

    @cached_property
    def guard(self) -> Guard | None:
        """What watches the subject in this process, if another one reads what it notes."""
        if self.option("folder") is None:
            return None
        process = worker_input(self.config).get("workerid", ALONE)
        return Guard(self.folder.path, process, self.option("timeout"))

    @contextmanager
    def inside(self, place: str, entry: dict[str, Any]) -> Iterator[None]:
        """Note where this process is, and limit its memory there."""
        if self.guard is None:
            yield
            return
        limit = limited_memory() if self.option("device") == "cpu" else nullcontext()
        with self.guard.inside(place, {"entry": entry}), limit:
            yield

    @cached_property
    def case(self) -> Case | None:
        """The one case to judge, if one is given; a UsageError if its line is no case."""
        line = self.option("case")
        try:
            return None if line is None else Case.parse(line)
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error

    @cached_property
    def options(self) -> RunOptions:
        """What is run, as the options say."""
        dtypes = tuple(dict.fromkeys(self.option("dtype") or DTYPES))
        return RunOptions(
            subject=self.option("subject"),
            device=self.option("device"),
            dtypes=(self.case.dtype,) if self.case else dtypes,
            profile=self.option("profile"),
            seed=self.option("seed"),
            without=sorted(set(self.option("without"))),
            subnormals=self.option("subnormals"),
            case=str(self.case) if self.case else None,
            groups=sorted(set(self.option("group"))),
            omitted=sorted(set(self.option("omit"))),
            cell=self.option("cell"),
            limit=self.option("limit"),
            tanh=self.option("tanh"),
        )

    @cached_property
    def judge(self) -> Judge:
        """The subject, loaded, and what is drawn for it; a UsageError if that can't be."""
        set_threads()
        from rnn_ref.judging.judge import Judge
        from rnn_ref.judging.loading import load
        from rnn_ref.process.settings import restoring_settings

        options, groups = self.options, self.groups
        require_known("group", options.groups, list(dict.fromkeys(groups.values())))
        require_known("omit", options.omitted, list(groups))
        try:
            with self.inside(LOADING, {}):
                subject = load(
                    options.subject, options.device, self.option("cell"),
                    flushes=options.subnormals == "flushed", tanh=options.tanh,
                    watch=self.guard,
                )  # fmt: skip
        except CannotLoad as error:
            raise pytest.UsageError(str(error)) from error
        return Judge(
            subject=subject,
            dtypes=self.dtypes_of(subject),
            examples=PROFILES[options.profile],
            seed=options.seed,
            without=frozenset(options.without) | subject.lacks,
            case=self.case,
            deviations=known_deviations(subject, self.option("deviations"), groups),
            groups=frozenset(options.groups),
            omitted=frozenset(options.omitted),
            around=restoring_settings,
            declared=[*options.declared, *([] if self.case else dtype_words(options.dtypes))],
            deadline=self.option("deadline"),
        )

    @property
    def low(self) -> list[str]:
        """The 16-bit dtypes that are judged unasked, as the set-up property has found them."""
        return self.folder.read_post(COMPUTES).split()

    def dtypes_of(self, subject: Subject) -> tuple[str, ...]:
        """Choose the dtypes that are judged: those of a function, unless others are named.

        Raises a UsageError for one that is named, and that the function does not take.
        """
        dtypes = tuple(self.options.dtypes)
        if subject.function is None:
            return dtypes
        taken = tuple(subject.function.dtypes)
        refused = [dtype for dtype in dtypes if dtype not in taken]
        if refused and (self.case or self.option("dtype")):
            raise pytest.UsageError(
                f"dtype: expected one of the function's, {', '.join(taken)}, got {refused[0]}"
            )
        return tuple(dtype for dtype in dtypes if dtype in taken)

    @property
    def told_options(self) -> RunOptions:
        """What is run, as the options and the loaded subject say."""
        told = self.folder.read_post(TOLD)
        return replace(self.options, **json.loads(told)) if told else self.options

    @cached_property
    def informed_judge(self) -> Judge:
        """The judge, told of what the probes found lacking; for use after the set-up property."""
        names = frozenset(lacking(self.folder))
        dtypes = [d for d in self.judge.dtypes if d not in names] or list(self.judge.dtypes)
        names &= CAPABILITIES.keys()
        return replace(
            self.judge, without=self.judge.without | names, lacking=names,
            dtypes=with_low(dtypes, self.low),
            subject=replace(self.judge.subject, measured=self.measured),
        )  # fmt: skip

    @property
    def measured(self) -> Measured:
        """What was measured of the subject; it is measured now, if it was not yet."""
        from rnn_ref.judging.measured import Measured

        if not self.folder.read_post(MEASURED):
            with self.inside(LOADING, {}):
                measure(self)
        return Measured.from_dict(json.loads(self.folder.read_post(MEASURED)))

    @cached_property
    def explainer(self) -> Explainer:
        """What explains the failures of this process."""
        from rnn_ref.diagnosis.findings import Explainer

        deadline = self.option("deadline")
        left = EXPLAINING if deadline is None else max(0.0, deadline - time.time())
        return Explainer(min(EXPLAINING, left))

    @cached_property
    def groups(self) -> dict[str, str]:
        """The group of each property, by name."""
        from rnn_ref.parity import properties

        return {name: declared.group for name, declared in properties().items()}

    @cached_property
    def baseline(self) -> Record | None:
        """The record to compare with, if one is given; a UsageError if it can't be."""
        from rnn_ref.recording.baseline import read_baseline

        file = self.option("baseline")
        try:
            return None if file is None else read_baseline(file, self.option("dtype") or ())
        except UnusableFile as error:
            raise pytest.UsageError(f"baseline: {error}") from error

    def judge_accuracy(self) -> Outcome:
        """Judge the subject's accuracy by the baseline."""
        from rnn_ref.recording.baseline import judge_accuracy

        return judge_accuracy(self.judge, self.baseline)

    def selects(self, declared: Property | None) -> bool:
        """Tell whether the options select a property, by its name and its group."""
        groups = self.options.groups
        return (
            declared is not None
            and declared.name not in self.options.omitted
            and (not groups or declared.group in groups)
        )


def lacking(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Read what the probes found lacking: by name, the failure and what was found out of it."""
    return {name: json.loads(text) for name, text in folder.read_posts(LACKING).items()}


def measure(session: Session) -> None:
    """Measure what the subject's arithmetic is like, once for all processes.

    A run of one case that is told how many units of roundoff tanh may be off takes these.
    """
    import torch

    from rnn_ref.judging.measuring import measure

    judge, units = session.judge, session.case is None or session.options.tanh is None
    dtypes = tuple(dict.fromkeys((*judge.dtypes, *session.low)))
    with judge.around(), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        found = measure(judge.subject, dtypes, judge.without, units=units, around=judge.around)
    session.folder.post(MEASURED, json.dumps(found.as_dict()))


def known_deviations(
    subject: Subject, ledger: str | None, groups: dict[str, str]
) -> list[Deviation]:
    """Read the known deviations that apply to a run; a UsageError for an unusable ledger."""
    import torch

    from rnn_ref.judging.deviations import BUILT_IN, Unreadable, read_ledger

    files = [BUILT_IN] if ledger is None else [BUILT_IN, Path(ledger)]
    try:
        entries = [entry for file in files for entry in read_ledger(file, groups)]
    except Unreadable as error:
        raise pytest.UsageError(f"deviations: {error}") from error
    run = (subject.names, subject.device, torch.__version__, processor_flags())
    return [entry for entry in entries if entry.applies(*run)]


def require_known(option: str, values: Sequence[str], known: Sequence[str]) -> None:
    """Raise a UsageError, in one sentence, for a value that is not among the known ones."""
    for value in values:
        if value not in known:
            expected = ", ".join(known) if len(known) < 20 else "the whole name of a property"
            raise pytest.UsageError(f"{option}: expected {expected}, got {value!r}")
