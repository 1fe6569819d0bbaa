"""What the results are like, whatever the numbers: form, exactness, and nothing else touched."""

from dataclasses import replace
from typing import Any

import numpy as np

from rnn_ref.bounded import ROUNDING, Bounded
from rnn_ref.bridge import parameters_of, to_array
from rnn_ref.case import Case, Problem
from rnn_ref.examination import holds_for
from rnn_ref.judge import (
    Comparison,
    compare,
    compare_gradients,
    compare_results,
    compare_states,
    counted,
)
from rnn_ref.oracle import Oracle
from rnn_ref.reference import final
from rnn_ref.subject import Subject

WHOLE: dict[str, Any] = {
    "nonlinearities": ("relu",),
    "weights": ("sparse", "sparse", "zero"),
    "inputs": ("integer",),
}
"""relu networks of whole numbers, which no order of summation rounds."""


@holds_for()
def test_shapes_dtypes_and_devices_are_as_documented(
    case: Case, subject: Subject
) -> list[Comparison]:
    """output and h_n have the documented shapes in every layout, the weights' dtype and device.

    Promise: rnn.input, rnn.output, rnn.h_n, rnn.batch_first.
    """
    subject.run(case.problem())  # raises a SubjectFault that says what is not
    return [counted("shape, dtype and device of output and h_n", 6)]


@holds_for()
def test_h_n_is_the_state_in_which_each_direction_ended(
    case: Case, subject: Subject
) -> list[Comparison]:
    """The last layer's h_n is in output to the bit: at the last step, in reverse at the first.

    Promise: rnn.h_n, rnn.directions, rnn.splitting.
    """
    problem = case.problem()
    run = subject.run(problem)
    ended = to_the_bit(final([run.output], problem.D), problem)
    return [compare("h_n of the last layer", ROW_AXES, run.h_n[-problem.D :], ended)]


@holds_for(**WHOLE)
def test_whole_numbers_come_out_exactly(case: Case, subject: Subject) -> list[Comparison]:
    """Where every sum is exact in any order, output and h_n are exact.

    Promise: rnn.equation, rnn.relu, unwritten.exact.
    """
    problem = case.problem()
    run, oracle = subject.run(problem), Oracle(problem)
    return compare_results(problem, run.output, run.h_n, (oracle.output, oracle.h_n))


@holds_for(**WHOLE, needs=("gradients",))
def test_whole_gradients_come_out_exactly(case: Case, subject: Subject) -> list[Comparison]:
    """Where every sum is exact in any order, so are the gradients; relu's slope at 0 is 0.

    Promise: backward.chain_rule, unwritten.exact.
    """
    problem = case.problem()
    run = subject.run(problem, gradients=True)
    return compare_gradients(problem, run.gradients, Oracle(problem).gradients())


@holds_for()
def test_a_call_changes_neither_arguments_nor_weights(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Input, h_0 and every parameter are the same, to the bit, after a call.

    Promise: unwritten.pure.
    """
    problem = case.problem()
    module, leaves = subject.build(problem), subject.leaves(problem)
    before = {name: to_array(leaf) for name, leaf in leaves.items()} | problem.parameters
    subject.forward(problem, module, leaves)
    after = {name: to_array(leaf) for name, leaf in leaves.items()} | parameters_of(module)
    return [
        compare(name, AXES[: array.ndim], after[name], to_the_bit(array, problem))
        for name, array in before.items()
    ]


@holds_for()
def test_a_later_call_owes_nothing_to_an_earlier_one(
    case: Case, subject: Subject
) -> list[Comparison]:
    """A second call, after one with other and longer input, obeys the recurrence by itself.

    Promise: unwritten.memory.
    """
    problem = case.problem()
    module = subject.build(problem)
    longer = np.concatenate([problem.input[::-1], problem.input])
    subject.run(replace(problem, input=longer), module)
    run, oracle = subject.run(problem, module), Oracle(problem)
    last = oracle.steps(oracle.own(subject.shown_states(problem, run)))[-1]
    return [compare_states("output", problem, problem.L - 1, run.output, last)]


AXES = ("axis 0", "axis 1", "axis 2")
ROW_AXES = ("direction", "row", "unit")


def to_the_bit(array: np.ndarray, problem: Problem) -> Bounded:
    """Numbers that another array must equal exactly."""
    return Bounded(array, rounding=ROUNDING[problem.dtype])
