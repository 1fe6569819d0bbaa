"""What may be wrong with how arguments are read: the input, and the states that runs start from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

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
    for sentence, array in read.items():
        yield changed(sentence, Change(problem=lambda p, array=array: replace(p, input=array)))  # type: ignore[misc]
    yield Hypothesis("the input's mean over time is subtracted", centred)


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
    L, D, N, H = p.L, p.D, p.input.shape[1], p.H
    if p.h_0 is None:
        ones = np.ones(p.h_n_shape)
        yield changed("an absent h_0 is ones", Change(problem=lambda p: replace(p, h_0=ones)))
        return
    h = p.h_0.reshape(L, D, N, H)
    starts = {
        "h_0 is ignored: all runs start from zero": h * 0,
        "h_0 is negated": -h,
        "all rows start from row 0 of h_0": h[:, :, :1],
        "the rows of h_0 are read in the reverse order": h[:, :, ::-1],
        "h_0 (L*D, N, H) is read as memory of (N, L*D, H)": p.h_0.reshape(N, L * D, H).swapaxes(
            0, 1
        ),
    }
    if L > 1:
        starts["all layers start from layer 0's h_0"] = h[:1]
        starts["all layers start from the last layer's h_0"] = h[-1:]
        starts["the layers of h_0 are read in the reverse order"] = h[::-1]
        starts["the layers above the first start from zero"] = (
            h * (np.arange(L) == 0)[:, None, None, None]
        )
    if D == 2:
        starts["the reverse direction starts from the forward one's h_0"] = h[:, :1]
        starts["the directions' h_0 are swapped"] = h[:, ::-1]
        starts["the reverse direction starts from zero"] = h * (np.arange(2) == 0)[:, None, None]
        if L > 1:
            starts["h_0 is read with directions before layers"] = p.h_0.reshape(
                D, L, N, H
            ).swapaxes(0, 1)
    for sentence, array in starts.items():
        rows = np.broadcast_to(array if array.ndim == 4 else array.reshape(h.shape), h.shape)
        start = rows.reshape(L * D, N, H)
        yield changed(sentence, Change(problem=lambda p, start=start: replace(p, h_0=start)))  # type: ignore[misc]
