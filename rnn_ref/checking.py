"""Is this rounding, or a bug? Results that came from anywhere, judged by the bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rnn_ref.bounded import ROUNDING
from rnn_ref.case import Problem
from rnn_ref.functional import prepare
from rnn_ref.judge import Comparison, compare_rows, compare_states, verdict
from rnn_ref.oracle import Oracle
from rnn_ref.parameters import require
from rnn_ref.reference import Array


@dataclass(frozen=True)
class Check:
    """What was found; `str` says it in words."""

    comparisons: Sequence[Comparison]

    @property
    def conforms(self) -> bool:
        """Whether every element is within its bound."""
        return not any(comparison.over for comparison in self.comparisons)

    @property
    def ratio(self) -> float:
        """The worst error in units of its bound."""
        return max(comparison.ratio for comparison in self.comparisons)

    def __str__(self) -> str:
        elements = sum(comparison.elements for comparison in self.comparisons)
        conforms = f"conforms: {elements} elements, worst error {self.ratio:.2f} of its bound"
        return verdict(self.comparisons) or conforms


def check(
    output: Array,
    h_n: Array | None,
    input: Array,
    parameters: Mapping[str, Array],
    h_0: Array | None = None,
    *,
    nonlinearity: str = "tanh",
    batch_first: bool = False,
) -> Check:
    """Hold an output, and an h_n unless it is None, to what `rnn` of the arguments must give.

    Shapes are as for `rnn`; dtypes float16, float32 or float64, whose rounding model is
    the bound's. The states of a single layer are held to the step residual, all else to
    the end-to-end bound. Raises what `rnn` raises, and TypeError for another dtype.
    """
    network, layout, x, start, _ = prepare(
        input, parameters, h_0, nonlinearity=nonlinearity, batch_first=batch_first
    )
    if input.dtype.name not in ROUNDING:
        raise TypeError(f"input: expected one of {', '.join(ROUNDING)}, came {input.dtype}")
    steps = np.empty((*x.shape[:2], network.D * network.H))
    require("output", output, layout.from_steps(steps).shape, input.dtype, "input")
    y = layout.to_steps(output)
    problem = Problem(
        parameters=dict(parameters),
        input=x,
        h_0=start,
        grad_output=None,
        grad_h_n=None,
        nonlinearity=nonlinearity,
        dtype=input.dtype.name,
        L=network.L,
        D=network.D,
        bias=network.bias,
        layout=layout,
    )
    oracle = Oracle(problem)
    stepped = oracle.steps(oracle.own([y]))[0] if network.L == 1 else oracle.output
    found = [compare_states("output", problem, network.L - 1, y, stepped)]
    if h_n is not None:
        require("h_n", h_n, layout.from_rows(start).shape, input.dtype, "input")
        tanh = nonlinearity == "tanh"
        found += [compare_rows("h_n", problem, layout.to_rows(h_n), oracle.h_n, tanh=tanh)]
    return Check(found)
