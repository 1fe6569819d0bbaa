"""Failures of one fault are one cause, though properties of several kinds show it."""

from __future__ import annotations

from typing import Any

import pytest

from rnn_ref.diagnosis.joining import (
    GRADIENTS,
    LATER,
    NETWORK,
    PACKED,
    TANH,
    USES,
    Entry,
    joined,
)
from rnn_ref.judging.comparison import GRADIENT, SECOND
from rnn_ref.judging.failures import Kind

NAN, WRONG = "nan", 1.0
LINE = "tanh L1 D1 bias T1 N1 I1 H1 float32 weights=torch input=normal h_0 seed=0"


def numbers(name: str, follows: str, got: Any = WRONG, *said: str, **findings: Any) -> Entry:
    """Make a failure of numbers that follows from something; `said` are its sentences."""
    worst = {"got": got, "expected": 0.0}
    place = {"first": {"axes": ["unit"]}, "pattern": {"along": []}}
    comparison = {"name": name, "worst": worst, **place}
    found = {"follows": follows, "uses": [], **findings}
    found |= {"diagnosis": {"of": "results", "sentences": list(said)}} if said else {}
    failure: dict[str, Any] = {"kind": Kind.NUMBERS, "raised": None, "fact": None}
    failure |= {"comparisons": [comparison], "repeatable": True, "case": LINE}
    return {"name": "it", "group": "bounds", "failure": failure, "findings": found}


def differing(*arguments: Any) -> Entry:
    """Make a failure of numbers that are others when the same is done again."""
    entry = numbers(*arguments)
    entry["failure"]["repeatable"] = False
    return entry


def fact(what: str, group: str, follows: str = "", **findings: Any) -> Entry:
    """Make a failure that is a fact."""
    fact = {"what": what, "got": f"some {what}", "expected": "none"}
    failure: dict[str, Any] = {"kind": Kind.FACT, "raised": None, "fact": fact}
    failure |= {"comparisons": [], "case": LINE}
    found: dict[str, Any] = {"follows": follows} if follows else {}
    found |= {"uses": [], **findings}
    return {"name": what, "group": group, "failure": failure, "findings": found}


def of_relu(entry: Entry) -> Entry:
    """Let a failure be that of a network of relu."""
    entry["failure"]["case"] = LINE.replace("tanh", "relu")
    return entry


WEIGHT, INPUT, OUTPUT = f"{GRADIENT}weight_hh_l0", f"{GRADIENT}input", "output"
ONE_FAULT: dict[str, list[Entry]] = {
    "second derivatives beside wrong first ones": [
        numbers(WEIGHT, GRADIENTS), fact(SECOND, "gradients", PACKED),
    ],
    "gradients of a special loss beside those of any": [
        numbers(WEIGHT, NETWORK, gradients=["weight_hh_l0"]), numbers(INPUT, USES),
    ],
    "later calls of which one form is named": [
        numbers(OUTPUT, LATER, WRONG, "it is scaled"), numbers(OUTPUT, LATER),
    ],
    "packed calls, of which an attribute explains some": [
        numbers(OUTPUT, PACKED), numbers(OUTPUT, PACKED, single=["attribute", "calls"]),
    ],
    "gradients that are NaN in several uses": [
        numbers(WEIGHT, USES, NAN, nan=True), numbers(WEIGHT, "", NAN),
    ],
    "what holds with a wider tanh, diagnosed or not": [
        numbers(OUTPUT, NETWORK, WRONG, "tanh is off", tanh=True),
        numbers(OUTPUT, NETWORK, WRONG, "tanh is off", tanh=True),
        numbers(OUTPUT, NETWORK, WRONG, "tanh is off"),
        numbers(OUTPUT, TANH, WRONG, "it holds with --tanh", tanh=True),
    ],
    "a tanh that was measured, of networks that are told": [
        numbers(OUTPUT, NETWORK, WRONG, "tanh is scaled"),
        fact("tanh of 5", "values", USES, measured=True),
    ],
    "numbers that differ from run to run": [
        differing(OUTPUT, NETWORK), differing(OUTPUT, ""),
        differing(OUTPUT, LATER, WRONG, "a weight is taken from elsewhere"),
    ],
    "gradients that are NaN, or by chance some number": [
        numbers(WEIGHT, USES, NAN, nan=True),
        numbers(WEIGHT, NETWORK, gradients=["weight_hh_l0"]),
        numbers(WEIGHT, NETWORK, NAN, gradients=["weight_hh_l0"]),
        numbers(WEIGHT, NETWORK, NAN, gradients=["weight_hh_l0"], uses=["special"]),
    ],
    "what is held, and what grows": [
        fact("arguments that are held", "memory"), fact("memory in use", "memory"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("entries", ONE_FAULT.values(), ids=ONE_FAULT)
def test_what_one_fault_shows_in_several_ways_is_one_cause(entries: list[Entry]) -> None:
    """It does not matter which of its failures comes first."""
    assert len(joined(entries)) == 1
    assert len(joined(reversed(entries))) == 1


TWO_FAULTS: dict[str, list[Entry]] = {
    "second derivatives beside wrong results": [
        numbers(OUTPUT, NETWORK), fact(SECOND, "gradients", PACKED),
    ],
    "two named faults of later calls": [
        numbers(OUTPUT, LATER, WRONG, "it is scaled"), numbers(OUTPUT, LATER, WRONG, "it is zero"),
    ],
    "gradients that are NaN beside wrong ones": [
        numbers(WEIGHT, NETWORK, NAN), numbers(WEIGHT, ""),
    ],
    "numbers that differ from run to run beside those that do not": [
        differing(OUTPUT, NETWORK), numbers(OUTPUT, ""),
    ],
    "a relu that was measured, beside networks of tanh": [
        numbers(OUTPUT, NETWORK, WRONG, "tanh is scaled"),
        of_relu(fact("relu of nan", "values", USES, measured=True)),
    ],
    "a tanh, and a relu, that were measured": [
        fact("tanh of 5", "values", USES, measured=True),
        fact("relu of nan", "values", USES, measured=True),
    ],
    "what is held, and another setting": [
        fact("arguments that are held", "memory"), fact("the number of threads", "process"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("entries", TWO_FAULTS.values(), ids=TWO_FAULTS)
def test_what_nothing_shows_to_be_one_fault_is_two_causes(entries: list[Entry]) -> None:
    """Else the second would hide behind the first."""
    assert len(joined(entries)) == len(entries)


def test_what_is_diagnosed_of_dropout_takes_what_else_shows_it_and_no_more() -> None:
    """A history with dropout shows the same; a module that is moved shows something else."""
    masks = fact("elements kept", "dropout")
    masks["findings"]["diagnosis"] = {"of": "dropout", "sentences": ["it falls on the input"]}
    with_dropout = numbers(OUTPUT, USES, uses=["dropout"], gradients=None)
    moved = numbers(OUTPUT, USES, gradients=None)
    assert joined([masks, with_dropout, moved]) == [[masks, with_dropout], [moved]]
