"""A problem: the arrays that a subject and the reference are given, and how they may round."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rnn_ref.arithmetic.dtypes import Floats, Rounding
from rnn_ref.parameters import Layout, names


@dataclass(frozen=True)
class Problem:
    """A network with its weights, its input, the upstream gradients, and the rounding model.

    `input` is (T, N, I), `h_0` (L*D, N, H) or None, `grad_output` (T, N, D*H) or None,
    `grad_h_n` (L*D, N, H) or None; `parameters` has torch's names. `layout` says how the
    subject is to be called, nothing of these arrays.
    """

    parameters: dict[str, Floats]
    input: Floats
    h_0: Floats | None
    grad_output: Floats | None
    grad_h_n: Floats | None
    nonlinearity: str
    dtype: str
    rounding: Rounding
    L: int
    D: int
    bias: bool
    layout: Layout

    @property
    def H(self) -> int:
        """hidden_size."""
        return len(self.parameters["weight_hh_l0"])

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """The shape (T, N, D*H) of the output."""
        T, N, _ = self.input.shape
        return T, N, self.D * self.H

    @property
    def h_n_shape(self) -> tuple[int, int, int]:
        """The shape (L*D, N, H) of h_0 and h_n."""
        return self.L * self.D, self.input.shape[1], self.H

    @property
    def arguments(self) -> dict[str, Floats]:
        """The arguments of a call by name: the input, and h_0 if there is one."""
        return {"input": self.input} | ({} if self.h_0 is None else {"h_0": self.h_0})

    def layer(self, l: int, input: Floats) -> Problem:
        """Take layer l as a network of its own, fed with `input`, the states of the layer below."""
        lower, D = names(1, self.D, self.bias), self.D
        upper = names(self.L, self.D, self.bias)[l * len(lower) : (l + 1) * len(lower)]
        return replace(
            self,
            parameters={name: self.parameters[of] for name, of in zip(lower, upper, strict=True)},
            input=input,
            h_0=None if self.h_0 is None else self.h_0[l * D : (l + 1) * D],
            grad_output=None,
            grad_h_n=None,
            L=1,
        )

    def rows(self, rows: np.ndarray) -> Problem:
        """Take some rows of the batch, without upstream gradients."""
        h_0 = None if self.h_0 is None else self.h_0[:, rows]
        return replace(self, input=self.input[:, rows], h_0=h_0, grad_output=None, grad_h_n=None)
