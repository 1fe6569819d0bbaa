"""Judge what a program wrote for a vector: is it there, is it of the form, is it within bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.diagnosis.trial import Trial
from rnn_ref.judging.comparison import (
    GRADIENT,
    Comparison,
    compare_gradients,
    compare_rows,
    compare_states,
    compare_steps,
)
from rnn_ref.judging.facts import under
from rnn_ref.judging.failures import Fact, Failure, Kind
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Run
from rnn_ref.vectors import safetensors
from rnn_ref.vectors.safetensors import CODES
from rnn_ref.vectors.vector import GRAD, Vector, caller_index, from_caller, to_caller

NOTE = "from the states in output"
"""How results are judged that are within their end-to-end bounds."""

RESULTS = "a file of safetensors with results"


@dataclass
class Judged:
    """A vector, the results that a program wrote for it, and what is wrong of them.

    `got` has those results that are of the right form, with the reference's axes. `facts` say
    what is not there or of another form. `comparisons` are of what is beside the bounds in the
    vector's file; `closer` judges what is within these by the states that the program wrote.
    """

    vector: Vector
    got: dict[str, Floats]
    facts: Sequence[Fact]
    comparisons: Sequence[Comparison] = ()
    closer: Sequence[Comparison] = ()
    explained: dict[str, Any] = field(default_factory=dict)

    @property
    def over(self) -> list[Comparison]:
        """The comparisons of arrays in which something is over its bound."""
        return [each for each in (*self.comparisons, *self.closer) if each.over]

    @property
    def conforms(self) -> bool:
        """Whether all results are there and within their bounds."""
        return not self.facts and not self.over

    @cached_property
    def trials(self) -> dict[str, Trial]:
        """What hypotheses may explain: "results" and "gradients", where all of them are there."""
        if not {"output", "h_n"} <= self.got.keys():
            return {}
        p, oracle = self.vector.problem, Oracle(self.vector.problem)
        gradients = {n.removeprefix(GRAD): a for n, a in self.got.items() if n.startswith(GRAD)}
        run = Run(self.got["output"], self.got["h_n"], gradients)
        whole = gradients and self.got.keys() == self.vector.expected.keys()
        kinds = ("results", "gradients") if whole else ("results",)
        return {of: Trial(oracle, run, of, p.parameters) for of in kinds}

    def over_of(self, of: str) -> list[Comparison]:
        """Take the comparisons of results, or of gradients, that have something over its bound."""
        return [each for each in self.over if is_gradient(each) == (of == "gradients")]

    def failures(self) -> list[Failure]:
        """Say what is wrong as failures: each fact, then the numbers."""
        line = str(self.vector.case)
        failures = [Failure(Kind.FACT, "", line, "", fact=fact) for fact in self.facts]
        if self.over:
            p = self.vector.problem
            units = p.rounding.tanh if p.nonlinearity == "tanh" else 0.0
            failures.append(Failure(Kind.NUMBERS, "", line, "", comparisons=self.over, tanh=units))
        return failures

    def place(self) -> str:
        """Name the first wrong element of the first wrong array as a caller indexes it."""
        for comparison in self.over:
            if comparison.first:
                index = caller_index(comparison.first, self.vector.problem)
                return f"{self.vector.file}: {in_file(comparison.name)}{index}"
        return self.vector.file


def in_file(name: str) -> str:
    """Name the array that a comparison is about as it is named in a file."""
    if name.startswith(GRADIENT):
        return GRAD + name.removeprefix(GRADIENT)
    return name.partition(" ")[0]


def is_gradient(comparison: Comparison) -> bool:
    """Tell whether a comparison is of a gradient."""
    return comparison.name.startswith(GRADIENT)


def judge(vector: Vector, results: Path) -> Judged:
    """Judge the results of a vector, in the file of its name in a folder."""
    try:
        arrays, _ = safetensors.read(results / vector.file)
    except FileNotFoundError:
        return Judged(vector, {}, [Fact(vector.file, "no such file", RESULTS)])
    except OSError as error:
        how = f"a file that can't be read ({error.strerror})"
        return Judged(vector, {}, [Fact(vector.file, how, RESULTS)])
    except safetensors.Unreadable as error:
        return Judged(vector, {}, [Fact(vector.file, f"a file that {error}", RESULTS)])
    got, facts = formed(vector, arrays)
    judged = Judged(vector, got, facts, compared(vector, got))
    if judged.conforms:
        judged.closer = compared_closer(vector, got)
    return judged


def formed(
    vector: Vector, arrays: Mapping[str, tuple[str, Floats]]
) -> tuple[dict[str, Floats], list[Fact]]:
    """Take the results that are of the right dtype and shape; say of the others what is wrong."""
    got, facts, layout = {}, [], vector.problem.layout
    unknown = [name for name in arrays if name not in vector.expected]
    for name, bounded in vector.expected.items():
        if name not in arrays:
            other = f" (but {', '.join(unknown[:3])})" if unknown else ""
            facts.append(Fact(name, f"no such array{other}", "an array of results"))
            continue
        dtype, array = arrays[name]
        shape = to_caller(name, bounded.value, layout).shape
        if array.shape != shape:
            facts.append(Fact(f"shape of {name}", str([*array.shape]), str([*shape])))
        elif dtype != vector.case.dtype:
            facts.append(Fact(f"dtype of {name}", CODES[dtype], CODES[vector.case.dtype]))
        else:
            got[name] = from_caller(name, array, layout)
    return got, facts


def compared(vector: Vector, got: Mapping[str, Floats]) -> list[Comparison]:
    """Judge results by the bounds in the vector's file."""
    p, comparisons = vector.problem, []
    tanh = p.nonlinearity == "tanh"
    if "output" in got:
        expected = vector.expected["output"]
        comparisons.append(compare_states("output", p, p.L - 1, got["output"], expected))
    if "h_n" in got:
        expected = vector.expected["h_n"]
        comparisons.append(compare_rows("h_n", p, got["h_n"], expected, tanh=tanh))
    here = {n.removeprefix(GRAD): b for n, b in vector.expected.items() if n in got}
    by_name = {n: b for n, b in here.items() if GRAD + n in got}
    return comparisons + compare_gradients(p, {n: got[GRAD + n] for n in by_name}, by_name)


def compared_closer(vector: Vector, got: Mapping[str, Floats]) -> list[Comparison]:
    """Judge each step of the last layer, and all gradients, from the states in output.

    These bounds do not grow with the number of steps.
    """
    p, oracle = vector.problem, Oracle(vector.problem)
    visible = [*[None] * (p.L - 1), got["output"]]
    states = oracle.returned_or_bounded(visible)
    stepped = oracle.steps(states)
    comparisons = compare_steps(p, visible, stepped)
    gradients = {n.removeprefix(GRAD): a for n, a in got.items() if n.startswith(GRAD)}
    if gradients:
        expected = oracle.gradients(oracle.states_for_backward(states, stepped))
        comparisons += compare_gradients(p, gradients, expected)
    return under(NOTE, comparisons)
