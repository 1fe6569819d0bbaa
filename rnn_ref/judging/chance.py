"""Exact tests of chance: how likely a count of independent events is."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray


@cache
def distribution(n: int, p: float) -> NDArray[np.float64]:
    """Compute the probabilities that 0, 1, ..., n of n events happen, each of probability p."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    ways = log_factorial[n] - log_factorial - log_factorial[::-1]
    return np.asarray(np.exp(ways + k * np.log(p) + (n - k) * np.log1p(-p)))


def at_least(k: int, n: int, p: float) -> float:
    """Compute the probability that at least k of n events happen: the one-sided binomial test."""
    return min(1.0, float(distribution(n, p)[k:].sum()))


def as_far_as(k: int, n: int, p: float) -> float:
    """Compute twice the smaller tail of k of n: the two-sided binomial test."""
    chances = distribution(n, p)
    return min(1.0, 2 * float(min(chances[k:].sum(), chances[: k + 1].sum())))
