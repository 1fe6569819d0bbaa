"""The one thing of a module's own code that a failure follows from, and that two stay two."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.causes import causes
from rnn_ref.diagnosis.findings import Explainer, of_probe
from rnn_ref.diagnosis.joining import ATTRIBUTE, METHOD, SEED
from rnn_ref.diagnosis.mending import holds_with, mended_network
from rnn_ref.diagnosis.probes import lacking
from rnn_ref.diagnosis.putting_back import no_seeding, single
from rnn_ref.judging.judge import Judge, fails
from rnn_ref.judging.subject import Subject
from rnn_ref.process.settings import restoring_settings
from rnn_ref.running.rows import Row
from tests.faults.memory import ReturnsOneBuffer
from tests.subjects.plain_rnn import PlainRNN
from tests.support.judging import PROPERTIES
from tests.test_mending import planted

HOOKS, STALE = "a_weight_under_a_norm_hook_is_computed_anew", "stale_memory_is_not_read"
COPIES, BUFFER = (
    "a_copied_module_is_the_same_and_its_own",
    "results_do_not_change_after_they_are_returned",
)
DRAWS, MASKS = "a_call_without_dropout_draws_nothing", "masks_move_on_from_call_to_call"
ALIKE = "two_modules_begin_with_weights_of_their_own"
FORWARD = "forward_hooks_run_in_order_and_may_replace"

SINGLE = [
    ("A call goes past the hooks", HOOKS, (METHOD, "__call__")),
    ("A call goes past the hooks", FORWARD, (METHOD, "__call__")),
    ("What a forward hook returns is ignored", FORWARD, (METHOD, "register_forward_hook")),
    ("A deep copy is the module itself", COPIES, (METHOD, "__deepcopy__")),
    ("A call seeds torch's generator", DRAWS, (SEED, "")),
    ("A call seeds torch's generator", MASKS, (SEED, "")),
    ("Without gradients, all calls of one shape return one buffer", BUFFER, (ATTRIBUTE, "buffer")),
    ("All modules begin with the same weights", ALIKE, (METHOD, "reset_parameters")),
    ("A call prints", "nothing_is_printed", None),
    ("0 times a buffer that was never written is added to output", STALE, None),
]  # fmt: skip
"""Faults, a property that fails for each, and what must be put back for it to hold."""


def judged(subject: Subject, name: str, examples: int = 3) -> tuple[Judge, Any]:
    """Judge a property of a subject until it fails; return who judged, and the failure."""
    judge = Judge(subject, ("float32",), examples, around=restoring_settings, shrinks=False)
    return judge, judge.judge(PROPERTIES[name]).failure


def found_single(subject: Subject, name: str) -> tuple[str, str] | None:
    """What a failing property follows from."""
    judge, failure = judged(subject, name, 10)
    assert failure
    declared, case = PROPERTIES[name], Case.parse(failure.case)
    return single(judge.subject, lambda mended: not holds_with(mended, judge, declared, case))


@pytest.mark.parametrize(("fault", "name", "expected"), SINGLE)
def test_a_failure_follows_from_the_one_thing_that_mends_it(
    fault: str, name: str, expected: tuple[str, str] | None
) -> None:
    """A method in the place of torch's, a seed, an attribute that calls leave; else nothing."""
    assert found_single(planted(fault), name) == expected


def test_what_a_probe_finds_lacking_follows_from_a_method_too() -> None:
    """Where train() returns None, the probe that calls what it returned names train()."""
    judge = Judge(planted("train() returns None"), ("float32",), 1)
    probed = lacking(judge.subject, judge.dtypes, frozenset(), lambda _: None)
    found = {name: of_probe(judge, name, failure).get("single") for name, failure in probed}
    assert found == {"dropout": [METHOD, "train"]}


class OneBufferWithoutHooks(ReturnsOneBuffer):
    """Two faults: results share a buffer, and no hook runs."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.forward(*arguments, **named)


class TwoCounters(PlainRNN):
    """Two attributes change the input from the second call on."""

    first = second = 0

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        x = x + 0.1 * self.first + 0.2 * self.second
        self.first = self.second = 1
        return super().run_layers(x, h_0)


def entry(subject: Subject, name: str) -> dict[str, Any]:
    """A failing property's row, explained."""
    judge, failure = judged(subject, name)
    assert failure
    found = Explainer(20).findings(judge, PROPERTIES[name], "", failure)
    group = PROPERTIES[name].group
    row = Row(f"test_{name}", "FAILS", group, failure=failure.as_dict(), findings=found)
    told: dict[str, Any] = json.loads(json.dumps(vars(row)))
    return told


def test_two_faults_of_one_module_stay_two_causes() -> None:
    """What follows from a method, and what follows from an attribute, are told apart."""
    subject = Subject("tests:subject", OneBufferWithoutHooks)
    found = causes(entry(subject, name) for name in (HOOKS, BUFFER, FORWARD))
    assert sorted(len(cause.properties) for cause in found) == [1, 2]


def test_what_two_things_break_follows_from_neither() -> None:
    """A failure that stays as long as one of two attributes is left stands by itself."""
    subject = Subject("tests:subject", TwoCounters)
    assert found_single(subject, "two_identical_calls_agree_to_the_bit") is None


def test_a_failure_that_does_not_come_again_follows_from_nothing() -> None:
    """What is right when it is judged once more tells nothing of what was put back."""
    calls = []

    class RightFromTheSecondCallOn(nn.RNN):
        def __call__(self, *arguments: Any, **named: Any) -> Any:
            calls.append(1)
            output, h_n = super().__call__(*arguments, **named)
            return (output + 1 if len(calls) < 2 else output), h_n

    subject = Subject("tests:subject", RightFromTheSecondCallOn)
    assert found_single(subject, "state_dict_shows_the_living_parameters") is None


def test_right_results_are_right_for_what_hooks_make_of_the_input() -> None:
    """A wrong network is the cause of a failure in which a hook replaces its input."""
    subject = planted("tanh is applied twice")
    judge, failure = judged(subject, FORWARD)
    assert failure
    mended = replace(judge, subject=mended_network(subject))
    assert not fails(mended, PROPERTIES[FORWARD], Case.parse(failure.case))


def test_calls_that_run_at_once_leave_the_functions_that_seed() -> None:
    """A call that begins while another sets no generator, and ends after it, puts all back."""
    before, begun, ended = torch.manual_seed, threading.Event(), threading.Event()

    def outlast() -> None:
        with no_seeding():
            begun.set()
            ended.wait(10)

    with no_seeding():
        other = threading.Thread(target=outlast)
        other.start()
        assert begun.wait(10)
    assert torch.manual_seed is not before
    ended.set()
    other.join()
    assert torch.manual_seed is before
