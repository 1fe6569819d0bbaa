"""Load a subject by name."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch

from rnn_ref.container import container
from rnn_ref.judging.failures import CannotLoad, in_one_line, place_in_subject
from rnn_ref.judging.measured import TANH
from rnn_ref.judging.replay import DEFAULT_CELL, DEFAULT_SUBJECT
from rnn_ref.judging.subject import Subject, Watch, described
from rnn_ref.marking import Function


def load(
    name: str,
    device: str = "cpu",
    cell: str | None = None,
    *,
    flushes: bool = False,
    tanh: float | None = None,
    watch: Watch | None = None,
) -> Subject:
    """Load MODULE:CALLABLE, and its cell, from the path or the working directory.

    torch.nn.RNN's cell is torch.nn.RNNCell; other subjects have none unless `cell` names it.
    A function that `rnn_ref.function` has marked is judged in a container, on the CPU.
    Raises CannotLoad, in one sentence, if the subject or its cell can't be loaded, or the
    device is not available.
    """
    if cell is None and name == DEFAULT_SUBJECT:
        cell = DEFAULT_CELL
    factory = load_callable("subject", name)
    cell_factory = None if cell is None else load_callable("cell", cell)
    function = factory if isinstance(factory, Function) else None
    if function is not None and device.partition(":")[0] != "cpu":
        raise CannotLoad(f"device: a function computes on the cpu, got {device!r}")
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise CannotLoad(f"device {device!r} is not available: {first_line(error)}") from error
    packing = torch.nn.utils.rnn if name == DEFAULT_SUBJECT else None
    return Subject(
        name, container(function) if function else factory, device, cell or "", cell_factory,
        packing,
        flushes=flushes, watch=watch,
        function=function, tanh=TANH if tanh is None else tanh,
    )  # fmt: skip


def load_callable(what: str, name: str) -> Any:
    """Import what MODULE:CALLABLE names; raise CannotLoad, in one sentence, if that fails."""
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise CannotLoad(f"{what}: expected MODULE:CALLABLE, got {name!r}")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        value: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        told = f"{what}: importing {module_name} raised {first_line(error)}"
        at = place_in_subject(error)
        raise CannotLoad(f"{told} ({at})" if at else told) from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise CannotLoad(f"{what}: module {module_name} has no {attribute!r}")
        value = getattr(value, part)
    if not callable(value):
        raise CannotLoad(f"{what}: expected a callable, got {name}, {described(value)}")
    return value


def first_line(error: BaseException) -> str:
    """Describe an exception in one line: its type and its message."""
    message = in_one_line(error.msg if isinstance(error, SyntaxError) else str(error))
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
