"""Shares of a profile: each property gets at least twice the examples its faults needed."""

from __future__ import annotations

import pytest

from rnn_ref import parity
from rnn_ref.judging.shares import FEWEST, SHARES, WHOLE, examples_of
from rnn_ref.running.options import PROFILES

NAMES = [name for name, declared in parity.properties().items() if not declared.baseline]


def test_every_property_has_a_share() -> None:
    """The table has a row for each property, and no other."""
    assert SHARES.keys() == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_share_is_twice_what_planted_faults_needed(name: str) -> None:
    """Or all examples of the default profile; and never less than a tenth of them."""
    share = SHARES[name]
    assert share["needed"] >= 1
    assert WHOLE / 10 <= share["examples"] <= WHOLE == PROFILES["default"]
    assert share["examples"] >= min(2 * share["needed"], WHOLE)


def test_properties_that_judge_every_number_get_the_most_examples() -> None:
    """The group `bounds` is not cut short: it finds what no other group does."""
    bounds = [n for n, declared in parity.properties().items() if declared.group == "bounds"]
    least = 3 * WHOLE / 10
    assert all(SHARES[name]["examples"] >= least for name in bounds)
    assert max(SHARES[name]["examples"] for name in bounds) == WHOLE


@pytest.mark.parametrize("most", PROFILES.values())
def test_a_share_holds_in_every_profile(most: int) -> None:
    """A tenth of the default profile is a tenth of the others, but for the fewest examples."""
    (name, *_) = (n for n in NAMES if SHARES[n]["examples"] == WHOLE / 10)
    assert examples_of(name, most) == max(FEWEST, most // 10)
    assert examples_of("test_every_step_obeys_the_recurrence", most) == most
