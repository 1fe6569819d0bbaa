"""The subject's own tanh: the bounds of all other properties take what is measured here."""

from rnn_ref.cases.case import Case
from rnn_ref.judging.comparison import Comparison
from rnn_ref.judging.failures import Fact, SubjectFault
from rnn_ref.judging.measured import ROWS, UNITS, accuracy_of_tanh
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject

holds_for = in_group("values")


@holds_for(
    promises=("rnn.equation",),
    judges_tanh=True,
    at_most=20,
    far=(),
    nonlinearities=("tanh",),
    needs=("tanh",),
    num_layers=(1,),
    directions=(1,),
    layouts=("steps",),
    initial_states=(False,),
    weights=("torch",),
    inputs=("normal",),
    losses=("both",),
)
def test_tanh_is_accurate_over_its_whole_range(case: Case, subject: Subject) -> list[Comparison]:
    """tanh is off by at most 4 u (`--tanh`), at both ends, where it bends, and between."""
    tanh = accuracy_of_tanh(subject, case)
    if tanh.units > subject.tanh:
        digits = subject.rounding(case.dtype).digits
        raise SubjectFault(
            Fact(
                f"tanh of {tanh.argument:.{digits}g}",
                f"{tanh.got:.{digits}g}, off by {tanh.units:.3g} u ({tanh.ulps:.3g} ULP)",
                f"{tanh.expected:.{digits}g} within {subject.tanh:g} u (--tanh)",
            )
        )
    return [Comparison("tanh", 3 * ROWS * UNITS, ratio=tanh.units / subject.tanh)]
