"""Every promise is held by a property, in the documentation's own words."""

import importlib
import inspect
import re
from typing import Any

import pytest
import torch

from rnn_ref import parity, promises
from rnn_ref.running.promises import HERE, holding, lines, named

PROMISES = promises.promises()
METHODS = (
    "state_dict", "load_state_dict", "named_parameters", "train", "eval", "to", "double",
    "requires_grad_", "to_empty", "extra_repr",
)  # fmt: skip


def plain(text: str) -> str:
    """Documentation without its markup, in one line."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text)
    return " ".join(text.replace("`", "").replace("**", "").split())


def documentation(of: str) -> str:
    """What torch says of a name, and of the methods that a promise may be of."""
    module, _, name = of.rpartition(".")
    thing: Any = getattr(importlib.import_module(module), name)
    said = [inspect.getdoc(thing) or ""]
    if thing is torch.nn.RNN:
        said.append(inspect.getdoc(thing.flatten_parameters) or "")
    if thing is torch.nn.Module:
        said += [inspect.getdoc(getattr(thing, method)) or "" for method in METHODS]
    return plain("\n".join(said))


@pytest.mark.skipif(
    torch.__version__ < torch.torch_version.TorchVersion("2.13"),
    reason="quoted from the documentation of torch 2.13",
)
@pytest.mark.parametrize("name", [n for n, promise in PROMISES.items() if promise.of])
def test_a_promise_is_in_the_documentations_words(name: str) -> None:
    """What is quoted is said in the installed torch's docstrings."""
    promise = PROMISES[name]
    assert plain(promise.says) in documentation(promise.of)


def test_every_promise_has_a_property_and_every_property_a_promise() -> None:
    """None is left over on either side, and no name is misspelt."""
    held = holding()
    assert [name for name, properties in held.items() if not properties] == []
    assert held.keys() - PROMISES.keys() == set()
    without = [n for n, docstring in parity.properties().items() if not named(docstring)]
    assert without == []


def test_the_table_is_made_of_what_is_there() -> None:
    """promises.md is what `python -m rnn_ref.running.promises` prints."""
    assert (HERE / "promises.md").read_text(encoding="utf-8").splitlines() == list(lines())
