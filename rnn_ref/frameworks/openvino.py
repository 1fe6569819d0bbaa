"""torch.nn.RNN, converted by OpenVINO and run on the CPU; each form of a call is compiled."""

import sys
from typing import Any

import torch
from torch import Tensor, nn

from rnn_ref.container import Arguments, Forward, way

# Without this, each conversion sends a report over the network, and takes four times as long.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402

CORE = openvino.Core()
EXACTLY = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


@way
def RNN(rnn: nn.RNN, arguments: Arguments) -> Forward:
    """Through openvino.convert_model."""
    shapes = [openvino.PartialShape(list(a.shape)) for a in arguments]
    model = openvino.convert_model(rnn.eval(), example_input=arguments, input=shapes)
    compiled = CORE.compile_model(model, "CPU", EXACTLY)

    def call(*arguments: Tensor) -> Any:
        results = compiled([a.detach().numpy() for a in arguments])
        return tuple(torch.from_numpy(results[i].copy()) for i in range(2))

    return call
