"""Histories: a module gives, at each step of any sequence of uses, what the reference gives."""

from typing import Any

from rnn_ref.cases.case import Case
from rnn_ref.cases.history import WORDS
from rnn_ref.judging.comparison import Comparison
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.steps import lived
from rnn_ref.judging.subject import Subject

holds_for = in_group("histories")

LIVES: dict[str, Any] = {
    "steps": tuple(WORDS),
    "layouts": ("steps", "batch_first"),
    "weights": ("torch", "contracting", "one-sided", "sparse"),
    "inputs": ("normal", "normal", "integer"),
}
"""The domain of histories, in which nothing overflows by itself."""


@holds_for(
    promises=("unwritten.histories", "unwritten.memory", "unwritten.pure"),
    **LIVES,
    structures=True,
    needs=("module",),
)
def test_every_step_of_a_history_gives_what_the_reference_gives(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Calls, backward passes and changes in any sequence: each result is within its bound."""
    return lived(case, subject)
