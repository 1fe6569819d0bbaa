"""Programs that compute one layer of nn.RNN, made ready to be timed by `rnn-ref bench`."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.bridge import set_parameters
from rnn_ref.functional import rnn, rnn_backward
from rnn_ref.process.environment import not_installed
from rnn_ref.running.bench.workload import NAMES, Network, Passes, products
from rnn_ref.ways import compiled


class Peer(NamedTuple):
    """How a peer is made ready, what it requires, for how many steps it is unless asked for."""

    load: Callable[[Network], Passes]
    requires: tuple[str, ...] = ()
    at_most: int = 10**9

    @property
    def missing(self) -> list[str]:
        """What it requires and is not installed."""
        return not_installed(self.requires)


def reference(net: Network) -> Passes:
    """Make the reference of this project ready."""
    return Passes(
        lambda: rnn(net.x, net.parameters)[0],
        lambda: in_order(rnn_backward(net.dy, net.dh_n, net.x, net.parameters)),
    )


def in_order(gradients: Any) -> list[Floats]:
    """List gradients as Passes has them."""
    return [gradients.input, *(gradients.parameters[name] for name in NAMES)]


def torch_module(net: Network) -> torch.nn.RNN:
    """Make torch.nn.RNN with the network's parameters."""
    torch.set_num_threads(net.threads)
    module = torch.nn.RNN(net.I, net.H)
    set_parameters(module, net.parameters)
    return module


def torch_passes(net: Network, module: torch.nn.RNN, call: Callable[..., Any]) -> Passes:
    """Time a call of a module, without gradients, and with them for all that it takes."""
    x, leaf = torch.from_numpy(net.x), torch.tensor(net.x, requires_grad=True)
    upstream = [torch.from_numpy(net.dy), torch.from_numpy(net.dh_n)]

    def forward() -> Any:
        with torch.no_grad():
            return call(x)[0]

    def both() -> Any:
        module.zero_grad()
        leaf.grad = None
        torch.autograd.backward(call(leaf), upstream)
        return [leaf.grad, *(getattr(module, name).grad for name in NAMES)]

    return Passes(forward, both, lambda tensor: tensor.numpy())


def eager(net: Network) -> Passes:
    """Make torch.nn.RNN ready as it is."""
    module = torch_module(net)
    return torch_passes(net, module, module)


@contextmanager
def without_onednn() -> Iterator[None]:
    """Switch oneDNN off meanwhile."""
    backend: Any = torch.backends.mkldnn
    before, backend.enabled = backend.enabled, False
    try:
        yield
    finally:
        backend.enabled = before


def eager_without_onednn(net: Network) -> Passes:
    """Make torch.nn.RNN ready, with oneDNN off for the time of each call."""
    passes = eager(net)
    assert passes.both
    return passes._replace(
        forward=without_onednn()(passes.forward), both=without_onednn()(passes.both)
    )


def torch_compiled(net: Network) -> Passes:
    """Compile torch.nn.RNN for both passes by inductor, with the proof that `ways` has."""
    module = torch_module(net)
    passes = torch_passes(net, module, compiled(module, "inductor"))
    assert passes.both
    start = time.perf_counter()
    passes.forward()
    passes.both()
    return passes._replace(note=f"compiled in {time.perf_counter() - start:.0f} s")


def onnx_model(net: Network) -> Any:
    """Make a model of ONNX's operator RNN, with the network's weights in it."""
    onnx: Any = importlib.import_module("onnx")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    W_ih, W_hh, b_ih, b_hh = net.parameters.values()
    weights = {"W": W_ih, "R": W_hh, "B": np.concatenate([b_ih, b_hh])}
    constants = [onnx.numpy_helper.from_array(w[None], name) for name, w in weights.items()]
    shape = (net.T, 1, net.N, net.H)
    node = helper.make_node("RNN", ["X", "W", "R", "B"], ["Y"], hidden_size=net.H)
    inputs = [helper.make_tensor_value_info("X", float32, net.x.shape)]
    outputs = [helper.make_tensor_value_info("Y", float32, shape)]
    graph = helper.make_graph([node], "rnn", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def without_directions(y: Any) -> Any:
    """Read the states (T, 1, N, H) of an operator RNN as (T, N, H)."""
    return np.asarray(y)[:, 0]


def onnx_runtime(net: Network) -> Passes:
    """Make ONNX Runtime's RNN ready."""
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = net.threads
    model, on = onnx_model(net).SerializeToString(), ["CPUExecutionProvider"]
    session = runtime.InferenceSession(model, options, providers=on)
    return Passes(lambda: session.run(None, {"X": net.x})[0], read=without_directions)


def onnx_reference(net: Network) -> Passes:
    """Make ONNX's own NumPy implementation ready."""
    evaluators: Any = importlib.import_module("onnx.reference")
    evaluator = evaluators.ReferenceEvaluator(onnx_model(net))
    return Passes(lambda: evaluator.run(None, {"X": net.x})[0], read=without_directions)


def openvino(net: Network) -> Passes:
    """Make OpenVINO ready, on the model that ONNX Runtime gets."""
    core = importlib.import_module("openvino").Core()
    settings = {"INFERENCE_NUM_THREADS": net.threads, "INFERENCE_PRECISION_HINT": "f32"}
    model = core.compile_model(
        core.read_model(onnx_model(net).SerializeToString()), "CPU", settings
    )
    return Passes(lambda: model([net.x])[0], read=without_directions)


def paddle(net: Network) -> Passes:
    """Make PaddlePaddle's SimpleRNN ready."""
    library: Any = importlib.import_module("paddle")
    library.base.core.set_num_threads(net.threads)
    module = library.nn.SimpleRNN(net.I, net.H, time_major=True)
    for name in NAMES:
        getattr(module, name).set_value(net.parameters[name])
    x, leaf, dy, dh_n = map(library.to_tensor, (net.x, net.x, net.dy, net.dh_n))
    leaf.stop_gradient = False

    def forward() -> Any:
        with library.no_grad():
            return module(x)[0]

    def both() -> Any:
        module.clear_gradients()
        leaf.clear_gradient()
        library.autograd.backward(list(module(leaf)), [dy, dh_n])
        return [leaf.grad, *(getattr(module, name).grad for name in NAMES)]

    return Passes(forward, both, lambda tensor: tensor.numpy())


PRODUCTS, REFERENCE, EAGER = "the products alone", "reference", "torch eager"
PEERS = {
    PRODUCTS: Peer(products),
    REFERENCE: Peer(reference),
    EAGER: Peer(eager),
    "torch eager, no oneDNN": Peer(eager_without_onednn),
    "torch compiled": Peer(torch_compiled, ("c++",), 10),
    "ONNX Runtime": Peer(onnx_runtime, ("onnx", "onnxruntime")),
    "onnx.reference": Peer(onnx_reference, ("onnx",)),
    "OpenVINO": Peer(openvino, ("onnx", "openvino")),
    "PaddlePaddle": Peer(paddle, ("paddle",)),
}
"""What is timed, by name; times are compared with EAGER's, and with those of PRODUCTS."""
