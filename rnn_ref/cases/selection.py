"""Which cases a property is judged on: its domain, less what the subject lacks.

A domain is a set of arguments of `strategies.cases`, each a sequence of values to draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rnn_ref.cases import history
from rnn_ref.cases.case import CHOICES, LAYOUTS, SIZES, Case

Domain = dict[str, Sequence[Any]]

FAR_AXES = ("T", "N", "I", "H", "L", "NT")
"""The sizes of a case, or two of them together, that may be far out."""

DEEP = (2, 2, 3, 4)
DEEPEST = 4
"""The layers of the deepest network in a domain that goes on to any depth."""

DEEP_OR_NOT = (1, 1, 1, 2, 2, 3, 4)
"""The layers of networks of any depth."""

STRUCTURES: dict[str, Domain] = {
    "single": {"num_layers": (1,), "directions": (1,)},
    "deep": {"num_layers": DEEP, "directions": (1,)},
    "bidirectional": {"num_layers": (1,), "directions": (2,)},
    "deep bidirectional": {"num_layers": DEEP, "directions": (2,)},
}


@dataclass(frozen=True)
class Capability:
    """What a subject may lack: in a few words, and the cases that remain without it."""

    meaning: str
    remaining: Domain = field(default_factory=dict)


def never(*words: str) -> Domain:
    """Leave some words out of histories."""
    return {"steps": tuple(word for word in history.WORDS if word not in words)}


CAPABILITIES: dict[str, Capability] = {
    "module": Capability(
        "a module's own: state, options, hooks, modes, initialisation, histories of uses"
    ),
    "refusals": Capability("errors for calls with wrong ranks, sizes or dtypes", never("refused")),
    "gradients": Capability("backward through the module", never(*history.GRADIENTS)),
    "double_backward": Capability("backward through backward"),
    "packed": Capability("a packed sequence as input", never("packed")),
    "packing": Capability("the functions that pack sequences, beside torch's own"),
    "cell": Capability("an RNNCell"),
    "autocast": Capability("calls under torch.autocast", never("autocast")),
    "dropout": Capability("dropout between layers", never("dropout")),
    "pickle": Capability(
        "copies of a module, by pickle, deepcopy and torch.save", never("deepcopy", "pickle")
    ),
    "parametrized": Capability("weights under torch.nn.utils.parametrize and weight_norm"),
    "all_weights": Capability("the parameters in all_weights, run by run"),
    "flatten_parameters": Capability("flatten_parameters", never("flatten")),
    "repr": Capability("a representation with sizes and options"),
    "meta": Capability("construction on the meta device"),
    "placement": Capability("the options dtype and device of the constructor"),
    "positional": Capability("the constructor's options by position"),
    "keyword": Capability("arguments by name, input and hx", never("keyword")),
    "fork": Capability("calls in a forked child, on the CPU"),
    "tanh": Capability("tanh as nonlinearity", {"nonlinearities": ("relu",)}),
    "relu": Capability("relu as nonlinearity", {"nonlinearities": ("tanh",)}),
    "deep": Capability("two layers and more", {"num_layers": (1,)}),
    "bidirectional": Capability("two directions", {"directions": (1,)}),
    "bias": Capability("networks with biases", {"biases": (False,)}),
    "no_bias": Capability("networks without biases", {"biases": (True,)}),
    "batch_first": Capability("input as (N, T, I)", {"layouts": ("steps", "unbatched")}),
    "unbatched": Capability(
        "input without a batch axis", {"layouts": ("steps", "batch_first"), **never("unbatched")}
    ),
    "h_0": Capability(
        "an initial state", {"initial_states": (False,), **never(*history.TRAITS["start"])}
    ),
}

FIELDS = {
    "dtypes": "dtype",
    "nonlinearities": "nonlinearity",
    "num_layers": "L",
    "directions": "D",
    "biases": "bias",
    "layouts": "layout",
    "initial_states": "h_0",
    "weights": "weights",
    "inputs": "input",
    "losses": "loss",
    "variants": "variant",
    "steps": "history",
}
"""By argument of `strategies.cases`, the field of a case that it gives."""


def require_domain(domain: Domain) -> None:
    """Raise ValueError, in one sentence, for an unknown argument or a value that no case has."""
    for argument, values in domain.items():
        if argument not in FIELDS:
            raise ValueError(f"cases: expected one of {', '.join(FIELDS)}, got {argument!r}")
        if not values:
            raise ValueError(f"{argument}: expected at least one value, got none")
        for value in values:
            require_value(argument, value)


def require_value(argument: str, value: Any) -> None:
    """Raise ValueError, in one sentence, for a value that no case has for an argument."""
    name = FIELDS[argument]
    if name in SIZES:
        smallest, largest = SIZES[name]
        if type(value) is not int or not smallest <= value <= largest:
            raise ValueError(f"{argument}: expected {smallest} to {largest}, got {value!r}")
    elif name in CHOICES or name == "layout":
        choices = tuple(LAYOUTS) if name == "layout" else CHOICES[name]
        if value not in choices:
            raise ValueError(f"{argument}: expected one of {', '.join(choices)}, got {value!r}")
    elif name == "history":
        if value not in history.WORDS:
            raise ValueError(f"{argument}: expected words of a history, got {value!r}")
    elif name != "variant" and type(value) is not bool:
        raise ValueError(f"{argument}: expected true or false, got {value!r}")


def restrict(domain: Domain, without: Iterable[str]) -> Domain:
    """Leave out of a domain what needs some capabilities; a sequence may come out empty."""
    domain = dict(domain)
    for capability in without:
        for name, remaining in CAPABILITIES[capability].remaining.items():
            if name == "steps" and name not in domain:
                continue
            values = domain.get(name, remaining)
            domain[name] = tuple(value for value in values if value in remaining)
    return domain


def emptied(domain: Domain, without: Iterable[str]) -> list[str]:
    """List those capabilities whose lack has left an argument of a restricted domain no value."""
    empty = {argument for argument, values in domain.items() if not values}
    return [name for name in without if empty.intersection(CAPABILITIES[name].remaining)]


def in_their_place(domain: Domain, without: Iterable[str]) -> Domain:
    """Return, for the arguments that a lack has left no value, those that remain without it."""
    return {
        argument: values
        for name in without
        for argument, values in CAPABILITIES[name].remaining.items()
        if argument in domain and not domain[argument]
    }


def outside(case: Case, domain: Domain) -> str:
    """Name the first field of a case that is outside a domain; empty if it is inside."""
    if bool(case.history) != ("steps" in domain):
        return "history"
    for argument, values in domain.items():
        name = FIELDS[argument]
        got = history.words_of(case.history) if name == "history" else [getattr(case, name)]
        deeper = name == "L" and case.L > DEEPEST in values
        if not set(got).issubset(values) and not deeper:
            return name
    return ""


def reached(axes: Iterable[str], domain: Domain) -> list[str]:
    """List those axes along which cases of a domain may be far out.

    L only where the domain goes on to any depth, N where it has batches, and W, an H past
    1,000, where it has networks of one run.
    """
    layouts = domain.get("layouts", LAYOUTS)
    L, D = domain.get("num_layers", DEEP_OR_NOT), domain.get("directions", (1, 2))
    lacking = {
        "L": DEEPEST not in L,
        "N": all(LAYOUTS[name].unbatched for name in layouts),
        "W": min(L) * min(D) > 1,
    }
    return [axis for axis in axes if not any(lacking.get(letter) for letter in axis)]
