"""opacus.layers.DPRNN, a module like torch.nn.RNN for differentially private training."""

from opacus.layers import DPRNN as RNN

__all__ = ["RNN"]
