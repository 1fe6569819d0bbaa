"""Time the reference against torch.nn.RNN, and small examples a second.

    python -m tests.measure.speed

Eager, float32, a single layer, one process, default threads; medians of interleaved
runs. Where OPENBLAS_CORETYPE is set, unset it, for it slows NumPy down.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import hypothesis
import numpy as np
import torch

import rnn_ref
from rnn_ref.bridge import parameters_of
from rnn_ref.cases.case import Case
from rnn_ref.judging.comparison import compare_results
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Subject
from rnn_ref.strategies import cases

SIZES = ((4, 2, 3, 5), (10, 1, 5, 8), (100, 32, 64, 128), (50, 8, 256, 256), (20, 128, 512, 512))


def ratio_of_medians(ours: Callable[[], object], theirs: Callable[[], object]) -> float:
    """Our median time over theirs, from runs in turn for about three seconds."""
    seconds: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + 3
    while time.perf_counter() < end or len(seconds[0]) < 7:
        for call, times in zip((ours, theirs), seconds, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return statistics.median(seconds[0]) / statistics.median(seconds[1])


def ratios(T: int, N: int, I: int, H: int) -> tuple[float, float]:
    """Our time over torch's: forward alone, and forward and backward together."""
    module, x = torch.nn.RNN(I, H), torch.randn(T, N, I)
    parameters, array = parameters_of(module), x.numpy()
    d_output, d_h_n = np.ones((T, N, H), np.float32), np.ones((1, N, H), np.float32)
    upstream = (torch.from_numpy(d_output), torch.from_numpy(d_h_n))
    leaf = x.clone().requires_grad_()

    def forward() -> None:
        with torch.no_grad():
            module(x)

    def both() -> None:
        module.zero_grad()
        leaf.grad = None
        torch.autograd.backward(module(leaf), upstream)

    return (
        ratio_of_medians(lambda: rnn_ref.rnn(array, parameters), forward),
        ratio_of_medians(lambda: rnn_ref.rnn_backward(d_output, d_h_n, array, parameters), both),
    )


def examples_a_second(examples: int = 2000) -> float:
    """Small single-layer forward checks against the bound, with all that Hypothesis takes."""
    subject = Subject("torch.nn:RNN", torch.nn.RNN)

    @hypothesis.settings(max_examples=examples, deadline=None, database=None)
    @hypothesis.given(cases(num_layers=(1,), directions=(1,)).map(small))
    def check(case: Case) -> None:
        problem = case.problem()
        run, oracle = subject.run(problem), Oracle(problem)
        found = compare_results(problem, run.output, run.h_n, (oracle.output, oracle.h_n))
        assert not any(comparison.over for comparison in found)

    start = time.perf_counter()
    check()
    return examples / (time.perf_counter() - start)


def small(case: Case) -> Case:
    """Cut the sizes of a case to 10 at most."""
    return replace(case, **{axis: min(getattr(case, axis), 10) for axis in "TNIH"})


if __name__ == "__main__":
    print("T, N, I, H             forward   forward and backward   (our time / torch's)")
    found = []
    for sizes in SIZES:
        found.append(ratios(*sizes))
        print(f"{sizes!s:22} {found[-1][0]:7.2f}   {found[-1][1]:20.2f}")
    means = [statistics.geometric_mean(column) for column in zip(*found, strict=True)]
    print(f"{'geometric mean':22} {means[0]:7.2f}   {means[1]:20.2f}")
    print(f"small forward checks: {examples_a_second():.0f} examples a second")
