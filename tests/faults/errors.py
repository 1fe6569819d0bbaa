"""Faults of misuse: wrong calls are accepted, or right ones refused."""

from typing import Any

from torch import Tensor

from tests.faults.catalogue import edit, fault
from tests.subjects.plain_rnn import PlainRNN

# fmt: off
edit("An h_0 of more layers is accepted", "a_wrong_call_is_refused_and_leaves_no_trace",
     seen="pytorch/pytorch#3259",
     old="expected = (L_D,", new="expected = (L_D if h_0 is None else len(h_0),")
edit("An h_0 of another batch is accepted", "a_state_of_another_batch_is_refused",
     seen="pytorch/pytorch#6176",
     old="tuple(h_0.shape) != expected", new="h_0.shape[0] != expected[0]")
# fmt: on


@fault("nonsense_is_not_constructed", seen="pytorch/pytorch#105631")
class TakesAnyHiddenSize(PlainRNN):
    """A hidden_size below 1 is taken for 1."""

    def __init__(self, input_size: int, hidden_size: int, *others: Any, **options: Any) -> None:
        super().__init__(input_size, max(1, hidden_size), *others, **options)


@fault("a_batch_of_none_is_accepted", seen="pytorch/pytorch#38115")
class ReturnsOneUnitOfAnEmptyBatch(PlainRNN):
    """The output of an empty batch has one unit."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return (y if y.shape[1] else y[:, :, :1]), h_n
