"""Ask, before the properties, what a subject can do at all: what it can't is said once.

Each probe is the plainest case with one thing more. What it raises is that thing's, and so are
results of another shape, which have left it out; wrong numbers are left to the properties.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch.nn.utils.parametrize import register_parametrization
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_ref.bridge import TORCH_DTYPES
from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.causes import CAPABILITY, SETUP
from rnn_ref.judging.failures import Fact, Failure, Kind, Raised, SubjectFault, Wiring
from rnn_ref.judging.replay import command
from rnn_ref.judging.subject import Subject

PLAIN = Case.parse("tanh L1 D1 bias T3 N2 I4 H5 float32 weights=torch input=normal seed=0")
"""The plainest network, which the set-up property has judged."""


def call(subject: Subject, case: Case, *, gradients: bool = False) -> None:
    """Run the subject on a case."""
    subject.run(subject.problem(case), gradients=gradients)


def backward_twice(subject: Subject, case: Case) -> None:
    """Go backward through a backward pass."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem, gradients=True)
    output, _ = subject.forward(problem, module, leaves)
    with subject.calling("backward through backward"):
        (first,) = torch.autograd.grad((output**2).sum(), leaves["input"], create_graph=True)
        torch.autograd.backward((first**2).sum())


def call_packed(subject: Subject, case: Case) -> None:
    """Call with a packed sequence."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem)
    packed = pack_padded_sequence(leaves["input"], torch.tensor([case.T, case.T - 1]))
    with subject.calling("the call with a packed sequence"):
        module(packed)


def call_by_name(subject: Subject, case: Case) -> None:
    """Call with both arguments by their names, input and hx."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem)
    with subject.calling("the call with input and hx by name"):
        module(input=leaves["input"], hx=leaves.get("h_0"))


def call_with_dropout(subject: Subject, case: Case) -> None:
    """Call a network of two layers with dropout, in training."""
    problem = subject.problem(replace(case, L=2))
    subject.forward(problem, subject.build(problem, dropout=0.5).train(), subject.leaves(problem))


def call_under_autocast(subject: Subject, case: Case) -> None:
    """Call under torch.autocast."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem)
    device = torch.device(subject.device).type
    with torch.autocast(device, torch.bfloat16), subject.calling("the call under autocast"):
        module(*leaves.values())


def call_parametrized(subject: Subject, case: Case) -> None:
    """Call a module one of whose weights is computed anew, by torch.nn.utils.parametrize."""
    problem = subject.problem(case)
    module, leaves = subject.build(problem), subject.leaves(problem)
    with subject.calling("a parametrization of weight_hh_l0"):
        register_parametrization(module, "weight_hh_l0", torch.nn.Identity())
        module(*leaves.values())


def copy_module(subject: Subject, case: Case) -> None:
    """Copy a module."""
    module = subject.build(subject.problem(case))
    with subject.calling("copy.deepcopy of the module"):
        copy.deepcopy(module)


def read_all_weights(subject: Subject, case: Case) -> None:
    """Read the list of all weights."""
    module: Any = subject.build(subject.problem(case))
    with subject.calling("reading all_weights"):
        list(module.all_weights)


def flatten(subject: Subject, case: Case) -> None:
    """Flatten the parameters."""
    module: Any = subject.build(subject.problem(case))
    with subject.calling("flatten_parameters"):
        module.flatten_parameters()


def represent(subject: Subject, case: Case) -> None:
    """Write the module's representation."""
    module = subject.build(subject.problem(case))
    with subject.calling("repr of the module"):
        repr(module)


def construct_in_place(subject: Subject, case: Case) -> None:
    """Give the constructor a dtype, which the device has, and a device."""
    dtype = TORCH_DTYPES[case.dtype]
    with subject.calling("constructing the module with dtype and device"):
        subject.factory(case.I, case.H, dtype=dtype, device=subject.device)


def construct_on_meta(subject: Subject, case: Case) -> None:
    """Construct a module on the meta device."""
    with subject.calling("constructing the module on the meta device"), torch.device("meta"):
        subject.factory(case.I, case.H)


def construct_by_position(subject: Subject, case: Case) -> None:
    """Give the constructor all options by position."""
    subject.build(subject.problem(case), positional=True)


def on_case(**fields: object) -> Callable[[Subject, Case], None]:
    """Make a probe that runs the plainest case with other fields."""
    return lambda subject, case: call(subject, replace(case, **fields))  # type: ignore[arg-type]


def plain_cases(dtypes: Sequence[str], missing: Iterable[str]) -> list[Case]:
    """List the cases that every probe is tried on: without an initial state, and with one."""
    plain = PLAIN if PLAIN.dtype in dtypes else replace(PLAIN, dtype=dtypes[0])
    if "tanh" in missing:
        plain = replace(plain, nonlinearity="relu")
    if "bias" in missing:
        plain = replace(plain, bias=False)
    return [plain] if "h_0" in missing else [plain, replace(plain, h_0=True)]


VARIED: dict[str, dict[str, object]] = {
    "h_0": {"h_0": True},
    "relu": {"nonlinearity": "relu"},
    "deep": {"L": 2},
    "bidirectional": {"D": 2},
    "no_bias": {"bias": False},
    "batch_first": {"batch_first": True},
    "unbatched": {"unbatched": True, "N": 1},
    "float64": {"dtype": "float64"},
}
"""By capability, the fields of the plainest case that it changes."""

PROBES: dict[str, Callable[[Subject, Case], None]] = {
    **{name: on_case(**fields) for name, fields in VARIED.items()},
    "gradients": lambda subject, case: call(subject, case, gradients=True),
    "double_backward": backward_twice,
    "packed": call_packed,
    "keyword": call_by_name,
    "dropout": call_with_dropout,
    "autocast": call_under_autocast,
    "pickle": copy_module,
    "parametrized": call_parametrized,
    "all_weights": read_all_weights,
    "flatten_parameters": flatten,
    "repr": represent,
    "placement": construct_in_place,
    "meta": construct_on_meta,
    "positional": construct_by_position,
}
"""What is asked, by capability; float64 is a dtype, and lacking it is declared by --dtype."""

NEED = {"dropout": "deep", "double_backward": "gradients"}
"""What a probe needs besides: where that is lacking, it isn't asked."""


def lacking(
    subject: Subject,
    dtypes: Sequence[str],
    without: frozenset[str],
    asking: Callable[[str], None],
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    words: Sequence[str] = (),
) -> Iterator[tuple[str, Failure]]:
    """Yield each capability that the subject lacks undeclared, and the failure that shows it.

    `asking` is told of each probe before it runs. `around` is entered for each, and puts back
    what it may change. `words` are the options of the run that a replay repeats.
    """
    missing = set(without)
    for name, probe in PROBES.items():
        if {name, NEED.get(name, name)} & missing:
            continue
        if name == "float64" and (name not in dtypes or len(dtypes) == 1):
            continue
        asking(name)
        for plain in plain_cases(dtypes, missing):
            with around():
                cause = lack(probe, subject, plain)
            if cause:
                missing.add(name)
                yield name, failure_of_probe(subject, name, plain, cause, words)
                break


SHAPES = (Wiring.OUTPUT, Wiring.H_N)
"""The facts that are so of no network that has left out layers, a direction, or an axis."""


def lack(
    probe: Callable[[Subject, Case], None], subject: Subject, case: Case
) -> Raised | Fact | None:
    """Run a probe, and return what it raised, or the shape that its results should not have."""
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            probe(subject, case)
    except SubjectFault as fault:
        cause = fault.cause
        return cause if isinstance(cause, Raised) or cause.what in SHAPES else None
    return None


def failure_of_probe(
    subject: Subject, name: str, plain: Case, cause: Raised | Fact, words: Sequence[str]
) -> Failure:
    """Make the failure of a probe, with the command that tries it again."""
    case = replace(plain, **VARIED.get(name, {}))  # type: ignore[arg-type]
    told = ["verify", *words, "-k", SETUP]
    replay = command(*told, subject=subject.name, device=subject.device)
    about = CAPABILITY + name, str(case), replay
    if isinstance(cause, Fact):
        return Failure(Kind.FACT, *about, fact=cause)
    return Failure(Kind.EXCEPTION, *about, raised=cause)
