"""The operator RNN of ONNX, run by ONNX Runtime: one layer, in one direction or in both."""

from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

import rnn_ref


@rnn_ref.function(dtypes=("float32",), lacks=("deep", "unbatched"))
def rnn(
    input: Any, h_0: Any, parameters: Any, *, nonlinearity: str, batch_first: bool = False
) -> Any:
    """Make a model of one operator, and run it."""
    p = parameters
    ends = [name.removeprefix("weight_ih") for name in p if name.startswith("weight_ih")]
    W, R = (np.stack([p[kind + end] for end in ends]) for kind in ("weight_ih", "weight_hh"))
    given = {"X": input.swapaxes(0, 1) if batch_first else input, "W": W, "R": R}
    if "bias_ih_l0" in p:
        given["B"] = np.stack([np.concatenate([p["bias_ih" + e], p["bias_hh" + e]]) for e in ends])
    if h_0 is not None:
        given["initial_h"] = h_0
    given = {name: np.ascontiguousarray(array) for name, array in given.items()}
    order = ("X", "W", "R", "B", "", "initial_h")
    node = helper.make_node(
        "RNN", [name if name in given else "" for name in order], ["Y", "Y_h"],
        hidden_size=W.shape[1], activations=[nonlinearity.capitalize()] * len(ends),
        direction="bidirectional" if len(ends) == 2 else "forward",
    )  # fmt: skip
    value = helper.make_tensor_value_info
    inputs = [value(name, TensorProto.FLOAT, array.shape) for name, array in given.items()]
    outputs = [value(name, TensorProto.FLOAT, None) for name in ("Y", "Y_h")]
    graph = helper.make_graph([node], "rnn", inputs, outputs)
    opset = [helper.make_opsetid("", 22)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    y, h_n = session.run(None, given)  # (T, D, N, H), (D, N, H)
    output = y.swapaxes(1, 2).reshape(*y.shape[:1], y.shape[2], -1)
    return output.swapaxes(0, 1) if batch_first else output, h_n
