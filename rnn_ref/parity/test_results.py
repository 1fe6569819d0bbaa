"""The results, whatever the numbers: their form, their exactness, and nothing else touched."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rnn_ref.cases.case import Case
from rnn_ref.judging.comparison import (
    Comparison,
    compare_gradients,
    compare_results,
    compare_states,
    counted,
    same_bits,
)
from rnn_ref.judging.facts import read, same_arrays, under
from rnn_ref.judging.failures import require
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject, visible_states
from rnn_ref.reference import final

holds_for = in_group("results")

WHOLE: dict[str, Any] = {
    "nonlinearities": ("relu",),
    "weights": ("sparse", "sparse", "zero"),
    "inputs": ("integer",),
}
"""relu networks of whole numbers, which no order of summation rounds."""


@holds_for(promises=("rnn.input", "rnn.output", "rnn.h_n", "rnn.batch_first"))
def test_shapes_dtypes_and_devices_are_as_documented(
    case: Case, subject: Subject
) -> list[Comparison]:
    """output and h_n have the documented shapes in every layout, the weights' dtype and device."""
    run = subject.run(subject.problem(case))  # raises a SubjectFault that says what is not
    return [counted("shape, dtype and device of output and h_n", 3 * len(run.results))]


@holds_for(promises=("rnn.h_n", "rnn.directions", "rnn.splitting"))
def test_h_n_is_the_state_in_which_each_direction_ended(
    case: Case, subject: Subject
) -> list[Comparison]:
    """The last layer's h_n is in output to the bit: at the last step, in reverse at the first."""
    problem = subject.problem(case)
    output, h_n = subject.run(problem).results
    ended = final([output], problem.D)
    axes = ("direction", "row", "unit")
    last = h_n[-problem.D :]
    return [same_bits("h_n of the last layer", axes, last, ended, problem.rounding)]


@holds_for(promises=("rnn.equation", "rnn.relu", "unwritten.exact"), **WHOLE)
def test_whole_numbers_come_out_exactly(case: Case, subject: Subject) -> list[Comparison]:
    """Where every sum is exact in any order, output and h_n are exact."""
    problem = subject.problem(case)
    return compare_results(problem, *subject.run(problem).results, Oracle(problem).results)


@holds_for(promises=("backward.chain_rule", "unwritten.exact"), **WHOLE, needs=("gradients",))
def test_whole_gradients_come_out_exactly(case: Case, subject: Subject) -> list[Comparison]:
    """Where every sum is exact in any order, so are the gradients; relu's slope at 0 is 0."""
    problem = subject.problem(case)
    run = subject.run(problem, gradients=True)
    return compare_gradients(problem, run.gradients, Oracle(problem).gradients())


CALLS = {
    "a call": (True, True),
    "a call under no_grad": (True, False),
    "a call in evaluation, under no_grad": (False, False),
}
"""Whether the module is in training, and whether gradients are recorded, by the words for it."""


@holds_for(promises=("unwritten.pure",))
def test_a_call_changes_neither_arguments_nor_weights(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Input, h_0 and every parameter are the same, to the bit, after a call, and so is the mode."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem)
    before = read(subject, problem, module, leaves)
    found = []
    for doing, (training, recorded) in CALLS.items():
        with subject.calling("train" if training else "eval"):
            module.train(training)
        with torch.set_grad_enabled(recorded):
            subject.forward(problem, module, leaves)
        require(f"training after {doing}", module.training, training)
        after = read(subject, problem, module, leaves)
        found += same_arrays(f"after {doing}", after, before, problem.rounding)
    return found


@holds_for(promises=("unwritten.memory",))
def test_a_later_call_owes_nothing_to_an_earlier_one(
    case: Case, subject: Subject
) -> list[Comparison]:
    """A call after one with other and longer input obeys the recurrence by itself.

    So it does in training and in evaluation.
    """
    problem = subject.problem(case)
    module, oracle = subject.build(problem), Oracle(problem)
    longer = replace(problem, input=np.concatenate([problem.input[::-1], problem.input]))
    found = []
    for mode in ("training", "evaluation"):
        with subject.calling("train" if mode == "training" else "eval"):
            module.train(mode == "training")
        subject.run(longer, module)
        run = subject.run(problem, module)
        visible = visible_states(subject, problem, run)
        last = oracle.steps(oracle.returned_or_bounded(visible))[-1]
        found.append(compare_states("output", problem, problem.L - 1, run.output, last))
    return [found[0], *under("in evaluation", found[1:])]
