"""Arrays made of several parts, which stand in for NumPy's own in the reference's operators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Rule = Callable[..., Any]

QUIET = ContextVar("QUIET", default=False)
"""Whether this thread is in a block that is run `quietly`."""


@contextmanager
def quietly() -> Iterator[None]:
    """Switch NumPy's warnings off in the block: infinities and NaN are the rules' business.

    Every operation does so by itself; to do it once for many of them takes less time.
    """
    token = QUIET.set(True)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        QUIET.reset(token)


class NumberArray(ABC):
    """An array whose numbers have P parts each, such as a value and its error.

    `parts` is (P, *shape). A subclass has a rule for each operation, by ufunc, says what
    stands for a number or an array of another kind (`like`), and makes arrays of its kind
    from parts (`remade`). NumPy finds the rules by NEP 13 and 18.
    """

    rules: ClassVar[dict[np.ufunc, Rule]]
    parts: NDArray[Any]

    @abstractmethod
    def remade(self, parts: NDArray[Any]) -> Self:
        """Make an array of this kind, of the same numbers in another arrangement."""

    @abstractmethod
    def like(self, x: Any) -> Self:
        """Take x itself, or a number or array as one of this kind."""

    def joined(self, f: Rule, arrays: Sequence[Self], axis: int) -> Self:
        """Apply f, np.stack or np.concatenate along an axis, to several arrays."""
        return self.remade(f([x.parts for x in arrays], axis=axis + 1))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc not in self.rules or method != "__call__" or options:
            return NotImplemented
        return self.applied(ufunc, *inputs)

    def applied(self, ufunc: np.ufunc, *operands: Any) -> Any:
        """Apply the rule of an operation to arrays of this kind."""
        numbers = [self.like(x) for x in operands]
        if QUIET.get():
            return self.rules[ufunc](*numbers)
        with np.errstate(all="ignore"):
            return self.rules[ufunc](*numbers)

    def __array_function__(self, f: Any, types: Any, inputs: Any, options: Any) -> Any:
        if f not in (np.stack, np.concatenate):
            return NotImplemented
        return self.joined(f, [self.like(x) for x in inputs[0]], options.get("axis", 0))

    def __add__(self, other: Any) -> Any:
        return self.applied(np.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return self.applied(np.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return self.applied(np.subtract, self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.applied(np.subtract, other, self)

    def __mul__(self, other: Any) -> Any:
        return self.applied(np.multiply, self, other)

    def __rmul__(self, other: Any) -> Any:
        return self.applied(np.multiply, other, self)

    def __matmul__(self, other: Any) -> Any:
        return self.applied(np.matmul, self, other)

    def __gt__(self, other: Any) -> Any:
        return self.applied(np.greater, self, other)

    def __getitem__(self, index: Any) -> Self:
        axes = index if isinstance(index, tuple) else (index,)
        return self.remade(self.parts[(slice(None), *axes)])

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))

    def reshape(self, *shape: Any) -> Self:
        sizes = shape[0] if isinstance(shape[0], tuple) else shape
        return self.remade(self.parts.reshape(len(self.parts), *sizes))

    def swapaxes(self, i: int, j: int) -> Self:
        return self.remade(self.parts.swapaxes(i + 1, j + 1))

    def copy(self) -> Self:
        return self.remade(self.parts.copy())

    @property
    def T(self) -> Self:
        return self.remade(self.parts.transpose(0, *range(self.ndim, 0, -1)))

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.parts.shape
        return shape[1:]

    @property
    def ndim(self) -> int:
        return self.parts.ndim - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.parts.dtype
