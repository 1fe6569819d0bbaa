"""Faults of the cell."""

from typing import Any

from torch import Tensor, nn

from tests.faults.catalogue import edit, fault
from tests.subjects.plain_rnn import PlainCell

STEP = "every_step_of_a_cell_obeys_the_recurrence"
PARAMETERS = "a_cell_has_its_documented_parameters"
REFUSED = "a_wrong_call_of_a_cell_is_refused"

# fmt: off
edit("The cell drops b_hh", STEP, seen="ml-explore/mlx#3249",
     old="self.bias_ih + self.bias_hh", new="self.bias_ih")
edit("The cell applies relu for tanh without a batch", STEP, seen="pytorch/pytorch#114617",
     old='sums.tanh() if self.nonlinearity == "tanh"',
     new='sums.tanh() if self.nonlinearity == "tanh" and input.dim() == 2')
edit("The cell's tanh is too large by 2e-6 of itself", STEP, seen="pytorch/pytorch#7495",
     old="return sums.tanh() if", new="return sums.tanh() * (1 + 2e-6) if")
edit("The cell cuts the state's gradient", "gradients_of_a_cell_are_within_their_bounds",
     old="hx @ self.weight_hh.T", new="hx.detach() @ self.weight_hh.T")
edit("The network adds 0.1 % more of b_hh than its cell", "a_network_equals_its_cell_unrolled",
     old="a = a + b_hh", new="a = a + 1.001 * b_hh")
edit("The cell takes any nonlinearity for relu", REFUSED,
     old='self.nonlinearity not in ("tanh", "relu")', new="not self.nonlinearity")
# fmt: on


@fault(PARAMETERS, seen="tensorflow/tensorflow#6072")
class ListsItsBiasesFirst(PlainCell):
    """The cell's parameters are in reverse order."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._parameters = dict(reversed(self._parameters.items()))


@fault(PARAMETERS)
class BeginsAtZero(PlainCell):
    """The cell's parameters begin at zero."""

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


@fault(REFUSED, seen="pytorch/pytorch#3789")
class StretchesAStateOfOneRow(PlainCell):
    """The cell takes a state of one row for all rows."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:
        if hx is not None and hx.dim() == 2 and len(hx) == 1:
            hx = hx.expand(*input.shape[:-1], -1)
        return super().forward(input, hx)


@fault("a_cell_takes_a_batch_of_none", seen="pytorch/pytorch#143484")
class NeedsARow(PlainCell):
    """The cell raises for an empty batch."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:
        if len(input) == 0:
            raise IndexError("the cell's input has no first row")
        return super().forward(input, hx)
