"""The set-up: if this fails, suspect the wiring between suite and subject, not the numbers."""

from rnn_ref.bounded import ROUNDING, Bounded
from rnn_ref.bridge import parameters_of
from rnn_ref.case import Case
from rnn_ref.examination import holds_for
from rnn_ref.judge import Comparison, compare
from rnn_ref.subject import Subject


@holds_for(
    nonlinearities=("tanh",),
    num_layers=(1,),
    directions=(1,),
    biases=(True,),
    layouts=("steps",),
    initial_states=(False,),
)
def test_setup_weights_arrive_and_two_tensors_come_back(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Set-up: the module takes weights by torch's names, to the bit, and returns (output, h_n).

    Promise: module.load, module.keys.
    """
    problem = case.problem()
    module = subject.build(problem)
    subject.run(problem, module)
    found = parameters_of(module)
    return [
        compare(
            name,
            ("unit", "input")[: array.ndim],
            found[name],
            Bounded(array, rounding=ROUNDING[case.dtype]),
        )
        for name, array in problem.parameters.items()
    ]
