"""A folder of vectors: a file for each, and one manifest that says what they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import ROUNDING, Rounding
from rnn_ref.cases.case import Case
from rnn_ref.recording.record import UnusableFile
from rnn_ref.vectors import safetensors
from rnn_ref.vectors.vector import (
    BOUND,
    EXPECTED,
    GRAD,
    Vector,
    as_arrays,
    from_caller,
    given,
    make,
    options_of,
    to_caller,
)

MANIFEST = "manifest.json"
SCHEMA = 1
SUFFIX = ".safetensors"


def rounding_of(dtype: str, *, flushed: bool, tanh: float | None) -> Rounding:
    """Return the rounding model that the bounds assume; `tanh` is in units of roundoff."""
    rounding = ROUNDING[dtype].flushing if flushed else ROUNDING[dtype]
    return rounding if tanh is None else replace(rounding, tanh=tanh)


def write(
    folder: Path,
    cases: Sequence[Case],
    described: dict[str, Any],
    *,
    gradients: bool,
    flushed: bool,
    tanh: float | None = None,
) -> int:
    """Write vectors and their manifest into a new or empty folder; return the number of bytes.

    `described` says which cases these are. The bounds allow subnormal numbers that are `flushed`,
    and a tanh that is off by so many units of roundoff. Raises UnusableFile where the folder
    can't be used.
    """
    entries, bytes_written = [], 0
    rounding = {dtype: rounding_of(dtype, flushed=flushed, tanh=tanh) for dtype in ROUNDING}
    try:
        require_empty(folder)
        for number, case in enumerate(cases):
            problem = case.problem(rounding[case.dtype])
            vector = make(f"{number:03}{SUFFIX}", case, problem, gradients=gradients)
            texts = {"case": str(case), **{n: text(o) for n, o in options_of(case).items()}}
            file = folder / vector.file
            safetensors.write(file, as_arrays(vector), texts)
            entries.append(entry(vector))
            bytes_written += file.stat().st_size
        manifest = {
            "rnn_ref": "vectors",
            "schema": SCHEMA,
            **described,
            "gradients": gradients,
            "subnormals": "flushed" if flushed else "kept",
            "tanh": {dtype: each.tanh for dtype, each in rounding.items()},
            "cases": entries,
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UnusableFile(f"{folder} can't be written: {error.strerror}") from error
    return bytes_written + (folder / MANIFEST).stat().st_size


def require_empty(folder: Path) -> None:
    """Make a folder; raise UnusableFile for one that has anything in it but vectors."""
    folder.mkdir(parents=True, exist_ok=True)
    old = {each.name for each in folder.iterdir()}
    if not old:
        return
    if MANIFEST not in old:
        raise UnusableFile(f"{folder} is not empty, and has no vectors: choose another folder")
    for name in old.intersection(each["file"] for each in read(folder).entries):
        (folder / name).unlink()


def text(option: str | int | bool) -> str:
    """Write an option as text, true and false as JSON has them."""
    return option if isinstance(option, str) else json.dumps(option)


def entry(vector: Vector) -> dict[str, Any]:
    """Describe a vector for the manifest."""
    layout = vector.problem.layout
    return {
        "file": vector.file,
        "case": str(vector.case),
        **options_of(vector.case),
        "given": {
            name: [*to_caller(name, a, layout).shape] for name, a in given(vector.problem).items()
        },
        "results": {
            name: {
                "shape": [*to_caller(name, bounded.value, layout).shape],
                "open": int(np.isinf(bounded.error).sum()),
            }
            for name, bounded in vector.expected.items()
        },
    }


@dataclass(frozen=True)
class Folder:
    """A folder of vectors whose manifest was read."""

    path: Path
    manifest: dict[str, Any]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What the manifest says of each vector."""
        entries: list[dict[str, Any]] = self.manifest["cases"]
        return entries

    def vectors(
        self, cases: Sequence[dict[str, Any]], *, gradients: bool = True
    ) -> Iterator[Vector]:
        """Read the vectors of some entries; raise UnusableFile for one that was changed."""
        for each in cases:
            try:
                yield self.vector(each, gradients=gradients)
            except OSError as error:
                file = self.path / each["file"]
                raise UnusableFile(f"{file} can't be read: {error.strerror}") from error
            except (safetensors.Unreadable, KeyError, ValueError) as error:
                raise UnusableFile(
                    f"{self.path / each['file']} is not as it was written, or the manifest is not:"
                    " write the vectors again"
                ) from error

    def vector(self, entry: dict[str, Any], *, gradients: bool) -> Vector:
        """Read one vector; raise ValueError where a number that a program is given was changed."""
        case = Case.parse(entry["case"])
        flushed, tanh = self.manifest["subnormals"] == "flushed", self.manifest["tanh"]
        rounding = rounding_of(case.dtype, flushed=flushed, tanh=tanh[case.dtype])
        problem = case.problem(rounding)
        arrays, _ = safetensors.read(self.path / entry["file"])
        for name, array in given(problem).items():
            if not np.array_equal(from_caller(name, arrays[name][1], problem.layout), array):
                raise ValueError(name)
        expected = {}
        for name in entry["results"]:
            if name.startswith(GRAD) and not gradients:
                continue
            value, error = (
                from_caller(name, arrays[part + name][1], problem.layout)
                for part in (EXPECTED, BOUND)
            )
            expected[name] = Bounded(value, error, rounding=rounding, whole=False)
        return Vector(entry["file"], case, problem, expected)


def read(path: Path) -> Folder:
    """Read a folder's manifest; raise UnusableFile where there is none that this version reads."""
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnusableFile(f"{file} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        manifest = None
    if not (isinstance(manifest, dict) and manifest.get("rnn_ref") == "vectors"):
        raise UnusableFile(f"{file} is not the manifest of vectors")
    if manifest.get("schema") != SCHEMA:
        raise UnusableFile(
            f"{file} has schema {manifest.get('schema')!r}, this version reads {SCHEMA}:"
            " write the vectors again"
        )
    if not is_whole(manifest):
        raise UnusableFile(f"{file} is not as it was written: write the vectors again")
    return Folder(path, manifest)


def is_whole(manifest: dict[str, Any]) -> bool:
    """Tell whether a manifest has what is read of it."""
    try:
        for each in manifest["cases"]:
            Case.parse(each["case"])
            if not (isinstance(each["file"], str) and isinstance(each["results"], dict)):
                return False
        return set(manifest["tanh"]) == set(ROUNDING) and "subnormals" in manifest
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
