"""The command line: `rnn-ref verify`, `record`, `compare` and `matrix`."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from rnn_ref.case import Case
from rnn_ref.corpus import OtherArrays
from rnn_ref.isolation import Trail
from rnn_ref.plugin import OPTIONS
from rnn_ref.record import Unusable, read_record, require_no_record
from rnn_ref.regression import as_dict, compare_records
from rnn_ref.report import comparison_lines

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
    verify.add_argument(
        "-n",
        type=int,
        metavar="N",
        help="run in N processes, which are replaced when the subject ends them; 0: in this one"
        " (default: 1 where pytest-xdist is installed)",
    )
    verify.add_argument("-x", action="store_true", help="stop at the first failure")
    verify.add_argument("-k", metavar="EXPRESSION", help="judge only properties whose name matches")
    record = commands.add_parser(
        "record",
        help="write down how accurate a subject is on every case of the corpus",
        epilog="The same command takes up what was interrupted. Exit status: 0 recorded; 2 the"
        " command line is wrong, the subject can't be loaded, or FILE can't be used.",
    )
    record.add_argument("file", metavar="FILE", help="where to; - is standard output")
    for name in ("subject", "device", "without"):
        record.add_argument(f"--{name}", **OPTIONS[name])
    every = {**OPTIONS["dtype"], "help": "record this dtype; may be given more than once"}
    record.add_argument("--dtype", **every)
    record.add_argument("--case", metavar="LINE", help="record this one case, in the corpus or not")
    compare = commands.add_parser(
        "compare",
        help="say whether a record is worse than another",
        epilog="Exit status: 0 the same bits, within noise, or better; 1 worse; 2 unusable.",
    )
    compare.add_argument("old", metavar="OLD")
    compare.add_argument("new", metavar="NEW")
    compare.add_argument("--json", metavar="FILE", help="write what was found to FILE")
    matrix = commands.add_parser(
        "matrix",
        help="judge torch.nn.RNN in every way of running it",
        epilog="Exit status: 0 all conform, known deviations apart; 1 some do not; 2 unusable.",
    )
    matrix.add_argument(
        "--way", action="append", metavar="NAME", help="this way; may be given more than once"
    )
    matrix.add_argument("--profile", **{**OPTIONS["profile"], "default": "smoke"})
    matrix.add_argument("--json", metavar="FILE", help="write what was found to FILE")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    to_pytest: list[str] = []
    if "--" in given and given[0] == "verify":
        at = given.index("--")
        given, to_pytest = given[:at], given[at + 1 :]
    options = parser().parse_args(given)
    try:
        if options.command == "verify":
            return verify(options, to_pytest)
        return {"record": record, "compare": compare, "matrix": matrix}[options.command](options)
    except (Unusable, OtherArrays) as error:
        print(f"rnn-ref: {error}", file=sys.stderr)
        return 2


def record(options: argparse.Namespace) -> int:
    """Record a subject, and show how far it is."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from rnn_ref.accuracy import recorder
    from rnn_ref.subject import CannotLoad, load

    file = Path(os.path.realpath(options.file))
    try:
        case = Case.parse(options.case) if options.case is not None else None
        subject = load(options.subject, options.device)
    except (ValueError, CannotLoad) as error:
        raise Unusable(str(error)) from error
    recording = recorder(
        subject, options.dtype or OPTIONS["dtype"]["choices"], options.without, case
    )
    if not recording.cases:
        raise Unusable("nothing is left to record: the options leave no case of the corpus")
    if options.file == "-":
        with contextlib.redirect_stdout(sys.stderr), no_way_out():
            lines = list(recording.lines([]))
        show(lines)
        return 0
    of, bar = len(recording.cases), sys.stderr.isatty()

    def tell(done: int) -> None:
        if bar or done % 50 == 0 or done == of:
            print(f"\r{done} of {of} cases", end="" if bar and done < of else "\n", file=sys.stderr)

    try:
        with no_way_out():
            recording.write(file, tell)
        faults = [e["fault"] for e in read_record(file).cases.values() if "fault" in e]
        if faults:
            print(f"rnn-ref: faults in {len(faults)} of {of} cases: {faults[0]}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nrnn-ref: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def no_way_out() -> Iterator[None]:
    """Turn os._exit, with which a subject would end the run as if it were done, into an error."""

    def leave(status: int) -> NoReturn:
        raise SystemExit(status)

    way_out, os._exit = os._exit, leave
    try:
        yield
    finally:
        os._exit = way_out


def compare(options: argparse.Namespace) -> int:
    """Compare two records; print what was found, and write it."""
    old, new = read_record(options.old), read_record(options.new)
    found = compare_records(old, new)
    if options.json is not None:
        write_json(options.json, as_dict(found))
    show(line + "\n" for line in comparison_lines(found, old.header, new.header))
    return int(found.verdict == "worse")


def matrix(options: argparse.Namespace) -> int:
    """Judge the ways, and show each as it is done."""
    from rnn_ref.matrix import Judged, judge, lines
    from rnn_ref.ways import WAYS

    names = options.way or list(WAYS)
    if unknown := [name for name in names if name not in WAYS]:
        raise Unusable(f"way: expected one of {'; '.join(WAYS)}, came {unknown[0]!r}")
    judged: list[Judged] = []
    for each in judge(names, options.profile):
        judged.append(each)
        print(f"{len(judged)} of {len(names)}: {each.name}", file=sys.stderr)
    show(line + "\n" for line in lines(judged))
    if options.json is not None:
        write_json(options.json, {each.name: each.found for each in judged})
    run = [each for each in judged if not each.way.missing]
    return int(not all(each.found and each.found["conforms"] for each in run))


def write_json(file: str, found: Any) -> None:
    """Write what was found; raise Unusable where that can't be, or would be over a record."""
    require_no_record(file)
    try:
        text = json.dumps(found, indent=1, allow_nan=False) + "\n"
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Unusable(f"{file!r} can't be written: {error.strerror}") from error


def show(lines: Iterable[str]) -> None:
    """Print lines, until whoever reads them has seen enough, as in `rnn-ref compare a b | head`."""
    if sys.stdout is None:
        raise Unusable("standard output is closed")
    try:
        sys.stdout.writelines(lines)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Unusable(f"standard output can't be written: {error.strerror}") from error


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
    number = processes(options.n)
    distributed = [f"-n{number}", "--maxschedchunk=1", "--max-worker-restart=1000"]
    command += distributed if number else []
    with tempfile.TemporaryDirectory() as scratch:
        environment = ENVIRONMENT | {"HYPOTHESIS_STORAGE_DIRECTORY": scratch}
        if number > 1:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // number))
        environment |= os.environ
        environment.pop("PYTEST_ADDOPTS", None)  # meant for the caller's own tests
        command.append(f"--rnn-trail={scratch}")
        try:
            status = subprocess.call([*command, *to_pytest], env=environment)
        except KeyboardInterrupt:
            status = pytest.ExitCode.INTERRUPTED
        trail = Trail(Path(scratch))
        if (ended := trail.ended()) and not (trail.folder / "finished").exists():
            print(f"\nrnn-ref: {ended[1]}", file=sys.stderr)
            return 1
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        which = "" if options.k is None else f" with -k {options.k!r}"
        print(f"rnn-ref: nothing was judged: the options leave no property{which}", file=sys.stderr)
    if status < 0:
        print(f"rnn-ref: the subject ended the run by signal {-status}", file=sys.stderr)
    return EXIT_STATUS.get(status, status) if status >= 0 else 1


def processes(number: int | None) -> int:
    """In how many processes of their own the properties run; raise Unusable if they can't."""
    there = importlib.util.find_spec("xdist") is not None
    if number and not there:
        raise Unusable("-n: pytest-xdist is not installed (it comes with rnn_ref[isolated])")
    if number is None:
        number = int(there)
    if number < 0:
        raise Unusable(f"-n: expected 0 or more processes, came {number}")
    return number


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
