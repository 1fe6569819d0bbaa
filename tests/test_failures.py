"""Failures: each says what was done, what is wrong and where, the case, and how to repeat it."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import pytest
from torch import nn

from rnn_ref.judging import oracle
from rnn_ref.judging.failures import Failure, Kind, raised
from rnn_ref.judging.subject import Subject
from rnn_ref.parity import test_memory
from tests.subjects import misbehaving
from tests.support.judging import failure_of

STEP = "every_step_obeys_the_recurrence"
ENDS = "h_n_is_the_state_in_which_each_direction_ended"
NAMES = "parameters_have_their_documented_names_order_and_shapes"
MODES = "training_mode_and_eval_are_alike_without_dropout"
COPY = "a_copied_module_is_the_same_and_its_own"
SETUP = "setup_weights_arrive_and_two_tensors_come_back"
FORM = "shapes_dtypes_and_devices_are_as_documented"
UNTOUCHED = "a_call_changes_neither_arguments_nor_weights"
CELL = "every_step_of_a_cell_obeys_the_recurrence"


class Planted(NamedTuple):
    """What is wrong with a subject: the property that it concerns, and the decisive words."""

    by: str
    says: str


RAISES = {
    "RaisesInConstructor": Planted(
        "reverse_direction_equals_forward_on_flipped_input",
        "constructing the module raised ValueError: no two directions",
    ),
    "RaisesInLoadStateDict": Planted(
        SETUP, "setting the parameters raised OSError: nothing to load from"
    ),
    "RaisesInStateDict": Planted(SETUP, "the parameters after a call raised KeyError: 'weight"),
    "RaisesInNamedParameters": Planted(
        NAMES, "reading named_parameters raised LookupError: no names"
    ),
    "RaisesInAllWeights": Planted(
        "all_weights_lists_the_parameters_run_by_run",
        "reading all_weights raised RuntimeError: no list of weights",
    ),
    "RaisesInCall": Planted(STEP, "the call raised ValueError: not two"),
    "RaisesInEmptyCall": Planted(
        "a_batch_of_none_is_accepted", "the call with an empty batch raised IndexError: nobody"
    ),
    "RaisesInUnbatchedCall": Planted(
        "a_row_of_a_batch_equals_that_sequence_alone", "the call raised ValueError: no batch"
    ),
    "RaisesInPackedCall": Planted(
        "packed_sequences_are_each_run_alone",
        "the call with a packed sequence raised TypeError: not unpacked",
    ),
    "RaisesInZeroGrad": Planted(
        "gradients_are_within_their_bounds", "zero_grad raised NotImplementedError: no zero"
    ),
    "RaisesInBackward": Planted(
        "gradients_of_two_calls_add_up", "backward raised ArithmeticError: no way back"
    ),
    "RaisesInDoubleBackward": Planted(
        "gradients_have_gradients", "a second derivative raised ArithmeticError: no way back"
    ),
    "RaisesInEval": Planted(MODES, "eval() raised RuntimeError: always in training"),
    "RaisesInDeepcopy": Planted(COPY, "a copy by copy.deepcopy raised TypeError: one of a kind"),
    "RaisesInPickle": Planted(COPY, "a copy by pickle raised TypeError: not in vinegar"),
    "RaisesInTo": Planted(
        "a_module_computes_in_the_dtype_it_is_moved_to",
        "moving the module to float64 raised TypeError: too wide",
    ),
    "RaisesInFlattenParameters": Planted(
        "flattening_changes_nothing",
        "flatten_parameters raised RuntimeError: not to be flattened",
    ),
    "RaisesInRepr": Planted(
        "repr_tells_the_sizes", "repr of the module raised ValueError: no words"
    ),
    "CellRaises": Planted(CELL, "raised ValueError: no state"),
}
"""Subjects that raise, each in a place of its own."""

NONSENSE = {
    "NothingFromTrain": Planted(MODES, "the result of train(): got None, expected a module"),
    "OneTensor": Planted(FORM, "the result of the call: got a torch.Tensor, expected a tuple"),
    "Arrays": Planted(FORM, "output: got a numpy.ndarray, expected a tensor"),
    "Doubles": Planted(FORM, "dtype of output: got torch.float64, expected torch.float32"),
    "Flat": Planted(FORM, "shape of h_n: got (1,), expected (1, 1, 1)"),
    "Mute": Planted("repr_tells_the_sizes", "the module's representation: got Mute(), expected"),
    "Prints": Planted(
        "nothing_is_printed", "standard output of construction and call: got 'calling\\n"
    ),
    "Draws": Planted(
        "a_call_without_dropout_draws_nothing",
        "after the call, the state of Python's random numbers: got another, expected as before",
    ),
    "SetsDefaultDtype": Planted(
        "settings_of_the_process_are_left_as_they_were",
        "after the call, the default dtype: got torch.float64, expected torch.float32",
    ),
    "CellOfTwo": Planted(CELL, "the result of the cell: got a tuple of 2, expected a tensor"),
}
"""Subjects that return nonsense or leave something behind, each of another kind."""

NUMBERS = {
    "OneBitInHn": Planted(ENDS, "h_n of the last layer at "),
    "ScaledInEval": Planted(MODES, "unit 0 (after eval(), against train()):\n  got "),
    "OneBitInASecondCall": Planted(
        "two_identical_calls_agree_to_the_bit", "output of a second call at step 0, row 0"
    ),
    "OneBitIntoInput": Planted(UNTOUCHED, "input after a call at "),
    "OneBitIntoWeights": Planted(UNTOUCHED, "weight_hh_l0 after a call at "),
    "WrongInOneLayout": Planted("arguments_may_lie_in_any_way", "variant: every-other-element"),
    "NoGradientOfH0": Planted("gradients_are_within_their_bounds", "gradient of h_0 at layer 0"),
}
"""Subjects whose numbers are wrong, by one bit where that is a fault."""


def failing(name: str, planted: Planted) -> Failure:
    """Judge a misbehaving subject by the property that it concerns, which must fail."""
    factory = getattr(misbehaving, name)
    subject = Subject(f"tests.subjects.misbehaving:{name}", factory)
    if issubclass(factory, nn.RNNCell):
        subject = Subject("torch.nn:RNN", nn.RNN, cell_name=subject.name, cell=factory)
    failure = failure_of(subject, planted.by, examples=50)
    assert failure is not None
    return failure


def require_form(failure: Failure, planted: Planted) -> None:
    """Assert what every failure of a subject promises."""
    text = str(failure)
    assert planted.says in text
    assert "Traceback" not in text
    assert len(text.splitlines()) <= 12
    assert re.search(r"^case: (tanh|relu) L\d D\d ", text, re.MULTILINE)
    assert re.search(
        rf"^replay: rnn-ref verify .*-k test_{planted.by} --case '", text, re.MULTILINE
    )
    assert json.loads(json.dumps(failure.as_dict(), allow_nan=False))["text"] == text


@pytest.mark.parametrize("name", RAISES)
def test_an_exception_is_told_with_what_was_done_and_where(name: str) -> None:
    """Wherever a subject raises, the failure says what was being done, and the file and line."""
    failure = failing(name, RAISES[name])
    require_form(failure, RAISES[name])
    assert failure.kind == Kind.EXCEPTION
    assert re.search(r" \(misbehaving\.py:\d+\)$", str(failure).splitlines()[0])


@pytest.mark.parametrize("name", NONSENSE)
def test_a_fact_that_is_not_so_is_told_with_what_was_got_and_expected(name: str) -> None:
    """What is wrong, but no number, is named, with what it is and what it should be."""
    failure = failing(name, NONSENSE[name])
    require_form(failure, NONSENSE[name])
    assert failure.kind == Kind.FACT


@pytest.mark.parametrize("name", NUMBERS)
def test_a_wrong_number_is_told_with_its_place_and_how_many_there_are(name: str) -> None:
    """The failure names an element by its axes, has both values, and counts what is wrong."""
    failure = failing(name, NUMBERS[name])
    require_form(failure, NUMBERS[name])
    assert failure.kind == Kind.NUMBERS
    text = str(failure)
    assert re.search(r"^.* at \w+ [\w ]+(, \w+ [\w ]+)+( \(.*\))?:$", text, re.MULTILINE)
    assert re.search(r"^  got .*, expected .*", text, re.MULTILINE)
    assert re.search(r"^over their bound: .*: \d+ of \d+", text, re.MULTILINE)


def test_the_variant_is_told_and_replayed() -> None:
    """A failure names the variant that was tried, and its case has it for the replay."""
    planted = NUMBERS["WrongInOneLayout"]
    text = str(failing("WrongInOneLayout", planted))
    assert re.search(r"^case: .* variant=every-other-element ", text, re.MULTILINE)
    assert re.search(r"^replay: .* variant=every-other-element ", text, re.MULTILINE)


OURS = {
    "in the oracle": (oracle, "project", STEP),
    "in a property": (test_memory, "ARRANGEMENTS", "arguments_may_lie_in_any_way"),
    "in the oracle, of None": (oracle, "np", STEP),
    "in a property's import": (test_memory, "same_results", "two_identical_calls_agree_to_the_bit"),
}


@pytest.mark.parametrize("where", OURS)
def test_an_error_of_our_own_is_told_apart(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in this package is not blamed on the subject, and says where it is."""
    module, name, found_by = OURS[where]
    monkeypatch.setattr(module, name, None)
    failure = failure_of(Subject("torch.nn:RNN", nn.RNN), found_by, examples=5)
    assert failure is not None
    assert failure.kind == Kind.OURS
    first, second, *_ = str(failure).splitlines()
    assert first.startswith("error in rnn_ref itself, not in the subject: ")
    assert re.search(r"(Type|Attribute)Error: .* \((oracle|test_memory)\.py:\d+\)$", first)
    assert second == "please report it"


def test_a_message_of_several_lines_is_told_whole() -> None:
    """What is wrong often stands in the second line; a stack trace behind it is cut off."""
    told = raised(
        "the call", ValueError("sizes differ:\n    got 3, expected 4\n" + "frame\n" * 200)
    )
    assert told.message.startswith("sizes differ: got 3, expected 4 frame ")
    assert len(told.message) <= 400
