"""Special values from above: one NaN or infinity in the gradient of output or of h_n.

What must not be finite, and what must be untouched, follows from the paths that lead from
that element to a gradient. A gradient's element is

- reached if on some path every weight, state, input and slope is surely not zero: a sum
  with a term that is not finite is not finite, in any order;
- out of reach if no path leads there at all: rows of other sequences, and steps that come
  after it in reading order; there the ordinary bounds hold;
- open otherwise: IEEE 754 makes NaN of 0 times infinity, but a program that selects, as
  torch's relu does, or that leaves out products with 0, has no such product.

Paths are counted by the reference's own backward pass, on arrays of no negative number.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.cases.random import RandomStream
from rnn_ref.judging.comparison import Comparison, compare_gradients
from rnn_ref.judging.facts import under
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject
from rnn_ref.parameters import read
from rnn_ref.reference import Activation, backward

holds_for = in_group("values")

SPECIAL = (np.nan, np.inf, -np.inf)
STEEP = 1e-3
"""A slope of tanh above this is no 0 in any dtype, whatever its rounding."""

Paths = dict[str, Floats]


def spoilt_from_above(problem: Problem, seed: int) -> tuple[Problem, Problem, float, str]:
    """Put a special value into one element of an upstream gradient.

    Return the problem, the problem of that element alone (1 there, 0 elsewhere), the value, and
    both in words.
    """
    which, what, where = (int(word) for word in RandomStream(seed, "upstream").words((3,)))
    both = {"grad_output": problem.grad_output, "grad_h_n": problem.grad_h_n}
    given = {name: array for name, array in both.items() if array is not None}
    name = list(given)[which % len(given)]
    array, alone = given[name].copy(), {key: np.zeros_like(a) for key, a in given.items()}
    at = tuple(map(int, np.unravel_index(where % array.size, array.shape)))
    special = SPECIAL[what % len(SPECIAL)]
    array[at], alone[name][at] = special, 1
    changes: dict[str, Any] = {name: array}
    impulse: dict[str, Any] = alone
    words = f"{special} in {name}{list(at)}"
    return replace(problem, **changes), replace(problem, **impulse), special, words


def paths(impulse: Problem, oracle: Oracle, *, surely: bool) -> Paths:
    """Weigh the paths from an element to each gradient: 0 where there is none.

    With `surely`, only paths without a factor that may be 0; else all that the equations have.
    """

    def factors(array: Any) -> Any:
        there = array.astype(np.float64) != 0 if surely else np.ones(array.shape, bool)
        return there / array.shape[-1]  # sums of them are at most 1, and do not overflow

    p = impulse
    states = [surely_not_zero(y) if surely else np.ones(y.shape) for y in oracle.states]
    tanh = p.nonlinearity == "tanh"
    steep = Activation(np.tanh, lambda y: ((1 - y * y > STEEP) if tanh and surely else y > 0) * 1.0)
    dy = np.zeros(p.output_shape) if p.grad_output is None else p.grad_output.astype(np.float64)
    dh_n = np.zeros(p.h_n_shape) if p.grad_h_n is None else p.grad_h_n.astype(np.float64)
    h_0 = np.zeros(p.h_n_shape) if p.h_0 is None else p.h_0
    layers = read({name: factors(array) for name, array in p.parameters.items()}).layers
    dx, dh_0, dlayers = backward(dy, dh_n, factors(p.input), factors(h_0), layers, states, steep)
    found = oracle.network.named(dlayers) | {"input": dx}
    return found | ({} if p.h_0 is None else {"h_0": dh_0})


def surely_not_zero(y: Bounded) -> Floats:
    """Keep the magnitudes of states that are no 0 in any correct subject; 0 for the others."""
    size: Floats = np.abs(y.value)
    return np.where(size > y.stored.error, size, 0.0)


def reached_or_as_before(
    special: float, got: Floats, before: Bounded, surely: Floats, perhaps: Floats
) -> Bounded:
    """Expect what is not finite where it is reached, the ordinary bound out of reach."""
    anything = np.where(perhaps > 0, np.inf, before.stored.error)
    spoilt = np.nan if np.isnan(special) else np.where(np.isfinite(got), special, got)
    value = np.where(surely > 0, spoilt, before.value)
    return Bounded(value, np.where(surely > 0, 0.0, anything), rounding=before.rounding)


@holds_for(
    promises=("backward.chain_rule", "unwritten.special", "unwritten.rows"),
    needs=("gradients",),
    weights=("torch", "contracting", "one-sided", "sparse"),
    inputs=("normal", "integer"),
)
def test_special_gradients_go_where_the_chain_rule_sends_them(
    case: Case, subject: Subject
) -> list[Comparison]:
    """One NaN or infinity from above reaches what depends on it: no other row, no later step."""
    plain = subject.problem(case)
    problem, impulse, special, words = spoilt_from_above(plain, case.seed)
    got, oracle = subject.run(problem, gradients=True).gradients, Oracle(plain)
    surely, perhaps = (paths(impulse, oracle, surely=each) for each in (True, False))
    expected = {
        name: reached_or_as_before(special, got[name], before, surely[name], perhaps[name])
        for name, before in oracle.gradients().items()
    }
    return under(f"with {words}", compare_gradients(plain, got, expected))
