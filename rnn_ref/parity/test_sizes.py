"""Sizes far beyond those of all other cases: one of them, or N*T, while the others are tiny."""

from typing import Any

from rnn_ref.cases.case import Case
from rnn_ref.cases.selection import FAR_AXES
from rnn_ref.judging.comparison import Comparison, compare_gradients, compare_steps
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject, visible_states

holds_for = in_group("sizes")

FAR: dict[str, Any] = {"only_far": True, "weights": ("torch", "torch", "chaotic", "one-sided")}
"""The domain of networks that are far out, with weights that carry a state on."""


@holds_for(
    promises=("rnn.equation", "rnn.input_size", "rnn.hidden_size", "rnn.num_layers"),
    **FAR,
    far=(*FAR_AXES, "W"),
)
def test_no_size_is_too_large_for_a_step(case: Case, subject: Subject) -> list[Comparison]:
    """With T or H to 1,025, N or I to 4,097, 12 layers, N*T past 65,535: each step is right."""
    problem = subject.problem(case)
    run, oracle = subject.run(problem), Oracle(problem)
    visible = visible_states(subject, problem, run)
    return compare_steps(problem, visible, oracle.steps(oracle.returned_or_bounded(visible)))


@holds_for(promises=("backward.chain_rule",), **FAR, needs=("gradients",))
def test_no_size_is_too_large_for_gradients(case: Case, subject: Subject) -> list[Comparison]:
    """With T to 1,025, N or I to 4,097, H to 513, N*T past 65,535: they are the chain rule's."""
    problem = subject.problem(case)
    run, oracle = subject.run(problem, gradients=True), Oracle(problem)
    visible = visible_states(subject, problem, run)
    states = oracle.returned_or_bounded(visible)
    stepped = oracle.steps(states)
    gradients = oracle.gradients(oracle.states_for_backward(states, stepped))
    return compare_gradients(problem, run.gradients, gradients)
