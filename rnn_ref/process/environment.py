"""What numbers may depend on (versions, processor, kernels, threads), and what is missing."""

from __future__ import annotations

import gc
import importlib.util
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

THREADS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # torch's threads: spinning ones take minutes on a busy machine
    "OPENBLAS_NUM_THREADS": "1",  # NumPy's: the reference's products are small
}
"""The environment of a run's processes, unless the caller's says otherwise.

It is read when torch and NumPy are loaded, so a process must have it before.
"""


def set_threads() -> None:
    """Give this process THREADS, unless the caller's environment says otherwise."""
    for name, value in THREADS.items():
        os.environ.setdefault(name, value)


@contextmanager
def importing_torch() -> Iterator[None]:
    """Import torch without garbage collections, and spare its modules in later ones.

    They are half a million objects: to visit them again and again takes a quarter of the import.
    For a process of our own; another's collections are left as they are.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(50_000)  # else the youngest are visited a hundred times an example
        gc.enable()


def environment(device: str) -> dict[str, Any]:
    """Describe versions, processor and its capability, oneDNN, BLAS libraries, threads, device."""
    import numpy as np
    import torch

    numpy_built: Any = np.show_config(mode="dicts")
    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return {
        "torch": str(torch.__version__),  # else who unpickles it imports torch
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "onednn": bool(torch.backends.mkldnn.enabled),
        "torch_blas": blas[1] if blas else "",
        "numpy_blas": numpy_built["Build Dependencies"]["blas"]["name"],
        "device": device_name(device),
    }


def processor() -> str:
    """Read the processor's name, where the system has it."""
    return of_processor("model name") or platform.processor() or platform.machine()


def processor_flags() -> list[str]:
    """List what the processor can do, by the names of /proc/cpuinfo; empty where there is none."""
    return of_processor("flags").split()


def of_processor(name: str) -> str:
    """Read a line of /proc/cpuinfo by its name."""
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    line = re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)
    return line[1] if line else ""


def device_name(device: str) -> str:
    """Name the device, with its model where torch knows it."""
    import torch

    if device.startswith("cuda"):
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return device


def not_installed(names: Sequence[str]) -> list[str]:
    """Return those names that are neither a module nor a program of this machine."""
    return [n for n in names if not (importlib.util.find_spec(n) or shutil.which(n))]
