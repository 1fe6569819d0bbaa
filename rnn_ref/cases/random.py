"""Random numbers that are the same to the bit everywhere, and the regimes made of them.

A counter-based generator (Philox: Salmon et al., Parallel random numbers: as easy as
1, 2, 3, 2011) gives raw words. They become numbers only by operations that IEEE 754
rounds in one way.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rnn_ref.arithmetic.dtypes import ROUNDING


class RandomStream:
    """A stream of random words, and the numbers made of them.

    It starts from a seed and a name, such as a parameter's. Streams of different names are
    independent.
    """

    def __init__(self, seed: int, name: str) -> None:
        self.seed = seed
        self.generator = np.random.Philox(key=self.key(name))
        self.start = self.generator.state

    def key(self, name: str) -> NDArray[np.uint64]:
        """Compute the generator's key for a name."""
        return np.array([self.seed, zlib.crc32(name.encode())], np.uint64)

    def restarted(self, name: str) -> RandomStream:
        """Start again under another name, which costs less than a new stream."""
        self.start["state"]["key"] = self.key(name)
        self.generator.state = self.start
        return self

    def words(self, shape: tuple[int, ...]) -> NDArray[np.uint64]:
        """Draw words of 64 random bits."""
        return self.generator.random_raw(math.prod(shape)).reshape(shape)

    def uniform(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Draw numbers uniform in [-1, 1), in multiples of 2^-52."""
        return (self.words(shape) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1

    def normal(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Draw nearly normal numbers of variance 1: sums of four uniform ones, within +-3.46."""
        quarters = self.words((*shape, 1)).view(np.uint16)
        centred: NDArray[np.float64] = quarters.sum(axis=-1, dtype=np.float64) - 2 * 0xFFFF
        return centred * (math.sqrt(3.0) / 0x10000)

    def integers(self, largest: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Draw whole numbers, uniform in [-largest, largest]."""
        return (self.words(shape) % np.uint64(2 * largest + 1)).astype(np.float64) - largest

    def sparse(self, shape: tuple[int, ...], fan: int) -> NDArray[np.float64]:
        """Draw whole numbers from -2 to 2; about two of every `fan` numbers are not zero."""
        kept = self.words(shape) % np.uint64(fan) < np.uint64(2)
        return self.integers(2, shape) * kept


WEIGHTS: dict[str, Callable[[RandomStream, tuple[int, ...], int, int], NDArray[np.float64]]] = {
    "torch": lambda stream, shape, fan, H: stream.uniform(shape) / np.sqrt(float(H)),
    "contracting": lambda stream, shape, fan, H: stream.normal(shape) / (4 * np.sqrt(float(fan))),
    "chaotic": lambda stream, shape, fan, H: stream.normal(shape),
    "saturating": lambda stream, shape, fan, H: 8 * stream.normal(shape),
    "sparse": lambda stream, shape, fan, H: stream.sparse(shape, fan),
    "one-sided": lambda stream, shape, fan, H: np.abs(stream.normal(shape)) / fan,
    "zero": lambda stream, shape, fan, H: np.zeros(shape),
}
"""Weight regimes: from a stream, a parameter's shape and fan (its last axis), and H.

`torch` is torch.nn.RNN's own initialisation, U(-1/sqrt(H), 1/sqrt(H)) for all; errors
grow with time under `chaotic` and die out under `contracting`; `saturating` drives tanh
to its ends; `sparse` has whole numbers, so that relu networks on them are exact; sums
of `one-sided` weights do not cancel.
"""


def scale(dtype: str) -> float:
    """Return 2 to a third of the dtype's largest exponent: large, with products still in range."""
    return 2.0 ** (math.frexp(ROUNDING[dtype].largest)[1] // 3)


INPUTS: dict[str, Callable[[RandomStream, tuple[int, ...], str], NDArray[np.float64]]] = {
    "normal": lambda stream, shape, dtype: stream.normal(shape),
    "large": lambda stream, shape, dtype: stream.normal(shape) * scale(dtype),
    "tiny": lambda stream, shape, dtype: stream.normal(shape) / scale(dtype),
    "subnormal": lambda stream, shape, dtype: stream.integers(100, shape) * ROUNDING[dtype].eta,
    "integer": lambda stream, shape, dtype: stream.integers(3, shape),
}
"""Value regimes of the input and of h_0: from a stream, a shape and the dtype."""
