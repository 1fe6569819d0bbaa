"""What the subject's own arithmetic is like: all other properties take it as it is measured."""

from dataclasses import replace
from functools import partial

from rnn_ref.cases.case import Case
from rnn_ref.judging.comparison import Comparison, counted
from rnn_ref.judging.failures import Fact, SubjectFault, require
from rnn_ref.judging.measuring import ROWS, UNITS, accuracy_of_tanh, lost_subnormals, relu_of_nan
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject

holds_for = partial(
    in_group("values"),
    judges_measured=True,
    far=(),
    num_layers=(1,),
    directions=(1,),
    layouts=("steps",),
    initial_states=(False,),
    weights=("torch",),
    inputs=("normal",),
    losses=("both",),
)


@holds_for(promises=("rnn.equation",), at_most=20, nonlinearities=("tanh",), needs=("tanh",))
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


@holds_for(promises=("unwritten.subnormal",), at_most=5)
def test_subnormal_numbers_are_kept(case: Case, subject: Subject) -> list[Comparison]:
    """They are not taken for zero, unless --subnormals flushed accepts it."""
    accepted = subject.flushes or case.dtype in subject.flushed
    lost = lost_subnormals(subject, replace(case, I=1, H=1))
    if lost and not accepted:
        expected = "that number (--subnormals flushed accepts it)"
        raise SubjectFault(Fact(f"{case.nonlinearity} of {lost[0]:.3g}", "0", expected))
    return [counted("subnormal numbers", 7)]


@holds_for(promises=("unwritten.special",), at_most=5, nonlinearities=("relu",), needs=("relu",))
def test_relu_of_nan_is_nan(case: Case, subject: Subject) -> list[Comparison]:
    """Not zero, nor any other number."""
    require("relu of nan", f"{relu_of_nan(subject, replace(case, I=1, H=1)):g}", "nan")
    return [counted("relu of NaN", 1)]
