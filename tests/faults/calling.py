"""Faults of the call: names of arguments, hooks, and tensors that are not the module's own."""

from typing import Any

import torch
from torch import Tensor

from tests.faults.catalogue import edit, fault
from tests.subjects.plain_rnn import PlainCell, PlainRNN

NAMED = "arguments_may_be_named_and_h_0_none"
PACKED = "packed_arguments_may_be_named_and_h_0_none"
CELL = "a_cells_arguments_may_be_named_and_its_state_none"
FORWARD = "forward_hooks_run_in_order_and_may_replace"
BACKWARD = "full_backward_hooks_run_and_may_replace"
REQUIRES = "a_call_leaves_requires_grad_as_it_was"
LOADED = "a_loaded_state_is_copied"
LIVING = "state_dict_shows_the_living_parameters"

# fmt: off
edit("A packed call needs a state, and takes None for none given", PACKED,
     seen="chainer/chainer#2289",
     old="return self.run_packed(input, hx)", new="return self.run_packed(input, hx.clone())")
# fmt: on


@fault(NAMED)
class CallsTheStateH0(PlainRNN):
    """The initial state has another name than hx."""

    def forward(self, input, h_0: Tensor | None = None):  # type: ignore[no-untyped-def]
        return super().forward(input, h_0)


@fault(NAMED, seen="chainer/chainer#2289")
class TakesNoNone(PlainRNN):
    """None in the place of the initial state raises."""

    def __call__(self, input: Any, *states: Tensor, **named: Tensor) -> Any:
        return super().__call__(input, *(h.clone() for h in states), **named)


@fault(NAMED)
class DropsANamedState(PlainRNN):
    """An initial state that is passed by name is ignored."""

    def forward(self, input, *states, **_):  # type: ignore[no-untyped-def]
        return super().forward(input, *states)


@fault(CELL)
class CallsTheCellsStateHidden(PlainCell):
    """The cell's state has another name than hx."""

    def forward(self, input, hidden: Tensor | None = None):  # type: ignore[no-untyped-def]
        return super().forward(input, hidden)


@fault(CELL, seen="chainer/chainer#2289")
class TakesNoNoneInTheCell(PlainCell):
    """None in the place of the cell's state raises."""

    def __call__(self, input: Any, *states: Tensor, **named: Tensor) -> Any:
        return super().__call__(input, *(h.clone() for h in states), **named)


@fault(FORWARD, seen="fastai/fastai#2850")
class RunsNoHooks(PlainRNN):
    """A call goes past the hooks."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.forward(*arguments, **named)


@fault(FORWARD)
class ShowsResultsToHooksOnly(PlainRNN):
    """What a forward hook returns is ignored."""

    def register_forward_hook(self, hook: Any, **options: Any) -> Any:
        def look(*seen: Any) -> None:
            hook(*seen)

        return super().register_forward_hook(look, **options)


@fault(FORWARD)
class RunsTheLastHookFirst(PlainRNN):
    """Hooks run in reverse order."""

    def register_forward_pre_hook(self, hook: Any, **options: Any) -> Any:
        return super().register_forward_pre_hook(hook, **{**options, "prepend": True})


@fault(BACKWARD)
class RunsNoBackwardHooks(PlainRNN):
    """Full backward hooks are not run."""

    def register_full_backward_hook(self, *_: Any) -> Any:
        return super().register_full_backward_hook(lambda *_: None)


@fault(BACKWARD)
class IgnoresWhatABackwardHookReturns(PlainRNN):
    """What a full backward hook returns is ignored."""

    def register_full_backward_hook(self, hook: Any, *options: Any) -> Any:
        def look(*seen: Any) -> None:
            hook(*seen)

        return super().register_full_backward_hook(look, *options)


@fault(REQUIRES)
class MakesTheInputRequireAGradient(PlainRNN):
    """A call makes its input require a gradient."""

    def forward(self, input, hx: Tensor | None = None):  # type: ignore[no-untyped-def]
        if isinstance(input, Tensor) and torch.is_grad_enabled():
            input.requires_grad_()
        return super().forward(input, hx)


@fault(REQUIRES)
class ThawsItsParameters(PlainRNN):
    """A call makes all parameters require gradients again."""

    def forward(self, input, hx: Tensor | None = None):  # type: ignore[no-untyped-def]
        self.requires_grad_()
        return super().forward(input, hx)


@fault(LOADED)
class KeepsWhatItLoads(PlainRNN):
    """load_state_dict keeps the tensors that it is given."""

    def load_state_dict(self, state_dict: Any, *_: Any, **__: Any) -> Any:
        return super().load_state_dict(state_dict, assign=True)


@fault(LIVING)
class CopiesItsState(PlainRNN):
    """state_dict is a copy of the parameters."""

    def state_dict(self, *arguments: Any, **options: Any) -> Any:
        state = super().state_dict(*arguments, **options)
        return {name: tensor.clone() for name, tensor in state.items()}
