"""One vector: a problem, what a correct program returns for it and how far it may be off.

In a file the arrays have the axes that a caller of torch.nn.RNN sees, and these names: `input`,
`h_0`, torch's names of the parameters; `output` and `h_n`; `grad.` and a name for the gradient
of the loss for it; `expected.` and `bound.` before the name of a result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.comparison import ROWS, STATES, Element
from rnn_ref.judging.oracle import Oracle
from rnn_ref.parameters import Layout
from rnn_ref.vectors.safetensors import CODES

GRAD, EXPECTED, BOUND = "grad.", "expected.", "bound."

STEPS_NAMES = ("input", "output")
ROWS_NAMES = ("h_0", "h_n")
"""The arrays with an axis of steps, and those with a row for each layer and direction."""


@dataclass(frozen=True)
class Vector:
    """A case, its problem, and the expected results by name, gradients with `grad.` before it.

    `file` is the name of the file that has it. The arrays have the reference's axes.
    """

    file: str
    case: Case
    problem: Problem
    expected: dict[str, Bounded]


def make(file: str, case: Case, problem: Problem, *, gradients: bool) -> Vector:
    """Compute what is expected, and its bounds, end to end."""
    oracle = Oracle(problem)
    output, h_n = oracle.results
    expected = {"output": output.stored, "h_n": h_n.stored}
    if gradients:
        by_name = oracle.gradients_end_to_end
        expected |= {GRAD + name: gradient.stored for name, gradient in by_name.items()}
    return Vector(file, case, problem, expected)


def given(problem: Problem) -> dict[str, Floats]:
    """Name the arrays that a program is given, in the order in which it needs them."""
    arrays = problem.arguments | problem.parameters
    upstream = {"output": problem.grad_output, "h_n": problem.grad_h_n}
    return arrays | {GRAD + name: a for name, a in upstream.items() if a is not None}


def as_arrays(vector: Vector) -> dict[str, tuple[str, Floats]]:
    """Name all arrays of a file, each with its dtype; expected values and bounds are float64.

    These come first, as they must lie at multiples of eight bytes.
    """
    p, layout, arrays = vector.problem, vector.problem.layout, {}
    for name, bounded in vector.expected.items():
        arrays[EXPECTED + name] = "float64", to_caller(name, bounded.value, layout)
        arrays[BOUND + name] = "float64", to_caller(name, bounded.error, layout)
    return arrays | {name: (p.dtype, to_caller(name, a, layout)) for name, a in given(p).items()}


def options_of(case: Case) -> dict[str, str | int | bool]:
    """Name the options of torch.nn.RNN that make a case's network, its dtype and its sizes."""
    return {
        "dtype": CODES[case.dtype],
        "nonlinearity": case.nonlinearity,
        "input_size": case.I,
        "hidden_size": case.H,
        "num_layers": case.L,
        "bias": case.bias,
        "bidirectional": case.D == 2,
        "batch_first": case.batch_first,
        "unbatched": case.unbatched,
        "steps": case.T,
        "batch": case.N,
    }


def to_caller(name: str, array: Floats, layout: Layout) -> Floats:
    """Bring an array of the reference's axes to those of a caller."""
    name = name.removeprefix(GRAD)
    if name in STEPS_NAMES:
        return np.asarray(layout.from_steps(array))
    return np.asarray(layout.from_rows(array)) if name in ROWS_NAMES else array


def from_caller(name: str, array: Floats, layout: Layout) -> Floats:
    """Bring an array of a caller's axes to those of the reference."""
    name = name.removeprefix(GRAD)
    if name in STEPS_NAMES:
        return np.asarray(layout.to_steps(array))
    return np.asarray(layout.to_rows(array)) if name in ROWS_NAMES else array


def caller_index(element: Element, problem: Problem) -> list[int]:
    """Find where an element stands in the array that a caller sees."""
    index, layout = list(element.index), problem.layout
    if element.axes == STATES:
        t, n, d, h = index
        index = [t, n, d * problem.H + h]
    if element.axes == ROWS:
        l, d, n, h = index
        row = l * problem.D + d
        return [row, h] if layout.unbatched else [row, n, h]
    if "step" not in element.axes:
        return index
    t, n, k = index
    return [t, k] if layout.unbatched else [n, t, k] if layout.batch_first else [t, n, k]
