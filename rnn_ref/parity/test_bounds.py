"""Every number that the subject returns, against the reference, within what rounding permits."""

from collections.abc import Sequence

from rnn_ref.bounded import Bounded
from rnn_ref.case import Case, Floats, Problem
from rnn_ref.examination import holds_for
from rnn_ref.judge import Comparison, compare_gradients, compare_results, compare_states
from rnn_ref.oracle import Oracle
from rnn_ref.subject import Subject


@holds_for(structures=True)
def test_every_step_obeys_the_recurrence(case: Case, subject: Subject) -> list[Comparison]:
    """Every state is one step of the equation from the states that the subject itself returned.

    Promise: rnn.equation, rnn.state, rnn.relu, rnn.bias, rnn.input_size, rnn.hidden_size,
    rnn.num_layers, rnn.bidirectional.
    """
    problem = case.problem()
    oracle = Oracle(problem)
    shown = subject.shown_states(problem, subject.run(problem))
    return compare_steps(problem, shown, oracle.steps(oracle.own(shown)))


@holds_for(structures=True)
def test_output_and_h_n_are_within_their_bounds(case: Case, subject: Subject) -> list[Comparison]:
    """output and h_n are those of the equations, up to the rounding of the whole computation.

    Promise: rnn.equation, rnn.equivalent, rnn.output, rnn.h_n, rnn.hx.
    """
    problem = case.problem()
    run, oracle = subject.run(problem), Oracle(problem)
    return compare_results(problem, run.output, run.h_n, (oracle.output, oracle.h_n))


@holds_for(structures=True, needs=("gradients",))
def test_gradients_follow_from_the_states(case: Case, subject: Subject) -> list[Comparison]:
    """All gradients are the chain rule's, through the states that the subject itself returned.

    Promise: backward.chain_rule.
    """
    problem = case.problem()
    run, oracle = subject.run(problem, gradients=True), Oracle(problem)
    shown = subject.shown_states(problem, run)
    own = oracle.own(shown)
    steps = oracle.steps(own)
    gradients = oracle.gradients(oracle.behind(own, steps))
    return [
        *compare_steps(problem, shown, steps),
        *compare_gradients(problem, run.gradients, gradients),
    ]


@holds_for(structures=True, needs=("gradients",))
def test_gradients_are_within_their_bounds(case: Case, subject: Subject) -> list[Comparison]:
    """All gradients are those of the equations, up to the rounding of the whole computation.

    Promise: backward.chain_rule, backward.vector.
    """
    problem = case.problem()
    run = subject.run(problem, gradients=True)
    return compare_gradients(problem, run.gradients, Oracle(problem).gradients())


def compare_steps(
    problem: Problem, shown: Sequence[Floats | None], steps: Sequence[Bounded]
) -> list[Comparison]:
    """Hold the states of every layer that shows them to the step that leads to each."""
    return [
        compare_states("output", problem, l, y, stepped)
        for l, (y, stepped) in enumerate(zip(shown, steps, strict=True))
        if y is not None
    ]
