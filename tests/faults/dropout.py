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


@fault("masks_do_not_repeat_at_any_lag")
class RepeatsMasksOfTiles(PlainRNN):
    """Rows past the 64th have the masks of the rows 64 before."""

    def drop(self, x: Tensor) -> Tensor:
        masks = super().drop(torch.ones_like(x))
        return x * masks[:, torch.arange(x.shape[1]) % 64]


@fault("what_is_rare_is_dropped_or_kept_at_its_rate")
class DrawsBytes(PlainRNN):
    """Masks are drawn from bytes, so that probabilities are rounded to 1/256."""

    def drop(self, x: Tensor) -> Tensor:
        if not self.training or not self.dropout:
            return x
        kept = torch.randint(256, x.shape) >= round(256 * self.dropout)
        return x * kept / (1 - self.dropout) if self.dropout < 1 else x * 0


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


class LastMask(torch.autograd.Function):
    """Multiplies by a mask, and goes back through the mask that its module drew last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, masks: list[Tensor]) -> Tensor:
        ctx.masks = masks
        return x * masks[-1]

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        mask = ctx.masks[-1]
        return (dy * mask if mask.shape == dy.shape else dy), None


@fault("training_goes_forward_and_back_through_one_mask")
class GoesBackThroughTheLastMask(PlainRNN):
    """Backward goes through the mask of the last call, whichever call it is of."""

    def drop(self, x: Tensor) -> Tensor:
        masks = self.__dict__.setdefault("masks", [])
        masks.append(super().drop(torch.ones_like(x)).detach())
        return LastMask.apply(x, masks)  # type: ignore[no-any-return,no-untyped-call]


@fault("training_goes_forward_and_back_through_one_mask")
class HalvesTheRecurrenceWhereItDrops(PlainRNN):
    """While it drops, every W_hh is halved."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        W_ih, W_hh, *biases = super().weights_of(l, d)
        return [W_ih, W_hh / 2 if self.training and self.dropout else W_hh, *biases]


@fault("dropout_in_one_layer_warns_and_does_nothing", seen="apache/mxnet#10304")
class WarnsOfNothing(PlainRNN):
    """The constructor does not warn of dropout in a single layer."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().__init__(*arguments, **options)


LAGS = "masks_do_not_repeat_at_any_lag"
CALLS = "masks_move_on_from_call_to_call"
LAYERS = "layers_draw_masks_of_their_own"
PACKED = "packed_input_is_dropped_as_padded_input_is"


@fault(LAGS)
class DrawsWithAShortPeriod(PlainRNN):
    """Masks repeat after 97 elements."""

    def drop(self, x: Tensor) -> Tensor:
        period = super().drop(x.new_ones(97))
        return x * period.repeat(-(-x.numel() // 97))[: x.numel()].view_as(x)


@fault(LAGS)
class DrawsWithALongPeriod(PlainRNN):
    """Masks repeat after 1,000 elements, row by row."""

    def drop(self, x: Tensor) -> Tensor:
        rows = x.transpose(0, 1)
        period = super().drop(x.new_ones(1000))
        mask = period.repeat(-(-x.numel() // 1000))[: x.numel()].reshape(rows.shape)
        return (rows * mask).transpose(0, 1)


@fault(LAGS, seen="tensorflow/tensorflow#35724")
class SharesAMaskBetweenDirections(PlainRNN):
    """Both directions share one mask."""

    def drop(self, x: Tensor) -> Tensor:
        mask = super().drop(torch.ones_like(x[..., : self.hidden_size]))
        return x * mask.repeat(1, 1, x.shape[2] // self.hidden_size)


@fault(LAGS, seen="tensorflow/tensorflow#35724")
class RepeatsMasksEveryFifthStep(PlainRNN):
    """A step has the mask of the fifth step before it."""

    def drop(self, x: Tensor) -> Tensor:
        mask = super().drop(torch.ones_like(x[:5]))
        return x * mask.repeat(-(-len(x) // 5), 1, 1)[: len(x)]


@fault(LAYERS)
class GivesAllLayersOneMask(PlainRNN):
    """All layers share one mask."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.__dict__["state"] = torch.get_rng_state()
        return super().run_layers(x, h_0)

    def drop(self, x: Tensor) -> Tensor:
        torch.set_rng_state(self.__dict__["state"])
        return super().drop(x)


@fault(CALLS, seen="tensorflow/tensorflow#29391")
class AlternatesTwoMasks(PlainRNN):
    """Two masks alternate from call to call."""

    def drop(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = self.__dict__.setdefault("kept", [])
        if len(kept) < 2:
            kept.append(super().drop(torch.ones_like(x)))
            return x * kept[-1]
        kept.reverse()
        return x * kept[1] if kept[1].shape == x.shape else super().drop(x)


@fault(CALLS)
class ShiftsOneMask(PlainRNN):
    """A call has the first call's mask, some elements later."""

    def drop(self, x: Tensor) -> Tensor:
        kept: dict[torch.Size, Tensor] = self.__dict__.setdefault("kept", {})
        if x.shape not in kept:
            kept[x.shape] = super().drop(torch.ones_like(x))
        kept[x.shape] = kept[x.shape].flatten().roll(7).view_as(x)
        return x * kept[x.shape]


@fault(LAYERS)
class SharesAMaskBetweenLayers(PlainRNN):
    """A layer's mask is that of the layer below, one step later."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.__dict__.pop("mask", None)
        return super().run_layers(x, h_0)

    def drop(self, x: Tensor) -> Tensor:
        mask = self.__dict__.get("mask")
        mask = super().drop(torch.ones_like(x)) if mask is None else mask.roll(1, 0)
        self.__dict__["mask"] = mask
        return x * mask


@fault(LAYERS)
class DropsWhereTheLayerBelowKept(PlainRNN):
    """At p = 0.5 a layer keeps what the layer below dropped."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.__dict__.pop("mask", None)
        return super().run_layers(x, h_0)

    def drop(self, x: Tensor) -> Tensor:
        below: Any = self.__dict__.get("mask")
        other = below is not None and self.dropout == 0.5
        mask = 2 - below if other else super().drop(torch.ones_like(x))
        self.__dict__["mask"] = mask
        return x * mask


@fault(PACKED, seen="pytorch/translate#122")
class DropsNothingOfPackedInput(PlainRNN):
    """Packed input is not dropped."""

    def run_packed(self, input, h_0):  # type: ignore[no-untyped-def]
        dropout, self.dropout = self.dropout, 0.0
        try:
            return super().run_packed(input, h_0)
        finally:
            self.dropout = dropout


@fault("evaluation_drops_nothing_while_gradients_are_recorded", seen="apache/mxnet#7303")
class DropsWhileItRecords(PlainRNN):
    """Elements are dropped wherever gradients are recorded, in eval too."""

    def drop(self, x: Tensor) -> Tensor:
        training = self.training or torch.is_grad_enabled()
        return nn.functional.dropout(x, self.dropout, training)
