"""Correct RNNs that go another way for other numbers, or another mode, than one would expect."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.subjects.correct import Loop, OtherAssociation
from tests.subjects.plain_rnn import PlainRNN


class OtherOrderBesideNaN(OtherAssociation):
    """Sums in another order, for the whole batch, where any number is not finite."""

    def step(self, x, h, *weights):  # type: ignore[no-untyped-def]
        if bool(x.isfinite().all() and h.isfinite().all()):
            return super().step(x, h, *weights)  # type: ignore[no-untyped-call]
        return Loop.step(self, x, h, *weights)


class ClippedArgument(Loop):
    """tanh of an argument that is clipped where tanh is 1 but for its rounding."""

    def activate(self, a: Tensor) -> Tensor:
        limit = 19 if a.dtype == torch.float64 else 9
        return super().activate(a if self.nonlinearity == "relu" else a.clamp(-limit, limit))


class OtherMasksWithGradients(PlainRNN):
    """Where gradients are recorded, a number is drawn before the masks."""

    def drop(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            torch.rand(1)
        return super().drop(x)


class DropsOfNonzero(PlainRNN):
    """Numbers are drawn only for what is not zero: a zero stays zero, dropped or not."""

    def drop(self, x: Tensor) -> Tensor:
        if not (self.training and self.dropout):
            return x
        keep = torch.zeros_like(x)
        there = x.detach() != 0
        keep[there] = (torch.rand(int(there.sum())) >= self.dropout).to(x.dtype)
        return x * keep / (1 - self.dropout) if self.dropout < 1 else x * 0


class SlopeThroughExp(Loop):
    """tanh by expm1, whose slope autograd finds in four operations."""

    def activate(self, a: Tensor) -> Tensor:
        if self.nonlinearity == "relu":
            return super().activate(a)
        e = torch.expm1(2 * a.abs())
        return torch.where(a < 0, -e, e) / (e + 2)


class ComputedAnew(Loop):
    """Nothing but its arguments is kept for backward, which computes each direction anew."""

    def run_direction(self, *arguments: Tensor) -> Tensor:
        run: Any = super().run_direction
        return checkpoint(run, *arguments, use_reentrant=False)  # type: ignore[no-any-return]


class ColumnsFirst(nn.RNN):
    """Matrices lie in memory column by column."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                parameter.data = parameter.data.T.contiguous().T
