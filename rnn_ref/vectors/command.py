"""`rnn-ref vectors` and `rnn-ref judge`: write cases for any program, and judge its results."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rnn_ref.cases.case import Case
from rnn_ref.cases.selection import outside, restrict
from rnn_ref.recording.record import UnusableFile
from rnn_ref.running.options import OPTIONS
from rnn_ref.vectors.sets import SETS

Show = Callable[[Iterable[str]], None]


def add_vectors(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Declare `rnn-ref vectors` and its options."""
    vectors = add_parser(
        "vectors",
        help="write cases with expected values and bounds, for a program in any language",
        epilog="Exit status: 0 written; 2 the command line is wrong, or DIR can't be used.",
    )
    vectors.add_argument("folder", metavar="DIR", help="a new folder, or one with vectors")
    told = ", ".join(f"{name} {number or 'all of it'}" for name, number in SETS.items())
    vectors.add_argument(
        "--set", choices=tuple(SETS), default="default", help=f"how many cases: {told}"
    )
    help = "write this dtype; may be given more than once (default: float32 and float64; all of"
    vectors.add_argument("--dtype", **{**OPTIONS["dtype"], "help": f"{help} the corpus's)"})
    vectors.add_argument("--without", **{**OPTIONS["without"], "help": WITHOUT.format("write")})
    vectors.add_argument("--subnormals", **OPTIONS["subnormals"])
    vectors.add_argument("--tanh", **OPTIONS["tanh"])
    vectors.set_defaults(run=write_vectors)


def add_judge(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Declare `rnn-ref judge` and its options."""
    judge = add_parser(
        "judge",
        help="judge the results that a program in any language wrote for the vectors",
        epilog="Exit status: 0 the results conform; 1 they do not; 2 unusable, or no results.",
    )
    judge.add_argument("folder", metavar="DIR", help="what `rnn-ref vectors DIR` wrote")
    judge.add_argument("results", metavar="RESULTS", help="the folder with the program's results")
    dtype = {**OPTIONS["dtype"], "help": "judge this dtype only; may be given more than once"}
    judge.add_argument("--dtype", **dtype)
    judge.add_argument("--without", **{**OPTIONS["without"], "help": WITHOUT.format("judge")})
    judge.add_argument("--json", metavar="FILE", help="write the verdict to FILE")
    judge.set_defaults(run=judge_results)


WITHOUT = (
    "do not {} what needs this capability, such as gradients, deep, bidirectional, relu,"
    " unbatched or batch_first; may be given more than once"
)


def write_vectors(options: argparse.Namespace) -> int:
    """Write a set of vectors, and say how many."""
    from rnn_ref.running.output import own_version, show
    from rnn_ref.running.rows import plural
    from rnn_ref.vectors.folder import MANIFEST, write
    from rnn_ref.vectors.sets import cases_of

    cases = cases_of(options.set, options.dtype, options.without)
    if not cases:
        raise UnusableFile("no vectors: the options leave no case")
    size = write(
        Path(options.folder),
        cases,
        {"version": own_version(), "set": options.set},
        gradients="gradients" not in options.without,
        flushed=options.subnormals == "flushed",
        tanh=options.tanh,
    )
    manifest = Path(options.folder) / MANIFEST
    show([f"{plural(len(cases), 'case', 'cases')}, {size / 1e6:.1f} MB, listed in {manifest}\n"])
    return 0


def judge_results(options: argparse.Namespace) -> int:
    """Judge the results of a program; print the verdict, and write it."""
    from rnn_ref.running.output import show, write_json
    from rnn_ref.vectors import folder
    from rnn_ref.vectors.judged import judge
    from rnn_ref.vectors.verdict import verdict

    vectors, results = folder.read(Path(options.folder)), Path(options.results)
    chosen = [entry for entry in vectors.entries if is_asked(entry, options)]
    if not chosen:
        raise UnusableFile("nothing was judged: the options leave no case")
    if not any((results / entry["file"]).exists() for entry in chosen):
        raise UnusableFile(
            f"nothing was judged: {results} has no {chosen[0]['file']}, nor results of another case"
        )
    gradients = "gradients" not in options.without
    read = vectors.vectors(chosen, gradients=gradients)
    found = verdict([judge(vector, results) for vector in read])
    show(line + "\n" for line in found.lines(str(results), shutil.get_terminal_size().columns))
    if options.json is not None:
        write_json(options.json, found.as_dict(str(results)))
    return int(not found.conforms)


def is_asked(entry: dict[str, Any], options: argparse.Namespace) -> bool:
    """Tell whether the options leave a case to be judged."""
    case = Case.parse(entry["case"])
    asked = {"dtypes": options.dtype} if options.dtype else {}
    return not outside(case, restrict(asked, options.without))
