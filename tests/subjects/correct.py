"""Correct RNNs that add up in other orders than torch does: none of them may ever be blamed."""

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from tests.subjects.plain_rnn import PlainRNN


class Loop(PlainRNN):
    """A loop, differentiated by torch, whose one step a subclass writes in its own way."""

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        h, states = h_0, []
        for x_t in x:
            h = self.activate(self.step(x_t, h, *weights))
            states.append(h)
        return torch.stack(states)

    def activate(self, a: Tensor) -> Tensor:
        return a.relu() if self.nonlinearity == "relu" else a.tanh()

    def step(
        self, x: Tensor, h: Tensor, W_ih: Tensor, W_hh: Tensor, b_ih: Tensor, b_hh: Tensor
    ) -> Tensor:
        return x @ W_ih.T + h @ W_hh.T + (b_ih + b_hh)


class OtherAssociation(Loop):
    """The biases first, then the state's product, then the input's."""

    def step(self, x, h, W_ih, W_hh, b_ih, b_hh):  # type: ignore[no-untyped-def]
        return ((b_ih + b_hh) + h @ W_hh.T) + x @ W_ih.T


class OneProduct(Loop):
    """One product of input and state side by side, with the biases fused in."""

    def step(self, x, h, W_ih, W_hh, b_ih, b_hh):  # type: ignore[no-untyped-def]
        return torch.addmm(b_ih + b_hh, torch.cat([x, h], 1), torch.cat([W_ih, W_hh], 1).T)


class Float64Inside(Loop):
    """Every step in float64, rounded once."""

    def step(self, *arguments):  # type: ignore[no-untyped-def]
        return super().step(*(argument.double() for argument in arguments))

    def activate(self, a: Tensor) -> Tensor:
        return super().activate(a).to(next(self.parameters()).dtype)


class Float64Throughout(PlainRNN):
    """The whole network in float64, and only its results rounded."""

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        wide = (tensor.double() for tensor in (x, h_0, *weights))
        return super().run_direction(*wide)

    def forward(self, input, hx: Tensor | None = None):  # type: ignore[no-untyped-def]
        if isinstance(input, PackedSequence):  # each of whose sequences comes here again
            return super().forward(input, hx)
        return tuple(result.to(input.dtype) for result in super().forward(input, hx))


class Widened(Loop):
    """Numbers of 16 bits are added up in float32, whatever the order."""

    def step(self, *arguments: Tensor) -> Tensor:
        dtype = arguments[0].dtype
        wide = torch.promote_types(dtype, torch.float32)
        added: Tensor = self.add(*(a.to(wide) for a in arguments))  # type: ignore[no-untyped-call]
        return added.to(dtype)

    def add(self, x, h, W_ih, W_hh, b_ih, b_hh):  # type: ignore[no-untyped-def]
        raise NotImplementedError


class ReversedSums(Widened):
    """Products added up one by one, from the last to the first, then the biases."""

    def add(self, x, h, W_ih, W_hh, b_ih, b_hh):  # type: ignore[no-untyped-def]
        xh, W = torch.cat([x, h], 1), torch.cat([W_ih, W_hh], 1)
        *products, a = (xh[:, None] * W).unbind(2)
        for product in reversed(products):
            a = a + product
        return a + b_ih + b_hh


class BlockedSums(Widened):
    """Products added up in blocks of three, and the blocks in pairs."""

    def add(self, x, h, W_ih, W_hh, b_ih, b_hh):  # type: ignore[no-untyped-def]
        xh, W = torch.cat([x, h], 1), torch.cat([W_ih, W_hh], 1)
        sums = [xh[:, i : i + 3] @ W[:, i : i + 3].T for i in range(0, xh.shape[1], 3)]
        sums += [b_ih, b_hh]
        while len(sums) > 1:
            sums = [sum(sums[i + 1 : i + 2], sums[i]) for i in range(0, len(sums), 2)]
        return sums[0]


class OtherOrderInEval(ReversedSums):
    """One order of summation in training, and another in eval."""

    def add(self, x, h, W_ih, W_hh, b_ih, b_hh):  # type: ignore[no-untyped-def]
        if self.training:
            return super().add(x, h, W_ih, W_hh, b_ih, b_hh)  # type: ignore[no-untyped-call]
        return x @ W_ih.T + h @ W_hh.T + (b_ih + b_hh)


class Tanh(torch.autograd.Function):
    """tanh whose slope is 1 / cosh^2 of the pre-activation, not 1 - y^2."""

    @staticmethod
    def forward(ctx, a):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(a)
        return a.tanh()

    @staticmethod
    def backward(ctx, dy):  # type: ignore[no-untyped-def]
        return dy / ctx.saved_tensors[0].cosh().square()


class SlopeOfPreactivation(Loop):
    """tanh' from the pre-activation, which is not rounded to a state."""

    def activate(self, a: Tensor) -> Tensor:
        if self.nonlinearity == "relu":
            return a.relu()
        return Tanh.apply(a)  # type: ignore[no-any-return,no-untyped-call]


CORRECT = (
    PlainRNN,
    OtherAssociation,
    OneProduct,
    Float64Inside,
    Float64Throughout,
    ReversedSums,
    BlockedSums,
    OtherOrderInEval,
    SlopeOfPreactivation,
)

ONE_BY_ONE = (ReversedSums, BlockedSums, OtherOrderInEval)
"""Those that round every partial sum to the dtype, which a 16-bit dtype has too few bits for."""
