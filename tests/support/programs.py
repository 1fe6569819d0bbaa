"""Programs that read vectors and write results, as one in another language would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from rnn_ref.arithmetic.dtypes import ARRAY_DTYPES, ROUNDING, Floats
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Subject
from rnn_ref.recording.measure import PlainProgram
from rnn_ref.vectors import folder, safetensors
from rnn_ref.vectors.judged import Judged, judge
from rnn_ref.vectors.sets import cases_of
from rnn_ref.vectors.vector import GRAD, Vector, to_caller
from rnn_ref.vectors.verdict import Verdict, verdict
from tests.support.orders import ordered

Results = dict[str, Floats]
"""By name in a file, with the reference's axes."""

Program = Callable[[Vector], Results]


def program_of(factory: Callable[..., torch.nn.Module]) -> Program:
    """Compute results by a module."""
    subject = Subject("tests:program", factory)

    def results(vector: Vector) -> Results:
        run = subject.run(vector.problem, gradients=True)
        gradients = {GRAD + name: array for name, array in run.gradients.items()}
        return {"output": run.output, "h_n": run.h_n} | gradients

    return results


def summing(order: str) -> Program:
    """Compute results by the reference's own lines, in a dtype's numbers and an order of sums."""

    class InOrder(PlainProgram):
        def known(self, array: Floats) -> object:
            return ordered(array, order, self.problem.dtype)

    def results(vector: Vector) -> Results:
        program: Oracle = InOrder(vector.problem)
        named = dict(zip(("output", "h_n"), program.results, strict=True))
        named |= {GRAD + name: a for name, a in program.gradients_end_to_end.items()}
        return {name: array.stored.numbers for name, array in named.items()}

    return results


def write_results(path: Path, vector: Vector, results: Mapping[str, Floats]) -> None:
    """Write results as the file of a vector's name."""
    dtype, layout = vector.case.dtype, vector.problem.layout
    arrays = {
        name: (dtype, to_caller(name, array.astype(ARRAY_DTYPES[dtype]), layout))
        for name, array in results.items()
    }
    path.mkdir(exist_ok=True)
    safetensors.write(path / vector.file, arrays, {})


RIGHT = program_of(torch.nn.RNN)


class Written(NamedTuple):
    """A folder of vectors, the vectors, and right results of each."""

    path: Path
    vectors: list[Vector]
    right: list[Results]

    def some(self, number: int) -> Written:
        """Take the first few vectors."""
        return Written(self.path, self.vectors[:number], self.right[:number])


def judged_of(vector: Vector, results: Results, path: Path) -> Judged:
    """Write results, and judge them."""
    write_results(path, vector, results)
    return judge(vector, path)


def verdict_of(
    written: Written, path: Path, change: Callable[[Vector, Results], Results] = lambda _, r: r
) -> Verdict:
    """Judge the right results of all vectors, changed."""
    pairs = zip(written.vectors, written.right, strict=True)
    return verdict([judged_of(v, change(v, dict(right)), path) for v, right in pairs])


def verdict_on(program: Program, written: Written, path: Path) -> Verdict:
    """Judge what a program computes."""
    return verdict([judged_of(vector, program(vector), path) for vector in written.vectors])


def write_smallest(path: Path) -> Written:
    """Write the smallest set, in all dtypes, and compute right results."""
    cases = cases_of("smoke", tuple(ROUNDING), ())
    folder.write(path, cases, {}, gradients=True, flushed=False)
    read = folder.read(path)
    vectors = list(read.vectors(read.entries))
    return Written(path, vectors, [RIGHT(vector) for vector in vectors])
