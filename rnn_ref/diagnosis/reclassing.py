"""Give the modules of a subject another class, made of their own, which does one thing otherwise.

A class keeps its hold on copies of a module, also on those that were pickled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from rnn_ref.judging.subject import Subject

Classes = Callable[[type], type]
"""Makes a class of another."""

BEGIN = "reset_parameters"
"""The method that gives the parameters of a module the values that they begin with."""


def as_it_is(of: type) -> type:
    """Leave a class as it is."""
    return of


def of_class(subject: Subject, classes: Classes) -> Subject:
    """Make a subject whose modules are of another class, that is made of their own."""
    return replace(subject, factory=partial(reclassed, subject.factory, classes))


def reclassed(
    factory: Callable[..., Any], classes: Classes, *arguments: Any, **options: Any
) -> Any:
    """Make a module, and give it another class."""
    module = factory(*arguments, **options)
    if isinstance(module, torch.nn.Module):
        module.__class__ = classes(type(module))
        if BEGIN in vars(type(module)):  # the constructor has used the other class's
            getattr(module, BEGIN)()
    return module


def derived(of: type, classes: Classes, own: dict[str, Any]) -> type:
    """Make a class that has something of its own; `classes` makes it anew for a copy."""

    def reduced(self: Any, _: int) -> Any:
        return anew, (classes, of), self.__getstate__()

    plain = all(getattr(of, n) is getattr(object, n) for n in ("__reduce_ex__", "__reduce__"))
    return type(of.__name__, (of,), own | ({"__reduce_ex__": reduced} if plain else {}))


def anew(classes: Classes, of: type) -> Any:
    """Make an empty module of a class that is made of another."""
    made: Any = classes(of)
    return made.__new__(made)
