"""Networks that show the masks of dropout, and masks as the reference takes them.

A network of identities shows the product of its masks: relu of an input of ones, passed on by
every layer, comes out as 1/(1-p) for each layer passed, or 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.oracle import Oracle
from rnn_ref.parameters import names

Mask = NDArray[np.bool_]


def showing_masks(problem: Problem) -> Problem:
    """Make a network of the problem's form whose output is the product of its masks: H = I."""
    H, L, D = problem.H, problem.L, problem.D
    T, N, _ = problem.input.shape
    identity, parameters = np.eye(H), {}
    for name in names(L, D, problem.bias):
        shape: tuple[int, ...] = (H, H) if "weight" in name else (H,)
        value = np.zeros(shape)
        if name.startswith("weight_ih"):
            value = identity
            if "_l0" not in name and D == 2:
                both = (0 * identity, identity) if "reverse" in name else (identity, 0 * identity)
                value = np.concatenate(both, axis=1)
        parameters[name] = value.astype(problem.input.dtype)
    ones = np.ones((T, N, H), problem.input.dtype)
    return replace(problem, parameters=parameters, input=ones, h_0=None, nonlinearity="relu")


def showing_from(problem: Problem, l: int) -> Problem:
    """Make, of a network that shows its masks, one that shows those after layer l alone.

    Layer l hands its initial state of ones on, whatever it reads.
    """
    parameters, D = dict(problem.parameters), problem.D
    for name, array in problem.parameters.items():
        if f"_l{l}" in name and name.startswith("weight"):
            keeps = np.eye(problem.H) if "_hh" in name else np.zeros(array.shape)
            parameters[name] = keeps.astype(array.dtype)
    h_0 = np.zeros(problem.h_n_shape, problem.input.dtype)
    h_0[l * D : (l + 1) * D] = 1
    return replace(problem, parameters=parameters, h_0=h_0)


def invertible(problem: Problem) -> Problem:
    """Let each unit of layer 1 read a quarter of one unit of layer 0, without recurrence."""
    parameters = dict(problem.parameters)
    for name, array in parameters.items():
        if "_l1" in name:
            parameters[name] = np.zeros_like(array)
        if name.startswith("weight_ih_l1"):
            first = problem.H if "reverse" in name else 0
            parameters[name][:, first : first + problem.H] = np.eye(problem.H) / 4
    return replace(problem, parameters=parameters)


def kept_in(problem: Problem, output: Floats, p: float) -> tuple[Mask, Mask] | None:
    """Read the mask from an invertible network's output, and where it counts.

    It does not where the state of layer 0 is zero. Return None where an element may be either.
    """
    below = Oracle(problem).states[0].stored.value / (1 - p)
    with np.errstate(all="ignore"):
        read = 4 * (np.arctanh(output.astype(float)) if problem.nonlinearity == "tanh" else output)
    kept, near = np.abs(read) > np.abs(below) / 2, np.abs(below) / 8
    clear = (np.abs(below) > 1e-3) & (np.abs(read - np.where(kept, below, 0)) < near)
    counts = below != 0
    return (kept, counts) if (clear | ~counts & (read == 0)).all() else None


def scaled_mask(problem: Problem, kept: Mask, p: float) -> Bounded:
    """Give a mask of 0 and 1/(1-p), whose rounding, and that of its product, is charged."""
    scaled = kept / (1 - p)
    return Bounded(scaled, 2 * problem.rounding.u * scaled, rounding=problem.rounding)
