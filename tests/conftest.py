"""The command line in this process, for the tests that need no process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rnn_ref.running import verification
from tests.support.commands import Here, call_here, run_here

if TYPE_CHECKING:
    from tests.support.programs import Written

if "PYTEST_XDIST_WORKER" in os.environ:  # the processors are busy already
    os.environ["PYTEST_XDIST_AUTO_NUM_WORKERS"] = "1"


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Here]:
    """`rnn-ref` in this process and in a folder of its own, which saves two seconds a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(subprocess, "call", call_here)
    monkeypatch.setattr(verification, "call", call_here)
    before = set(sys.modules)
    yield partial(run_here, capfd)
    for name in set(sys.modules) - before:  # another test may have a subject of the same name
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def verify_here(here: Here) -> Here:
    """`rnn-ref verify` in this process, quickly and from a fixed seed unless told otherwise."""
    return partial(here, "verify", "--profile", "smoke", "--seed", "1", "-n", "0")


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The smallest set of vectors, in all dtypes, and right results."""
    from tests.support.programs import write_smallest

    return write_smallest(tmp_path_factory.mktemp("vectors"))
