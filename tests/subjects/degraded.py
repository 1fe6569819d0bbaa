"""RNNs that are less accurate than they were: each must be called worse, where it is worse."""

from typing import Any

import torch
from torch import Tensor

from tests.subjects.correct import Loop


class TanhTooLarge(Loop):
    """tanh, precisely computed, but for being 3e-7 of itself too large."""

    def activate(self, a: Tensor) -> Tensor:
        return (a.double().tanh() * (1 + 3e-7)).to(a.dtype)


class StatesInBfloat16(Loop):
    """States that are kept in bfloat16."""

    def activate(self, a: Tensor) -> Tensor:
        return super().activate(a).bfloat16().to(a.dtype)


class SumsInFloat32(Loop):
    """A float64 step whose sums are float32's."""

    def step(self, *arguments):  # type: ignore[no-untyped-def]
        return super().step(*(argument.float() for argument in arguments)).double()


class InputsInTF32(Loop):
    """The state's product from inputs of 10 bits, as tensor cores take them."""

    def step(self, x, h, W_ih, W_hh, b_ih, b_hh):  # type: ignore[no-untyped-def]
        return super().step(x, cut(h), W_ih, cut(W_hh), b_ih, b_hh)


def cut(a: Tensor) -> Tensor:
    """A float32 tensor without its last 13 bits; its gradient is as if it had them."""
    shortened = (a.detach().contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)
    return a + (shortened - a).detach()


class Product(torch.autograd.Function):
    """h @ W.T, whose gradient for W is a product in bfloat16."""

    @staticmethod
    def forward(ctx, h, W):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(h, W)
        return h @ W.T

    @staticmethod
    def backward(ctx, dy):  # type: ignore[no-untyped-def]
        h, W = ctx.saved_tensors
        return dy @ W, (dy.T.bfloat16() @ h.bfloat16()).to(W.dtype)


class GradientInBfloat16(Loop):
    """The gradient for W_hh is added up in bfloat16."""

    def step(self, x, h, W_ih, W_hh, b_ih, b_hh):  # type: ignore[no-untyped-def]
        return x @ W_ih.T + Product.apply(h, W_hh) + (b_ih + b_hh)  # type: ignore[no-untyped-call]


class Truncated(Loop):
    """A step in float64, cut to float32 where it should be rounded."""

    def step(self, *arguments):  # type: ignore[no-untyped-def]
        return super().step(*(argument.double() for argument in arguments))

    def activate(self, a: Tensor) -> Tensor:
        wide = super().activate(a)
        y = wide.float()
        towards_zero = torch.nextafter(y, torch.zeros_like(y))
        cut = torch.where(y.abs() > wide.abs(), towards_zero, y)
        return y + (cut - y).detach()


DEGRADED: dict[str, tuple[Any, str, str]] = {
    "tanh too large": (TanhTooLarge, "float32", "output"),
    "states in bfloat16": (StatesInBfloat16, "float32", "output"),
    "float32 sums in float64": (SumsInFloat32, "float64", "output"),
    "one product from TF32 inputs": (InputsInTF32, "float32", "output"),
    "a weight's gradient in bfloat16": (GradientInBfloat16, "float32", "gradient of weight_hh"),
    "truncated": (Truncated, "float32", "output"),
}
"""By name: a subject, the dtype in which it is degraded, and the quantity that shows it."""
