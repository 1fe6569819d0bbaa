"""Lets a bare checkout, in which nothing is installed, know the suite's options."""

from typing import Any

import pytest

from rnn_ref.process.environment import set_threads

pytest_plugins = ["rnn_ref.plugin"]

set_threads()

SHARING = ("guard", "report", "compare", "cli_records", "strategies", "reproducer")
"""The files of tests/ whose tests share what takes long to make: each runs in one process."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let one process of pytest-xdist run a file of SHARING, the first of all.

    xdist's own groups have no effect under pytest 9.2, in which a test's name can't be changed.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class BySharing(LoadScopeScheduling):  # type: ignore[misc]
        """Gives out tests one by one, and files of SHARING as a whole."""

        def _split_scope(self, nodeid: str) -> str:
            file, _, _ = nodeid.partition("::")
            return file if file in {f"tests/test_{name}.py" for name in SHARING} else nodeid

    return BySharing(config, log)
