"""What is judged: a callable with nn.RNN's signature, loaded by name and run on problems."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnn_ref.bridge import TORCH_DTYPES, set_parameters, to_array, to_tensor
from rnn_ref.case import Problem
from rnn_ref.isolation import apart, timed

Floats = NDArray[np.floating[Any]]


class CannotLoad(ValueError):
    """A subject, or its device, that is not there; the message is one sentence."""


class SubjectFault(Exception):
    """The subject raised, or returned something that is no result; the message says what."""


@dataclass(frozen=True)
class Run:
    """What a subject returned: `output` (T, N, D*H), `h_n` (L*D, N, H), gradients by name.

    The layouts are undone. `gradients` holds "input", "h_0" if one was given, and the
    parameters by name; it is empty for a run without gradients.
    """

    output: Floats
    h_n: Floats
    gradients: dict[str, Floats]


@dataclass(frozen=True)
class Subject:
    """A factory of modules with nn.RNN's constructor signature and calling convention.

    `cell` is one like nn.RNNCell, `packing` has the functions of torch.nn.utils.rnn by
    their names, if there are such.
    """

    name: str
    factory: Callable[..., torch.nn.Module]
    device: str = "cpu"
    cell_name: str = ""
    cell: Callable[..., torch.nn.Module] | None = None
    packing: Any = None

    @property
    def lacks(self) -> frozenset[str]:
        """What a module does not come with, by the names of capabilities."""
        return frozenset(name for name in ("cell", "packing") if getattr(self, name) is None)

    def build(
        self, problem: Problem, *, positional: bool = False, dropout: float = 0.0
    ) -> torch.nn.Module:
        """A module with the problem's options and weights, and a probability of dropout.

        Only options that differ from nn.RNN's defaults are passed, so that a subject
        need not know those that it does not have.
        """
        I, H, options = problem.input.shape[2], problem.H, options_of(problem)
        options["dropout"] = dropout
        with blaming("constructing the module"):
            if positional:
                module = self.factory(I, H, *options.values())
            else:
                differing = {
                    name: value for name, value in options.items() if value != DEFAULTS[name]
                }
                module = self.factory(I, H, **differing)
            module = module.to(device=self.device, dtype=TORCH_DTYPES[problem.dtype])
            set_parameters(module, problem.parameters)
        return module

    def make_cell(self, *arguments: Any, **options: Any) -> torch.nn.Module:
        """A cell."""
        if self.cell is None:
            raise ValueError(f"{self.name} has no cell")
        with blaming("constructing the cell"):
            return self.cell(*arguments, **options)

    def run(
        self, problem: Problem, module: torch.nn.Module | None = None, *, gradients: bool = False
    ) -> Run:
        """Call the module, a fresh one unless given, on copies of the problem's arrays."""
        module = self.build(problem) if module is None else module
        leaves, layout, found = self.leaves(problem, gradients=gradients), problem.layout, {}
        with torch.set_grad_enabled(gradients):
            output, h_n = self.forward(problem, module, leaves)
        if gradients:
            with blaming("zero_grad"):
                module.zero_grad()
            self.pull(problem, output, h_n)
            found = self.gradients(problem, module, leaves)
        with blaming("reading output and h_n"):
            return Run(layout.to_steps(to_array(output)), layout.to_rows(to_array(h_n)), found)

    def forward(
        self, problem: Problem, module: torch.nn.Module, leaves: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The results of a call with an input and, if there is one, an h_0."""
        with blaming("the call"):
            returned = module(*leaves.values())
        return self.check(problem, returned)

    def leaves(self, problem: Problem, *, gradients: bool = False) -> dict[str, torch.Tensor]:
        """The arguments of a call: copies, in the problem's layout, on the subject's device."""
        arrays = {"input": problem.layout.from_steps(problem.input)}
        if problem.h_0 is not None:
            arrays["h_0"] = problem.layout.from_rows(problem.h_0)
        return {
            name: to_tensor(array, problem.dtype, self.device).requires_grad_(gradients)
            for name, array in arrays.items()
        }

    def pull(
        self,
        problem: Problem,
        output: torch.Tensor,
        h_n: torch.Tensor,
        *,
        retain_graph: bool = False,
        lay: Callable[[torch.Tensor], torch.Tensor] = lambda gradient: gradient,
    ) -> None:
        """Backward from the problem's loss; `lay` puts its gradients into another memory order."""
        layout, upstream = problem.layout, []
        if problem.grad_output is not None:
            upstream.append((output, layout.from_steps(problem.grad_output)))
        if problem.grad_h_n is not None:
            upstream.append((h_n, layout.from_rows(problem.grad_h_n)))
        results = [result for result, _ in upstream]
        grads = [lay(to_tensor(gradient, problem.dtype, self.device)) for _, gradient in upstream]
        with blaming("backward"):
            torch.autograd.backward(results, grads, retain_graph=retain_graph)

    def gradients(
        self, problem: Problem, module: torch.nn.Module, leaves: dict[str, torch.Tensor]
    ) -> dict[str, Floats]:
        """The gradients that have been gathered, by name; an absent one counts as zero."""
        tensors, found = leaves | dict(module.named_parameters()), {}
        for name in (*leaves, *problem.parameters):
            if name not in tensors:
                raise SubjectFault(f"the module has no parameter {name}")
            tensor = tensors[name]
            with blaming(f"reading the gradient of {name}"):
                grad = tensor.grad
                found[name] = np.zeros(tensor.shape) if grad is None else to_array(grad)
        found["input"] = problem.layout.to_steps(found["input"])
        if "h_0" in found:
            found["h_0"] = problem.layout.to_rows(found["h_0"])
        return found

    def shown_states(self, problem: Problem, run: Run) -> list[Floats | None]:
        """Every layer's states, (T, N, D*H), as far as they can be seen; None where not.

        The layers below the last do not show theirs. But where the layers, each run as a
        network of its own on the states of the one below, come to the run's output to the
        bit, a correct subject's last layer may as well have read those states: then they
        stand for the hidden ones. A subject that runs a stack in another way than its
        layers does not show them.
        """
        states: list[Floats] = []
        for l in range(problem.L - 1):
            below = states[-1] if states else problem.input
            states.append(self.run(problem.layer(l, below)).output)
        if states:
            last = self.run(problem.layer(problem.L - 1, states[-1])).output
            if not np.array_equal(last, run.output, equal_nan=True):
                return [*[None] * len(states), run.output]
        return [*states, run.output]

    def check(self, problem: Problem, returned: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The two tensors of a result, with the documented shapes, dtype and device."""
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise SubjectFault(f"the call returned {described(returned)}, not (output, h_n)")
        T, N, _ = problem.input.shape
        layout, L_D = problem.layout, problem.L * problem.D
        shapes = {
            "output": layout.from_steps(np.empty((T, N, problem.D * problem.H))).shape,
            "h_n": layout.from_rows(np.empty((L_D, N, problem.H))).shape,
        }
        for (name, shape), tensor in zip(shapes.items(), returned, strict=True):
            if not isinstance(tensor, torch.Tensor):
                raise SubjectFault(f"{name} is {described(tensor)}, not a tensor")
            for what, due, came in (
                ("shape", shape, tuple(tensor.shape)),
                ("dtype", TORCH_DTYPES[problem.dtype], tensor.dtype),
                ("device", torch.device(self.device).type, tensor.device.type),
            ):
                if came != due:
                    raise SubjectFault(f"{name} has {what} {came}, not {due}")
        return returned


DEFAULTS = {
    "num_layers": 1,
    "nonlinearity": "tanh",
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
}
"""nn.RNN's options and their defaults, in the order of its signature."""


def options_of(problem: Problem) -> dict[str, Any]:
    """The options with which nn.RNN makes the problem's network."""
    return DEFAULTS | {
        "num_layers": problem.L,
        "nonlinearity": problem.nonlinearity,
        "bias": problem.bias,
        "batch_first": problem.layout.batch_first,
        "bidirectional": problem.D == 2,
    }


@contextmanager
def blaming(doing: str) -> Iterator[None]:
    """Turn whatever the subject raises into a SubjectFault that says what and where."""
    try:
        with timed():
            yield
    except BaseException as error:  # pytest's skip and exit, which are no Exceptions, too
        if isinstance(error, KeyboardInterrupt) and not apart():
            raise  # a person's; a process of ours is stopped by the one that started it
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        raise SubjectFault(f"{doing} raised {sentence(error)} ({place})") from error


def sentence(error: BaseException) -> str:
    """An exception as one line: its type and the first line of what it says."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def described(value: Any) -> str:
    """A value's type, and its length if it is a tuple, as a message names it."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"a {type(value).__module__}.{type(value).__qualname__}".replace("builtins.", "")


TORCHS = "torch.nn:RNN"
"""The subject that is judged unless another is named."""


def load(name: str, device: str = "cpu", cell: str | None = None) -> Subject:
    """Load MODULE:CALLABLE, and its cell, found on the path or in the working directory.

    torch.nn.RNN's cell is torch.nn.RNNCell; others have none unless one is named. Raises
    CannotLoad, in one sentence, for a subject or a device that is not there.
    """
    if cell is None and name == TORCHS:
        cell = "torch.nn:RNNCell"
    factory = load_callable("subject", name)
    made = None if cell is None else load_callable("cell", cell)
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise CannotLoad(f"device: {device!r} is not to be had: {sentence(error)}") from error
    packing = torch.nn.utils.rnn if name == TORCHS else None
    return Subject(name, factory, device, cell or "", made, packing)


def load_callable(what: str, name: str) -> Any:
    """What MODULE:CALLABLE names."""
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise CannotLoad(f"{what}: expected MODULE:CALLABLE, came {name!r}")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise CannotLoad(f"{what}: importing {module_name} raised {sentence(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise CannotLoad(f"{what}: module {module_name} has no {attribute!r}")
        found = getattr(found, part)
    if not callable(found):
        raise CannotLoad(f"{what}: expected a callable, {name} is {described(found)}")
    return found
