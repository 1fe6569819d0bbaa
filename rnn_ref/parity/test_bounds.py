"""Every number that the subject returns, against the reference, within what rounding permits."""

from rnn_ref.cases.case import Case
from rnn_ref.judging.comparison import (
    Comparison,
    compare_gradients,
    compare_results,
    compare_steps,
)
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject, visible_states

holds_for = in_group("bounds")


@holds_for(
    promises=(
        "rnn.equation", "rnn.state", "rnn.relu", "rnn.bias", "rnn.input_size",
        "rnn.hidden_size", "rnn.num_layers", "rnn.bidirectional",
    ),
    structures=True,
)  # fmt: skip
def test_every_step_obeys_the_recurrence(case: Case, subject: Subject) -> list[Comparison]:
    """Every state is one step of the equation from the states that the subject itself returned."""
    problem = subject.problem(case)
    oracle = Oracle(problem)
    visible = visible_states(subject, problem, subject.run(problem))
    return compare_steps(problem, visible, oracle.steps(oracle.returned_or_bounded(visible)))


@holds_for(
    promises=("rnn.equation", "rnn.equivalent", "rnn.output", "rnn.h_n", "rnn.hx"),
    structures=True,
)
def test_output_and_h_n_are_within_their_bounds(case: Case, subject: Subject) -> list[Comparison]:
    """output and h_n are those of the equations, up to the rounding of the whole computation."""
    problem = subject.problem(case)
    return compare_results(problem, *subject.run(problem).results, Oracle(problem).results)


@holds_for(promises=("backward.chain_rule",), structures=True, needs=("gradients",))
def test_gradients_follow_from_the_states(case: Case, subject: Subject) -> list[Comparison]:
    """All gradients are the chain rule's, through the states that the subject itself returned."""
    problem = subject.problem(case)
    run, oracle = subject.run(problem, gradients=True), Oracle(problem)
    visible = visible_states(subject, problem, run)
    states = oracle.returned_or_bounded(visible)
    stepped = oracle.steps(states)
    gradients = oracle.gradients(oracle.states_for_backward(states, stepped))
    return [
        *compare_steps(problem, visible, stepped),
        *compare_gradients(problem, run.gradients, gradients),
    ]


@holds_for(
    promises=("backward.chain_rule", "backward.vector"), structures=True, needs=("gradients",)
)
def test_gradients_are_within_their_bounds(case: Case, subject: Subject) -> list[Comparison]:
    """All gradients are those of the equations, up to the rounding of the whole computation."""
    problem = subject.problem(case)
    run = subject.run(problem, gradients=True)
    return compare_gradients(problem, run.gradients, Oracle(problem).gradients())
