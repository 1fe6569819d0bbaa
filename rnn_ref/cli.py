"""The command line: `rnn-ref verify`. pytest does the work, with a configuration of its own."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from rnn_ref.plugin import OPTIONS

PARITY = Path(__file__).parent / "parity"


class Parser(argparse.ArgumentParser):
    """One whose complaints are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> Parser:
    """The options of `rnn-ref`."""
    top = Parser(prog="rnn-ref", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    verify = commands.add_parser(
        "verify",
        help="hold torch.nn.RNN, or another subject, to the properties",
        epilog="What follows -- is handed to pytest. Exit status: 0 the subject conforms; 1 it does"
        " not; 2 the command line is wrong, the subject can't be loaded, or nothing was judged.",
    )
    for name, described in OPTIONS.items():
        verify.add_argument(f"--{name}", **described)
    verify.add_argument("-x", action="store_true", help="stop at the first failure")
    verify.add_argument("-k", metavar="EXPRESSION", help="judge only properties whose name matches")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    to_pytest: list[str] = []
    if "--" in given:
        at = given.index("--")
        given, to_pytest = given[:at], given[at + 1 :]
    options = parser().parse_args(given)
    return verify(options, to_pytest)


def verify(options: argparse.Namespace, to_pytest: Sequence[str]) -> int:
    """Run pytest on the properties, in a process of its own; translate its exit status."""
    command = [sys.executable, "-m", "pytest", str(PARITY), "-c", str(PARITY / "pytest.ini")]
    command += ["-p", "rnn_ref.plugin", "-p", "no:cacheprovider", "-qq", "-rN"]
    for name in OPTIONS:
        value = getattr(options, name)
        for one in value if isinstance(value, list) else [value]:
            command += [] if one is None else [f"--rnn-{name}={one}"]
    command += ["-x"] * options.x
    command += [] if options.k is None else ["-k", options.k]
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**ENVIRONMENT, "HYPOTHESIS_STORAGE_DIRECTORY": scratch, **os.environ}
        environment.pop("PYTEST_ADDOPTS", None)  # meant for the caller's own tests
        report = Path(scratch) / "finished.xml"  # pytest writes it last
        command.append(f"--junit-xml={report}")
        try:
            status = subprocess.call([*command, *to_pytest], env=environment)
        except KeyboardInterrupt:
            status = pytest.ExitCode.INTERRUPTED
        if status == 0 and not report.exists():
            print("rnn-ref: the subject ended the run before it was finished", file=sys.stderr)
            return 1
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        which = "" if options.k is None else f" with -k {options.k!r}"
        print(f"rnn-ref: nothing was judged: the options leave no property{which}", file=sys.stderr)
    if status < 0:
        print(f"rnn-ref: the subject ended the run by signal {-status}", file=sys.stderr)
    return EXIT_STATUS.get(status, status) if status >= 0 else 1


ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # torch's threads: spinning ones take minutes on a busy machine
    "OPENBLAS_NUM_THREADS": "1",  # NumPy's: the reference's products are small
}
"""What the run's environment has unless the caller's says otherwise."""

EXIT_STATUS: dict[int, int] = {
    pytest.ExitCode.INTERRUPTED: 130,
    pytest.ExitCode.USAGE_ERROR: 2,
    pytest.ExitCode.NO_TESTS_COLLECTED: 2,
}
"""What pytest's exit statuses are here, where they are not the same."""


if __name__ == "__main__":
    sys.exit(main())
