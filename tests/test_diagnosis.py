"""Diagnosis by experiment: planted faults get their own sentence, and nothing gets a wrong one."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.changes import Plain
from rnn_ref.diagnosis.diagnose import diagnose
from rnn_ref.diagnosis.experiment import TIERS, Diagnosis
from rnn_ref.judging.measured import Accuracy, Measured
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Subject
from tests.faults import FAULTS
from tests.faults.catalogue import with_faulty
from tests.subjects.correct import CORRECT
from tests.subjects.plain_rnn import Direction, PlainRNN

SIMPLE = "tanh L1 D1 bias T1 N1 I1 H1 float32 weights=torch input=normal h_0 seed=0"
DEEP = "tanh L2 D2 bias T3 N2 I2 H2 float32 weights=torch input=normal h_0 seed=0"
RELU = "relu L2 D1 bias T3 N2 I2 H2 float64 weights=torch input=normal batch_first seed=0"
LARGE = "relu L1 D1 T2 N5 I55 H32 float32 weights=torch input=large h_0 loss=h_n seed=915"
WIDE_SUMS = "tanh L1 D1 bias T1 N1 I1 H1 float32 weights=saturating input=normal h_0 seed=70200"
SQUARE = "tanh L1 D1 bias T2 N2 I2 H2 float32 weights=torch input=normal h_0 seed=0"
LONG = "tanh L1 D1 bias T256 N1 I1 H1 float32 weights=torch input=normal h_0 seed=0"
WIDE = "tanh L1 D1 bias T3 N2 I2 H2 float64 weights=torch input=normal h_0 seed=0"
THREE = DEEP.replace("L2", "L3")
UNBATCHED = "tanh L1 D1 T9 N1 I3 H3 float64 unbatched weights=sparse input=normal h_0 seed=3703"
TINY = "relu L1 D1 T2 N1 I1 H47 float64 unbatched weights=torch input=tiny h_0 seed=918"
ZERO = "relu L1 D1 bias T1 N1 I1 H1 float32 weights=zero input=normal h_0 seed=0"
NO_STATE = "tanh L1 D1 bias T4 N5 I3 H7 float32 weights=torch input=normal seed=8"
WHOLE = "relu L3 D1 bias T4 N5 I1 H4 float32 weights=sparse input=integer h_0 loss=h_n seed=16124"

NAMED = (
    ("b_hh is dropped", SIMPLE, "bias_hh is never added"),
    ("b_ih is dropped", DEEP, "bias_ih is never added"),
    ("b_hh is added from the second step on", SIMPLE, "is added from the second step on"),
    ("b_ih is added twice and b_hh never", RELU, "bias_ih is added twice, bias_hh never"),
    ("The recurrence is cut: each step starts from h_0", SIMPLE, "each step starts from h_0"),
    ("W_hh is used transposed", DEEP, "weight_hh is used transposed"),
    ("tanh is applied twice", SIMPLE, "tanh is applied twice"),
    ("tanh is 1 where its argument is beyond 4", WIDE_SUMS, "where its argument is beyond 4"),
    ("tanh's argument is clipped to [-3, 3]", WIDE_SUMS, "argument is clipped to [-3, 3]"),
    (
        "A batch_first input of as many steps as h_0 has rows is taken for one with steps first",
        SQUARE.replace("float32", "float32 batch_first"),
        "steps are taken for rows, and rows for steps, where T = N",
    ),
    (
        "Between layer 0 and the last the reverse direction is put before the forward one",
        THREE,
        "the directions are joined the other way round, between layer 0 and the last alone",
    ),
    ("tanh is missing at the first step", DEEP, "tanh is missing at the first step"),
    ("relu is ignored: tanh is applied", RELU, "tanh is applied in place of relu"),
    ("relu is leaky", RELU, "its slope below 0 is 0.001"),
    ("relu is clipped at 6", LARGE, "relu is clipped at 6"),
    ("relu is clipped at 1e6", LARGE, "relu is clipped at 1e+06"),
    ("All steps of output are the last state", SIMPLE, "all steps are the last state"),
    ("The state is reset at step 32", SIMPLE, "the state is reset to h_0 at step 32"),
    ("Features after the 32nd are not read", SIMPLE, "from 32 on are not read"),
    (
        "A single unit after the last full tile of 8 has its neighbour's state",
        SIMPLE,
        "the unit after the last full tile of 8 has its neighbour's state",
    ),
    ("The recurrent gradient is cut after 256 steps", LONG, "cut 256 steps before the end"),
    ("The reverse direction reads forward", DEEP, "the reverse direction reads forward"),
    ("The reverse output is left in the order of reading", DEEP, "left in its reading order"),
    ("The reverse h_n is from the wrong end", DEEP, "the reverse h_n is from the wrong end"),
    ("h_n is from a step before the last", SIMPLE, "h_n is the state of the middle step"),
    ("h_n of layer 0 is returned for all layers", DEEP, "layer 0 is returned for all layers"),
    ("h_0 is read with directions before layers", DEEP, "with directions before layers"),
    ("All layers start from layer 0's h_0", DEEP, "all layers start from layer 0's h_0"),
    ("h_0 is ignored", SIMPLE, "h_0 is ignored"),
    ("The reverse direction starts from zero", DEEP, "the reverse direction starts from zero"),
    ("The reverse direction is put before the forward one", DEEP, "the other way round"),
    ("The directions' units are interleaved", DEEP, "units are interleaved"),
    (
        "The reverse direction uses the forward weights",
        DEEP,
        "the weights are the forward direction's in the reverse direction",
    ),
    ("Layers read the first step alone of the layer below", DEEP, "the first step alone"),
    (
        "The memory of a batch_first input is read with the steps first",
        RELU,
        "the memory of a batch_first input is read with the steps first",
    ),
    ("A residual is added between layers", DEEP, "a residual is added between layers"),
    ("An absent h_0 is ones", RELU, "an absent h_0 is ones"),
    ("h_n is 0.1 % larger than the last state", SIMPLE, "h_n is scaled by 1.001"),
    ("The input's mean over time is subtracted", SIMPLE, "mean over time is subtracted"),
    (
        "Rows after the fourth are 0.1 % too small",
        SIMPLE,
        "the states that a run returns are scaled by 0.999 in rows from 4 on",
    ),
    ("Row 3 starts from h_0 + 1", SIMPLE, "h_0 is too large by 1 in row 3"),
    ("Row 3 starts from h_0 + 1", NO_STATE, "h_0 is too large by 1 in row 3"),
    ("load_state_dict loads nothing", SIMPLE, "the module keeps its own"),
    ("load_state_dict transposes a W_ih that is square", SQUARE, "weight_ih is loaded transposed"),
    ("The network adds 0.1 % more of b_hh than its cell", SIMPLE, "bias_hh is scaled by 1.001"),
    ("tanh is too large by 2e-6 of itself", SIMPLE, "tanh has a relative error"),
    ("tanh is computed from exp, inaccurately near 0", UNBATCHED, "tanh is inaccurate near 0"),
    ("States are kept in bfloat16", SIMPLE, "every state is rounded to bfloat16"),
    ("float64 is activated in float32", WIDE, "every state is rounded to float32"),
    ("The input is rounded to float16", SIMPLE, "the input is rounded to float16"),
    ("Subnormal sums are flushed to zero", TINY, "are taken for zero"),
    ("A float64 output is rounded to float32", WIDE, "the output is rounded to float32"),
    ("relu is one unit of roundoff too large", WHOLE, "relu has a relative error"),
    ("relu is one unit of roundoff too large", RELU, "relu has a relative error"),
    ("b_hh has no gradient", SIMPLE, "the gradient of bias_hh is zero"),
    ("b_ih's gradient is overwritten at each step", RELU, "bias_ih is that of the first step"),
    ("W_hh's gradient is overwritten at each step", SIMPLE, "weight_hh is that of the first"),
    ("W_hh's gradient is transposed", SIMPLE, "the gradient of weight_hh is transposed"),
    ("W_hh's gradient is taken with the state after the step", RELU, "the state after the step"),
    ("W_hh's gradient leaves h_0 out", SIMPLE, "h_0 is left out of the gradient of weight_hh"),
    ("The recurrent gradient is cut", SIMPLE, "every step is differentiated alone"),
    ("The recurrent gradient goes through W_hh transposed", SIMPLE, "weight_hh transposed"),
    ("The recurrent gradient is cut every 16 steps", SIMPLE, "is cut every 16 steps"),
    ("relu's slope at 0 is 1", RELU, "the slope of relu is taken as 1"),
    ("relu's slope at 0 is 0.5, as that of a maximum of two", ZERO, "relu's slope at 0 is 0.5"),
    ("tanh's slope is 1 - y", SIMPLE, "tanh's slope is 1 - y in place of 1 - y^2"),
    (
        "tanh's slope is too large by 1e-5 of itself",
        SIMPLE,
        "tanh's slope, or the gradient times it, has a",
    ),
    ("The first step's input has no gradient", SIMPLE, "the first step's input has no gradient"),
    ("h_0's gradient is not multiplied by W_hh", SIMPLE, "is not multiplied by weight_hh"),
    ("h_0 has no gradient", SIMPLE, "the gradient of h_0 is zero"),
    ("h_n's gradient is dropped", SIMPLE, "the gradient of h_n is ignored"),
    ("h_n's gradient is doubled", SIMPLE, "the gradient of h_n is doubled"),
    ("The reverse direction gives the input no gradient", DEEP, "the reverse direction gives"),
    ("Lower layers have no gradient", RELU, "layers below the last have no gradient"),
    ("W_ih's gradient is summed in bfloat16", SIMPLE, "weight_ih is rounded to bfloat16"),
    ("float64 gradients are rounded to float32", WIDE, "of the size of float32's rounding"),
    ("Gradients from above are 1e-4 of themselves too small", SIMPLE, "is scaled by 0.9999"),
    ("b_hh is added after the nonlinearity", SIMPLE, "bias_hh is added after the nonlinearity"),
    ("relu is applied before the recurrent part too", RELU, "and once more after"),
    ("Each step reads the input of the next", SIMPLE, "the input of the step after it"),
    ("softplus is applied in place of relu", RELU, "softplus is applied in place of relu"),
    (
        "The state's units after the last full tile of 4 are not read",
        SIMPLE,
        "units after the last full tile of 4 are not read by weight_hh",
    ),
    ("Weights of one shape are swapped", SIMPLE, "weight_ih and weight_hh are swapped"),
    ("Row n starts from row n % 4 of h_0", SIMPLE, "row n starts from row n % 4 of h_0"),
    ("Each run starts from the next one's h_0", DEEP, "starts from the h_0 of the next one"),
    ("The biases are those of the layer below", THREE, "both biases are the layer below's"),
    (
        "The reverse direction of the layers above reads forward",
        DEEP,
        "and its output is flipped, in the layers above the first alone",
    ),
    (
        "Above the first layer the reverse output is left in its reading order",
        THREE,
        "left in its reading order, in the layers above the first alone",
    ),
    (
        "The reverse W_hh of the layers above is layer 0's",
        THREE,
        "weight_hh is layer 0's in the reverse direction of the layers above the first",
    ),
    ("tanh's slope is 1 - a^2", SIMPLE, "tanh's slope is 1 - a^2, of its argument"),
    ("float64 is multiplied in float32", WIDE, "products are computed in float32"),
    (
        "The input is multiplied in float32",
        SIMPLE.replace("float32", "float64"),
        "products with weight_ih are computed in float32",
    ),
    (
        "The state is multiplied in bfloat16",
        SIMPLE,
        "products with weight_hh are computed in bfloat16",
    ),
    ("The recurrent gradient is cut every 3 steps from the last", SIMPLE, "3 steps, counted from"),
    ("The slope is that of the state after the step", SIMPLE, "of the state after the step"),
    ("b_ih's gradient is that of the first row", SIMPLE, "bias_ih is that of row 0 alone"),
    ("b_ih's gradient lacks the slope", SIMPLE, "bias_ih is taken without the slope"),
    ("W_ih's gradient leaves the last step out", SIMPLE, "weight_ih leaves the last step out"),
    ("The recurrent gradient is clipped at 1", SIMPLE, "recurrent gradient is clipped at 1"),
    (
        "W_hh's gradient is multiplied in float32",
        WIDE,
        "the gradient of weight_hh has errors of the size of float32's rounding",
    ),
    (
        "The lower layers' forward states have no gradient from above",
        DEEP,
        "below the last layer the forward direction has no gradient from above",
    ),
)
"""Faults by name, a case of a form that shows them, and what the diagnosis says."""

UNNAMED = ("A mean over the rows is added to each", "The last state is rounded to bfloat16")
"""Faults of results that no hypothesis is about."""

ELSEWHERE = (
    "named_parameters is in reverse order",
    "Packed sequences start from zero",
    "Elements are dropped in eval too",
    "h_n of a single layer and direction has no first axis",
    "The strides of the input are ignored",
)
"""Faults that a plain call doesn't show."""


def planted(name: str) -> Subject:
    """Plant a fault of the catalogue."""
    (fault,) = (fault for fault in FAULTS if fault.name == name)
    return fault.plant()


@pytest.mark.parametrize(("name", "line", "words"), NAMED, ids=[name for name, _, _ in NAMED])
def test_a_planted_fault_gets_its_sentence(name: str, line: str, words: str) -> None:
    """The one sentence of a diagnosis is the fault that was planted."""
    diagnosis = diagnose(planted(name), Case.parse(line), seconds=10)
    assert diagnosis is not None
    assert len(diagnosis.sentences) == 1, diagnosis
    assert words in diagnosis.sentences[0]
    assert diagnosis.cases >= 2


@pytest.mark.parametrize("name", UNNAMED)
def test_a_fault_without_a_hypothesis_gets_no_sentence(name: str) -> None:
    """Where no hypothesis is right, none is stated."""
    diagnosis = diagnose(planted(name), Case.parse(SIMPLE), seconds=10)
    assert diagnosis is not None
    assert diagnosis.sentences == ()
    assert str(diagnosis) == f"none of the {diagnosis.tried} hypotheses tried explains it"


class RoundsBiases(PlainRNN):
    """Biases are rounded to float32."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        return [w.float().to(w.dtype) if w.ndim == 1 else w for w in super().weights_of(l, d)]


def test_a_tanh_that_was_measured_is_not_blamed() -> None:
    """Where the subject's tanh is known to be accurate, no sentence says that it is not."""
    off = planted("tanh is too large by 2e-6 of itself")
    accurate = Measured({"float32": Accuracy(1.0, 0.5, 0.1, 0.1, 0.1)})
    said = diagnose(replace(off, measured=accurate), Case.parse(SIMPLE), seconds=10)
    assert said is not None
    assert "tanh" not in str(said)


class RoundsTheSumOfBiases(PlainRNN):
    """The sum of both biases is rounded to float32."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        W_ih, W_hh, b_ih, b_hh = super().weights_of(l, d)
        return [W_ih, W_hh, (b_ih + b_hh).float().to(b_ih.dtype), 0 * b_hh]


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        (RoundsBiases, "the biases are rounded to float32"),
        (RoundsTheSumOfBiases, "the sum of both biases is rounded to float32"),
    ],
)
def test_biases_of_a_coarser_dtype_are_named(factory: Any, sentence: str) -> None:
    """They are told from a tanh that is off, and from weights that are rounded."""
    said = diagnose(Subject("tests:subject", factory), Case.parse(WIDE), seconds=10)
    assert said is not None
    assert said.sentences == (sentence,)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_fault_of_another_kind_gets_no_diagnosis(name: str) -> None:
    """Nothing is said where the results and gradients of plain calls are right."""
    assert diagnose(planted(name), Case.parse(SIMPLE), seconds=10) is None


@pytest.mark.parametrize("subject", CORRECT)
@pytest.mark.parametrize("line", [SIMPLE, DEEP, RELU.replace("float64", "float16")])
def test_a_correct_subject_gets_no_diagnosis(subject: Any, line: str) -> None:
    """A correct subject is never said to be wrong, in whatever order it adds up."""
    assert diagnose(Subject(subject.__name__, subject), Case.parse(line), seconds=10) is None


def test_a_huge_case_takes_no_longer() -> None:
    """Cases that take too long to run with bounds are not drawn."""
    start = time.monotonic()
    huge = replace(Case.parse(DEEP), T=2000, N=64, I=300, H=500)
    assert diagnose(Subject("plain", PlainRNN), huge, seconds=1) is None
    assert time.monotonic() - start < 4


def test_a_part_has_one_name_whatever_the_network_has_besides() -> None:
    """One layer or three: what is wrong in the reverse direction is so in the same words."""
    reverse = planted("The reverse direction uses the forward weights")
    lines = (DEEP, DEEP.replace("L2", "L1"), THREE)
    said = [diagnose(reverse, Case.parse(line), seconds=10) for line in lines]
    words = "the weights are the forward direction's in the reverse direction"
    assert [each.sentences for each in said if each] == [(words,)] * 3


class TwoFaults(PlainRNN):
    """b_hh is dropped and h_n is negated."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return y, -h_n

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        *others, b_hh = super().weights_of(l, d)
        return [*others, 0 * b_hh]


class TwoFaultsBackward(Direction):
    """b_hh has no gradient, and that of W_hh is transposed."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        dx, dh, dW_ih, dW_hh, db_ih, db_hh, _ = Direction.backward(ctx, dy)
        return dx, dh, dW_ih, dW_hh.T, db_ih, 0 * db_hh, None


@pytest.mark.parametrize(
    ("faulty", "sentences"),
    [
        (TwoFaults, {"bias_hh is never added", "h_n is negated"}),
        (
            TwoFaultsBackward,
            {"the gradient of weight_hh is transposed", "the gradient of bias_hh is zero"},
        ),
    ],
)
@pytest.mark.parametrize("line", [SIMPLE, DEEP])
def test_two_faults_are_found_as_a_pair(faulty: type, sentences: set[str], line: str) -> None:
    """Where no hypothesis explains everything, two do, each its own arrays."""
    diagnosis = diagnose(with_faulty(faulty), Case.parse(line), seconds=10)
    assert diagnosis is not None
    assert len(diagnosis.sentences) == 1
    (said,) = diagnosis.sentences
    assert set(said.removeprefix("two at once: ").split(", and ")) == sentences


class ThreeFaults(TwoFaults):
    """b_hh is dropped, h_n is negated, and one element of the output is off."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return y + (torch.arange(y.numel()).reshape(y.shape) == 1), h_n


def test_a_part_of_what_is_wrong_is_not_stated() -> None:
    """Hypotheses that leave an element unexplained are no diagnosis."""
    diagnosis = diagnose(with_faulty(ThreeFaults), Case.parse(SIMPLE), seconds=10)
    assert diagnosis is not None
    assert diagnosis.sentences == ()


class Raises(PlainRNN):
    """The call raises."""

    def run_layers(self, *_: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError("not today")


class RaisesInBackward(Direction):
    """Backward raises."""

    @staticmethod
    def backward(*_: Any) -> Any:
        raise RuntimeError("not today")


@pytest.mark.parametrize("faulty", [Raises, RaisesInBackward])
def test_what_a_subject_raises_is_no_diagnosis(faulty: type) -> None:
    """An exception of the subject makes its cases unusable, and no more."""
    assert diagnose(with_faulty(faulty), Case.parse(SIMPLE)) is None


def test_a_diagnosis_keeps_its_time() -> None:
    """A diagnosis that has no time to finish ends soon, and states nothing."""
    start = time.monotonic()
    diagnosis = diagnose(planted("Row 3 starts from h_0 + 1"), Case.parse(DEEP), seconds=0.1)
    assert time.monotonic() - start < 2
    assert diagnosis is None or diagnosis.sentences == ()


FORMS = [
    Case(nonlinearity, L, D, bias, 9, 1 if unbatched else 5, 5, 9, "float32",
         batch_first=h_0, unbatched=unbatched, h_0=h_0)
    for nonlinearity, L, D, bias, h_0, unbatched in product(
        ("tanh", "relu"), (1, 2), (1, 2), (True, False), (True, False), (True, False)
    )
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS[::13], ids=str)
def test_every_hypothesis_expects_arrays_of_the_right_shapes(form: Case) -> None:
    """On every form, all hypotheses can be computed, and none is there twice."""
    plain, bounded = Plain(form.problem()), Oracle(form.problem())
    for tiers in TIERS.values():
        hypotheses = [h for tier in tiers for h in tier(plain.problem)]
        assert len({h.sentence for h in hypotheses}) == len(hypotheses)
        for hypothesis in hypotheses:
            oracle = bounded if hypothesis.widens else plain
            with np.errstate(all="ignore"):
                expected = hypothesis.expected(oracle)
            for name, array in expected.items():
                like = plain.gradients_end_to_end.get(name)
                shape = getattr(plain, name).shape if like is None else like.shape
                assert array.shape == shape, hypothesis.sentence


def test_a_diagnosis_reads_as_a_sentence() -> None:
    """One hypothesis, two, or none are told with the numbers that stand behind them."""
    one = Diagnosis("results", ("A",), 311, 1000, 4, 63)
    two = Diagnosis("results", ("A", "B"), 5, 10, 1, 63)
    none = Diagnosis("results", (), 5, 10, 1, 63)
    assert str(one) == "A: explains 311 of 311 wrong elements in 4 cases drawn for it"
    assert str(two) == "A or B: each explains 5 of 5 wrong elements in 1 case drawn for it"
    assert str(none) == "none of the 63 hypotheses tried explains it"


class OutputTooLarge(nn.RNN):
    """Every output is too large by two millionths; h_n is right."""

    def forward(self, input: Any, h_0: Any = None) -> Any:
        output, h_n = super().forward(input, h_0)
        return output * (1 + 2e-6), h_n


def test_an_output_that_is_off_alone_is_not_taken_for_an_inaccurate_tanh() -> None:
    """An error of the states would be in h_n as well."""
    case = Case.parse("tanh L1 D2 bias T5 N2 I3 H4 float32 weights=torch input=normal h_0 seed=1")
    found = diagnose(Subject("tests:subject", OutputTooLarge), case, seconds=20)
    assert found
    assert found.sentences == ("the output is scaled by 1.000002",)
