"""The set-up: if this fails, suspect the wiring between suite and subject, not the numbers."""

from rnn_ref.cases.case import Case
from rnn_ref.judging.comparison import Comparison
from rnn_ref.judging.facts import has_parameters
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject

holds_for = in_group("setup")


@holds_for(
    promises=("module.load", "module.keys"),
    setup=True,
    at_most=20,
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
    """The module takes weights by torch's names, to the bit, and returns (output, h_n)."""
    problem = subject.problem(case)
    module = subject.build(problem)
    subject.run(problem, module)
    return has_parameters(subject, module, problem, "after a call")
