"""How many of a profile's examples each property gets: as many as its faults need.

`shares.toml` has, for each property, the most examples that a planted fault needed until the
property found it, over five seeds (`python -m tests.measure.shares`), and the examples that
the property gets in the default profile: at least twice as many.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

FILE = Path(__file__).parent / "shares.toml"
SHARES: dict[str, dict[str, int]] = tomllib.loads(FILE.read_text(encoding="utf-8"))

WHOLE = 200
"""The examples of a property that gets all of the default profile's."""

FEWEST = 3
"""The examples that every property gets, in every profile."""


def examples_of(name: str, most: int) -> int:
    """Return the examples of a property where those that get all have `most`."""
    share = SHARES.get(name, {}).get("examples", WHOLE) / WHOLE
    return min(most, max(FEWEST, math.ceil(most * share)))


def far_of(most: int) -> int:
    """Return how many of so many examples are far out: one in a hundred, and at least one."""
    return math.ceil(most / 100)
