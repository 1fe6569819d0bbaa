"""Records: how accurate a subject is on every case of the corpus, as a file of JSON lines.

The first line says what was recorded and where, the last how many cases there are and
the SHA-256 of all lines before it but for the date. In between, a line a case:
its digests and errors, as `accuracy.measure` gives them, or the subject's fault.
A record is written beside its place, in FILE.part, and moved there when it is whole; one
that was interrupted is taken up where it ended.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from rnn_ref.case import Case
from rnn_ref.corpus import Corpus

SCHEMA = 1

WAYS = ("step", "end_to_end")
"""Errors of one step, and of the gradients, given the subject's own states; or since the input."""

COLUMNS = {
    "ulp": ("max", "p99", "mean", "bias"),
    "bound": ("max", "p99", "mean", "bias"),
    "norm": ("error", "bias"),
    "plain": ("error", "bias"),
    "counts": ("elements", "unresolved", "open", "over", "lost"),
}
"""What is said of a quantity, by unit.

Of errors in ULPs and in units of the bound: the largest, the 99th percentile and the mean
of their absolute values, and `bias`, their signed mean, positive if results are too large
in magnitude. In norm, in units of roundoff: |error| / |true value|, and the sum of errors
away from zero over that of magnitudes, each array by itself and then their mean; and the
same for the plainest correct program. Then how many elements there are, are unresolved,
are left open by the bound, are over it, and are not finite though the bound is.
"""

HEADER = {"subject": str, "device": str, "dtypes": list, "environment": dict}
"""What a first line has besides the schema, the corpus and the date."""

BEGINNING = '{"rnn_ref":"record"'
"""How a record begins."""


class Unusable(Exception):
    """A file or a path that can't be used; the message is one sentence."""


@dataclass(frozen=True)
class Record:
    """A record that was read: its first line, and by case what was found."""

    header: dict[str, Any]
    cases: dict[str, dict[str, Any]]


def line(found: Any) -> str:
    """A line of a record."""
    return json.dumps(found, allow_nan=False, separators=(",", ":")) + "\n"


def undated(header: str) -> str:
    """The first line without the date."""
    found = json.loads(header)
    found.pop("date", None)
    return line(found)


def checksum(lines: Sequence[str]) -> str:
    """The SHA-256 of a record's lines but for the date and the last line."""
    return hashlib.sha256("".join([undated(lines[0]), *lines[1:]]).encode()).hexdigest()


def read_record(file: str | Path) -> Record:
    """Read a record and check that it is whole; raise Unusable, in one sentence, if it is not."""
    return parse(file, read_lines(Path(file)))


def parse(file: str | Path, lines: Sequence[str]) -> Record:
    """The record in some lines; Unusable, in one sentence about the file, if it is not whole."""
    header = of_ours(file, lines)
    if header["schema"] is True or header["schema"] != SCHEMA:
        raise Unusable(
            f"{file} has schema {header['schema']!r}, this version reads {SCHEMA}:"
            " record it again, or compare with the version that wrote it"
        )
    try:
        entries = [json.loads(text, parse_constant=refuse) for text in lines[1:-1]]
        if entries and is_whole(lines, header, entries) and all(map(is_measured, entries)):
            return Record(header, {entry["case"]: entry for entry in entries})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise Unusable(f"{file} is truncated or was changed: its lines do not fit one another")


def totals(record: Record) -> dict[str, Any]:
    """What was compared: how many elements, of which left open, and the worst in its bound."""
    found = [
        quantity
        for entry in record.cases.values()
        for way in WAYS
        for quantity in entry.get(way, {}).values()
    ]
    return {
        "elements": sum(quantity["counts"][0] for quantity in found),
        "open": sum(quantity["counts"][2] for quantity in found),
        "worst": max((quantity["bound"][0] for quantity in found if quantity["bound"]), default=0),
    }


def refuse(constant: str) -> NoReturn:
    """Raise ValueError for NaN and infinities, which are no JSON."""
    raise ValueError(constant)


def is_whole(lines: Sequence[str], header: dict[str, Any], entries: Sequence[Any]) -> bool:
    """Whether a record's last line fits the others, and its first line is all there."""
    datetime.fromisoformat(header["date"])
    cases = {str(Case.parse(entry["case"])) for entry in entries}
    last = {"cases": len(cases), "sha256": checksum(lines[:-1])}
    return (
        json.loads(lines[-1]) == last
        and lines[-1].endswith("\n")
        and len(cases) == len(entries)
        and {name: type(header["corpus"][name]) for name in header["corpus"]}
        == {"version": int, "sha256": str}
        and all(type(header[name]) is kind for name, kind in HEADER.items())
    )


def is_measured(entry: Any) -> bool:
    """Whether a line has what is said of a case: a fault, or all that COLUMNS says."""
    if type(entry.get("fault")) is str:
        return True
    quantities = [entry[way][name] for way in WAYS for name in entry["bits"]]
    return all(
        quantity[unit] is None or [type(x) in (int, float) for x in quantity[unit]] == [True] * n
        for quantity in quantities
        for unit, n in ((unit, len(columns)) for unit, columns in COLUMNS.items())
    )


def read_lines(file: Path) -> list[str]:
    """The lines of a file; Unusable if it can't be read as text."""
    try:
        if not file.is_file() and file.exists():
            raise Unusable(f"{file} is not a record: it is no regular file")
        return file.read_bytes().decode().splitlines(keepends=True)
    except OSError as error:
        raise Unusable(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unusable(f"{file} is not a record: it is not text") from error


def of_ours(file: str | Path, lines: Sequence[str]) -> dict[str, Any]:
    """The first line of a record of any schema; Unusable if it is none."""
    if not lines:
        raise Unusable(f"{file} is not a record: it is empty")
    try:
        header = json.loads(lines[0])
    except (ValueError, RecursionError):
        header = None
    if not (isinstance(header, dict) and header.get("rnn_ref") == "record" and "schema" in header):
        raise Unusable(f"{file} is not a record: its first line is not that of one")
    return header


@dataclass(frozen=True)
class Recorder:
    """What is to be recorded: of what subject, on which cases, and how a case is measured."""

    corpus: Corpus
    cases: Sequence[Case]
    described: dict[str, Any]
    measure: Callable[[Case], dict[str, Any]]

    def header(self) -> str:
        """The first line."""
        corpus = {"version": self.corpus.version, "sha256": self.corpus.sha256}
        date = datetime.now(UTC).isoformat(timespec="seconds")
        first = {"rnn_ref": "record", "schema": SCHEMA, "corpus": corpus, **self.described}
        return line({**first, "date": date})

    def lines(self, begun: Sequence[str]) -> Iterator[str]:
        """The lines that follow those that are there."""
        written = list(begun)
        if not written:
            written.append(self.header())
            yield written[-1]
        for case in self.cases[len(written) - 1 :]:
            written.append(self.line(case))
            yield written[-1]
        yield line({"cases": len(written) - 1, "sha256": checksum(written)})

    def write(self, file: Path, tell: Callable[[int], None]) -> None:
        """Record into a file; take up what was interrupted; tell how many cases are done."""
        part = beside(file)
        try:
            begun = self.begun(file)
            with part.open("w", encoding="utf-8", newline="\n") as out:
                out.write("".join(begun))
                for done, text in enumerate(self.lines(begun), start=len(begun)):
                    out.write(text)
                    out.flush()
                    if 0 < done <= len(self.cases):
                        tell(done)
                os.fsync(out.fileno())
            read_record(part)
            part.replace(file)
        except OSError as error:
            raise Unusable(f"{file} can't be written: {error.strerror}") from error

    def begun(self, file: Path) -> list[str]:
        """The lines that an interrupted run of the same left; none if there are none of use.

        Raises Unusable where something that is no record would be overwritten.
        """
        if file.exists():
            of_ours(file, read_lines(file))
        part = beside(file)
        lines = read_lines(part) if part.exists() else []
        if not lines or (len(lines) == 1 and is_part_of_first(lines[0])):
            return []
        of_ours(part, lines)
        if undated(lines[0]) != undated(self.header()):
            return []
        done = 0
        for case, text in zip(self.cases, lines[1:], strict=False):
            if not is_line_of(case, text):
                break
            done += 1
        if done and lines[done] != self.line(self.cases[done - 1]):
            return []  # what is recorded has changed since
        return lines[: 1 + done]

    def line(self, case: Case) -> str:
        """The line of a case."""
        return line({"case": str(case), **self.measure(case)})


def is_line_of(case: Case, text: str) -> bool:
    """Whether a line is whole, and of a case."""
    try:
        return bool(json.loads(text)["case"] == str(case)) and text.endswith("\n")
    except (ValueError, TypeError, KeyError):
        return False


def is_part_of_first(text: str) -> bool:
    """Whether a line is the beginning of a record's first one."""
    return BEGINNING.startswith(text) or (text.startswith(BEGINNING) and not text.endswith("\n"))


def require_corpus(record: Record, corpus: Corpus) -> None:
    """Raise Unusable for a record of another corpus."""
    came, due = record.header["corpus"], {"version": corpus.version, "sha256": corpus.sha256}
    if came != due:
        raise Unusable(
            f"the record is of corpus {came['version']} ({came['sha256'][:8]}), this version has"
            f" {due['version']} ({corpus.sha256[:8]}): record it again"
        )


def require_no_record(file: str | Path) -> None:
    """Raise Unusable if a file that is to be written is a record."""
    found = Path(file)
    if found.is_file() and found.read_bytes().startswith(BEGINNING.encode()):
        raise Unusable(f"{file} is a record, and is not written over")


def beside(file: Path) -> Path:
    """Where a record is written until it is whole."""
    return file.with_name(file.name + ".part")
