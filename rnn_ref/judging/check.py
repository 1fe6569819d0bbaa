"""Tell rounding from a bug: judge results from anywhere by their bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.cases.problem import Problem
from rnn_ref.functional import prepare
from rnn_ref.judging.comparison import Comparison, compare_rows, compare_states
from rnn_ref.judging.failures import about_comparisons
from rnn_ref.judging.oracle import Oracle
from rnn_ref.parameters import Layout, Network, require
from rnn_ref.reference import Array


@dataclass(frozen=True)
class Check:
    """The verdict on an output and an h_n; `str` says it in words."""

    comparisons: Sequence[Comparison]

    @property
    def conforms(self) -> bool:
        """Whether every element is within its bound."""
        return not any(comparison.over for comparison in self.comparisons)

    @property
    def ratio(self) -> float:
        """The worst ratio, error / bound."""
        return max(comparison.ratio for comparison in self.comparisons)

    def __str__(self) -> str:
        elements = sum(comparison.elements for comparison in self.comparisons)
        conforms = f"conforms: {elements} elements, worst error {self.ratio:.2f} of its bound"
        return about_comparisons(self.comparisons) or conforms


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
    """Judge an output, and an h_n unless it is None, by what `rnn` gives for the same arguments.

    Shapes are as for `rnn`. The dtype is float16, float32 or float64; the bound follows its
    rounding model. The states of a single layer are judged step by step, all else by the
    end-to-end bound. Raises what `rnn` raises, and TypeError for another dtype.
    """
    network, layout, x, start, _ = prepare(
        input, parameters, h_0, nonlinearity=nonlinearity, batch_first=batch_first
    )
    if input.dtype.name not in ROUNDING:
        raise TypeError(f"input: expected one of {', '.join(ROUNDING)}, got {input.dtype}")
    problem = posed(network, layout, x, start, parameters, nonlinearity)
    oracle = Oracle(problem)
    require(
        "output", output, layout.from_steps(np.empty(problem.output_shape)).shape,
        input.dtype, "input",
    )  # fmt: skip
    y = layout.to_steps(output)
    single = oracle.steps(oracle.returned_or_bounded([y])) if network.L == 1 else oracle.states
    comparisons = [compare_states("output", problem, network.L - 1, y, single[-1])]
    if h_n is not None:
        require("h_n", h_n, layout.from_rows(start).shape, input.dtype, "input")
        tanh = nonlinearity == "tanh"
        comparisons += [compare_rows("h_n", problem, layout.to_rows(h_n), oracle.h_n, tanh=tanh)]
    return Check(comparisons)


def posed(
    network: Network,
    layout: Layout,
    x: Array,
    h_0: Array,
    parameters: Mapping[str, Array],
    nonlinearity: str,
) -> Problem:
    """Make a problem, without upstream gradients, from arguments that `prepare` laid out."""
    return Problem(
        parameters=dict(parameters),
        input=x,
        h_0=h_0,
        grad_output=None,
        grad_h_n=None,
        nonlinearity=nonlinearity,
        dtype=x.dtype.name,
        rounding=ROUNDING[x.dtype.name],
        L=network.L,
        D=network.D,
        bias=network.bias,
        layout=layout,
    )
