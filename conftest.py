"""Lets a bare checkout, in which nothing is installed, know the suite's options."""

from rnn_ref.process.environment import set_threads

pytest_plugins = ["rnn_ref.plugin"]

set_threads()
