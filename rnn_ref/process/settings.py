"""What a subject shares with its caller and must leave as it was: settings, generators, stdout."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import pickle
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch


class Setting(NamedTuple):
    """How a setting of the process is read, and how it is put back."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


def flushes_subnormals() -> bool:
    """Tell whether this thread takes subnormal numbers for zero."""
    return bool((torch.full((1,), 2.0**-140) * 1.0 == 0).item())


def use_default_device(name: str) -> None:
    """Set the default device; None for cpu, so that no torch mode is installed."""
    torch.set_default_device(None if name == "cpu" else name)


SETTINGS = {
    "the default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype),
    "the default device": Setting(lambda: str(torch.empty(0).device), use_default_device),
    "the recording of gradients": Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    "the number of threads": Setting(torch.get_num_threads, torch.set_num_threads),
    "the use of deterministic algorithms": Setting(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms
    ),
    "the detection of anomalies": Setting(torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    "the flushing of subnormals": Setting(flushes_subnormals, torch.set_flush_denormal),
    "NumPy's treatment of errors": Setting(np.geterr, lambda treatment: np.seterr(**treatment)),
    "the working directory": Setting(os.getcwd, os.chdir),
}
"""The settings that a subject must leave as they are, by name."""

GENERATORS: dict[str, Callable[[], object]] = {
    "torch's": lambda: torch.get_rng_state().numpy().tobytes(),
    "NumPy's": lambda: pickle.dumps(np.random.get_state()),  # noqa: NPY002
    "Python's": random.getstate,
}
"""The generators of random numbers that all share, and their states."""


def settings() -> dict[str, Any]:
    """Read all settings."""
    return {name: setting.read() for name, setting in SETTINGS.items()}


def generator_states() -> dict[str, Any]:
    """Read the states of all generators."""
    return {f"the state of {owner} random numbers": read() for owner, read in GENERATORS.items()}


def restore(before: dict[str, Any]) -> None:
    """Put settings back as they were."""
    for name, now in settings().items():
        if now != before[name]:
            SETTINGS[name].write(before[name])


@contextlib.contextmanager
def restoring_settings() -> Iterator[None]:
    """Put the settings back in the end, so that no example is judged under another's."""
    before = settings()
    try:
        yield
    finally:
        restore(before)


@contextlib.contextmanager
def stdout_of(written: list[str]) -> Iterator[list[str]]:
    """Gather what is written to standard output meanwhile, by Python or below it."""
    sys.stdout.flush()
    saved, python = os.dup(1), io.StringIO()
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 1)
            try:
                with contextlib.redirect_stdout(python):
                    yield written
            finally:
                if os.name == "posix":
                    ctypes.CDLL(None).fflush(None)  # what C wrote waits in a buffer
                os.dup2(saved, 1)
            file.seek(0)
            written.append(python.getvalue() + file.read().decode(errors="replace"))
    finally:
        os.close(saved)
