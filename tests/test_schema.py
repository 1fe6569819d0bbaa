"""The schema of `verify --json`: what is written keeps to it, and it names all that there is."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rnn_ref.diagnosis.causes import Rank
from rnn_ref.judging.failures import Kind
from rnn_ref.running import rows
from rnn_ref.running.options import PROFILES
from tests.support.commands import MISBEHAVING, Here

FILE = Path(rows.__file__).with_name("verdict.schema.json")
SCHEMA: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))

RUNS = {
    "torch.nn:RNN": 0,
    f"{MISBEHAVING}:DirectionsSwapped": 1,
    f"{MISBEHAVING}:Exits": 1,
    f"{MISBEHAVING}:RaisesInUnbatchedCall": 1,
    "tests.faults.errors:TakesAnyHiddenSize": 1,
}
"""Subjects that are right, wrong in numbers, in an exception, a capability and a fact."""


@pytest.mark.parametrize("subject", RUNS)
def test_what_a_run_writes_keeps_to_the_schema(verify_here: Here, subject: str) -> None:
    """Whether nothing fails, or numbers, an exception, a capability or a fact."""
    few = "setup or every_step_obeys or nonsense_is or subnormal"
    done = verify_here("--subject", subject, "-k", few, "--json", "found.json")
    assert done.returncode == RUNS[subject], done.stdout
    found = json.loads(Path("found.json").read_text(encoding="utf-8"))
    jsonschema.validate(found, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert bool(found["causes"]) == bool(done.returncode)


@pytest.mark.parametrize(
    ("place", "names"),
    [
        (("kind",), Kind),
        (("cause", "properties", "rank"), [rank.name.lower() for rank in Rank]),
        (("run", "properties", "profile"), PROFILES),
    ],
)
def test_the_schema_names_all_that_there_is(place: tuple[str, ...], names: Any) -> None:
    """Each kind of failure, rank of a cause and profile, and no other."""
    listed = SCHEMA["$defs"]
    for key in place:
        listed = listed[key]
    written = [name.value if isinstance(name, Enum) else name for name in names]
    assert sorted(listed["enum"]) == sorted(written)
