"""Lets a bare checkout, in which nothing is installed, know the suite's options."""

pytest_plugins = ["rnn_ref.plugin"]
