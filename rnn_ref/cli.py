"""The command line: `rnn-ref verify`, `record`, `compare`, `matrix`, `vectors` and more."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from rnn_ref.cases.case import Case
from rnn_ref.cases.corpus import ArraysDiffer, cases_to_record, read_corpus
from rnn_ref.recording.compare import as_dict, compare_records
from rnn_ref.recording.record import (
    Recorder,
    UnusableFile,
    read_record,
    require_no_record,
    require_place,
)
from rnn_ref.recording.table import comparison_lines
from rnn_ref.running.options import OPTIONS, PROFILES
from rnn_ref.running.output import own_version, show, write_json
from rnn_ref.vectors.command import add_judge, add_vectors


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


WORTH_A_PROCESS = 16
"""How many cases are measured in about the time that a process takes to start."""

AddParser: TypeAlias = Callable[..., argparse.ArgumentParser]


def parser() -> Parser:
    """Declare the commands of `rnn-ref` and their options."""
    top = Parser(
        prog="rnn-ref", description="Judge an implementation of torch.nn.RNN by a reference."
    )
    top.add_argument("--version", action="version", version=f"rnn_ref {own_version()}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    judging = (add_verify, add_record, add_compare, add_matrix, add_vectors, add_judge)
    for add in (*judging, add_bench, add_report, add_promises):
        add(commands.add_parser)
    return top


def add_verify(add_parser: AddParser) -> None:
    """Declare `rnn-ref verify` and its options."""
    verify = add_parser(
        "verify",
        help="judge torch.nn.RNN, or another subject, by the properties",
        epilog="Options after -- are passed to pytest. Exit status: 0 the subject conforms; 1"
        " it does not; 2 the command line is wrong, the subject can't be loaded, nothing was"
        " judged, or --limit ended the run before anything failed; 130 it was interrupted.",
    )
    for name, declared in OPTIONS.items():
        verify.add_argument(f"--{name}", **declared)
    verify.add_argument(
        "-n",
        type=int,
        metavar="N",
        help="run in N processes, which are replaced when the subject ends them; 0: in none of"
        " their own (default: as many as cores where pytest-xdist is installed; one case: 0)",
    )
    verify.add_argument("-x", action="store_true", help="stop at the first failure")
    verify.add_argument(
        "-v", dest="verbose", action="store_true", help="list every property, not the groups alone"
    )
    verify.add_argument("-k", metavar="EXPRESSION", help="judge only properties whose name matches")
    verify.set_defaults(run=verify_subject)


def add_record(add_parser: AddParser) -> None:
    """Declare `rnn-ref record` and its options."""
    record = add_parser(
        "record",
        help="record how accurate a subject is on every case of the corpus",
        epilog="Rerun the command to resume. Exit status: 0 recorded; 2 the command line is"
        " wrong, the subject can't be loaded, or FILE can't be used.",
    )
    record.add_argument("file", metavar="FILE", help="the file to write; - is standard output")
    for name in ("subject", "device", "without", "timeout"):
        record.add_argument(f"--{name}", **OPTIONS[name])
    dtype = {**OPTIONS["dtype"], "help": "record this dtype; may be given more than once"}
    record.add_argument("--dtype", **dtype)
    record.add_argument("--case", metavar="LINE", help="record this one case, in the corpus or not")
    record.set_defaults(run=record_subject)


def add_compare(add_parser: AddParser) -> None:
    """Declare `rnn-ref compare` and its options."""
    compare = add_parser(
        "compare",
        help="say whether a record is worse than another",
        epilog="Exit status: 0 the same bits, within noise, or better; 1 worse; 2 unusable.",
    )
    compare.add_argument("old", metavar="OLD")
    compare.add_argument("new", metavar="NEW")
    compare.add_argument("--json", metavar="FILE", help="write the result to FILE")
    compare.set_defaults(run=compare_files)


def add_matrix(add_parser: AddParser) -> None:
    """Declare `rnn-ref matrix` and its options."""
    matrix = add_parser(
        "matrix",
        help="judge torch.nn.RNN in every way of running it",
        epilog="Exit status: 0 all conform, known deviations apart; 1 some do not; 2 unusable.",
    )
    matrix.add_argument(
        "--way", action="append", metavar="NAME", help="this way; may be given more than once"
    )
    matrix.add_argument(
        "--frameworks", action="store_true", help="judge the RNNs of other frameworks instead"
    )
    matrix.add_argument("--limit", **OPTIONS["limit"])
    matrix.add_argument("--list", action="store_true", help="list the ways, and judge none")
    matrix.add_argument("--profile", **{**OPTIONS["profile"], "default": "smoke"})
    matrix.add_argument("--json", metavar="FILE", help="write the results to FILE")
    matrix.set_defaults(run=judge_matrix)


def add_bench(add_parser: AddParser) -> None:
    """Declare `rnn-ref bench` and its options."""
    from rnn_ref.running.bench.command import SHAPES, cores, read_sizes

    bench = add_parser(
        "bench",
        help="time the reference beside torch.nn.RNN, other programs and the machine's limit",
        epilog="Every result is judged before it is timed. Exit status: 0 timed; 2 unusable.",
    )
    default = "; ".join(",".join(map(str, sizes)) for sizes in SHAPES)
    bench.add_argument(
        "--shapes",
        action="append",
        type=read_sizes,
        metavar="T,N,I,H",
        help="time these sizes; may be given more than once, and leaves the growth out (default:"
        f" {default}, and growth)",
    )
    bench.add_argument(
        "--peer",
        action="append",
        metavar="NAME",
        help="time this one beside the reference and torch eager; may be given more than once",
    )
    bench.add_argument(
        "--seconds", type=float, default=4.0, help="time each shape for about so long (default: 4)"
    )
    bench.add_argument(
        "--threads",
        type=int,
        default=cores(),
        help="of each program, NumPy's BLAS included (default: all processors)",
    )
    bench.add_argument("--suite", action="store_true", help="time the suite's own properties")
    bench.add_argument("--json", metavar="FILE", help="write the result to FILE")
    bench.set_defaults(run=time_peers)


def add_report(add_parser: AddParser) -> None:
    """Declare `rnn-ref report` and its options."""
    report = add_parser(
        "report",
        help="write one HTML page of what the other commands wrote",
        epilog="Of two records, the first is the old one. Exit status: 0 written; 2 unusable.",
    )
    report.add_argument(
        "file",
        nargs="+",
        metavar="FILE",
        help="what verify --json, record, compare --json, matrix --json or bench --json wrote",
    )
    report.add_argument("-o", "--output", required=True, metavar="FILE", help="the page to write")
    report.set_defaults(run=make_report)


def add_promises(add_parser: AddParser) -> None:
    """Declare `rnn-ref promises`."""
    promises = add_parser("promises", help="print what torch documents and which property holds it")
    promises.set_defaults(run=print_promises)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    to_pytest: list[str] = []
    if "--" in words and words[0] == "verify":
        at = words.index("--")
        words, to_pytest = words[:at], words[at + 1 :]
    options = parser().parse_args(words)
    options.to_pytest = to_pytest
    try:
        status: int = options.run(options)
    except (UnusableFile, ArraysDiffer) as error:
        print(f"rnn-ref: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nrnn-ref: interrupted", file=sys.stderr)
        return 130
    return status


def verify_subject(options: argparse.Namespace) -> int:
    """Judge a subject by the properties."""
    from rnn_ref.running.verification import verify

    return verify(options, options.to_pytest)


def record_subject(options: argparse.Namespace) -> int:
    """Record a subject in a process of its own, and show the progress."""
    from rnn_ref.judging.failures import CannotLoad
    from rnn_ref.running.isolated import Ended, Isolated, Team

    try:
        case = Case.parse(options.case) if options.case is not None else None
    except ValueError as error:
        raise UnusableFile(str(error)) from error
    dtypes = options.dtype or OPTIONS["dtype"]["choices"]
    cases = cases_to_record(dtypes, options.without, case)
    if not cases:
        raise UnusableFile("nothing to record: the options leave no case of the corpus")
    file = None if options.file == "-" else Path(os.path.realpath(options.file))
    if file is not None:
        require_place(file)
    try:
        with tempfile.TemporaryDirectory() as folder:
            processes = range(max(1, min(os.cpu_count() or 1, len(cases) // WORTH_A_PROCESS)))
            subject = (options.subject, options.device, options.timeout)
            members = [Isolated(Path(folder), f"recorder{i}", *subject) for i in processes]
            with Team(members, cases, options.without) as team:
                read_corpus().check()  # while they load the subject
                header = members[0].describe(cases, options.without)
                recorder = Recorder(read_corpus(), cases, header, team.measure)
                return record_to(file, recorder)
    except (CannotLoad, Ended) as error:
        raise UnusableFile(str(error)) from error


def record_to(file: Path | None, recorder: Recorder) -> int:
    """Write a record to a file, or to standard output."""
    if file is None:
        show(list(recorder.lines([])))
        return 0
    total, bar = len(recorder.cases), sys.stderr.isatty()

    def progress(done: int) -> None:
        if bar or done % 50 == 0 or done == total:
            end = "" if bar and done < total else "\n"
            print(f"\r{done} of {total} cases", end=end, file=sys.stderr)

    try:
        recorder.write(file, progress)
    except KeyboardInterrupt:
        print("\nrnn-ref: interrupted; rerun the command to resume", file=sys.stderr)
        return 130
    faults = [e["fault"] for e in read_record(file).cases.values() if "fault" in e]
    if faults:
        print(f"rnn-ref: faults in {len(faults)} of {total} cases: {faults[0]}", file=sys.stderr)
    return 0


def compare_files(options: argparse.Namespace) -> int:
    """Compare two records; print the result, and write it."""
    old, new = read_record(options.old), read_record(options.new)
    regression = compare_records(old, new)
    if options.json is not None:
        write_json(options.json, as_dict(regression))
    show(line + "\n" for line in comparison_lines(regression, old.header, new.header))
    return int(regression.verdict == "worse")


def judge_matrix(options: argparse.Namespace) -> int:
    """Judge the ways, and show each as it is done."""
    from rnn_ref.frameworks import FRAMEWORKS
    from rnn_ref.running.matrix import Judged, judge_ways, lines, listed, verdicts
    from rnn_ref.ways import WAYS

    known = FRAMEWORKS if options.frameworks else WAYS
    names = options.way or list(known)
    if unknown := [name for name in names if name not in known]:
        raise UnusableFile(f"way: expected one of {'; '.join(known)}, got {unknown[0]!r}")
    ways = {name: known[name] for name in names}
    if options.list:
        show(line + "\n" for line in listed(ways))
        return 0
    judged: list[Judged] = []
    for each in judge_ways(ways, options.profile, options.limit):
        judged.append(each)
        print(f"{len(judged)} of {len(names)}: {each.name}", file=sys.stderr)
    show(line + "\n" for line in lines(judged))
    if options.frameworks:
        show(["\n", *(line + "\n" for line in verdicts(judged))])
    if options.json is not None:
        write_json(options.json, {each.name: each.result for each in judged})
    installed = [each for each in judged if not each.way.missing]
    return int(not all(each.result and each.result["conforms"] for each in installed))


def time_peers(options: argparse.Namespace) -> int:
    """Time the peers, or the suite; print the tables, and write the result."""
    from rnn_ref.running.bench.command import SHAPES, in_child, load
    from rnn_ref.running.bench.table import shape_lines, suite_lines

    if options.threads < 1:
        raise UnusableFile(f"threads: expected at least 1, got {options.threads}")
    if options.json is not None:
        require_no_record(options.json)
    if options.suite:
        result = in_child("suite", {"examples": PROFILES["smoke"]}, options.threads)
        show(line + "\n" for line in suite_lines(result))
    else:
        asked = {
            "shapes": options.shapes or SHAPES,
            "peers": peers_named(options.peer),
            "seconds": options.seconds,
            "threads": options.threads,
            "load": load(),
            "growth": options.shapes is None,
        }
        result = in_child("shapes", asked, options.threads)
        show(line + "\n" for line in shape_lines(result))
    if options.json is not None:
        write_json(options.json, result)
    return 0


def peers_named(names: Sequence[str] | None) -> dict[str, bool]:
    """Choose the peers to time, and say of each whether it is named; refuse an unknown one."""
    from rnn_ref.running.bench.peers import EAGER, PEERS, PRODUCTS, REFERENCE

    if unknown := [name for name in names or () if name not in PEERS]:
        raise UnusableFile(f"peer: expected one of {'; '.join(PEERS)}, got {unknown[0]!r}")
    if names is None:
        return dict.fromkeys(PEERS, False)
    return dict.fromkeys((PRODUCTS, REFERENCE, EAGER, *names), True)


def make_report(options: argparse.Namespace) -> int:
    """Write one page of what the other commands wrote."""
    from rnn_ref.report import write_report

    write_report(options.file, options.output)
    return 0


def print_promises(_: argparse.Namespace) -> int:
    """Print the promises of torch's documentation, in Markdown."""
    from rnn_ref.running.promises import lines

    show(line + "\n" for line in lines())
    return 0


if __name__ == "__main__":
    sys.exit(main())
