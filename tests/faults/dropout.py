"""Faults of dropout: where, when and how elements are dropped."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from tests.faults.catalogue import edit, fault
from tests.subjects.plain_rnn import PlainRNN

# fmt: off
edit("The input is dropped too", "dropout_falls_between_layers_at_its_rate",
     seen="hankcs/CS224n#12",
     old="self.drop(x) if l else x", new="self.drop(x)")
# fmt: on


@fault("dropout_falls_between_layers_at_its_rate", seen="keras-team/keras#19395")
class NeverDrops(PlainRNN):
    """Nothing is dropped in training."""

    def drop(self, x: Tensor) -> Tensor:
        return x


@fault("masks_are_fresh_for_every_step_row_unit_and_call", seen="tensorflow/tensorflow#35724")
class DropsTheSameInAllSteps(PlainRNN):
    """All steps share one mask."""

    def drop(self, x: Tensor) -> Tensor:
        return x * super().drop(torch.ones_like(x[:1]))


@fault("masks_are_fresh_for_every_step_row_unit_and_call", seen="tensorflow/tensorflow#29391")
class DropsTheSameInAllCalls(PlainRNN):
    """All calls of one shape share one mask."""

    def drop(self, x: Tensor) -> Tensor:
        kept: dict[torch.Size, Tensor] = self.__dict__.setdefault("kept", {})
        if x.shape not in kept:
            kept[x.shape] = super().drop(torch.ones_like(x))
        return x * kept[x.shape]


@fault("masks_repeat_from_the_seed", seen="apache/mxnet#16604")
class IgnoresTheSeed(PlainRNN):
    """Masks do not depend on torch.manual_seed."""

    def drop(self, x: Tensor) -> Tensor:
        torch.seed()
        return super().drop(x)


@fault("without_chance_dropout_does_nothing", seen="pytorch/pytorch#180744")
class DropsInEval(PlainRNN):
    """Elements are dropped in eval too."""

    def drop(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.dropout, training=True)


@fault("dropout_of_everything_leaves_zeros")
class DropsAtMost99Percent(PlainRNN):
    """At p = 1 one element of a hundred is kept."""

    def drop(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, min(self.dropout, 0.99), self.training)


@fault("training_goes_forward_and_back_through_one_mask", seen="pytorch/pytorch#190056")
class GoesBackWithoutAMask(PlainRNN):
    """Backward goes through no mask."""

    def drop(self, x: Tensor) -> Tensor:
        return x + (super().drop(x) - x).detach()


@fault("dropout_in_one_layer_warns_and_does_nothing", seen="apache/mxnet#10304")
class WarnsOfNothing(PlainRNN):
    """The constructor does not warn of dropout in a single layer."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().__init__(*arguments, **options)
