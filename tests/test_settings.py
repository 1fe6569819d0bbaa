"""The settings that a subject must leave alone are those that torch lets one read."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from rnn_ref.process.settings import SETTINGS, restoring_settings, settings

READ = {
    "are_deterministic_algorithms_enabled": "the use of deterministic algorithms",
    "get_autocast_cpu_dtype": "the dtype of autocast",
    "get_autocast_dtype": "the dtype of autocast",
    "get_autocast_gpu_dtype": "the dtype of autocast on CUDA",
    "get_default_device": "the default device",
    "get_default_dtype": "the default dtype",
    "get_deterministic_debug_mode": "the use of deterministic algorithms",
    "get_float32_matmul_precision": "the precision of float32 products",
    "get_num_interop_threads": "the number of threads between operations",
    "get_num_threads": "the number of threads",
    "is_anomaly_check_nan_enabled": "the detection of anomalies",
    "is_anomaly_enabled": "the detection of anomalies",
    "is_autocast_cache_enabled": "autocast's cache",
    "is_autocast_cpu_enabled": "autocast",
    "is_autocast_enabled": "autocast",
    "is_deterministic_algorithms_warn_only_enabled": "the use of deterministic algorithms",
    "is_grad_enabled": "torch.is_grad_enabled()",
    "is_inference_mode_enabled": "torch.is_inference_mode_enabled()",
    "is_warn_always_enabled": "whether all warnings are repeated",
}
"""By getter of torch, the setting that covers it."""

ELSEWHERE = {"get_rng_state": "its generators are judged by properties of their own"}
"""Getters that are covered, but not as settings; and why."""

NO_SETTINGS = re.compile(
    r"(get|is|are)_(autocast_(ipu|xla)\w*|device|device_module|file_path|complex|conj|distributed"
    r"|floating_point|inference|neg|nonzero|same_size|signed|storage|tensor|vulkan_available"
    r"|compiled_with_\w+)"
)
"""Getters that ask about an argument or the build, or about devices that torch has dropped."""


def test_every_setting_that_torch_lets_one_read_is_covered() -> None:
    """Each of torch's getters is among the settings, is covered elsewhere, or reads no setting."""
    getters = [
        n for n in dir(torch) if re.match(r"(get|is|are)_", n) and callable(getattr(torch, n))
    ]
    left = set(getters) - READ.keys() - ELSEWHERE.keys()
    assert sorted(name for name in left if not NO_SETTINGS.fullmatch(name)) == []
    assert set(READ.values()) <= SETTINGS.keys()


CHANGES: dict[str, Any] = {
    "the precision of float32 products": lambda: torch.set_float32_matmul_precision("medium"),
    "the use of deterministic algorithms": lambda: torch.use_deterministic_algorithms(
        mode=True, warn_only=True
    ),
    "torch.backends.cudnn.benchmark": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "torch.backends.mkldnn.enabled": lambda: setattr(torch.backends.mkldnn, "enabled", False),
    "whether all warnings are repeated": lambda: torch.set_warn_always(True),
    "flash attention": lambda: torch.backends.cuda.enable_flash_sdp(False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_changes_is_seen_and_put_back(name: str) -> None:
    """A change shows in the setting's value, and is undone afterwards."""
    before = settings()
    with restoring_settings():
        CHANGES[name]()
        assert settings()[name] != before[name]
    assert settings() == before
