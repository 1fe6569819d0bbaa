"""Faults of state: parameters, how they begin, and how a module is copied, moved and changed."""

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tests.faults.catalogue import fault
from tests.subjects.plain_rnn import PlainRNN

NAMES = "parameters_have_their_documented_names_order_and_shapes"
ALIKE = "training_mode_and_eval_are_alike_without_dropout"


@fault(NAMES, seen="tensorflow/tensorflow#6072")
class ListsParametersInReverse(PlainRNN):
    """named_parameters is in reverse order."""

    def named_parameters(self, *arguments: Any, **options: Any) -> Iterator[tuple[str, Any]]:
        return reversed(list(super().named_parameters(*arguments, **options)))


@fault("all_weights_lists_the_parameters_run_by_run")
class HasNoAllWeights(PlainRNN):
    """Reading all_weights raises."""

    @property
    def all_weights(self) -> Any:
        raise NotImplementedError("all_weights")


@fault("all_weights_lists_the_parameters_run_by_run")
class ListsAllWeightsAsOneRun(PlainRNN):
    """all_weights has the parameters of all layers in one list."""

    @property
    def all_weights(self) -> Any:
        return [list(self.parameters())]


@fault("state_dict_is_strict")
class LoadsAnyState(PlainRNN):
    """load_state_dict is never strict."""

    def load_state_dict(self, state_dict: Any, *_: Any, **__: Any) -> Any:
        return super().load_state_dict(state_dict, strict=False)


@fault("a_copied_module_is_the_same_and_its_own", seen="pytorch/pytorch#28594")
class CopiesToItself(PlainRNN):
    """A deep copy is the module itself."""

    def __deepcopy__(self, memo: Any) -> Any:
        return self


@fault("a_copied_module_is_the_same_and_its_own", seen="pytorch/pytorch#53359")
class CannotBeUnpickled(PlainRNN):
    """A module that was pickled cannot be loaded."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.arguments, self.options = arguments, options

    def __deepcopy__(self, memo: Any) -> Any:
        copied = type(self)(*self.arguments, **self.options)
        copied.load_state_dict(self.state_dict())
        return copied.to(next(self.parameters()).dtype)

    def __setstate__(self, state: Any) -> None:
        raise AttributeError("the pickled module lacks an attribute")


@fault("a_copied_module_is_the_same_and_its_own")
class CopiesToTraining(PlainRNN):
    """A copy, made by the constructor, is in training, and nothing of it is frozen."""

    def __deepcopy__(self, _: Any) -> Any:
        module = type(self)(
            self.input_size, self.hidden_size, self.num_layers,
            nonlinearity=self.nonlinearity, bias=self.bias, batch_first=self.batch_first,
            bidirectional=self.bidirectional, dtype=self.weight_hh_l0.dtype,
        )  # fmt: skip
        module.load_state_dict(self.state_dict())
        return module


@fault("a_module_computes_in_the_dtype_it_is_moved_to")
class RoundsToFloat32(PlainRNN):
    """A float64 output is rounded to float32."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return y.float().to(y.dtype), h_n


@fault("weights_begin_uniform_within_one_over_the_root_of_hidden_size", seen="pytorch/pytorch#9221")
class BeginsNormal(PlainRNN):
    """Weights begin normal, not uniform."""

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=(3 * self.hidden_size) ** -0.5)


@fault("two_modules_begin_with_weights_of_their_own")
class BeginsAlike(PlainRNN):
    """All modules begin with the same weights."""

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            generator = torch.Generator().manual_seed(0)
            nn.init.uniform_(parameter, -0.1, 0.1, generator=generator)


BEGIN = "parameters_begin_with_values_of_their_own"


@fault(BEGIN)
class BeginsAlikeInAllLayers(PlainRNN):
    """All layers of equal sizes begin with the same weights."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                below = getattr(self, re.sub(r"_l\d+", "_l0", name))
                if below.shape == parameter.shape:
                    parameter.copy_(below)


@fault(BEGIN)
class BeginsAlikeInBothDirections(PlainRNN):
    """Both directions begin with the same weights."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(getattr(self, name.removesuffix("_reverse")))


@fault(ALIKE)
class ScalesInEval(PlainRNN):
    """In eval output is 1e-4 of itself larger."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return (y if self.training else 1.0001 * y), h_n


@fault(ALIKE)
class RoundsInEval(PlainRNN):
    """In eval h_n is rounded to half of its digits."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        narrow = torch.float32 if h_n.dtype == torch.float64 else torch.bfloat16
        return y, h_n if self.training else h_n.to(narrow).to(h_n.dtype)


@fault("flattening_changes_nothing")
class DoublesWhenFlattened(PlainRNN):
    """flatten_parameters doubles the parameters."""

    @torch.no_grad()
    def flatten_parameters(self) -> None:
        for parameter in self.parameters():
            parameter.mul_(2)


@fault("flattening_changes_nothing")
class ReordersWhenFlattened(PlainRNN):
    """flatten_parameters puts the first parameter behind all others."""

    def flatten_parameters(self) -> None:
        name = next(iter(self._parameters))
        self._parameters[name] = self._parameters.pop(name)


@fault("tied_weights_count_in_every_place", seen="pytorch/pytorch#3751")
class CountsTiedWeightsOnce(PlainRNN):
    """A weight_hh that is layer 0's counts as zero in the layers above."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        W_ih, W_hh, *biases = super().weights_of(l, d)
        return [W_ih, 0 * W_hh if l and W_hh is self.weight_hh_l0 else W_hh, *biases]


@fault("parametrized_weights_are_computed_anew", seen="pytorch/pytorch#65688")
class ReadsTheFlatWeights(PlainRNN):
    """Weights are read from a list that was made at construction."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        D, count = 2 if self.bidirectional else 1, 4 if self.bias else 2
        first = (l * D + d) * count
        weights: list[Any] = self._flat_weights[first : first + 2]
        return [*weights, *super().weights_of(l, d)[2:]]


@fault("a_weight_under_a_norm_hook_is_computed_anew", seen="pytorch/pytorch#33238")
class KeepsWhatAHookSets(PlainRNN):
    """A weight that is no parameter is kept from the first call."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        kept = self.__dict__.setdefault("kept", {})
        *matrices, b_ih, b_hh = super().weights_of(l, d)
        used = [
            weight if isinstance(weight, nn.Parameter) else kept.setdefault((l, d, i), weight)
            for i, weight in enumerate(matrices)
        ]
        return [*used, b_ih, b_hh]


@fault("a_module_on_the_meta_device_has_shapes_alone")
class IsMadeOnTheCPU(PlainRNN):
    """The module is made on the CPU whatever the default device."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        with torch.device("cpu"):
            super().__init__(*arguments, **options)


@fault("a_module_is_made_with_the_dtype_and_device_asked_for", seen="dotnet/TorchSharp#661")
class IgnoresTheDtype(PlainRNN):
    """The module is made in the default dtype whatever dtype is passed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.pop("dtype", None)
        super().__init__(*arguments, **options)


@fault("a_module_is_made_with_the_default_dtype")
class IsMadeInFloat32(PlainRNN):
    """The module is made in float32 whatever the default dtype, unless a dtype is passed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"dtype": torch.float32, **options})


@fault("repr_tells_the_sizes")
class TellsNoSizes(PlainRNN):
    """The representation has no sizes."""

    def extra_repr(self) -> str:
        return ""
