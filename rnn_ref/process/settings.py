"""What a subject shares with its caller and must leave as it was: settings, generators, stdout."""

from __future__ import annotations

import contextlib
import ctypes
import io
import operator
import os
import pickle
import random
import signal
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


BACKENDS = (
    "fp32_precision",
    "cuda.matmul.allow_tf32", "cuda.matmul.allow_fp16_reduced_precision_reduction",
    "cuda.matmul.allow_bf16_reduced_precision_reduction", "cuda.matmul.allow_fp16_accumulation",
    "cuda.matmul.fp32_precision",
    "cudnn.enabled", "cudnn.benchmark", "cudnn.benchmark_limit", "cudnn.deterministic",
    "cudnn.allow_tf32", "cudnn.fp32_precision", "cudnn.rnn.fp32_precision",
    "cudnn.conv.fp32_precision",
    "mkldnn.enabled", "mkldnn.deterministic", "mkldnn.fp32_precision",
    "mkldnn.matmul.fp32_precision", "mkldnn.rnn.fp32_precision", "mkldnn.conv.fp32_precision",
    "opt_einsum.enabled", "quantized.engine", "miopen.immediate",
)  # fmt: skip
"""The settings among the attributes of torch.backends, which differ from version to version."""


FILLS = "fill_uninitialized_memory"
"""The attribute of torch.utils.deterministic, which is made by its module's class."""


def has(path: str) -> bool:
    """Tell whether torch.backends has an attribute, and it can be read."""
    try:
        operator.attrgetter(path)(torch.backends)
    except (AttributeError, RuntimeError):
        return False
    return True


def of_backends(path: str) -> Setting:
    """Make a setting of an attribute of torch.backends.

    torch refuses to read some of them once others were set.
    """
    parent, _, name = path.rpartition(".")
    owner = operator.attrgetter(parent)(torch.backends) if parent else torch.backends

    def read() -> Any:
        try:
            return getattr(owner, name)
        except RuntimeError:
            return "unreadable"

    return Setting(read, lambda value: setattr(owner, name, value))


def determinism() -> tuple[bool, bool]:
    """Read whether deterministic algorithms are used, and whether others only warn."""
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warns_only


def left_alone(_: object) -> None:
    """Change nothing: this setting can only be read, once it is in use."""


def autocast(device: str) -> Setting:
    """Make a setting of whether autocast is on; torch before 2.4 has a function for each device."""
    if hasattr(torch, "get_autocast_dtype"):
        return Setting(lambda: torch.is_autocast_enabled(device), left_alone)
    older: Any = torch
    read = older.is_autocast_cpu_enabled if device == "cpu" else older.is_autocast_enabled
    return Setting(read, left_alone)


def dtype_of_autocast(device: str) -> Setting:
    """Make a setting of the dtype of autocast; torch before 2.4 has functions for each device."""
    if hasattr(torch, "get_autocast_dtype"):
        return Setting(
            lambda: torch.get_autocast_dtype(device), lambda d: torch.set_autocast_dtype(device, d)
        )
    of = "cpu" if device == "cpu" else "gpu"
    return Setting(
        getattr(torch, f"get_autocast_{of}_dtype"), getattr(torch, f"set_autocast_{of}_dtype")
    )


SETTINGS = {
    "the default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype),
    "the default device": Setting(lambda: str(torch.empty(0).device), use_default_device),
    "torch.is_grad_enabled()": Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    "torch.is_inference_mode_enabled()": Setting(torch.is_inference_mode_enabled, left_alone),
    "the number of threads": Setting(torch.get_num_threads, torch.set_num_threads),
    "the number of threads between operations": Setting(torch.get_num_interop_threads, left_alone),
    "the use of deterministic algorithms": Setting(
        determinism, lambda both: torch.use_deterministic_algorithms(both[0], warn_only=both[1])
    ),
    "the filling of new memory": Setting(
        lambda: getattr(torch.utils.deterministic, FILLS),
        lambda fills: setattr(torch.utils.deterministic, FILLS, fills),
    ),
    "the detection of anomalies": Setting(
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda both: torch.set_anomaly_enabled(*both),
    ),
    "the flushing of subnormals": Setting(flushes_subnormals, torch.set_flush_denormal),
    "the precision of float32 products": Setting(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    "autocast": autocast("cpu"),
    "autocast on CUDA": autocast("cuda"),
    "the dtype of autocast": dtype_of_autocast("cpu"),
    "the dtype of autocast on CUDA": dtype_of_autocast("cuda"),
    "autocast's cache": Setting(torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    "whether all warnings are repeated": Setting(
        torch.is_warn_always_enabled, torch.set_warn_always
    ),
    "flash attention": Setting(
        torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp
    ),
    "memory-efficient attention": Setting(
        torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp
    ),
    "plain attention": Setting(
        torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp
    ),
    **{f"torch.backends.{path}": of_backends(path) for path in BACKENDS if has(path)},
    "NumPy's treatment of errors": Setting(np.geterr, lambda treatment: np.seterr(**treatment)),
    "NumPy's printing": Setting(
        np.get_printoptions, lambda options: np.set_printoptions(**options)
    ),
    "the working directory": Setting(os.getcwd, os.chdir),
    "Python's limit of recursion": Setting(sys.getrecursionlimit, sys.setrecursionlimit),
    "the handler of interrupts": Setting(lambda: signal.getsignal(signal.SIGINT), left_alone),
}
"""The settings that a subject must leave as they are, by name."""

ELSEWHERE: dict[str, Callable[[Any], Any]] = {
    "the default dtype": lambda now: torch.float32 if now == torch.float64 else torch.float64,
    "torch.is_grad_enabled()": lambda now: not now,
    "the number of threads": lambda now: now + 1,
    "the precision of float32 products": lambda now: "high" if now == "highest" else "highest",
    "whether all warnings are repeated": lambda now: not now,
    "Python's limit of recursion": lambda now: now + 1,
}
"""Other values of settings under which a call must do the same, by those that they have."""

GENERATORS: dict[str, Callable[[], object]] = {
    "torch's": lambda: torch.get_rng_state().numpy().tobytes(),
    "NumPy's": lambda: pickle.dumps(np.random.get_state()),  # noqa: NPY002
    "Python's": random.getstate,
}
"""The generators of random numbers that all share, and their states."""


def settings() -> dict[str, Any]:
    """Read all settings."""
    return {name: setting.read() for name, setting in SETTINGS.items()}


def move_settings() -> None:
    """Give some settings other values than they have."""
    for name, other in ELSEWHERE.items():
        setting = SETTINGS[name]
        setting.write(other(setting.read()))


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
