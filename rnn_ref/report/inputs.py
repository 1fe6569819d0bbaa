"""Read what the commands wrote: tell by a file's structure what it is, and check what is used.

Whatever does not have the structure raises UnusableFile, so that the page can rely on it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from rnn_ref.recording.compare import Group, Regression, Sign
from rnn_ref.recording.record import Record, UnusableFile, parse, read_lines, refuse
from rnn_ref.running.bench.table import shape_lines, suite_lines
from rnn_ref.running.rows import Row

EXPECTED = (
    "expected what verify --json, record, compare --json, matrix --json or bench --json wrote"
)

NUMBER = (int, float)
OPTIONAL_NUMBER = (int, float, type(None))


@dataclass(frozen=True)
class Places:
    """Where the error is: an array's name, two axes, and error / bound by both; NaN where open.

    The axes are step and unit, or a parameter's.
    """

    name: str
    axes: tuple[str, str]
    ratios: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Cause:
    """What some failures come from, or one failing property in a file without causes.

    `worst` is None where there are no numbers, or an infinite one.
    """

    sentence: str
    kind: str
    text: str
    case: str
    replay: str
    evidence: Sequence[str] = ()
    worst: float | None = None
    properties: Sequence[str] = ()
    capabilities: Sequence[str] = ()
    places: Places | None = None


@dataclass(frozen=True)
class Judged:
    """A file of `verify --json`, or one way of `matrix --json`; `causes` is None in older files."""

    name: str
    conforms: bool
    summary: str
    run: Mapping[str, Any]
    environment: Mapping[str, Any]
    rows: Sequence[Row]
    causes: Sequence[Cause] | None

    def of(self, verdict: str) -> list[Row]:
        """List the properties of one verdict."""
        return [row for row in self.rows if row.verdict == verdict]

    @property
    def facts(self) -> dict[str, str]:
        """What was run and where, as words."""
        together = {**self.run, **self.environment}
        return {name: in_words(value) for name, value in together.items()}

    @property
    def shown(self) -> Sequence[Cause]:
        """The causes or, in an older file, the failing properties in their place."""
        if self.causes is not None:
            return self.causes
        return [cause_of(row) for row in self.of("FAILS")]


@dataclass(frozen=True)
class Recorded:
    """A file that `record` wrote."""

    name: str
    record: Record


@dataclass(frozen=True)
class Compared:
    """A file of `compare --json`."""

    name: str
    regression: Regression


@dataclass(frozen=True)
class Matrix:
    """A file of `matrix --json`: by way, its result; None if it was not judged."""

    name: str
    ways: Mapping[str, Judged | None]


@dataclass(frozen=True)
class Timed:
    """A file of `bench --json`."""

    name: str
    result: Mapping[str, Any]


@dataclass(frozen=True)
class TimedSuite:
    """A file of `bench --suite --json`."""

    name: str
    result: Mapping[str, Any]


@dataclass
class Inputs:
    """All files, by what they are, each kind in the order of the command line."""

    files: int = 0
    judged: list[Judged] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)
    recorded: list[Recorded] = field(default_factory=list)
    matrices: list[Matrix] = field(default_factory=list)
    timed: list[Timed] = field(default_factory=list)
    suites: list[TimedSuite] = field(default_factory=list)


Input: TypeAlias = Judged | Compared | Recorded | Matrix | Timed | TimedSuite


def in_words(value: Any) -> str:
    """Write a value of a run's options or of its environment."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def read_files(files: Sequence[str]) -> Inputs:
    """Read the files and sort them by what they are; raise UnusableFile for any other."""
    inputs = Inputs(len(files))
    lists: dict[type, list[Any]] = {
        Judged: inputs.judged,
        Compared: inputs.compared,
        Recorded: inputs.recorded,
        Matrix: inputs.matrices,
        Timed: inputs.timed,
        TimedSuite: inputs.suites,
    }
    names = short_names(files)
    for file in files:
        content = replace(read_file(file), name=names[file])
        lists[type(content)].append(content)
    return inputs


def short_names(files: Sequence[str]) -> dict[str, str]:
    """Name files without their folders, where no two are then named alike."""
    names = Counter(Path(file).name for file in dict.fromkeys(files))
    return {file: Path(file).name if names[Path(file).name] == 1 else file for file in files}


def read_file(file: str) -> Input:
    """Read one file; raise UnusableFile if it is of none of the kinds, or is not whole."""
    lines = read_lines(Path(file))
    if is_record(lines):
        return Recorded(file, parse(file, lines))
    try:
        content = cleaned(json.loads("".join(lines), parse_constant=refuse))
    except (ValueError, RecursionError) as error:
        raise UnusableFile(f"{file} can't be shown: {EXPECTED}, and this is no JSON") from error
    reader = reader_of(content)
    if reader is None:
        raise UnusableFile(f"{file} can't be shown: {EXPECTED}, and it has another structure")
    try:
        return reader(file, content)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UnusableFile(
            f"{file} can't be shown: it is not whole, or another version wrote it ({error})"
        ) from error


def cleaned(value: Any) -> Any:
    """Replace signs that a page or a figure can't have, in all texts of a file."""
    if isinstance(value, str):
        return "".join(
            c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in value
        )
    if isinstance(value, list):
        return [cleaned(each) for each in value]
    if isinstance(value, dict):
        return {cleaned(name): cleaned(each) for name, each in value.items()}
    return value


def is_record(lines: Sequence[str]) -> bool:
    """Tell whether a file's first line is that of a record."""
    try:
        header = json.loads(lines[0]) if lines else None
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and header.get("rnn_ref") == "record"


def reader_of(content: Any) -> Callable[[str, Any], Input] | None:
    """Choose the reader of a file's content, by the names that it has."""
    if not isinstance(content, dict):
        return None
    for names, reader in READERS.items():
        if names <= content.keys():
            return reader
    of_ways = content and all(value is None or is_judged(value) for value in content.values())
    return read_matrix if of_ways else None


def is_judged(content: Any) -> bool:
    """Tell whether a value has the names of what `verify --json` writes."""
    return isinstance(content, dict) and content.keys() >= JUDGED


# One reader for each kind.


def checked(content: Any, name: str, *kinds: Any) -> Any:
    """Return a field of a dictionary; raise TypeError if it is of none of the types."""
    value = content[name]
    if type(value) not in kinds:
        raise TypeError(f"{name!r} is a {type(value).__name__}")
    return value


def texts(values: Any) -> list[str]:
    """Return a list of texts; raise TypeError for anything else."""
    if type(values) is not list or any(type(value) is not str for value in values):
        raise TypeError("expected a list of texts")
    return values


def read_judged(file: str, content: Any) -> Judged:
    """Read what `verify --json` writes."""
    causes = checked(content, "causes", list) if "causes" in content else None
    return Judged(
        file,
        checked(content, "conforms", bool),
        checked(content, "summary", str),
        checked(content, "run", dict),
        checked(content, "environment", dict),
        [read_row(row) for row in checked(content, "properties", list)],
        None if causes is None else [read_cause(cause) for cause in causes],
    )


def read_row(content: Any) -> Row:
    """Read a property; an infinite `worst` is null in the file."""
    for name in ("name", "verdict", "group", "message"):
        checked(content, name, str)
    for name in ("examples", "elements", "open"):
        checked(content, name, int)
    worst = checked(content, "worst", *OPTIONAL_NUMBER)
    if failure := checked(content, "failure", dict, type(None)):
        for name in ("kind", "text", "case", "replay"):
            checked(failure, name, str)
    names = {each.name for each in fields(Row)}
    known = {name: value for name, value in content.items() if name in names}
    return Row(**{**known, "worst": math.inf if worst is None else float(worst)})


def read_cause(content: Any) -> Cause:
    """Read a cause."""
    failure = checked(content, "failure", dict)
    return Cause(
        checked(content, "sentence", str),
        checked(content, "kind", str),
        checked(failure, "text", str),
        checked(content, "case", str),
        checked(content, "replay", str),
        texts(content["evidence"]),
        None if content["worst"] is None else ratio_of(content["worst"]),
        texts(content["properties"]),
        capabilities_of(content),
        read_places(content["places"]),
    )


def capabilities_of(content: Any) -> list[str]:
    """List what a subject lacks: one, as text that may be empty, or some."""
    if "capabilities" in content:
        return texts(content["capabilities"])
    capability = checked(content, "capability", str)
    return [capability] if capability else []


def read_places(content: Any) -> Places | None:
    """Read the errors by step, or the first axis, and the last axis; None if there are none."""
    if content is None:
        return None
    rows = [[ratio_of(value) for value in row] for row in checked(content, "ratio", list)]
    if len({len(row) for row in rows}) > 1:
        raise ValueError("rows of 'ratio' have different lengths")
    if not rows or not rows[0]:
        return None
    axes = texts(content["axes"])
    across = "step" if "step" in axes else axes[0]
    return Places(checked(content, "name", str), (across, axes[-1]), rows)


def ratio_of(value: Any) -> float:
    """Read one error / bound: NaN where it is left open; an infinite one may be text."""
    if value is None:
        return math.nan
    if type(value) not in (*NUMBER, str):
        raise TypeError(f"'ratio' has a {type(value).__name__}")
    number = float(value)
    return math.inf if math.isnan(number) else number


def cause_of(row: Row) -> Cause:
    """Show a failing property as a cause: that of its own failure."""
    failure = row.failure
    if failure is None:
        return Cause(row.claim, "", row.message, "", "", properties=[row.name])
    numbers = row.worst if row.worst > 1 else None
    return Cause(
        row.claim,
        failure["kind"],
        failure["text"],
        failure["case"],
        failure["replay"],
        worst=numbers,
        properties=[row.name],
    )


def read_compared(file: str, content: Any) -> Compared:
    """Read what `compare --json` writes."""
    groups = [read_group(group) for group in checked(content, "groups", list)]
    faults = checked(content, "faults", dict)
    regression = Regression(
        checked(content, "verdict", str),
        groups,
        float(checked(content, "level", *NUMBER)),
        checked(content, "cases", int),
        checked(content, "left_out", int),
        dict(zip(faults, texts(list(faults.values())), strict=True)),
    )
    return Compared(file, regression)


def read_group(content: Any) -> Group:
    """Read one group of cases, and its sign tests."""
    for name in ("dtype", "kind", "measured", "quantity", "verdict", "worst"):
        checked(content, name, str)
    for name in ("cases", "changed", "newly_invalid"):
        checked(content, name, int)
    signs = []
    for sign in checked(content, "signs", list):
        checked(sign, "p", *NUMBER)
        for name in ("old", "new", "plain"):
            checked(sign, name, *OPTIONAL_NUMBER)
        signs.append(Sign(**sign))
    return Group(**{**content, "signs": signs})


def read_matrix(file: str, content: Any) -> Matrix:
    """Read what `matrix --json` writes."""
    return Matrix(
        file,
        {way: None if each is None else read_judged(way, each) for way, each in content.items()},
    )


def read_timed(file: str, content: Any) -> Timed:
    """Read what `bench --json` writes."""
    checked(content, "environment", dict)
    for name in ("threads", "processors"):
        checked(content, name, int)
    for shape in checked(content, "shapes", list):
        T, N, I, H = checked(shape, "sizes", list)
        if any(type(size) is not int or size < 1 for size in (T, N, I, H)):
            raise ValueError(f"sizes are {shape['sizes']}")
        for peer in checked(shape, "peers", list):
            for name in ("peer", "why", "note"):
                checked(peer, name, str)
            for kind in ("forward", "both"):
                checked(peer, kind, *OPTIONAL_NUMBER)
    for peer in checked(content, "growth", list) if "growth" in content else []:
        checked(peer, "peer", str)
        list(exponents(peer))
    list(shape_lines(content))  # all else that its table is made of
    return Timed(file, content)


def exponents(peer: Any) -> Iterator[float]:
    """Yield a program's six exponents: of T, N and H, forward, and forward and backward."""
    for kind in ("forward", "both"):
        yield from (checked(peer[kind], size, *NUMBER) for size in "TNH")


def read_suite(file: str, content: Any) -> TimedSuite:
    """Read what `bench --suite --json` writes."""
    checked(content, "environment", dict)
    for row in checked(content, "properties", list):
        checked(row, "property", str)
        checked(row, "group", str)
        checked(row, "examples", int)
        checked(row, "seconds", *NUMBER)
    shares = checked(content, "shares", dict)
    for what in shares:
        checked(shares, what, *NUMBER)
    list(suite_lines(content))
    return TimedSuite(file, content)


JUDGED = frozenset({"conforms", "summary", "run", "environment", "properties"})
READERS: Mapping[frozenset[str], Callable[[str, Any], Input]] = {
    JUDGED: read_judged,
    frozenset({"alpha", "verdict", "groups", "faults"}): read_compared,
    frozenset({"shapes", "threads", "environment"}): read_timed,
    frozenset({"properties", "shares", "environment"}): read_suite,
}
"""The reader of each kind but records and matrices, by the names that only its files have."""
