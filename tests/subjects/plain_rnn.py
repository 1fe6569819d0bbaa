"""A plain drop-in RNN with a backward pass of its own: the subject that faults are planted in.

It is written as someone porting nn.RNN by hand would write it, line by line and in small
methods, so that a fault is an edit of one line or a subclass with one method.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence


class Direction(torch.autograd.Function):
    """One direction of one layer: x (T, N, I) from its first step to its last."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h_0: Tensor,
        W_ih: Tensor,
        W_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
        relu: bool,
    ) -> Tensor:
        h, states = h_0, []
        for x_t in x:
            a = x_t @ W_ih.T + h @ W_hh.T
            a = a + b_ih
            a = a + b_hh
            h = a.clamp(min=0) if relu else a.tanh()
            states.append(h)
        y = torch.stack(states)
        ctx.save_for_backward(x, h_0, W_ih, W_hh, y)
        ctx.relu = relu
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, h_0, W_ih, W_hh, y = ctx.saved_tensors
        T = len(x)
        dx, dh = torch.zeros_like(x), torch.zeros_like(h_0)
        dW_ih, dW_hh = torch.zeros_like(W_ih), torch.zeros_like(W_hh)
        db_ih, db_hh = torch.zeros_like(W_hh[0]), torch.zeros_like(W_hh[0])
        for t in reversed(range(T)):
            dh = dh + dy[t]
            slope = (y[t] > 0).to(y.dtype) if ctx.relu else 1 - y[t] * y[t]
            da = dh * slope
            before = y[t - 1] if t else h_0
            dW_ih += da.T @ x[t]
            dW_hh += da.T @ before
            db_ih += da.sum(0)
            db_hh += da.sum(0)
            dx[t] = da @ W_ih
            dh = da @ W_hh
        return dx, dh, dW_ih, dW_hh, db_ih, db_hh, None


class PlainRNN(nn.RNN):
    """nn.RNN's parameters and options, with a forward pass of its own."""

    direction = Direction

    def forward(self, input, hx: Tensor | None = None):  # type: ignore[no-untyped-def]
        if isinstance(input, PackedSequence):
            return self.run_packed(input, hx)
        return self.run_padded(input, hx)

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        self.require(input, h_0)
        unbatched = input.dim() == 2
        x = input[:, None] if unbatched else input
        x = x.transpose(0, 1) if self.batch_first and not unbatched else x
        if h_0 is None:
            L_D = self.num_layers * (2 if self.bidirectional else 1)
            h_0 = x.new_zeros(L_D, x.shape[1], self.hidden_size)
        elif unbatched:
            h_0 = h_0[:, None]
        y, h_n = self.run_layers(x, h_0)
        if unbatched:
            return y[:, 0], h_n[:, 0]
        return (y.transpose(0, 1) if self.batch_first else y), h_n

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        D = 2 if self.bidirectional else 1
        h_n = []
        for l in range(self.num_layers):
            x = self.drop(x) if l else x
            outputs = []
            for d in range(D):
                weights = self.weights_of(l, d)
                seen = x.flip(0) if d else x
                y = self.run_direction(seen, h_0[l * D + d], *weights)
                h_n.append(y[-1])
                outputs.append(y.flip(0) if d else y)
            x = torch.cat(outputs, dim=2)
        return x, torch.stack(h_n)

    def drop(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.dropout, self.training)

    def require(self, input: Tensor, h_0: Tensor | None) -> None:
        if input.dim() not in (2, 3) or input.shape[-1] != self.input_size:
            raise RuntimeError(f"input has shape {tuple(input.shape)}")
        unbatched, first = input.dim() == 2, self.batch_first and input.dim() == 3
        T, N = (input.shape[0], 1) if unbatched else (input.shape[first], input.shape[1 - first])
        if T == 0 or input.dtype != self.weight_hh_l0.dtype:
            raise RuntimeError("input has no steps, or another dtype")
        L_D = self.num_layers * (2 if self.bidirectional else 1)
        expected = (L_D, self.hidden_size) if unbatched else (L_D, N, self.hidden_size)
        if h_0 is not None and (tuple(h_0.shape) != expected or h_0.dtype != input.dtype):
            raise RuntimeError(
                f"h_0 has shape {tuple(h_0.shape)}, not {expected}, or another dtype"
            )

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        N = int(input.batch_sizes[0])
        if input.data.dim() != 2 or (h_0 is not None and (h_0.dim() != 3 or h_0.shape[1] != N)):
            raise RuntimeError(f"packed data, or h_0, do not have the axes of {N} sequences")
        padded, lengths = pad_packed_sequence(input, self.batch_first)
        x = padded.transpose(0, 1) if self.batch_first else padded
        outputs, h_n = [], []
        for n, length in enumerate(lengths.tolist()):
            alone = x[:length, n]
            output, h = self.forward(alone, None if h_0 is None else h_0[:, n])
            outputs.append(output)
            h_n.append(h)
        packed = pack_sequence(outputs, enforce_sorted=input.sorted_indices is None)
        return packed, torch.stack(h_n, dim=1)

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        relu = self.nonlinearity == "relu"
        return self.direction.apply(x, h_0, *weights, relu)  # type: ignore[no-any-return,no-untyped-call]

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        suffix = f"_l{l}" + ("_reverse" if d else "")
        weights = [getattr(self, f"weight_{kind}{suffix}") for kind in ("ih", "hh")]
        zero = torch.zeros_like(weights[1][0])
        return weights + [
            getattr(self, f"bias_{kind}{suffix}") if self.bias else zero for kind in ("ih", "hh")
        ]


class PlainCell(nn.RNNCell):
    """nn.RNNCell's parameters and options, with a forward pass of its own."""

    def forward(self, input, hx: Tensor | None = None):  # type: ignore[no-untyped-def]
        if input.dim() not in (1, 2) or input.shape[-1] != self.input_size:
            raise RuntimeError(f"the cell's input has shape {tuple(input.shape)}")
        if hx is None:
            hx = input.new_zeros(*input.shape[:-1], self.hidden_size)
        if tuple(hx.shape) != (*input.shape[:-1], self.hidden_size):
            raise RuntimeError(f"the cell's state has shape {tuple(hx.shape)}")
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"unknown nonlinearity {self.nonlinearity}")
        sums = input @ self.weight_ih.T + hx @ self.weight_hh.T
        if self.bias:
            sums = sums + self.bias_ih + self.bias_hh
        return sums.tanh() if self.nonlinearity == "tanh" else sums.relu()
