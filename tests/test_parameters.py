"""What the reference refuses, in one sentence: the argument, what was expected, what got."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch

import rnn_ref
from rnn_ref.cases.case import Case
from rnn_ref.parameters import names, read

PROBLEM = Case("tanh", 2, 2, True, 3, 2, 4, 5, "float64", h_0=True).problem()
GOOD = PROBLEM.parameters


def without(*left_out: str) -> dict[str, Any]:
    return {name: array for name, array in GOOD.items() if name not in left_out}


REFUSED: list[tuple[type[Exception], str, Callable[[], object]]] = [
    (TypeError, "parameters: expected a mapping of names to arrays, got list",
     lambda: rnn_ref.rnn(PROBLEM.input, cast("Any", [GOOD]))),
    (ValueError, "without weight_hh_l1_reverse",
     lambda: rnn_ref.rnn(PROBLEM.input, without("weight_hh_l1_reverse"))),
    (ValueError, "without bias_hh_l0, bias_ih_l0_reverse",
     lambda: rnn_ref.rnn(PROBLEM.input, without("bias_hh_l0", "bias_ih_l0_reverse"))),
    (ValueError, "with weight_ho",
     lambda: rnn_ref.rnn(PROBLEM.input, GOOD | {"weight_ho": GOOD["weight_ih_l0"]})),
    (ValueError, "without weight_ih_l0, weight_hh_l0", lambda: rnn_ref.rnn(PROBLEM.input, {})),
    (TypeError, "bias_ih_l0: expected a NumPy array, got list",
     lambda: rnn_ref.rnn(PROBLEM.input, GOOD | {"bias_ih_l0": [0.0] * 5})),
    (TypeError, "bias_ih_l0: expected a NumPy array, got Tensor",
     lambda: rnn_ref.rnn(PROBLEM.input, GOOD | {"bias_ih_l0": torch.zeros(5)})),
    (TypeError, "bias_ih_l0: expected floating-point, complex or exact numbers, got int64",
     lambda: rnn_ref.rnn(PROBLEM.input, GOOD | {"bias_ih_l0": np.zeros(5, np.int64)})),
    (TypeError, "bias_ih_l0: expected dtype float64, that of weight_ih_l0, got float32",
     lambda: rnn_ref.rnn(PROBLEM.input, GOOD | {"bias_ih_l0": np.zeros(5, np.float32)})),
    (ValueError, "bias_ih_l0: expected shape (5,), got (4,)",
     lambda: rnn_ref.rnn(PROBLEM.input, GOOD | {"bias_ih_l0": np.zeros(4)})),
    (ValueError, "weight_ih_l1: expected shape (5, 10), got (5, 5)",
     lambda: rnn_ref.rnn(PROBLEM.input, GOOD | {"weight_ih_l1": np.zeros((5, 5))})),
    (ValueError, "weight_ih_l0: expected shape (H, I), got (5,)",
     lambda: rnn_ref.rnn(PROBLEM.input, GOOD | {"weight_ih_l0": np.zeros(5)})),
    (ValueError, "weight_ih_l0: expected sizes of at least 1, got shape (0, 4)",
     lambda: rnn_ref.rnn(PROBLEM.input, GOOD | {"weight_ih_l0": np.zeros((0, 4))})),
    (TypeError, "input: expected a NumPy array, got Tensor",
     lambda: rnn_ref.rnn(torch.zeros(3, 2, 4), GOOD)),
    (TypeError, "input: expected dtype float64, that of weight_ih_l0, got float32",
     lambda: rnn_ref.rnn(PROBLEM.input.astype(np.float32), GOOD)),
    (ValueError, "input: expected shape (T, N, I), or (T, I) without a batch, got (4,)",
     lambda: rnn_ref.rnn(np.zeros(4), GOOD)),
    (ValueError, "input: expected shape (N, T, I), or (T, I) without a batch, got (1, 3, 2, 4)",
     lambda: rnn_ref.rnn(np.zeros((1, 3, 2, 4)), GOOD, batch_first=True)),
    (ValueError, "input: expected shape (3, 2, 4), got (3, 2, 5)",
     lambda: rnn_ref.rnn(np.zeros((3, 2, 5)), GOOD)),
    (ValueError, "input: expected a sequence of at least one step, got shape (0, 2, 4)",
     lambda: rnn_ref.rnn(np.zeros((0, 2, 4)), GOOD)),
    (ValueError, "h_0: expected shape (4, 2, 5), got (4, 1, 5)",
     lambda: rnn_ref.rnn(PROBLEM.input, GOOD, np.zeros((4, 1, 5)))),
    (ValueError, "h_0: expected shape (4, 5), got (4, 1, 5)",
     lambda: rnn_ref.rnn(PROBLEM.input[:, 0], GOOD, np.zeros((4, 1, 5)))),
    (TypeError, "h_0: expected dtype float64, that of weight_ih_l0, got float32",
     lambda: rnn_ref.rnn(PROBLEM.input, GOOD, np.zeros((4, 2, 5), np.float32))),
    (ValueError, "nonlinearity: expected 'tanh' or 'relu', got 'gelu'",
     lambda: rnn_ref.rnn(PROBLEM.input, GOOD, nonlinearity="gelu")),
    (ValueError, "grad_output: expected shape (3, 2, 10), got (3, 2, 5)",
     lambda: rnn_ref.rnn_backward(np.zeros((3, 2, 5)), None, PROBLEM.input, GOOD)),
    (TypeError, "grad_h_n: expected a NumPy array, got int",
     lambda: rnn_ref.rnn_backward(None, 1, PROBLEM.input, GOOD)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "sentence", "call"), REFUSED, ids=[s for _, s, _ in REFUSED])
def test_a_wrong_argument_is_refused_in_one_sentence(
    kind: type[Exception], sentence: str, call: Callable[[], object]
) -> None:
    """The exception has the documented type, and its message is a line that names the argument."""
    with pytest.raises(kind, match=re.escape(sentence)) as refused:
        call()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("L", [1, 3, 11])
@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_names_are_torchs_in_torchs_order(L: int, D: int, bias: bool) -> None:
    """names lists what torch.nn.RNN calls its parameters, past ten layers too."""
    module = torch.nn.RNN(2, 3, L, bias=bias, bidirectional=D == 2)
    assert names(L, D, bias) == tuple(name for name, _ in module.named_parameters())


def test_depth_directions_sizes_and_bias_follow_from_the_parameters() -> None:
    """read finds what the constructor was told, in any order of the names."""
    network = read(dict(reversed(GOOD.items())))
    assert (network.L, network.D, network.I, network.H, network.bias) == (2, 2, 4, 5, True)
