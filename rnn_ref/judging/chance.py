"""Exact tests of chance: how likely a count of independent events is."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=4096)
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


def differing_at_lags(a: NDArray[np.bool_]) -> dict[int, tuple[int, int]]:
    """Count, at each lag k up to half of an array, the pairs that differ, and all pairs.

    A pair is an element and the one k later, in the order of memory. No element is in two
    pairs of a lag, so that in independent events these pairs are independent too.
    """
    flat = a.ravel()
    place, counts = np.arange(flat.size), {}
    for k in range(1, flat.size // 2 + 1):
        first = place[: flat.size - k][place[: flat.size - k] // k % 2 == 0]
        counts[k] = int(np.count_nonzero(flat[first] != flat[first + k])), first.size
    return counts


def agreeing_at_shifts(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count, at each shift k, the places i in which both a[i] and b[i + k], around the end, are."""
    spectra = np.fft.rfft(a.ravel()).conj() * np.fft.rfft(b.ravel())
    return np.rint(np.fft.irfft(spectra, a.size)).astype(np.int64)
