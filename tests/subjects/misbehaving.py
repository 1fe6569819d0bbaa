"""Subjects that are wrong, raise, or take their process with them, each in one place.

All but the last ones are nn.RNN with one thing changed. The tests name them as a user
would: `tests.subjects.misbehaving:Leaves`.
"""

from __future__ import annotations

import copy
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

number = 7
"""No callable."""


class Right(nn.RNN):
    """nn.RNN under another name."""


class Changed(nn.RNN):
    """nn.RNN, but for what `change` makes of its results."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self.change(*super().forward(input, hx))

    def change(self, output: Any, h_n: Any) -> Any:
        return output, h_n


def one_bit_off(tensor: Tensor) -> Tensor:
    """Put the next larger number in the place of the last element."""
    difference = torch.zeros_like(tensor).reshape(-1)
    last = tensor.detach().reshape(-1)[-1:]
    difference[-1:] = torch.nextafter(last, torch.full_like(last, torch.inf)) - last
    return tensor + difference.reshape(tensor.shape)


# Wrong results.


class BiasIgnored(nn.RNN):
    """Takes bias_ih for 0 in every call."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        biases = {
            name: tensor.detach().clone()
            for name, tensor in self.named_parameters()
            if name.startswith("bias_ih")
        }
        with torch.no_grad():
            for name in biases:
                self.get_parameter(name).zero_()
        results = super().forward(input, hx)
        with torch.no_grad():
            for name, tensor in biases.items():
                self.get_parameter(name).copy_(tensor)
        return results


class DirectionsSwapped(Changed):
    """Puts the reverse direction first in output."""

    def change(self, output: Tensor, h_n: Tensor) -> Any:
        halves = output.chunk(2, -1)
        return torch.cat(halves[::-1], -1) if self.bidirectional else output, h_n


class Halved(Changed):
    """Rounds output to float16."""

    def change(self, output: Tensor, h_n: Tensor) -> Any:
        return output.half().to(output.dtype), h_n


class NaNs(Changed):
    """Returns NaN."""

    def change(self, output: Tensor, h_n: Tensor) -> Any:
        return output * torch.nan, h_n


class Unsteady(Changed):
    """Returns another output in every 75th call."""

    calls = 0

    def change(self, output: Tensor, h_n: Tensor) -> Any:
        Unsteady.calls += 1
        return (output * 1.5 if Unsteady.calls % 75 == 0 else output), h_n


class Flushes(nn.RNN):
    """Takes subnormal numbers for 0."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        torch.set_flush_denormal(True)
        try:
            return super().forward(input, hx)
        finally:
            torch.set_flush_denormal(False)


class OneBitInHn(Changed):
    """Has one bit in h_n that is not in output."""

    def change(self, output: Tensor, h_n: Tensor) -> Any:
        return output, one_bit_off(h_n)


class ScaledInEval(Changed):
    """Has an output that is a thousandth larger in eval."""

    def change(self, output: Tensor, h_n: Tensor) -> Any:
        return (output if self.training else 1.001 * output), h_n


class OneBitInASecondCall(Changed):
    """Has one bit that is another in every call of a module but the first."""

    calls = 0

    def change(self, output: Tensor, h_n: Tensor) -> Any:
        self.calls += 1
        return (output if self.calls == 1 else one_bit_off(output)), h_n


class OneBitIntoInput(nn.RNN):
    """Changes one bit of its input."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        results = super().forward(input, hx)
        input.copy_(one_bit_off(input))
        return results


class OneBitIntoWeights(nn.RNN):
    """Changes one bit of a weight in each call."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        results = super().forward(input, hx)
        with torch.no_grad():
            weight = self.get_parameter("weight_hh_l0")
            weight.copy_(one_bit_off(weight))
        return results


class WrongInOneLayout(nn.RNN):
    """Reads an input that is not contiguous as if it were."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if not input.is_contiguous():
            input = input.as_strided(input.shape, torch.empty(input.shape).stride())
        return super().forward(input, hx)


class NoGradientOfH0(nn.RNN):
    """Leaves the gradient of h_0 out."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        return super().forward(input, None if hx is None else hx.detach())


class NoGradient(Changed):
    """Returns results that can't be differentiated."""

    def change(self, output: Tensor, h_n: Tensor) -> Any:
        return output.detach(), h_n.detach()


# Nonsense.


class OneTensor(Changed):
    """Returns output alone."""

    def change(self, output: Tensor, h_n: Tensor) -> Any:  # noqa: ARG002
        return output


class Arrays(Changed):
    """Returns NumPy's arrays."""

    def change(self, output: Tensor, h_n: Tensor) -> Any:
        return output.detach().numpy(), h_n.detach().numpy()


class Doubles(Changed):
    """Returns an output of another dtype."""

    def change(self, output: Tensor, h_n: Tensor) -> Any:
        return output.double(), h_n


class Flat(Changed):
    """Returns an h_n of another shape."""

    def change(self, output: Tensor, h_n: Tensor) -> Any:
        return output, h_n.flatten()


class NothingFromTrain(nn.RNN):
    """Returns nothing from train()."""

    def train(self, mode: bool = True) -> Any:  # noqa: FBT002 - torch's own
        super().train(mode)


class Mute(nn.RNN):
    """Tells nothing of itself in its representation."""

    def extra_repr(self) -> str:
        return ""


class Prints(nn.RNN):
    """Prints in each call."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        print("calling")
        return super().forward(input, hx)


class Draws(nn.RNN):
    """Draws a random number in each call."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        random.random()  # noqa: S311
        return super().forward(input, hx)


class SetsDefaultDtype(nn.RNN):
    """Leaves another default dtype behind."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        results = super().forward(input, hx)
        torch.set_default_dtype(torch.float64)
        return results


class NoSuchArguments(nn.Module):
    """Takes no arguments."""

    def __init__(self) -> None:
        super().__init__()


class OtherNames(nn.Module):
    """Has parameters of other names."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, hidden_size)


def not_a_module(*arguments: Any, **options: Any) -> int:  # noqa: ARG001
    """Make a number."""
    return 3


# Exceptions. Each has a message of its own, so that a test can tell them apart.


class RaisesInConstructor(nn.RNN):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.bidirectional:
            raise ValueError("no two directions")


class RaisesInLoadStateDict(nn.RNN):
    def load_state_dict(self, *_: Any, **__: Any) -> NoReturn:
        raise OSError("nothing to load from")


class RaisesInStateDict(nn.RNN):
    called = False

    def forward(self, input: Any, hx: Any = None) -> Any:
        self.called = True
        return super().forward(input, hx)

    def state_dict(self, *arguments: Any, **options: Any) -> Any:
        if self.called:
            raise KeyError("weight_hh_l0")
        return super().state_dict(*arguments, **options)


class Made(nn.RNN):
    """nn.RNN that notes when it has its weights: its constructor calls what a subclass changes."""

    made = False

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        self.made = True
        return super().load_state_dict(*arguments, **options)


class RaisesInNamedParameters(Made):
    def named_parameters(self, *arguments: Any, **options: Any) -> Any:
        if self.made:
            raise LookupError("no names")
        return super().named_parameters(*arguments, **options)


class RaisesInFlattenParameters(Made):
    def flatten_parameters(self) -> None:
        if self.made:
            raise RuntimeError("not to be flattened")
        super().flatten_parameters()


class RaisesInAllWeights(nn.RNN):
    @property
    def all_weights(self) -> NoReturn:
        raise RuntimeError("no list of weights")


class RaisesInZeroGrad(nn.RNN):
    def zero_grad(self, set_to_none: bool = True) -> NoReturn:  # noqa: FBT002 - torch's own
        raise NotImplementedError("no zero")


class RaisesInCall(nn.RNN):
    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.bidirectional:
            raise ValueError("not two")
        return super().forward(input, hx)


class RaisesInEmptyCall(nn.RNN):
    def forward(self, input: Any, hx: Any = None) -> Any:
        if not input.numel():
            raise IndexError("nobody there")
        return super().forward(input, hx)


class RaisesInUnbatchedCall(nn.RNN):
    def forward(self, input: Any, hx: Any = None) -> Any:
        if input.dim() == 2:
            raise ValueError("no batch")
        return super().forward(input, hx)


class RaisesInPackedCall(nn.RNN):
    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, PackedSequence):
            raise TypeError("not unpacked")
        return super().forward(input, hx)


class Identity(torch.autograd.Function):
    """Returns its argument."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        return tensor.clone()


def through(identity: type[Identity], tensor: Tensor) -> Any:
    """Take a tensor through a function that returns it."""
    return identity.apply(tensor)  # type: ignore[no-untyped-call]


class NoBackward(Identity):
    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Any:  # noqa: ARG004
        raise ArithmeticError("no way back")


class NoBackwardOfBackward(Identity):
    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Any:
        return through(NoBackward, gradient)


class RaisesInBackward(Changed):
    def change(self, output: Tensor, h_n: Tensor) -> Any:
        return through(NoBackward, output), through(NoBackward, h_n)


class RaisesInDoubleBackward(Changed):
    def change(self, output: Tensor, h_n: Tensor) -> Any:
        return through(NoBackwardOfBackward, output), through(NoBackwardOfBackward, h_n)


class RaisesInEval(nn.RNN):
    def eval(self) -> NoReturn:
        raise RuntimeError("always in training")


class RaisesInDeepcopy(nn.RNN):
    def __deepcopy__(self, _: Any) -> NoReturn:
        raise TypeError("one of a kind")


class RaisesInPickle(nn.RNN):
    def __getstate__(self) -> NoReturn:
        raise TypeError("not in vinegar")

    def __deepcopy__(self, memo: Any) -> nn.Module:
        twin = type(self).__new__(type(self))
        vars(twin).update(copy.deepcopy(vars(self), memo))
        return twin


class RaisesInTo(nn.RNN):
    def to(self, *arguments: Any, **options: Any) -> Any:
        if torch.float64 in arguments:
            raise TypeError("too wide")
        return super().to(*arguments, **options)


class RaisesInRepr(nn.RNN):
    def __repr__(self) -> NoReturn:
        raise ValueError("no words")


class Exits(nn.RNN):
    def forward(self, *_: Any) -> NoReturn:
        sys.exit(0)


class Skips(nn.RNN):
    def forward(self, *_: Any) -> NoReturn:
        pytest.skip("not today")


class CellOfTwo(nn.RNNCell):
    """A cell that returns two tensors."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:
        h = super().forward(input, hx)
        return h, h


class CellRaises(nn.RNNCell):
    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:
        if hx is None:
            raise ValueError("no state")
        return super().forward(input, hx)


# Ends of the process.


def leave() -> NoReturn:
    """End the process without a word."""
    print("leaving")
    os._exit(0)


def abort() -> NoReturn:
    """End the process by a signal."""
    os.abort()


def fault_unseen() -> NoReturn:
    """End the process by a signal whose handler was taken away."""
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError("the process has ended")


def hang() -> NoReturn:
    """Never come back."""
    while True:
        time.sleep(1)


KEPT: list[Tensor] = []


def gather() -> NoReturn:
    """Take more memory than there is."""
    while True:
        KEPT.append(torch.empty(10**8))


class Leaves(nn.RNN):
    """Prints, and ends the process, in each call."""

    def forward(self, *_: Any) -> NoReturn:
        leave()


class FaultsUnseen(nn.RNN):
    """Ends the process, if it is bidirectional, by a signal that no handler sees."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.bidirectional:
            fault_unseen()
        return super().forward(input, hx)


class EndsByStructure(nn.RNN):
    """Ends the process in another way for each structure of the network."""

    ways: dict[tuple[bool, bool], Callable[[], NoReturn]] = {  # noqa: RUF012
        (False, False): gather,
        (True, False): abort,
        (False, True): hang,
        (True, True): leave,
    }
    """What it does, by whether it is deep and whether it is bidirectional."""

    def forward(self, *_: Any) -> NoReturn:
        self.ways[self.num_layers > 1, self.bidirectional]()


class EndsByDtype(nn.RNN):
    """Ends the process, if it is bidirectional, in another way for each dtype."""

    ways: dict[torch.dtype, Callable[[], NoReturn]] = {  # noqa: RUF012
        torch.float64: hang,
        torch.float32: gather,
        torch.bfloat16: abort,
        torch.float16: leave,
    }

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.bidirectional:
            self.ways[input.dtype]()
        return super().forward(input, hx)


class InterruptingCell(nn.RNNCell):
    """Raises what a person's Ctrl-C does."""

    def forward(self, *_: Any) -> NoReturn:
        raise KeyboardInterrupt
