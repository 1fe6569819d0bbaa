"""Plant a fault in the plain RNN, its cell or its packing functions.

A fault of one line is an edit of the source; a longer one is a subclass, written out. Both
enter FAULTS with their name, the property that must find them, and a public thread about a
fault of the same class, where one is known.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from torch import nn

from rnn_ref.judging.subject import Subject
from tests.subjects import plain_packing, plain_rnn
from tests.subjects.plain_rnn import Direction, PlainCell, PlainRNN

Faulty = TypeVar("Faulty", bound=type)

STEP = "every_step_obeys_the_recurrence"
RESULTS = "output_and_h_n_are_within_their_bounds"
SLOPES = "gradients_follow_from_the_states"
GRADIENTS = "gradients_are_within_their_bounds"


@dataclass(frozen=True)
class Fault:
    """One entry of the catalogue.

    `name` says what is wrong, `found_by` names the property that finds it, without `test_`;
    `seen` is a public thread about a fault of its class, as owner/repository#number. `words`
    are those of a history that shows it: among histories of all words it takes long to meet.
    """

    name: str
    found_by: str
    seen: str
    plant: Callable[[], Subject]
    words: Sequence[str] = ()


FAULTS: list[Fault] = []
"""All planted faults, chapter by chapter."""


def edit(
    name: str,
    found_by: str,
    *,
    seen: str = "",
    old: str,
    new: str,
    source: ModuleType = plain_rnn,
) -> None:
    """Enter a fault that is an edit of a source: `old`, which stands there once, becomes `new`."""
    FAULTS.append(Fault(name, found_by, seen, partial(edited, name, old, new, source)))


def fault(found_by: str, *, seen: str = "", words: str = "") -> Callable[[Faulty], Faulty]:
    """Enter a fault that is a subclass of PlainRNN, Direction or PlainCell.

    Its docstring, one sentence, is the name, without the full stop.
    """

    def enter(faulty: Faulty) -> Faulty:
        name = str(faulty.__doc__).removesuffix(".")
        FAULTS.append(Fault(name, found_by, seen, partial(with_faulty, faulty), words.split()))
        return faulty

    return enter


def edited(name: str, old: str, new: str, source: ModuleType) -> Subject:
    """Make a subject of an edited source; raise ValueError unless `old` stands there once."""
    path = Path(str(source.__file__))
    text = path.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise ValueError(f"{name}: expected {old!r} once in {path.name}, got {text.count(old)}")
    module = importable(name)
    exec(compile(text.replace(old, new), f"edited {path.name}", "exec"), module.__dict__)
    if source is plain_packing:
        return plain(packing=module)
    return plain(module.PlainRNN, module.PlainCell)


def importable(name: str) -> ModuleType:
    """Make a module that Python can import by its name, so that its classes can be pickled."""
    module = ModuleType(re.sub(r"\W", "_", name))
    sys.modules[module.__name__] = module
    return module


def with_faulty(faulty: type) -> Subject:
    """Make a subject of plain parts and a faulty one."""
    if issubclass(faulty, Direction):
        module = importable(f"with {faulty.__name__}")
        options = {"direction": faulty, "__module__": module.__name__}
        module.PlainRNN = type("PlainRNN", (PlainRNN,), options)  # type: ignore[attr-defined]
        return plain(module.PlainRNN)
    if issubclass(faulty, nn.RNNCell):
        return plain(cell=faulty)
    return plain(faulty)


def plain(rnn: Any = PlainRNN, cell: Any = PlainCell, packing: Any = plain_packing) -> Subject:
    """Make a subject of the plain parts, but for those that are passed."""
    names = [f"{part.__module__}:{part.__qualname__}" for part in (rnn, cell)]
    return Subject(names[0], rnn, cell_name=names[1], cell=cell, packing=packing)
