"""Laws that hold between two runs of one subject, whatever values each run returns.

Each of the two results is within its bound of the same exact result. So the two differ by at
most the sum of both bounds. Where a law allows it, both runs call the same module: then a
state, a buffer or a cached result that the module keeps between calls breaks the law.
"""

from dataclasses import replace

import numpy as np

from rnn_ref.cases.case import LAYOUTS, Case
from rnn_ref.cases.problem import Problem
from rnn_ref.cases.selection import DEEP
from rnn_ref.judging.comparison import Comparison, compare_results
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Run, Subject

holds_for = in_group("laws")


@holds_for(
    promises=("rnn.bidirectional", "rnn.directions", "rnn.splitting"),
    num_layers=(1,),
    directions=(2,),
)
def test_reverse_direction_equals_forward_on_flipped_input(
    case: Case, subject: Subject
) -> list[Comparison]:
    """The reverse direction gives what a forward one gives on flipped input, flipped back."""
    problem = subject.problem(case)
    both = subject.run(problem)
    reverse = replace(
        problem,
        parameters={
            name.removesuffix("_reverse"): array
            for name, array in problem.parameters.items()
            if name.endswith("_reverse")
        },
        input=problem.input[::-1],
        h_0=None if problem.h_0 is None else problem.h_0[1:],
        D=1,
    )
    forward = subject.run(reverse)
    second_half = Run(both.output[::-1, :, problem.H :], both.h_n[1:], {})
    return same(reverse, second_half, forward)


@holds_for(promises=("rnn.num_layers",), num_layers=DEEP)
def test_a_stack_equals_its_layers_composed(case: Case, subject: Subject) -> list[Comparison]:
    """A deep network gives what its layers give, run one by one on the output of the one below."""
    problem = subject.problem(case)
    stack, below, h_n = subject.run(problem), problem.input, []
    for l in range(problem.L):
        layer = subject.run(problem.layer(l, below))
        below = layer.output
        h_n.append(layer.h_n)
    return same(problem, stack, Run(below, np.concatenate(h_n), {}))


@holds_for(promises=("rnn.state", "unwritten.time"), directions=(1,), needs=("h_0",))
def test_one_run_equals_two_joined_by_the_carried_state(
    case: Case, subject: Subject
) -> list[Comparison]:
    """A sequence cut in two gives the same: the first part's h_n is the second part's h_0."""
    problem = subject.problem(case)
    there_and_back = np.concatenate([problem.input, problem.input[::-1]])
    whole = replace(problem, input=there_and_back)
    module = subject.build(problem)
    at_once = subject.run(whole, module)
    first = subject.run(problem, module)
    second = subject.run(replace(problem, input=problem.input[::-1], h_0=first.h_n), module)
    joined = Run(np.concatenate([first.output, second.output]), second.h_n, {})
    return same(whole, at_once, joined)


@holds_for(promises=("unwritten.rows",), layouts=("steps", "batch_first"))
def test_a_permuted_batch_gives_the_permuted_result(
    case: Case, subject: Subject
) -> list[Comparison]:
    """The rows of a batch do not affect each other: a permuted input gives permuted results."""
    problem = subject.problem(case)
    rows = np.roll(np.arange(problem.input.shape[1]), 1)
    permuted = problem.rows(rows)
    module = subject.build(problem)
    straight = subject.run(problem, module)
    expected = Run(straight.output[:, rows], straight.h_n[:, rows], {})
    return same(permuted, subject.run(permuted, module), expected)


@holds_for(
    promises=("rnn.unbatched", "unwritten.rows"),
    layouts=("steps", "batch_first"),
    needs=("unbatched",),
)
def test_a_row_of_a_batch_equals_that_sequence_alone(
    case: Case, subject: Subject
) -> list[Comparison]:
    """The last sequence of a batch gives the same alone, as input without a batch axis."""
    problem = subject.problem(case)
    module = subject.build(problem)
    batch = subject.run(problem, module)
    alone = replace(problem.rows(np.array([-1])), layout=LAYOUTS["unbatched"])
    row = Run(batch.output[:, -1:], batch.h_n[:, -1:], {})
    return same(alone, subject.run(alone, module), row)


@holds_for(promises=("rnn.batch_first",), layouts=("batch_first",))
def test_batch_first_is_a_transposition(case: Case, subject: Subject) -> list[Comparison]:
    """batch_first swaps the first two axes of input and output, and changes nothing else."""
    problem = subject.problem(case)
    steps_first = replace(problem, layout=LAYOUTS["steps"])
    return same(problem, subject.run(problem), subject.run(steps_first))


@holds_for(promises=("rnn.zeros",), initial_states=(False,), needs=("h_0",))
def test_no_h_0_is_a_zero_h_0(case: Case, subject: Subject) -> list[Comparison]:
    """An initial state that is not given is zero."""
    problem = subject.problem(case)
    zero = replace(problem, h_0=np.zeros(problem.h_n_shape, problem.input.dtype))
    module = subject.build(problem)
    return same(problem, subject.run(problem, module), subject.run(zero, module))


@holds_for(promises=("unwritten.time",), directions=(1,))
def test_later_input_leaves_earlier_output_alone(case: Case, subject: Subject) -> list[Comparison]:
    """The forward direction does not look ahead: output up to a step depends on no later input."""
    problem = subject.problem(case)
    T = len(problem.input)
    module = subject.build(problem)
    runs = [
        subject.run(replace(problem, input=np.concatenate([problem.input, later])), module)
        for later in (problem.input[::-1], -problem.input)
    ]
    earlier = [Run(run.output[:T], subject.run(problem, module).h_n, {}) for run in runs]
    return same(problem, *earlier)


@holds_for(promises=("rnn.signature",), needs=("positional",))
def test_options_by_position_equal_options_by_name(
    case: Case, subject: Subject
) -> list[Comparison]:
    """The constructor takes nn.RNN's options in nn.RNN's order."""
    problem = subject.problem(case)
    positional = subject.run(problem, subject.build(problem, positional=True))
    return same(problem, positional, subject.run(problem))


def same(problem: Problem, one: Run, other: Run) -> list[Comparison]:
    """Judge one run by the other; the problem's bounds must hold for both."""
    return compare_results(problem, *one.results, Oracle(problem).near(*other.results))
