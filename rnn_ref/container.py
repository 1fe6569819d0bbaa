"""Containers: modules that are an nn.RNN to look at, and compute in another way.

A container has nn.RNN's options, and its parameters by their names. Adapters are made of
them: `container` is one for a function of arrays that `rnn_ref.function` has marked, `way` for
another form of torch's own module, `LayerByLayer` for what runs a single layer. A class of
one's own, derived from nn.RNN with a `forward` of its own, is a container too.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.marking import Function
from rnn_ref.parameters import names

Forward = Callable[..., Any]
Arguments = tuple[Tensor, ...]


class Rerouted(nn.RNN):
    """An nn.RNN whose calls go through what `prepare` makes of it, once for each form of call.

    `prepare` takes the same module as a plain nn.RNN, and a call's arguments, and
    returns what is called instead. A form is all that may be frozen into it: shapes,
    dtypes, mode, and whether there are gradients.
    """

    prepare: Callable[[nn.RNN, Arguments], Forward]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.prepared: dict[Any, Forward] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "prepared": {}}

    def plain(self) -> nn.RNN:
        """Make a plain nn.RNN with the same parameters."""
        twin = nn.RNN.__new__(nn.RNN)
        twin.__dict__ = {name: v for name, v in self.__dict__.items() if name != "prepared"}
        for name in ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks"):
            twin.__dict__[name] = OrderedDict()  # the module called runs its own
        return twin

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:  # type: ignore[override]
        """Call what is prepared for the form of the call."""
        arguments = (input,) if hx is None else (input, hx)
        described = [(tuple(a.shape), a.dtype, a.requires_grad) for a in arguments]
        weights = [(id(p), p.dtype, p.requires_grad) for p in self.parameters()]
        form = (*described, *weights, self.training, torch.is_grad_enabled())
        if form not in self.prepared:
            with torch.random.fork_rng(devices=[]):  # what is prepared draws nothing of the call's
                self.prepared[form] = type(self).prepare(self.plain(), arguments)
        return self.prepared[form](*arguments)


def way(prepare: Callable[[nn.RNN, Arguments], Forward]) -> type[Rerouted]:
    """Make a subject that calls what `prepare` makes of the plain module."""
    return type(prepare.__name__, (Rerouted,), {"prepare": staticmethod(prepare)})


def like(rnn: nn.RNN, kind: type[nn.RNN]) -> nn.RNN:
    """Make a network of a kind with the options and the mode of another."""
    made = kind(
        rnn.input_size, rnn.hidden_size, rnn.num_layers, nonlinearity=rnn.nonlinearity,
        bias=rnn.bias, batch_first=rnn.batch_first, dropout=rnn.dropout,
        bidirectional=rnn.bidirectional,
    )  # fmt: skip
    return made.train(rnn.training)


class LayerByLayer(nn.RNN):
    """An nn.RNN whose layers a subclass runs: all that is around them, layouts and dropout."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:  # type: ignore[override]
        """Run the layers, one on the output of the other."""
        unbatched = input.dim() == 2
        x = input[:, None] if unbatched else input.transpose(0, 1) if self.batch_first else input
        D = 2 if self.bidirectional else 1
        h_0 = hx[:, None] if unbatched and hx is not None else hx
        if h_0 is None:
            h_0 = x.new_zeros(self.num_layers * D, x.shape[1], self.hidden_size)
        h_n = []
        for l in range(self.num_layers):
            x = nn.functional.dropout(x, self.dropout, self.training and l > 0)
            x, last = self.layer(l, x, h_0[l * D : l * D + D])
            h_n.append(last)
        h = torch.cat(h_n)
        if unbatched:
            return x[:, 0], h[:, 0]
        return (x.transpose(0, 1) if self.batch_first else x), h

    def layer(self, l: int, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the states (T, N, D*H) of a layer, and the last ones (D, N, H)."""
        raise NotImplementedError


# A function of arrays.


def container(function: Function) -> Callable[..., nn.RNN]:
    """Make of a function a factory of modules, with nn.RNN's signature, that call it.

    The modules are on the CPU. They record gradients if the function has a `vjp`.
    """

    @functools.wraps(function)
    def factory(*arguments: Any, **options: Any) -> Computed:
        return Computed(function, *arguments, **options)

    return factory


class Computed(nn.RNN):
    """An nn.RNN whose results, and gradients, a function of arrays computes.

    The arrays that the function gets share memory with the tensors of the call; those that it
    returns, if they can be written into, with the results. Raises ValueError for dropout that
    the function does not take; TypeError, when called, for a packed sequence that it doesn't.
    """

    def __init__(self, function: Function, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.function = function
        if self.dropout and not function.dropout:
            raise ValueError("dropout: expected 0, as the function is not marked with dropout=True")

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> Any:
        """Call the function."""
        options: dict[str, Any] = {"nonlinearity": self.nonlinearity}
        if self.dropout and self.training:
            seed = int(torch.randint(2**32, ()))  # of torch's generator, as masks are
            options |= {"dropout": self.dropout, "seed": seed}
        if isinstance(input, PackedSequence):
            return self.packed(input, hx, options)
        if self.batch_first and input.ndim == 3:
            options["batch_first"] = True
        return self.run(input, hx, options)

    def packed(self, input: PackedSequence, hx: Tensor | None, options: dict[str, Any]) -> Any:
        """Call the function with a padded input and lengths, and pack its output."""
        if not self.function.packed:
            raise TypeError("input: expected a tensor: the function is not marked with packed=True")
        padded, lengths = pad_packed_sequence(input)
        output, h_n = self.run(padded, hx, options | {"lengths": lengths.tolist()})
        order = input.sorted_indices
        if order is not None:
            output, lengths = output[:, order], lengths[order.cpu()]
        data = pack_padded_sequence(output, lengths).data
        return input._replace(data=data), h_n

    def run(self, input: Tensor, h_0: Tensor | None, options: dict[str, Any]) -> Any:
        """Call the function with tensors; gradients go through its vjp."""
        directions = 2 if self.bidirectional else 1
        call = Call(self.function, names(self.num_layers, directions, self.bias), options)
        tensors = (input, h_0, *(getattr(self, name) for name in call.names))
        if self.function.vjp is None:
            return call.results(tensors)
        apply: Any = Differentiated.apply
        return apply(call, *tensors)


@dataclass(frozen=True)
class Call:
    """A call of a function: the names of its parameters, and its options."""

    function: Function
    names: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, tensors: Sequence[Tensor | None]) -> tuple[Any, ...]:
        """Give the input, h_0 and parameters of a call as input, h_0 and a dictionary of arrays."""
        arrays = [None if t is None else t.detach().numpy() for t in tensors]
        return *arrays[:2], dict(zip(self.names, arrays[2:], strict=True))

    def results(self, tensors: Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
        """Compute output and h_n; raise TypeError unless the function returns two arrays."""
        with quiet():
            returned = self.function(*self.arguments(tensors), **self.options)
        if not (isinstance(returned, tuple | list) and len(returned) == 2):
            raise TypeError(f"the function returned {described(returned)}, not (output, h_n)")
        output, h_n = (as_tensor(array) for array in returned)
        return output, h_n

    def gradients(
        self, upstream: Sequence[Tensor], tensors: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """Compute the gradients of the input, of h_0 if there is one, and of the parameters.

        They are copies: torch adds to them, and a function may return one array for two.
        Raises TypeError or ValueError for a form that does not fit.
        """
        assert self.function.vjp is not None
        given = [gradient.numpy() for gradient in upstream]
        with quiet():
            returned = self.function.vjp(*given, *self.arguments(tensors), **self.options)
        if not (isinstance(returned, tuple | list) and len(returned) == 3):
            what = "(grad_input, grad_h_0, gradients by name)"
            raise TypeError(f"the vjp returned {described(returned)}, not {what}")
        of_input, of_h_0, by_name = returned
        if missing := [name for name in self.names if name not in by_name]:
            raise ValueError(f"the vjp returned no gradient of {', '.join(missing)}")
        named = {"input": of_input, "h_0": of_h_0} | {name: by_name[name] for name in self.names}
        return [
            None if tensor is None else gradient_of(name, gradient, tensor)
            for (name, gradient), tensor in zip(named.items(), tensors, strict=True)
        ]


class Differentiated(torch.autograd.Function):
    """A call of a function that has a vjp, for torch's autograd."""

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute output and h_n."""
        ctx.call = call
        ctx.save_for_backward(*tensors)
        return call.results(tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of all tensors of the call."""
        return None, *ctx.call.gradients(upstream, ctx.saved_tensors)


@contextmanager
def quiet() -> Iterator[None]:
    """Switch NumPy's warnings off, as torch gives none; what the function itself sets is left."""
    before = np.seterr(all="ignore")
    ours = np.geterr()
    try:
        yield
    finally:
        if np.geterr() == ours:
            np.seterr(**before)


def as_tensor(array: Any) -> Tensor:
    """Make a tensor of an array, of NumPy or like one; it shares memory unless that is read-only.

    Raises TypeError for a dtype that torch lacks.
    """
    array = np.asarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def gradient_of(name: str, gradient: Any, tensor: Tensor) -> Tensor:
    """Copy a gradient; raise ValueError unless it has its tensor's shape and dtype."""
    array: Floats = np.array(gradient)
    expected = tensor.detach().numpy()
    if (array.shape, array.dtype) != (expected.shape, expected.dtype):
        raise ValueError(
            f"the vjp's gradient of {name}: expected {expected.dtype} of shape {expected.shape},"
            f" got {array.dtype} of shape {array.shape}"
        )
    return torch.from_numpy(array)


def described(value: Any) -> str:
    """Name what a function returned, for a message."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"a value of type {type(value).__name__}"
