"""What the commands write: lines to standard output, and files of JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rnn_ref.recording.record import UnusableFile, require_no_record


def own_version() -> str:
    """Return this package's version, if it is installed."""
    try:
        return version("rnn_ref")
    except PackageNotFoundError:
        return "(not installed)"


def write_json(file: str, result: Any) -> None:
    """Write a result; raise UnusableFile where that can't be, or would overwrite a record."""
    require_no_record(file)
    try:
        text = json.dumps(result, indent=1, allow_nan=False) + "\n"
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UnusableFile(f"{file!r} can't be written: {error.strerror}") from error


def show(lines: Iterable[str]) -> None:
    """Print lines, until whoever reads them has seen enough, as in `rnn-ref compare a b | head`."""
    if sys.stdout is None:
        raise UnusableFile("standard output is closed")
    try:
        sys.stdout.writelines(lines)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UnusableFile(f"standard output can't be written: {error.strerror}") from error
