"""Adapters over the RNNs of other frameworks, each a subject by name.

`rnn_ref.frameworks.mlx:rnn` is one. Each has a module of its own, which imports its framework,
and a line in FRAMEWORKS. `rnn-ref matrix --frameworks` judges those that are installed.
"""

from __future__ import annotations

from rnn_ref.ways import FORWARD, FROZEN, Way

SLOW = "each form of a call is compiled"

FEW = ("--profile", "smoke")
"""The options of a slow one: few forms of cases."""

FRAMEWORKS = {
    "Brevitas": Way("rnn_ref.frameworks.brevitas:rnn", requires=("brevitas",)),
    "Flax": Way(
        "rnn_ref.frameworks.flax:rnn",
        groups=("setup", "bounds", "gradients", "results", "values", "errors"),
        because=SLOW,
        requires=("flax", "jax"),
        options=FEW,
    ),
    "Keras": Way("rnn_ref.frameworks.keras:rnn", requires=("keras",)),
    "MLX": Way("rnn_ref.frameworks.mlx:rnn", requires=("mlx",)),
    "ONNX Runtime": Way("rnn_ref.frameworks.onnx_runtime:rnn", requires=("onnxruntime", "onnx")),
    "Opacus": Way("rnn_ref.frameworks.opacus:RNN", requires=("opacus",)),
    "OpenVINO": Way(
        "rnn_ref.frameworks.openvino:RNN",
        {**FROZEN, **FORWARD},
        groups=("setup", "bounds", "results", "values"),
        because=SLOW,
        dtypes=("float32",),
        requires=("openvino",),
        options=FEW,
    ),
    "PaddlePaddle": Way("rnn_ref.frameworks.paddle:rnn", requires=("paddle",)),
}
"""The frameworks that `rnn-ref matrix --frameworks` shows."""
