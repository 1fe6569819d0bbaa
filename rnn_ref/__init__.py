"""The executable specification of torch.nn.RNN: a NumPy reference and a parity suite."""

from rnn_ref.functional import Gradients, rnn, rnn_backward
from rnn_ref.judging.check import Check, check
from rnn_ref.marking import Function, function

__all__ = ["Check", "Function", "Gradients", "check", "function", "rnn", "rnn_backward"]
