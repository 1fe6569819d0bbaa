"""The suite is judged by the faults it finds: each of the catalogue is, by the property named."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

import rnn_ref.parity
from rnn_ref.judging.search import Examination, Property
from rnn_ref.judging.subject import Subject
from tests.faults import FAULTS, Fault
from tests.subjects import plain_packing
from tests.subjects.correct import CORRECT
from tests.subjects.plain_rnn import PlainCell

MODULES = [
    importlib.import_module(f"rnn_ref.parity.{module.name}")
    for module in pkgutil.iter_modules(rnn_ref.parity.__path__)
]
PROPERTIES: dict[str, Property] = {
    name.removeprefix("test_"): test.rnn_property
    for module in MODULES
    for name, test in vars(module).items()
    if hasattr(test, "rnn_property")
}


def verdict(subject: Subject, name: str, examples: int = 200) -> str:
    """The message with which a property fails, for the first structure that it fails for."""
    examination = Examination(subject, ("float32", "float64"), examples, 0, subject.lacks)
    for structure in PROPERTIES[name].domains:
        try:
            examination.examine(PROPERTIES[name], structure)
        except pytest.fail.Exception as failure:
            return str(failure)
    return ""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found_by_the_property_named(fault: Fault) -> None:
    """The property fails in the default profile, and its message says where and how to replay."""
    message = verdict(fault.plant(), fault.found_by)
    assert re.search(r"^replay: rnn-ref verify .* -k test_\w+ --case '", message, re.MULTILINE)
    assert re.search(r"^\S.*$(?s:.*)^case: ", message, re.MULTILINE)


def test_every_property_is_there_for_a_fault() -> None:
    """No property without a fault that it finds, and no fault whose property is not there."""
    assert {fault.found_by for fault in FAULTS} == PROPERTIES.keys()


@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.parametrize("subject", CORRECT, ids=lambda subject: subject.__name__)
def test_a_correct_rnn_is_never_blamed(subject: type, name: str) -> None:
    """Whatever its order of summation, a correct RNN satisfies every property."""
    whole = Subject(subject.__name__, subject, cell=PlainCell, packing=plain_packing)
    assert verdict(whole, name, examples=4) == ""
