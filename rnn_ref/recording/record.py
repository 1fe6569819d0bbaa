"""Records: how accurate a subject is on every case of the corpus, as a file of JSON lines.

The first line says what was recorded and where. The last line has the number of cases and
the SHA-256 of all lines before it, without the date. In between stands one line for each
case: its digests and errors, as `measure.measure` returns them, or the subject's fault.
A record is written to FILE.part, and moved to FILE when it is complete. An interrupted
recording is resumed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from rnn_ref.cases.case import Case
from rnn_ref.cases.corpus import Corpus

SCHEMA = 1

MEASURED = ("step", "end_to_end")
"""Errors are measured for one step, from the subject's own states, and end to end."""

COLUMNS = {
    "ulp": ("max", "p99", "mean", "bias"),
    "bound": ("max", "p99", "mean", "bias"),
    "norm": ("error", "bias"),
    "plain": ("error", "bias"),
    "counts": ("elements", "unresolved", "open", "over", "lost"),
}
"""The numbers that describe a quantity, by unit.

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


class UnusableFile(Exception):
    """A file or a path that can't be used; the message is one sentence."""


@dataclass(frozen=True)
class Record:
    """A record that was read: its first line, and its entries by case."""

    header: dict[str, Any]
    cases: dict[str, dict[str, Any]]


def line(content: Any) -> str:
    """Write a line of a record."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")) + "\n"


def undated(header: str) -> str:
    """Leave the date out of a first line."""
    content = json.loads(header)
    content.pop("date", None)
    return line(content)


def checksum(lines: Sequence[str]) -> str:
    """Compute the SHA-256 of lines, the first one without its date."""
    return hashlib.sha256("".join([undated(lines[0]), *lines[1:]]).encode()).hexdigest()


def read_record(file: str | Path) -> Record:
    """Read a record and check that it is whole; raise UnusableFile if it is not."""
    return parse(file, read_lines(Path(file)))


def parse(file: str | Path, lines: Sequence[str]) -> Record:
    """Read the record in some lines; raise UnusableFile if it is not whole."""
    header = read_header(file, lines)
    if header["schema"] is True or header["schema"] != SCHEMA:
        raise UnusableFile(
            f"{file} has schema {header['schema']!r}, this version reads {SCHEMA}:"
            " record it again, or compare with the version that wrote it"
        )
    try:
        entries = [json.loads(text, parse_constant=refuse) for text in lines[1:-1]]
        if entries and is_whole(lines, header, entries) and all(map(is_measured, entries)):
            return Record(header, {entry["case"]: entry for entry in entries})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise UnusableFile(
        f"{file} is truncated or was changed: its checksum or line count does not match"
    )


def totals(record: Record) -> dict[str, Any]:
    """Count the elements of a record and those left open; find the worst ratio."""
    quantities = [
        quantity
        for entry in record.cases.values()
        for measured in MEASURED
        for quantity in entry.get(measured, {}).values()
    ]
    return {
        "elements": sum(quantity["counts"][0] for quantity in quantities),
        "open": sum(quantity["counts"][2] for quantity in quantities),
        "worst": max((q["bound"][0] for q in quantities if q["bound"]), default=0),
    }


def refuse(constant: str) -> NoReturn:
    """Raise ValueError for NaN and infinities, which are no JSON."""
    raise ValueError(constant)


def is_whole(lines: Sequence[str], header: dict[str, Any], entries: Sequence[Any]) -> bool:
    """Tell whether a record's last line fits the others, and its first line is all there."""
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
    """Tell whether a line has a fault, or all the numbers of COLUMNS."""
    if type(entry.get("fault")) is str:
        return True
    quantities = [entry[measured][name] for measured in MEASURED for name in entry["bits"]]
    return all(
        quantity[unit] is None or [type(x) in (int, float) for x in quantity[unit]] == [True] * n
        for quantity in quantities
        for unit, n in ((unit, len(columns)) for unit, columns in COLUMNS.items())
    )


def read_lines(file: Path) -> list[str]:
    """Read the lines of a file; raise UnusableFile if it can't be read as text."""
    try:
        if not file.is_file() and file.exists():
            raise UnusableFile(f"{file} is not a record: it is no regular file")
        return file.read_bytes().decode().splitlines(keepends=True)
    except OSError as error:
        raise UnusableFile(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnusableFile(f"{file} is not a record: it is not text") from error


def read_header(file: str | Path, lines: Sequence[str]) -> dict[str, Any]:
    """Read the first line of a record of any schema; raise UnusableFile if it is another file."""
    if not lines:
        raise UnusableFile(f"{file} is not a record: it is empty")
    try:
        header = json.loads(lines[0])
    except (ValueError, RecursionError):
        header = None
    if not (isinstance(header, dict) and header.get("rnn_ref") == "record" and "schema" in header):
        raise UnusableFile(f"{file} is not a record: its first line is no record header")
    return header


@dataclass(frozen=True)
class Recorder:
    """What is to be recorded: the header, the cases, and a function that measures a case."""

    corpus: Corpus
    cases: Sequence[Case]
    described: dict[str, Any]
    measure: Callable[[Case], dict[str, Any]]

    def header(self) -> str:
        """Write the first line."""
        corpus = {"version": self.corpus.version, "sha256": self.corpus.sha256}
        date = datetime.now(UTC).isoformat(timespec="seconds")
        first = {"rnn_ref": "record", "schema": SCHEMA, "corpus": corpus, **self.described}
        return line({**first, "date": date})

    def lines(self, resumable: Sequence[str]) -> Iterator[str]:
        """Yield the lines that follow `resumable`."""
        written = list(resumable)
        if not written:
            written.append(self.header())
            yield written[-1]
        for case in self.cases[len(written) - 1 :]:
            written.append(self.line(case))
            yield written[-1]
        yield line({"cases": len(written) - 1, "sha256": checksum(written)})

    def write(self, file: Path, progress: Callable[[int], None]) -> None:
        """Record into a file, resuming what was interrupted; report how many cases are done."""
        part = partial_path(file)
        try:
            resumable = self.resumable_lines(file)
            with part.open("w", encoding="utf-8", newline="\n") as out:
                out.write("".join(resumable))
                for done, text in enumerate(self.lines(resumable), start=len(resumable)):
                    out.write(text)
                    out.flush()
                    if 0 < done <= len(self.cases):
                        progress(done)
                os.fsync(out.fileno())
            read_record(part)
            part.replace(file)
        except OSError as error:
            raise UnusableFile(f"{file} can't be written: {error.strerror}") from error

    def resumable_lines(self, file: Path) -> list[str]:
        """Read the lines that an interrupted run with this header left; none if they are of no use.

        Raises UnusableFile where something that is no record would be overwritten.
        """
        require_place(file)
        part = partial_path(file)
        lines = read_lines(part) if part.exists() else []
        if not lines or (len(lines) == 1 and is_part_of_first(lines[0])):
            return []
        read_header(part, lines)
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
        """Write the line of a case."""
        return line({"case": str(case), **self.measure(case)})


def is_line_of(case: Case, text: str) -> bool:
    """Tell whether a line is whole, and of a case."""
    try:
        return bool(json.loads(text)["case"] == str(case)) and text.endswith("\n")
    except (ValueError, TypeError, KeyError):
        return False


def is_part_of_first(text: str) -> bool:
    """Tell whether a line is the beginning of a record's first one."""
    return BEGINNING.startswith(text) or (text.startswith(BEGINNING) and not text.endswith("\n"))


def require_place(file: Path) -> None:
    """Raise UnusableFile where no record can be written, before one is measured."""
    if file.exists():
        read_header(file, read_lines(file))
    elif not file.parent.is_dir():
        raise UnusableFile(f"{file} can't be written: {os.strerror(errno.ENOENT)}")


def require_corpus(record: Record, corpus: Corpus) -> None:
    """Raise UnusableFile for a record of another corpus."""
    got, expected = record.header["corpus"], {"version": corpus.version, "sha256": corpus.sha256}
    if got != expected:
        raise UnusableFile(
            f"the record is of corpus {got['version']} ({got['sha256'][:8]}), this version has"
            f" {expected['version']} ({corpus.sha256[:8]}): record it again"
        )


def require_no_record(file: str | Path) -> None:
    """Raise UnusableFile if a file that is to be written is a record."""
    path = Path(file)
    if path.is_file() and path.read_bytes().startswith(BEGINNING.encode()):
        raise UnusableFile(f"refusing to overwrite {file}: it is a record")


def partial_path(file: Path) -> Path:
    """Name the file that a record is written to until it is whole."""
    return file.with_name(file.name + ".part")
