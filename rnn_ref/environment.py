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
    told = Path("/proc/cpuinfo")
    text = told.read_text(encoding="utf-8", errors="replace") if told.exists() else ""
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return model[1] if model else platform.processor() or platform.machine()


def device_name(device: str) -> str:
    """The device, by name and maker where torch knows them."""
    import torch

    if device.startswith("cuda"):
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return device
