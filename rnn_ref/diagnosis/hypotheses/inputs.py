"""What may be wrong with how arguments are read: the input, and the states that runs start from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import (
    Change,
    Changed,
    Expected,
    Hypothesis,
    changed,
    error_of,
    replaced,
    results_of,
    stored,
    unit_of,
    value_of,
)
from rnn_ref.diagnosis.regions import powers_of_two
from rnn_ref.judging.oracle import Oracle


def about_input(p: Problem) -> Iterator[Hypothesis]:
    """List changes of the input that the first layer reads."""
    x = p.input
    read = {
        "the input is read in the reverse order of time": x[::-1],
        "the rows of the input are read in the reverse order": x[:, ::-1],
        "all rows read row 0 of the input": np.broadcast_to(x[:, :1], x.shape),
        "all steps read the input of the first step": np.broadcast_to(x[:1], x.shape),
        "the input is scaled by 2": x * 2,
        "the memory of the input (T, N, I) is read as (N, T, I)": misread(x),
        "the memory of a batch_first input is read with the steps first": misread_back(x),
        "the features of the input are read in the reverse order": x[..., ::-1],
        "the input is not read at all": x * 0,
    }
    for k in powers_of_two(x.shape[1]):
        read[f"row n reads row n % {k} of the input"] = x[:, np.arange(x.shape[1]) % k]
    for sentence, array in read.items():
        yield changed(sentence, Change(problem=lambda p, array=array: replace(p, input=array)))  # type: ignore[misc]
    yield Hypothesis("the input's mean over time is subtracted", centred)
    if x.shape[0] == x.shape[1]:  # else the results have other shapes, or h_0 does not fit
        yield Hypothesis("steps are taken for rows, and rows for steps, where T = N", exchanged)


def exchanged(oracle: Oracle) -> Expected:
    """Run on the input (N, T, I) as if it were (T, N, I), and give the output back so."""
    change = Change(problem=lambda p: replace(p, input=p.input.swapaxes(0, 1)))
    results = results_of(Changed(oracle, change))
    return results | {"output": results["output"].swapaxes(0, 1)}


def misread(x: Any) -> Any:
    """Read the memory of (T, N, I) as that of (N, T, I)."""
    T, N, I = x.shape
    return np.ascontiguousarray(x).reshape(N, T, I).swapaxes(0, 1)


def misread_back(x: Any) -> Any:
    """Read the memory of (N, T, I) as that of (T, N, I)."""
    T, N, I = x.shape
    return np.ascontiguousarray(x.swapaxes(0, 1)).reshape(T, N, I)


def centred(oracle: Oracle) -> Expected:
    """Subtract the mean over time from the input."""
    x, T = oracle.x, len(oracle.x)
    total = stored(x.sum(axis=0))
    mean = value_of(total) / T
    other = Changed(oracle, Change())
    rounding = 2 * unit_of(x) * np.abs(mean)
    other.x = stored(x - replaced(total, mean, error_of(total) / T + rounding))
    return results_of(other)


def about_h_0(p: Problem) -> Iterator[Hypothesis]:
    """List changes of the state that each run starts from."""
    if p.h_0 is not None:
        yield from about_starts(p, starts_of(p, p.h_0) | orders_of_h_0(p, p.h_0))
        return
    ones = np.ones(p.h_n_shape)
    yield changed("an absent h_0 is ones", Change(problem=lambda p: replace(p, h_0=ones)))


def renamed_h_0(p: Problem) -> list[Hypothesis]:
    """List the orders in which h_0 may be read, by all names of each."""
    if p.h_0 is None:
        return []
    return list(about_starts(p, orders_of_h_0(p, p.h_0, renamed=True)))


def about_starts(p: Problem, starts: dict[str, Any]) -> Iterator[Hypothesis]:
    """Make hypotheses of initial states, (L, D, N, H) or of a shape that is expanded to it."""
    whole = (p.L, p.D, p.input.shape[1], p.H)
    for sentence, array in starts.items():
        start = np.broadcast_to(array, whole).reshape(p.h_n_shape)
        yield changed(sentence, Change(problem=lambda p, start=start: replace(p, h_0=start)))  # type: ignore[misc]


def starts_of(p: Problem, h_0: Floats) -> dict[str, Any]:
    """List initial states of which rows, or parts of the network, have others' or none."""
    L, D, N, H = p.L, p.D, p.input.shape[1], p.H
    h = h_0.reshape(L, D, N, H)
    above, reverse = np.arange(L)[:, None, None, None], np.arange(D)[:, None, None]
    starts = {
        "h_0 is ignored: all runs start from zero": h * 0,
        "h_0 is negated": -h,
        "all rows start from row 0 of h_0": h[:, :, :1],
        "the rows of h_0 are read in the reverse order": h[:, :, ::-1],
        "h_0 (L*D, N, H) is read as memory of (N, L*D, H)": h_0.reshape(N, L * D, H)
        .swapaxes(0, 1)
        .reshape(h.shape),
    }
    for k in powers_of_two(N):
        starts[f"row n starts from row n % {k} of h_0"] = h[:, :, np.arange(N) % k]
        starts[f"rows from {k} on start from zero"] = h * (np.arange(N)[:, None] < k)
    if L > 1:
        starts["all layers start from layer 0's h_0"] = h[:1]
        starts["all layers start from the last layer's h_0"] = h[-1:]
        starts["the layers above the first start from zero"] = h * (above == 0)
        starts["layer 0 starts from zero"] = h * (above > 0)
    if D == 2:
        starts["the reverse direction starts from the forward one's h_0"] = h[:, :1]
        starts["the forward direction starts from the reverse one's h_0"] = h[:, 1:]
        starts["the reverse direction starts from zero"] = h * (reverse == 0)
        starts["the forward direction starts from zero"] = h * (reverse == 1)
    return starts


def orders_of_h_0(p: Problem, h_0: Floats, *, renamed: bool = False) -> dict[str, Any]:
    """List the orders in which the rows l*D + d of h_0 may be read.

    One that is the same as another in a small network is left out, unless `renamed`.
    """
    L, D = p.L, p.D
    h = h_0.reshape(L, D, *h_0.shape[1:])
    orders = {}
    if L > 1 or renamed:
        orders["the layers of h_0 are read in the reverse order"] = h[::-1]
    if D == 2 or renamed:
        orders["the directions' h_0 are swapped"] = h[:, ::-1]
    if (L > 1 and D == 2) or renamed:
        orders["layers and directions of h_0 are read in the reverse order"] = h[::-1, ::-1]
        orders["h_0 is read with directions before layers"] = h_0.reshape(
            D, L, *h_0.shape[1:]
        ).swapaxes(0, 1)
    if L * D > 2 or renamed:
        for by, words in ((-1, "next"), (1, "last")):
            orders[f"each run starts from the h_0 of the {words} one, by rows l*D + d"] = np.roll(
                h_0, by, axis=0
            ).reshape(h.shape)
    return orders
