"""The 16-bit dtypes, at layers so wide that a sum kept in 16 bits stops growing."""

from rnn_ref.arithmetic.dtypes import LOW
from rnn_ref.cases.case import Case
from rnn_ref.judging.comparison import Comparison, compare_steps, same_bits
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject, visible_states
from rnn_ref.reference import final

holds_for = in_group("halves")


@holds_for(
    promises=("rnn.equation", "rnn.h_n", "module.to"),
    dtypes=LOW,
    weights=("one-sided", "one-sided", "torch"),
    inputs=("normal",),
    num_layers=(1,),
    directions=(1,),
    only_far=True,
    far=("H", "I"),
)
def test_wide_sums_in_16_bits_round_once(case: Case, subject: Subject) -> list[Comparison]:
    """Sums of 16-bit products are added up in float32, and states and h_n are of the dtype."""
    problem = subject.problem(case)
    run, oracle = subject.run(problem), Oracle(problem)
    visible = visible_states(subject, problem, run)
    steps = compare_steps(problem, visible, oracle.steps(oracle.returned_or_bounded(visible)))
    ended, last = final([run.output], problem.D), run.h_n[-problem.D :]
    axes = ("direction", "row", "unit")
    return [*steps, same_bits("h_n of the last layer", axes, last, ended, problem.rounding)]
