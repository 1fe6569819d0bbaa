"""Lets a bare checkout, in which nothing is installed, know the suite's options."""

import pytest

from rnn_ref.process.environment import set_threads

pytest_plugins = ["rnn_ref.plugin"]

set_threads()


def pytest_configure(config: pytest.Config) -> None:
    """Let one process of pytest-xdist run all tests of a group, which share what takes long."""
    config.addinivalue_line("markers", "xdist_group(name): run these tests in one process")
    if getattr(config.option, "dist", "no") == "load":
        config.option.dist = "loadgroup"
