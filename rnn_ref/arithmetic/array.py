"""Arrays made of several parts, which stand in for NumPy's own in the reference's operators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

Rule = Callable[..., Any]


class NumberArray(NDArrayOperatorsMixin, ABC):
    """The base of such arrays: `rules` by ufunc, and the same elements in another arrangement.

    A subclass says what its parts are (`rearrange`), which of them has the shape
    (`lead`), how several arrays become one (`join`), and what stands for a number or an
    array of another kind (`like`).
    """

    rules: ClassVar[dict[np.ufunc, Rule]]

    @property
    @abstractmethod
    def lead(self) -> Any:
        """The part that has the shape."""

    @abstractmethod
    def rearrange(self, f: Rule) -> Self:
        """Apply f, which moves elements, to every part."""

    @abstractmethod
    def join(self, f: Rule, others: Sequence[Self]) -> Self:
        """Apply f, np.stack or np.concatenate, to every part of this array and others."""

    @abstractmethod
    def like(self, x: Any) -> Self:
        """Take x itself, or a number or array as one of this kind."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        rule = self.rules.get(ufunc)
        if rule is None or method != "__call__" or options:
            return NotImplemented
        with np.errstate(all="ignore"):  # infinities and NaN are the rules' business
            return rule(*(self.like(x) for x in inputs))

    def __array_function__(self, f: Any, types: Any, inputs: Any, options: Any) -> Any:
        if f not in (np.stack, np.concatenate):
            return NotImplemented
        return self.join(lambda arrays: f(arrays, **options), [self.like(x) for x in inputs[0]])

    def __getitem__(self, index: Any) -> Self:
        return self.rearrange(lambda a: a[index])

    def __len__(self) -> int:
        return len(self.lead)

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))

    def reshape(self, *shape: int) -> Self:
        return self.rearrange(lambda a: a.reshape(*shape))

    def swapaxes(self, i: int, j: int) -> Self:
        return self.rearrange(lambda a: a.swapaxes(i, j))

    def copy(self) -> Self:
        return self.rearrange(lambda a: a.copy())

    @property
    def T(self) -> Self:
        return self.rearrange(lambda a: a.T)

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.lead.shape
        return shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[np.float64]:
        dtype: np.dtype[np.float64] = self.lead.dtype
        return dtype
