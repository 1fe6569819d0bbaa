"""Ways of running torch.nn.RNN, each a subject by name, such as `rnn_ref.ways:traced`.

Each makes a module that is an nn.RNN to look at, with its parameters by their names, and
that runs in another way. To add one, write its function and its line in WAYS.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Forward = Callable[..., Any]
Arguments = tuple[Tensor, ...]


class Rerouted(nn.RNN):
    """An nn.RNN whose calls go through what `prepare` makes of it, once for each form of call.

    `prepare` takes the same module as a plain nn.RNN, and a call's arguments, and
    returns what is called instead. A form is all that may be frozen into it: shapes,
    dtypes, mode, and whether there are gradients.
    """

    prepare: Callable[[nn.RNN, Arguments], Forward]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.prepared: dict[Any, Forward] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "prepared": {}}

    def plain(self) -> nn.RNN:
        """The same module, by the same parameters, as a plain nn.RNN."""
        twin = nn.RNN.__new__(nn.RNN)
        twin.__dict__ = {name: v for name, v in self.__dict__.items() if name != "prepared"}
        return twin

    def forward(self, *arguments: Tensor) -> Any:  # type: ignore[override]
        described = [(tuple(a.shape), a.dtype, a.requires_grad) for a in arguments]
        weights = [(id(p), p.dtype, p.requires_grad) for p in self.parameters()]
        form = (*described, *weights, self.training, torch.is_grad_enabled())
        if form not in self.prepared:
            with torch.random.fork_rng(devices=[]):  # what is prepared draws nothing of the call's
                self.prepared[form] = type(self).prepare(self.plain(), arguments)
        return self.prepared[form](*arguments)


def way(prepare: Callable[[nn.RNN, Arguments], Forward]) -> type[Rerouted]:
    """A subject that calls what `prepare` makes of the plain module."""
    return type(prepare.__name__, (Rerouted,), {"prepare": staticmethod(prepare)})


def eager_without_onednn(*arguments: Any, **options: Any) -> nn.RNN:
    """torch.nn.RNN in a process in which oneDNN is off from then on."""
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    return nn.RNN(*arguments, **options)


@way
def functional(rnn: nn.RNN, _: Arguments) -> Forward:
    """Through torch.func.functional_call, the parameters as an argument."""
    skeleton = nn.RNN(
        rnn.input_size, rnn.hidden_size, rnn.num_layers, rnn.nonlinearity, rnn.bias,
        rnn.batch_first, rnn.dropout, rnn.bidirectional,
    )  # fmt: skip
    skeleton.train(rnn.training)
    return lambda *given: torch.func.functional_call(skeleton, dict(rnn.named_parameters()), given)


@way
def forward_mode(rnn: nn.RNN, _: Arguments) -> Forward:
    """The primal results of torch.func.jvp."""

    def call(*given: Tensor) -> Any:
        tangents = tuple(torch.ones_like(a) for a in given)
        return torch.func.jvp(rnn, given, tangents)[0]

    return call


@way
def traced(rnn: nn.RNN, arguments: Arguments) -> Forward:
    """Through torch.jit.trace."""
    trace: Any = torch.jit.trace
    made: Forward = trace(rnn, arguments, check_trace=False)
    return made


class Wrapped(nn.Module):
    """An nn.RNN inside a module, for scripting: a bare one has no forward there."""

    def __init__(self, rnn: nn.RNN) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, input: Tensor, h_0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The wrapped module's results."""
        output, h_n = self.rnn(input, h_0)
        return output, h_n


@way
def scripted(rnn: nn.RNN, _: Arguments) -> Forward:
    """Through torch.jit.script, inside a module."""
    made: Forward = torch.jit.script(Wrapped(rnn))
    return made


def exported(rnn: nn.RNN, arguments: Arguments, *, decompose: bool) -> Forward:
    """A graph of torch.export's, called with the module's own parameters."""
    program = torch.export.export(rnn, arguments)
    graph = (program.run_decompositions() if decompose else program).module()
    return lambda *given: torch.func.functional_call(graph, dict(rnn.named_parameters()), given)


@way
def export(rnn: nn.RNN, arguments: Arguments) -> Forward:
    """Through torch.export."""
    return exported(rnn, arguments, decompose=False)


@way
def decomposed(rnn: nn.RNN, arguments: Arguments) -> Forward:
    """Through torch.export and run_decompositions."""
    return exported(rnn, arguments, decompose=True)


def compiled(rnn: nn.RNN, backend: str) -> Forward:
    """Through torch.compile, with a proof that a graph was compiled: by default none is."""
    dynamo: Any = importlib.import_module("torch._dynamo")
    dynamo.config.allow_rnn = True
    dynamo.reset()
    counts = dynamo.utils.counters["stats"]
    before, call = counts["unique_graphs"], torch.compile(rnn, backend=backend, dynamic=False)

    def proven(*given: Tensor) -> Any:
        results = call(*given)
        if counts["unique_graphs"] <= before:
            raise RuntimeError(f"torch.compile, backend {backend}, compiled no graph")
        return results

    return proven


@way
def compiled_eager(rnn: nn.RNN, _: Arguments) -> Forward:
    """Through torch.compile, backend eager."""
    return compiled(rnn, "eager")


@way
def compiled_aot_eager(rnn: nn.RNN, _: Arguments) -> Forward:
    """Through torch.compile, backend aot_eager."""
    return compiled(rnn, "aot_eager")


@way
def compiled_inductor(rnn: nn.RNN, _: Arguments) -> Forward:
    """Through torch.compile, backend inductor."""
    return compiled(rnn, "inductor")


class Cells(nn.RNN):
    """RNNCell, unrolled over steps, directions and layers."""

    def forward(self, input: Tensor, h_0: Tensor | None = None) -> Any:  # type: ignore[override]
        unbatched = input.dim() == 2
        x = input[:, None] if unbatched else input.transpose(0, 1) if self.batch_first else input
        D = 2 if self.bidirectional else 1
        if h_0 is None:
            h_0 = x.new_zeros(self.num_layers * D, x.shape[1], self.hidden_size)
        elif unbatched:
            h_0 = h_0[:, None]
        h_n = []
        for l in range(self.num_layers):
            x = nn.functional.dropout(x, self.dropout, self.training and l > 0)
            runs = [self.run(x.flip(0) if d else x, h_0[l * D + d], l, d) for d in range(D)]
            h_n += [run[-1] for run in runs]
            x = torch.cat([runs[0], runs[1].flip(0)], dim=2) if D == 2 else runs[0]
        last = torch.stack(h_n)
        if unbatched:
            return x[:, 0], last[:, 0]
        return (x.transpose(0, 1) if self.batch_first else x), last

    def run(self, x: Tensor, h: Tensor, l: int, d: int) -> Tensor:
        """The states of one direction of one layer, from the cell that has its weights."""
        with torch.device("meta"):  # it is called with other weights, and draws none
            cell = nn.RNNCell(x.shape[2], self.hidden_size, self.bias, self.nonlinearity)
        end = f"_l{l}" + "_reverse" * d
        weights = {name: getattr(self, name + end) for name, _ in cell.named_parameters()}
        states = []
        for x_t in x:
            h = torch.func.functional_call(cell, weights, (x_t, h))
            states.append(h)
        return torch.stack(states)


@dataclass(frozen=True)
class Way:
    """A subject; by capability or property what says nothing of it, with the reason.

    `only` names the groups of properties that are judged where each call is compiled, which
    takes seconds.
    """

    subject: str
    without: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()


FROZEN = {
    "packed": "takes tensors alone",
    "pickle": "holds a graph that can't be copied",
    "parametrized": "reads the parameters by name",
}
TIED = {"tied_weights": "takes no parameter twice"}
QUICK = ("setup", "bounds", "dropout")

WAYS = {
    "eager": Way("torch.nn:RNN"),
    "eager, no oneDNN": Way("rnn_ref.ways:eager_without_onednn"),
    "RNNCell unrolled": Way(
        "rnn_ref.ways:Cells",
        {"packed": "a cell takes no packed sequence"},
        {"refused": "RNNCell's own checks are not nn.RNN's"},
    ),
    "functional_call": Way("rnn_ref.ways:functional", FROZEN, TIED),
    "jvp": Way(
        "rnn_ref.ways:forward_mode",
        FROZEN,
        {"threads_that_share": "dual levels belong to one thread", "expanded_state": "writes"},
    ),
    "jit.trace": Way(
        "rnn_ref.ways:traced", FROZEN, {**TIED, "checkpointing": "saves other tensors"}
    ),
    "jit.script": Way(
        "rnn_ref.ways:scripted",
        FROZEN,
        {
            "refused": "the interpreter raises errors of its own",
            "checkpointing": "the interpreter recomputes nothing",
            "threads_that_share": "scripting is for one thread",
        },
    ),
    "export": Way("rnn_ref.ways:export", only=QUICK),
    "export, decomposed": Way("rnn_ref.ways:decomposed", only=QUICK),
    "compile, eager": Way("rnn_ref.ways:compiled_eager", only=QUICK),
    "compile, aot_eager": Way("rnn_ref.ways:compiled_aot_eager", only=QUICK),
}
"""The ways that `rnn-ref matrix` shows."""
