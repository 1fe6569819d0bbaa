"""Functions of arrays made of those of torch's tensors, whose gradients torch computes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

Network = Callable[..., Any]
"""Computes (output, h_n) of tensors: input, h_0 or None, and the parameters by name."""


def tensors(
    input: Any, h_0: Any, parameters: Mapping[str, Any], *, gradients: bool = False
) -> tuple[Any, ...]:
    """Make tensors that share memory with arrays; with `gradients`, these are recorded."""
    made = {name: torch.from_numpy(a).requires_grad_(gradients) for name, a in parameters.items()}
    given = [None if a is None else torch.from_numpy(a) for a in (input, h_0)]
    return *(None if a is None else a.requires_grad_(gradients) for a in given), made


@contextmanager
def drawing_nothing() -> Iterator[None]:
    """Put the state of random numbers back: a network that is made draws weights, and seeds."""
    before = random.getstate()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(before)


def on_arrays(network: Network) -> Callable[..., Any]:
    """Make of a function of tensors one of arrays."""

    def compute(*arguments: Any, **options: Any) -> Any:
        with torch.no_grad(), drawing_nothing():
            results = network(*tensors(*arguments), **options)
        return tuple(result.numpy() for result in results)

    return compute


def vjp_of(network: Network) -> Callable[..., Any]:
    """Make the vjp of a function of tensors; what it does not read has a gradient of zero."""

    def vjp(grad_output: Any, grad_h_n: Any, *arguments: Any, **options: Any) -> Any:
        input, h_0, parameters = tensors(*arguments, gradients=True)
        with torch.enable_grad(), drawing_nothing():
            results = network(input, h_0, parameters, **options)
        leaves = [input, *([] if h_0 is None else [h_0]), *parameters.values()]
        upstream = [torch.from_numpy(gradient) for gradient in (grad_output, grad_h_n)]
        found = torch.autograd.grad(results, leaves, upstream, materialize_grads=True)
        of_input, *others = (gradient.numpy() for gradient in found)
        of_h_0 = None if h_0 is None else others.pop(0)
        return of_input, of_h_0, dict(zip(parameters, others, strict=True))

    return vjp
