"""Tell what of a module's own code breaks a property: a method, or what its calls leave on it.

A method that the module has in place of torch's is put back, or one attribute is, after each
call. What holds then follows from that one thing, and from nothing else of the module.
"""

from __future__ import annotations

import inspect
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch

from rnn_ref.diagnosis.budget import Budget
from rnn_ref.diagnosis.joining import ATTRIBUTE, METHOD, SEED
from rnn_ref.diagnosis.reclassing import Classes, as_it_is, derived, of_class
from rnn_ref.judging.subject import Subject

SECONDS = 1.0
"""How long the search for a single thing may take."""


class Single(NamedTuple):
    """The one thing that must be put back for a property to hold."""

    kind: str
    name: str


def single(subject: Subject, fails: Callable[[Subject], bool]) -> Single | None:
    """Find the one thing that must be put back for something to hold; None if there is none.

    `fails` tells whether it fails with a subject. What fails by chance tells nothing: without
    the thing it must fail before and after. What is slow is left alone.
    """
    budget = Budget(SECONDS)

    def fails_with(classes: Classes) -> bool:
        return fails(of_class(subject, classes))

    if not fails_with(as_it_is):
        return None
    tried: tuple[tuple[Any, Callable[[], list[Single]]], ...] = (
        (with_method, lambda: [Single(METHOD, n) for n in own_methods(fails_with)]),
        (unseeded, lambda: [Single(SEED, "")]),
        (keeping, lambda: [Single(ATTRIBUTE, n) for n in left_behind(fails_with)]),
    )
    for made, things in tried:
        for thing in things() if budget.left else ():
            if not fails_with(partial(made, name=thing.name)):
                return thing if fails_with(as_it_is) else None
    return None


# Methods.


KEPT = frozenset({"forward", "__init__", "__new__", "__init_subclass__", "__annotations__"})
"""What each module has of its own: without it there is nothing to judge."""

UNWRITTEN = frozenset({"__deepcopy__", "__copy__"})
"""What torch's modules do without a method of their own."""


def bases(of: type) -> tuple[list[type], type]:
    """Split the classes of a module: its own, and the first that is torch's."""
    order = of.__mro__
    at = next(i for i, each in enumerate(order) if each.__module__.startswith("torch.nn.modules."))
    return list(order[:at]), order[at]


def own_methods(judging: Callable[[Classes], object]) -> list[str]:
    """List the methods and properties that the modules judged have in place of torch's."""
    found: dict[str, None] = {}
    for of in classes_made(judging):
        own, torchs = bases(of)
        for name in (name for each in own for name in vars(each)):
            value = inspect.getattr_static(of, name)
            known = name in UNWRITTEN or hasattr(torchs, name)
            if known and name not in KEPT and (callable(value) or isinstance(value, property)):
                found[name] = None
    return list(found)


def classes_made(judging: Callable[[Classes], object]) -> list[type]:
    """List the classes of the modules that are made in judging."""
    made: dict[type, None] = {}

    def noted(of: type) -> type:
        made[of] = None
        return of

    judging(noted)
    return list(made)


@cache
def with_method(of: type, name: str) -> type:
    """Make a class whose method of a name is torch's."""
    _, torchs = bases(of)
    own = {name: inspect.getattr_static(torchs, name, None)}
    return derived(of, partial(with_method, name=name), own)


# Seeds.

SEEDING = (
    (torch, "manual_seed"), (torch, "seed"), (torch, "set_rng_state"),
    (torch.random, "manual_seed"), (torch.random, "seed"), (torch.random, "set_rng_state"),
    (random, "seed"), (random, "setstate"), (np.random, "seed"), (np.random, "set_state"),
)  # fmt: skip
"""The functions that set a generator of the process, by who has them."""


def do_nothing(*_: Any, **__: Any) -> None:
    """Stand for a function that sets a generator."""


SILENT: list[list[Any]] = []
"""For each call that is running, in any thread, the functions as they were before the first."""

LOCK = threading.Lock()


@contextmanager
def no_seeding() -> Iterator[None]:
    """Let no generator be set, until the last of the calls that run at once has ended."""
    with LOCK:
        own = SILENT[0] if SILENT else [getattr(owner, name) for owner, name in SEEDING]
        SILENT.append(own)
        for owner, name in SEEDING:
            setattr(owner, name, do_nothing)
    try:
        yield
    finally:
        with LOCK:
            SILENT.pop()
            for (owner, name), seeding in zip(SEEDING, own, strict=True):
                if not SILENT:
                    setattr(owner, name, seeding)


@cache
def unseeded(of: type, name: str) -> type:
    """Make a class whose calls set no generator."""

    def forward(self: Any, *arguments: Any, **named: Any) -> Any:
        with no_seeding():
            return of.forward(self, *arguments, **named)  # type: ignore[attr-defined]

    return derived(of, partial(unseeded, name=name), {"forward": forward})


# Attributes.


def left_behind(judging: Callable[[Classes], object]) -> list[str]:
    """List the attributes, of a module or of its own classes, that calls leave otherwise."""
    names: dict[str, None] = {}

    def noting(of: type) -> type:
        def forward(self: Any, *arguments: Any, **named: Any) -> Any:
            with forgotten(self):
                before = contents(self)
                try:
                    return of.forward(self, *arguments, **named)  # type: ignore[attr-defined]
                finally:
                    now = contents(self)
                    names.update({n: None for n in now if not same(before.get(n), now[n])})

        return derived(of, noting, {"forward": forward})

    judging(noting)
    return list(names)


class Content(NamedTuple):
    """An attribute's value, who has it, and what it has in it if it is a container."""

    owner: Any
    value: Any
    inside: Any


def contents(module: Any) -> dict[str, Content]:
    """Read the attributes that a module, or a class of its own, has beside torch's."""
    own, torchs = bases(type(module))
    found = {}
    for each in reversed(own):
        for name, value in vars(each).items():
            if isinstance(value, (dict, list, set)) and not name.startswith("__"):
                found[name] = Content(each, value, value.copy())
    ordinary = frozenset(vars(torch.nn.Module())) | inherited(torchs)
    for name, value in vars(module).items():
        if name not in ordinary:
            inside = value.copy() if isinstance(value, (dict, list, set)) else None
            found[name] = Content(module, value, inside)
    return found


@cache
def inherited(torchs: type) -> frozenset[str]:
    """Name the attributes that a module of torch has from its construction."""
    made = vars(torch.nn.RNN(1, 1)) if issubclass(torchs, torch.nn.RNNBase) else {}
    return frozenset(made)


def same(before: Content | None, now: Content) -> bool:
    """Tell whether a call left an attribute, and what is in it, as it was."""
    if before is None or before.value is not now.value:
        return False
    return listed(before.inside) == listed(now.inside)


def listed(inside: Any) -> list[int]:
    """Name what is in a container, in its order."""
    values = [*inside, *(inside.values() if isinstance(inside, dict) else ())] if inside else []
    return [id(value) for value in values]


@contextmanager
def forgotten(module: Any, name: str = "") -> Iterator[None]:
    """Empty what the module's own classes hold, or one thing of it, and fill it again in the end.

    What earlier calls left there, of other modules too, may count in any call.
    """
    shared = {n: c for n, c in contents(module).items() if c.owner is not module}
    chosen = {n: c for n, c in shared.items() if name in ("", n)}
    for each in chosen.values():
        each.value.clear()
    try:
        yield
    finally:
        for n, each in chosen.items():
            put_back(module, n, each)


@cache
def keeping(of: type, name: str) -> type:
    """Make a class whose calls put an attribute back in the end."""

    def forward(self: Any, *arguments: Any, **named: Any) -> Any:
        before = contents(self).get(name)
        with forgotten(self, name):
            try:
                return of.forward(self, *arguments, **named)  # type: ignore[attr-defined]
            finally:
                put_back(self, name, before)

    return derived(of, partial(keeping, name=name), {"forward": forward})


def put_back(module: Any, name: str, before: Content | None) -> None:
    """Give an attribute the value, and the content, that it had; or take it away."""
    if before is None:
        vars(module).pop(name, None)
        return
    if before.owner is module:
        vars(module)[name] = before.value
    if isinstance(before.inside, list):
        before.value[:] = before.inside
    elif before.inside is not None:
        before.value.clear()
        before.value.update(before.inside)
