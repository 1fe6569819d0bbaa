"""Lets a bare checkout, in which nothing is installed, know the suite's options."""

import os

pytest_plugins = ["rnn_ref.plugin"]

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in rnn_ref.cli.ENVIRONMENT
