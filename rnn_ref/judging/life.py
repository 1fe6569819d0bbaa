"""A module lives through a history, and whatever comes out of each step is judged.

The reference has no state, so it is the model of every history: a call gives what the
reference gives for the weights of that moment, and backward what it gives for the weights
with which the call was made. Nothing that a step returned, or was handed, may change later.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.bridge import to_array
from rnn_ref.cases.case import Case
from rnn_ref.cases.history import DROPOUT, words_of
from rnn_ref.cases.problem import Problem
from rnn_ref.functional import padded, side_by_side
from rnn_ref.judging.comparison import Comparison, compare_gradients, counted
from rnn_ref.judging.failures import Fact, SubjectFault, require
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Subject

Tensors = dict[str, torch.Tensor]

MOST = {"L": 2, "T": 3, "N": 3, "I": 16, "H": 16}
"""How large the networks of histories are at most: a history has many calls."""


class OfRounded(Oracle):
    """The reference's answers where arguments and weights are first rounded to the dtype."""

    def known(self, array: Floats) -> Any:
        """Wrap an array as numbers that one rounding brought to the rounding model's dtype."""
        r = self.rounding
        return Bounded(array, np.abs(array) * r.u + r.underflow, rounding=r, whole=False)


@dataclass
class Call:
    """A call that was made: what it was given, what it returned, what the reference says of it.

    `tensors` are those that get gradients from it, by name: parameters, and arguments of its
    own. `parent` is the call whose h_n, attached, was its h_0.
    """

    number: int
    problem: Problem
    lengths: list[int] | None
    oracles: list[Oracle]
    tensors: Tensors = field(default_factory=dict)
    results: tuple[torch.Tensor, ...] = ()
    parent: int | None = None

    def pieces(self) -> Iterator[tuple[slice, int, Oracle]]:
        """Yield the rows that run together, for how many steps, and their oracle."""
        T, N, _ = self.problem.input.shape
        if self.lengths is None:
            yield slice(0, N), T, self.oracles[0]
            return
        for n, (length, oracle) in enumerate(zip(self.lengths, self.oracles, strict=True)):
            yield slice(n, n + 1), length, oracle

    def expected(self) -> tuple[Bounded, Bounded]:
        """Compute output (T, N, D*H), 0 beyond a packed sequence's end, and h_n (L*D, N, H)."""
        T = len(self.problem.input)
        outputs = [padded(oracle.output, T) for oracle in self.oracles]
        return side_by_side(outputs), side_by_side([oracle.h_n for oracle in self.oracles])

    def differentiate(self, read: bool, dh_n: Bounded | None) -> dict[str, Bounded]:
        """Compute gradients by name, from the loss if it reads this call, and from dh_n besides."""
        p, known = self.problem, self.oracles[0].known
        dy = np.zeros(p.output_shape) if p.grad_output is None or not read else p.grad_output
        own = np.zeros(p.h_n_shape) if p.grad_h_n is None or not read else p.grad_h_n
        take = self.oracles[0].for_gradients
        dh = take(known(own)) if dh_n is None else (take(known(own)) + dh_n).stored
        upstream = take(known(dy)), dh
        found = [
            oracle.differentiate(upstream[0][:steps, rows], upstream[1][:, rows])
            for rows, steps, oracle in self.pieces()
        ]
        gradients = {name: reduce(add, [each[name] for each in found]) for name in p.parameters}
        gradients["input"] = side_by_side([padded(each["input"], len(p.input)) for each in found])
        gradients["h_0"] = side_by_side([each["h_0"] for each in found])
        return gradients


@dataclass
class Due:
    """What the .grad of a tensor must be: the sum of what each backward adds to it."""

    name: str
    tensor: torch.Tensor
    problem: Problem
    added: list[Bounded] = field(default_factory=list)

    def compared(self) -> list[Comparison]:
        """Judge the .grad; one that is not there counts as zero."""
        grad, layout = self.tensor.grad, self.problem.layout
        got = np.zeros(self.tensor.shape) if grad is None else to_array(grad)
        if self.name == "input":
            got = layout.to_steps(got)
        elif self.name == "h_0":
            got = layout.to_rows(got)
        if len(self.added) == 1:
            expected = self.added[0]
        elif self.added:
            expected = summed(self.added)
        else:
            expected = Bounded(np.zeros(got.shape), rounding=self.problem.rounding)
        return compare_gradients(self.problem, {self.name: got}, {self.name: expected})


def summed(arrays: Sequence[Any]) -> Bounded:
    """Add arrays of stored numbers up, in any order."""
    total: Bounded = np.stack(arrays).sum(axis=0).stored
    return total


class Life:
    """A module on its way through a history.

    `problem` has the weights, the dtype and the rounding model of the moment; `due` the
    gradients that are due, by the tensor's id; `watched` what may not change, with its bits.
    """

    def __init__(self, case: Case, subject: Subject) -> None:
        small = {axis: min(getattr(case, axis), most) for axis, most in MOST.items()}
        self.case, self.subject = replace(case, history="", **small), subject
        self.dropout = float(DROPOUT in words_of(case.history) and case.L > 1)
        self.problem = subject.problem(self.case)
        self.doing = "making the module"
        self.training = True
        self.drawn = 0
        self.calls: list[Call] = []
        self.due: dict[int, Due] = {}
        self.watched: list[tuple[str, torch.Tensor, torch.Tensor]] = []
        self.handles: list[Any] = []
        self.hooks_run: list[str] = []
        self.module: Any = self.made()

    def made(self) -> torch.nn.Module:
        """Make a module with the weights of the moment, in the mode of the moment."""
        module = self.subject.build(self.problem, dropout=self.dropout)
        return module if self.training else module.eval()

    def drawn_case(self, **fields: Any) -> Case:
        """Make a case with new numbers, in the dtype of the moment."""
        self.drawn += 1
        seed = (self.case.seed + self.drawn) % 2**64
        return replace(self.case, seed=seed, dtype=self.problem.dtype, **fields)

    def drawn_problem(self, **fields: Any) -> Problem:
        """Make a problem with new numbers, for the weights of the moment."""
        return self.subject.problem(self.drawn_case(**fields), self.problem.parameters)

    def with_weights(self, parameters: dict[str, Floats]) -> None:
        """Go on with other weights."""
        self.problem = replace(self.problem, parameters=parameters)

    def drawn_weights(self) -> dict[str, Floats]:
        """Draw other weights, and go on with them."""
        self.with_weights(self.subject.problem(self.drawn_case()).parameters)
        return self.problem.parameters

    def named(self) -> Tensors:
        """Read the parameters by name."""
        with self.subject.calling(f"named_parameters at {self.doing}"):
            return dict(self.module.named_parameters())

    def watch(self, name: str, tensor: torch.Tensor) -> None:
        """Let a tensor never change from now on."""
        with torch.no_grad():
            self.watched.append((name, tensor.detach(), tensor.detach().clone()))

    def unchanged(self) -> Comparison:
        """Raise SubjectFault for the first watched tensor that has changed; else count them."""
        for name, tensor, before in self.watched:
            if torch.equal(tensor, before):
                continue
            now, then = to_array(tensor), to_array(before)
            changed = int((~((now == then) | (np.isnan(now) & np.isnan(then)))).sum())
            if changed:
                got = f"{changed} of {then.size} elements changed"
                raise SubjectFault(Fact(f"{name} after {self.doing}", got, "as it was"))
        return counted(f"tensors that stay as they are after {self.doing}", len(self.watched))

    def forget_gradients(self) -> None:
        """Let no gradients be due for the parameters of the module of the moment."""
        for tensor in self.named().values():
            self.due.pop(id(tensor), None)


@contextmanager
def no_warnings(doing: str) -> Iterator[None]:
    """Raise SubjectFault for a warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        what = f"{warning.category.__name__}: {warning.message}"
        require(f"warnings at {doing}", " ".join(what.split())[:200], "none")
