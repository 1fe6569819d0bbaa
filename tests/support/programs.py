"""Programs that read vectors and write results, as one in another language would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from rnn_ref.arithmetic.dtypes import ARRAY_DTYPES, Floats
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Subject
from rnn_ref.recording.measure import PlainProgram
from rnn_ref.vectors import safetensors
from rnn_ref.vectors.vector import GRAD, Vector, to_caller
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


def write_results(folder: Path, vector: Vector, results: Mapping[str, Floats]) -> None:
    """Write results as the file of a vector's name."""
    dtype, layout = vector.case.dtype, vector.problem.layout
    arrays = {
        name: (dtype, to_caller(name, array.astype(ARRAY_DTYPES[dtype]), layout))
        for name, array in results.items()
    }
    folder.mkdir(exist_ok=True)
    safetensors.write(folder / vector.file, arrays, {})
