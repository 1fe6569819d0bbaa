"""Which cases a property is held to: its own domain, the subject's capabilities, a replay.

A domain is a set of arguments of `strategies.cases`, each a sequence of what may be drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rnn_ref.case import Case

Domain = dict[str, Sequence[Any]]

DEEP = (2, 2, 3, 4)
STRUCTURES: dict[str, Domain] = {
    "single": {"num_layers": (1,), "directions": (1,)},
    "deep": {"num_layers": DEEP, "directions": (1,)},
    "bidirectional": {"num_layers": (1,), "directions": (2,)},
    "deep bidirectional": {"num_layers": DEEP, "directions": (2,)},
}

CAPABILITIES: dict[str, Domain] = {
    "gradients": {},
    "double_backward": {},
    "packed": {},
    "packing": {},
    "cell": {},
    "autocast": {},
    "dropout": {},
    "pickle": {},
    "parametrized": {},
    "meta": {},
    "placement": {},
    "positional": {},
    "tanh": {"nonlinearities": ("relu",)},
    "relu": {"nonlinearities": ("tanh",)},
    "deep": {"num_layers": (1,)},
    "bidirectional": {"directions": (1,)},
    "bias": {"biases": (False,)},
    "no_bias": {"biases": (True,)},
    "batch_first": {"layouts": ("steps", "unbatched")},
    "unbatched": {"layouts": ("steps", "batch_first")},
    "h_0": {"initial_states": (False,)},
}
"""What a subject may lack, and the cases that remain without it.

`gradients` is backward through the module, `double_backward` that through backward,
`packed` input that is a packed sequence, `packing` the functions that pack, `cell` an
RNNCell, `autocast` calls under torch.autocast, `dropout` that between layers, `pickle`
copies of a module, `parametrized` weights under torch.nn.utils.parametrize, `meta`
modules on the meta device, `placement` the options dtype and device, `positional`
options by position, `bias` and `no_bias` networks with and without biases, `h_0` an
initial state.
"""

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
}
"""By argument of `strategies.cases`, the field of a case that it gives."""


def restrict(domain: Domain, without: Iterable[str]) -> Domain:
    """The part of a domain that remains without some capabilities; a sequence may be empty."""
    domain = dict(domain)
    for capability in without:
        for name, remaining in CAPABILITIES[capability].items():
            values = domain.get(name, remaining)
            domain[name] = tuple(value for value in values if value in remaining)
    return domain


def outside(case: Case, domain: Domain) -> str:
    """The first field of a case that is outside a domain, or nothing."""
    fields = (
        FIELDS[name] for name, values in domain.items() if getattr(case, FIELDS[name]) not in values
    )
    return next(fields, "")
