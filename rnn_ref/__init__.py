"""The executable specification of torch.nn.RNN: a NumPy reference and a parity suite."""

from rnn_ref.functional import Gradients, rnn, rnn_backward
from rnn_ref.judging.check import Check, check

__all__ = ["Check", "Gradients", "check", "rnn", "rnn_backward"]
