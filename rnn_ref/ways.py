"""Ways of running torch.nn.RNN, each a subject by name, such as `rnn_ref.ways:traced`.

Each makes a module that is an nn.RNN to look at, with its parameters by their names, and
that runs in another way. To add one, write its function and its line in WAYS.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rnn_ref.container import Arguments, Forward, LayerByLayer, like, way
from rnn_ref.process.environment import not_installed


def eager_without_onednn(*arguments: Any, **options: Any) -> nn.RNN:
    """torch.nn.RNN in a process in which oneDNN is off from then on."""
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    return nn.RNN(*arguments, **options)


@way
def functional(rnn: nn.RNN, _: Arguments) -> Forward:
    """Through torch.func.functional_call, the parameters as an argument."""
    skeleton = like(rnn, nn.RNN)

    def call(*arguments: Tensor) -> Any:
        return torch.func.functional_call(skeleton, dict(rnn.named_parameters()), arguments)

    return call


@way
def forward_mode(rnn: nn.RNN, _: Arguments) -> Forward:
    """Run it through torch.func.jvp, and return the primal results."""

    def call(*arguments: Tensor) -> Any:
        tangents = tuple(torch.ones_like(a) for a in arguments)
        return torch.func.jvp(rnn, arguments, tangents)[0]

    return call


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Leave out what torch.jit warns of: that it is deprecated, and what a trace may not hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@way
def traced(rnn: nn.RNN, arguments: Arguments) -> Forward:
    """Through torch.jit.trace."""
    trace: Any = torch.jit.trace
    with without_warnings():
        made: Forward = trace(rnn, arguments, check_trace=False)
    return made


class Wrapped(nn.Module):
    """An nn.RNN inside a module, for scripting: a bare one has no forward there."""

    def __init__(self, rnn: nn.RNN) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, input: Tensor, h_0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Call the wrapped module."""
        output, h_n = self.rnn(input, h_0)
        return output, h_n


@way
def scripted(rnn: nn.RNN, _: Arguments) -> Forward:
    """Through torch.jit.script, inside a module."""
    with without_warnings():
        made: Forward = torch.jit.script(Wrapped(rnn))
    return made


def exported(rnn: nn.RNN, arguments: Arguments, *, decompose: bool) -> Forward:
    """Export a graph, to be called with the module's own parameters."""
    program = torch.export.export(rnn, arguments)
    graph = (program.run_decompositions() if decompose else program).module()

    def call(*arguments: Tensor) -> Any:
        return torch.func.functional_call(graph, dict(rnn.named_parameters()), arguments)

    return call


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

    def proven(*arguments: Tensor) -> Any:
        results = call(*arguments)
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


@way
def inference(rnn: nn.RNN, _: Arguments) -> Forward:
    """Under torch.inference_mode, in which nothing is recorded for backward."""

    def call(*arguments: Tensor) -> Any:
        with torch.inference_mode():
            return rnn(*arguments)

    return call


def ensemble(rnn: nn.RNN, skeleton: nn.RNN) -> Forward:
    """Run three networks side by side by torch.func.vmap; return the second one's results."""

    def call(*arguments: Tensor) -> Any:
        stacked = {name: torch.stack([p * 2, p, -p]) for name, p in rnn.named_parameters()}

        def member(weights: dict[str, Tensor]) -> Any:
            return torch.func.functional_call(skeleton, weights, arguments)

        output, h_n = torch.func.vmap(member, randomness="different")(stacked)
        return output[1], h_n[1]

    return call


@way
def vmapped(rnn: nn.RNN, _: Arguments) -> Forward:
    """Through torch.func.vmap, one of an ensemble."""
    return ensemble(rnn, like(rnn, nn.RNN))


@way
def vmapped_cells(rnn: nn.RNN, _: Arguments) -> Forward:
    """Through torch.func.vmap, one of an ensemble of unrolled cells."""
    return ensemble(rnn, like(rnn, Cells))


def onnx_session(model: bytes) -> Callable[..., list[Tensor]]:
    """Load a model in ONNX Runtime, on CPU; it takes and returns tensors, by position."""
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [input.name for input in session.get_inputs()]

    def call(*arguments: Tensor) -> list[Tensor]:
        arrays = [tensor.detach().contiguous().numpy() for tensor in arguments]
        results = session.run(None, dict(zip(names, arrays, strict=True)))
        return [torch.from_numpy(result) for result in results]

    return call


@way
def onnx_exported(rnn: nn.RNN, arguments: Arguments) -> Forward:
    """Export by torch.onnx, and run by ONNX Runtime."""
    export: Any = torch.onnx.export
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        program = export(rnn.eval(), arguments, dynamo=True, verbose=False)
    session = onnx_session(program.model_proto.SerializeToString())
    return lambda *arguments: tuple(session(*arguments))


class Bare(nn.RNNCell):
    """An nn.RNNCell that is called with other weights than its own, and draws none."""

    def reset_parameters(self) -> None:
        """Leave them."""


class Cells(LayerByLayer):
    """RNNCell, unrolled over steps, directions and layers."""

    def layer(self, l: int, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        runs = [self.run(x.flip(0) if d else x, h, l, d) for d, h in enumerate(h_0)]
        last = torch.stack([run[-1] for run in runs])
        return torch.cat([run.flip(0) if d else run for d, run in enumerate(runs)], dim=2), last

    def run(self, x: Tensor, h: Tensor, l: int, d: int) -> Tensor:
        """Run one direction of one layer by a cell that has its weights."""
        with torch.device("meta"):
            cell = Bare(x.shape[2], self.hidden_size, self.bias, self.nonlinearity)
        end = f"_l{l}" + "_reverse" * d
        weights = {name: getattr(self, name + end) for name, _ in cell.named_parameters()}
        states = []
        for x_t in x:
            h = torch.func.functional_call(cell, weights, (x_t, h))
            states.append(h)
        return torch.stack(states)


@dataclass(frozen=True)
class Way:
    """A way to run nn.RNN, and what is not judged in it and why.

    `without` has capabilities, `omitted` whole names of properties, each with the reason;
    `groups` are the groups of properties that are judged where others can't be, or take too
    long, `because` of something; `dtypes` those that it has, if not all; `requires` modules
    or programs without which it can't be run; `options` further ones of `rnn-ref verify`.
    """

    subject: str
    without: dict[str, str] = field(default_factory=dict)
    omitted: dict[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    because: str = "each form is compiled"
    dtypes: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """What it requires and is not installed."""
        return not_installed(self.requires)


FROZEN = {
    "packed": "it takes tensors alone",
    "pickle": "it holds a graph that can't be copied",
    "parametrized": "it reads the parameters by name",
}
THREADS = "test_threads_that_share_a_module_do_not_disturb_one_another"
TIED = "test_tied_weights_count_in_every_place"
SETTINGS = "test_settings_of_the_process_are_left_as_they_were"
HELD = "test_nobody_holds_what_a_call_was_given_and_returned"
CHECKPOINTING = "test_gradients_survive_checkpointing"
WARNS = {
    "test_every_step_of_a_history_gives_what_the_reference_gives": "torch warns as each form of"
    " call is made"
}
SKELETON = {
    TIED: "it takes no parameter twice",
    THREADS: "it puts the parameters into one skeleton for the time of a call",
}
REFUSALS = (
    "test_a_wrong_call_is_refused_and_leaves_no_trace",
    "test_a_state_of_another_batch_is_refused",
    "test_a_state_that_nearly_fits_is_refused",
    "test_an_input_that_nearly_fits_is_refused",
    "test_a_wrong_call_of_a_cell_is_refused",
)
CHECKS = dict.fromkeys(REFUSALS, "RNNCell's own checks are not nn.RNN's")
QUICK = ("setup", "bounds", "dropout")
FORWARD = {"gradients": "it computes no gradients", "dropout": "it is for inference"}

WAYS = {
    "eager": Way("torch.nn:RNN"),
    "eager, no oneDNN": Way(
        "rnn_ref.ways:eager_without_onednn",
        omitted={SETTINGS: "it leaves oneDNN off, which is a setting"},
    ),
    "RNNCell unrolled": Way(
        "rnn_ref.ways:Cells",
        {"packed": "a cell takes no packed sequence"},
        CHECKS,
    ),
    "functional_call": Way("rnn_ref.ways:functional", FROZEN, SKELETON),
    "jvp": Way(
        "rnn_ref.ways:forward_mode",
        FROZEN,
        {
            **WARNS,
            THREADS: "dual levels belong to one thread",
            "test_an_expanded_state_is_every_rows_own": "it writes into its arguments",
        },
    ),
    "jit.trace": Way(
        "rnn_ref.ways:traced",
        FROZEN,
        {
            HELD: "a trace holds the arguments with which it was made",
            TIED: SKELETON[TIED],
            CHECKPOINTING: "it saves other tensors",
        },
    ),
    "jit.script": Way(
        "rnn_ref.ways:scripted",
        FROZEN,
        {
            **dict.fromkeys(REFUSALS, "the interpreter raises errors of its own"),
            CHECKPOINTING: "the interpreter recomputes nothing",
            THREADS: "scripting is for one thread",
        },
    ),
    "export": Way("rnn_ref.ways:export", groups=QUICK),
    "export, decomposed": Way("rnn_ref.ways:decomposed", groups=QUICK),
    "compile, eager": Way("rnn_ref.ways:compiled_eager", groups=QUICK),
    "compile, aot_eager": Way("rnn_ref.ways:compiled_aot_eager", groups=QUICK),
    "compile, inductor": Way(
        "rnn_ref.ways:compiled_inductor", groups=("setup", "dropout"), requires=("c++",)
    ),
    "inference mode": Way(
        "rnn_ref.ways:inference",
        {**FROZEN, **FORWARD},
        {
            "test_results_share_no_memory_with_arguments": "its results can't be written into"
            " outside it",
            "test_a_batch_of_none_is_accepted": "it computes no gradients",
        },
    ),
    "vmap": Way("rnn_ref.ways:vmapped", groups=("setup",), because="it can't be called"),
    "vmap, RNNCell": Way("rnn_ref.ways:vmapped_cells", FROZEN, {**SKELETON, **CHECKS, **WARNS}),
    "ONNX export": Way(
        "rnn_ref.ways:onnx_exported",
        {
            **FORWARD,
            "deep": "every step is exported, which takes minutes",
            "bidirectional": "every step is exported, which takes minutes",
        },
        groups=("setup", "bounds"),
        requires=("onnx", "onnxruntime", "onnxscript"),
    ),
}
"""The ways that `rnn-ref matrix` shows."""
