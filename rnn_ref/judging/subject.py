"""What is judged: a callable with nn.RNN's signature, run on problems."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol

import numpy as np
import torch

from rnn_ref.arithmetic.dtypes import ROUNDING, Floats, Rounding
from rnn_ref.bridge import TORCH_DTYPES, set_parameters, to_array, to_tensor
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.failures import Fact, SubjectFault, Wiring, raised, require
from rnn_ref.judging.flushing import losing_subnormals
from rnn_ref.judging.measured import NOTHING, TANH, Measured
from rnn_ref.judging.replay import DEFAULT_SUBJECT
from rnn_ref.marking import Function


class Watch(Protocol):
    """What watches the calls of a subject: it ends the process when one takes too long."""

    @property
    def apart(self) -> bool:
        """Whether the process was started to run properties, and is replaced when it ends."""

    def call(self) -> AbstractContextManager[None]:
        """Watch a call."""

    def note(self, facts: dict[str, Any]) -> None:
        """Note what is about to be judged, for the process that reads it if this one dies."""

    def memory_is_spent(self) -> bool:
        """Tell whether the process has hardly any memory left."""

    def give_up(self, facts: dict[str, Any]) -> NoReturn:
        """End the process, and leave facts that say why."""


@dataclass(frozen=True)
class Run:
    """What a subject returned: `output` (T, N, D*H), `h_n` (L*D, N, H), gradients by name.

    The shapes are these for every layout of the call. `gradients` holds "input", "h_0" if
    one was given, and the parameters by name; it is empty for a run without gradients.
    """

    output: Floats
    h_n: Floats
    gradients: dict[str, Floats]

    @property
    def results(self) -> tuple[Floats, Floats]:
        """output and h_n."""
        return self.output, self.h_n


DEFAULTS = {
    "num_layers": 1,
    "nonlinearity": "tanh",
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
}
"""nn.RNN's options and their defaults, in the order of its signature."""

NOT_GIVEN = {
    "cell": "no --cell given",
    "packing": f"torch's own functions, which are judged with {DEFAULT_SUBJECT}",
}
"""Why a capability that is given beside the module is not judged."""


@dataclass(frozen=True)
class Subject:
    """A factory of modules with nn.RNN's constructor signature and calling convention.

    `cell` makes cells like nn.RNNCell, `packing` has the functions of torch.nn.utils.rnn by
    name; None if the subject has none. With `flushes`, it may take subnormal numbers for zero.
    `function` is the function of arrays that the modules call, if the subject is one.
    Its tanh may be off by `tanh` units of roundoff; the bounds take what was `measured` if that
    is more, and what else was measured as it is.
    """

    name: str
    factory: Callable[..., torch.nn.Module]
    device: str = "cpu"
    cell_name: str = ""
    cell: Callable[..., torch.nn.Module] | None = None
    packing: Any = None
    flushes: bool = False
    watch: Watch | None = None
    function: Function | None = None
    tanh: float = TANH
    measured: Measured = NOTHING

    @property
    def names(self) -> tuple[str, ...]:
        """The subject's name, and torch.nn:RNN where it is a subclass of that."""
        heir = isinstance(self.factory, type) and issubclass(self.factory, torch.nn.RNN)
        return (self.name, DEFAULT_SUBJECT) if heir else (self.name,)

    @property
    def flushed(self) -> frozenset[str]:
        """The dtypes in which the device's own products take subnormal numbers for zero."""
        return losing_subnormals(self.device)

    @property
    def lacks(self) -> frozenset[str]:
        """The capabilities that are not there."""
        return frozenset(self.not_judged)

    @property
    def not_judged(self) -> dict[str, str]:
        """The capabilities that are not there, each with the reason.

        cell and packing if not given, fork but on a CPU, and what a function has not.
        """
        reasons = {name: why for name, why in NOT_GIVEN.items() if getattr(self, name) is None}
        if not (hasattr(os, "fork") and torch.device(self.device).type == "cpu"):
            reasons["fork"] = "only processes on a CPU fork"
        return reasons | (self.function.not_judged if self.function else {})

    def rounding(self, dtype: str) -> Rounding:
        """Return the rounding model that the subject is judged by."""
        flushes = self.flushes or dtype in self.flushed or dtype in self.measured.flushed
        rounding = ROUNDING[dtype].flushing if flushes else ROUNDING[dtype]
        units = self.measured.tanh_units(dtype, self.tanh)
        return rounding if units == rounding.tanh else replace(rounding, tanh=units)

    def problem(self, case: Case, parameters: dict[str, Floats] | None = None) -> Problem:
        """Make the arrays of a case, with the subject's rounding model, and parameters if given."""
        return case.problem(self.rounding(case.dtype), parameters)

    def watched(self) -> AbstractContextManager[None]:
        """Watch several calls as one: a watch takes a thread, and most calls take less time."""
        return nullcontext() if self.watch is None else self.watch.call()

    @contextmanager
    def calling(self, doing: str) -> Iterator[None]:
        """Turn whatever the subject raises meanwhile into a SubjectFault that says what and where.

        That includes pytest's skip and exit, which are no Exceptions. A KeyboardInterrupt
        comes from a person, unless the process was started to run properties.
        """
        try:
            with self.watched():
                yield
        except SubjectFault:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not (self.watch and self.watch.apart):
                raise
            out_of_memory = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
            raise SubjectFault(raised(doing, error), out_of_memory=out_of_memory) from error

    def build(
        self, problem: Problem, *, positional: bool = False, dropout: float = 0.0
    ) -> torch.nn.Module:
        """Make a module with the problem's options and weights, and a probability of dropout.

        Only options that differ from nn.RNN's defaults are passed, so that a subject
        need not know those that it does not have.
        """
        I, H, options = problem.input.shape[2], problem.H, options_of(problem)
        options["dropout"] = dropout
        plain = inspect.isroutine(self.factory) and self.function is None
        with self.calling(Wiring.FUNCTION if plain else Wiring.CONSTRUCTION):
            if positional:
                module = self.factory(I, H, *options.values())
            else:
                module = self.factory(I, H, **differing(options))
            module = module.to(device=self.device, dtype=TORCH_DTYPES[problem.dtype])
        with self.calling(Wiring.PARAMETERS):
            set_parameters(module, problem.parameters)
        return module

    def run(
        self, problem: Problem, module: torch.nn.Module | None = None, *, gradients: bool = False
    ) -> Run:
        """Call the module, a fresh one unless given, on copies of the problem's arrays."""
        with self.watched():
            module = self.build(problem) if module is None else module
            leaves = self.leaves(problem, gradients=gradients)
            with torch.set_grad_enabled(gradients):
                output, h_n = self.forward(problem, module, leaves)
            by_name: dict[str, Floats] = {}
            if gradients:
                with self.calling("zero_grad"):
                    module.zero_grad()
                self.backward(problem, output, h_n)
                by_name = read_gradients(self, problem, module, leaves)
            return Run(*self.arrays(problem, output, h_n), by_name)

    def forward(
        self, problem: Problem, module: torch.nn.Module, leaves: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Call the module with an input and, if there is one, an h_0; check the results' form."""
        with self.calling(Wiring.CALL):
            returned = module(*leaves.values())
        return require_results(self, problem, returned)

    def arrays(
        self, problem: Problem, output: torch.Tensor, h_n: torch.Tensor
    ) -> tuple[Floats, Floats]:
        """Read output as (T, N, D*H) and h_n as (L*D, N, H), whatever the layout."""
        with self.calling("reading output and h_n"):
            y, last = to_array(output), to_array(h_n)
        return problem.layout.to_steps(y), problem.layout.to_rows(last)

    def leaves(self, problem: Problem, *, gradients: bool = False) -> dict[str, torch.Tensor]:
        """Copy the arguments of a call, in the problem's layout, to the subject's device."""
        arrays = {"input": problem.layout.from_steps(problem.input)}
        if problem.h_0 is not None:
            arrays["h_0"] = problem.layout.from_rows(problem.h_0)
        return {
            name: to_tensor(array, problem.dtype, self.device).requires_grad_(gradients)
            for name, array in arrays.items()
        }

    def backward(
        self,
        problem: Problem,
        output: torch.Tensor,
        h_n: torch.Tensor,
        *,
        retain_graph: bool = False,
        arrange: Callable[[torch.Tensor], torch.Tensor] = lambda gradient: gradient,
    ) -> None:
        """Go backward from the loss; `arrange` decides how upstream gradients lie in memory."""
        results, upstream = self.upstream(problem, output, h_n)
        gradients = [arrange(gradient) for gradient in upstream]
        with self.calling("backward"):
            torch.autograd.backward(results, gradients, retain_graph=retain_graph)

    def upstream(
        self, problem: Problem, output: torch.Tensor, h_n: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """List the results that the loss reads, and the upstream gradient of each."""
        layout, upstream = problem.layout, []
        if problem.grad_output is not None:
            upstream.append((output, layout.from_steps(problem.grad_output)))
        if problem.grad_h_n is not None:
            upstream.append((h_n, layout.from_rows(problem.grad_h_n)))
        results = [result for result, _ in upstream]
        return results, [to_tensor(each, problem.dtype, self.device) for _, each in upstream]


def read_gradients(
    subject: Subject, problem: Problem, module: torch.nn.Module, leaves: dict[str, torch.Tensor]
) -> dict[str, Floats]:
    """Read the gradients in `.grad`, by name; an absent one counts as zero."""
    by_name = {}
    with subject.watched():
        with subject.calling("reading named_parameters"):
            tensors = leaves | dict(module.named_parameters())
        for name in (*leaves, *problem.parameters):
            if name not in tensors:
                raise SubjectFault(Fact("named_parameters", f"no {name}", name))
            tensor = tensors[name]
            with subject.calling(f"reading the gradient of {name}"):
                grad = tensor.grad
                by_name[name] = np.zeros(tensor.shape) if grad is None else to_array(grad)
    by_name["input"] = problem.layout.to_steps(by_name["input"])
    if "h_0" in by_name:
        by_name["h_0"] = problem.layout.to_rows(by_name["h_0"])
    return by_name


def visible_states(subject: Subject, problem: Problem, run: Run) -> list[Floats | None]:
    """List every layer's states, (T, N, D*H); None for a layer whose states can't be observed.

    Only the last layer returns its states. So each layer is run as a network of its own, on
    the states of the layer below. If that leads to the run's output, to the bit, a correct
    subject's last layer may as well have read those states: they stand for the hidden ones.
    If not, the subject runs a stack in another way than its layers, and hides their states.
    """
    states: list[Floats] = []
    for l in range(problem.L - 1):
        below = states[-1] if states else problem.input
        states.append(subject.run(problem.layer(l, below)).output)
    if states:
        last = subject.run(problem.layer(problem.L - 1, states[-1])).output
        if not np.array_equal(last, run.output, equal_nan=True):
            return [*[None] * len(states), run.output]
    return [*states, run.output]


def require_results(
    subject: Subject, problem: Problem, returned: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Raise SubjectFault unless a result is two tensors of the documented form."""
    if not (isinstance(returned, tuple) and len(returned) == 2):
        expected = "a tuple (output, h_n)"
        raise SubjectFault(Fact(Wiring.RESULT, described(returned), expected))
    layout = problem.layout
    output = layout.from_steps(np.empty(problem.output_shape)).shape
    h_n = layout.from_rows(np.empty(problem.h_n_shape)).shape
    shapes = {"output": (Wiring.OUTPUT, output), "h_n": (Wiring.H_N, h_n)}
    with subject.calling("reading the form of output and h_n"):
        for (name, (what, shape)), tensor in zip(shapes.items(), returned, strict=True):
            if not isinstance(tensor, torch.Tensor):
                raise SubjectFault(Fact(name, described(tensor), "a tensor"))
            require(what, tuple(tensor.shape), shape)
            require(f"dtype of {name}", tensor.dtype, TORCH_DTYPES[problem.dtype])
            require(f"device of {name}", tensor.device.type, torch.device(subject.device).type)
    return returned


def options_of(problem: Problem) -> dict[str, Any]:
    """Return the options with which nn.RNN makes the problem's network."""
    return DEFAULTS | {
        "num_layers": problem.L,
        "nonlinearity": problem.nonlinearity,
        "bias": problem.bias,
        "batch_first": problem.layout.batch_first,
        "bidirectional": problem.D == 2,
    }


def differing(options: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the options that are not nn.RNN's defaults."""
    return {name: value for name, value in options.items() if value != DEFAULTS[name]}


def described(value: Any) -> str:
    """Name a value's type, or a tuple's length, for a message."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"a {type(value).__module__}.{type(value).__qualname__}".replace("builtins.", "")
