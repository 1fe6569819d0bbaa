"""What numbers may depend on: versions, processor, kernels, threads."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any


def environment(device: str) -> dict[str, Any]:
    """Versions, processor and its capability, oneDNN, BLAS libraries, threads, device."""
    import numpy as np
    import torch

    numpy_built: Any = np.show_config(mode="dicts")
    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return {
        "torch": torch.__version__,
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
    """The processor's name, as far as the system tells it."""
    return told_of_processor("model name") or platform.processor() or platform.machine()


def processor_flags() -> list[str]:
    """What the processor can do, by the names of /proc/cpuinfo; empty where there is none."""
    return told_of_processor("flags").split()


def told_of_processor(what: str) -> str:
    """A line of /proc/cpuinfo."""
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    found = re.search(rf"^{what}\s*: (.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def device_name(device: str) -> str:
    """The device, by name and maker where torch knows them."""
    import torch

    if device.startswith("cuda"):
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return device
