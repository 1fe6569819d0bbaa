"""Faults of histories: what one call shows is right; two calls, or a change between, are not."""

import warnings
import weakref
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from tests.faults.catalogue import fault
from tests.subjects.plain_rnn import Direction, PlainRNN

LIVES = "every_step_of_a_history_gives_what_the_reference_gives"


class Remembering(PlainRNN):
    """A module with a memory of its own, which is no state that torch knows of."""

    @property
    def memory(self) -> dict[Any, Any]:
        memory: dict[Any, Any] = self.__dict__.setdefault("_memory", {})
        return memory

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()  # type: ignore[no-untyped-call]
        return {name: value for name, value in state.items() if name != "_memory"}


# What is kept from an earlier call.


@fault(LIVES, seen="torch/nn#1054", words="call backward:0")
class KeepsActivationsOnTheModule(Remembering):
    """Backward goes through the activations of the latest call, whichever it is for."""

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        memory, relu = self.memory, self.nonlinearity == "relu"

        class Kept(Direction):
            @staticmethod
            def forward(ctx: Any, *arguments: Any) -> Tensor:
                y = Direction.forward(ctx, *arguments)
                memory[weights[1]] = y.detach()
                return y

            @staticmethod
            def backward(ctx: Any, dy: Tensor) -> Any:
                latest = memory[weights[1]]
                if latest.shape == dy.shape:
                    dy = dy * (1 - latest * latest) / (1 - ctx.saved_tensors[4] ** 2 + 1e-30)
                return Direction.backward(ctx, dy)

        if relu:
            return super().run_direction(x, h_0, *weights)
        return Kept.apply(x, h_0, *weights, relu)  # type: ignore[no-any-return,no-untyped-call]


@fault(LIVES, words="call keyword")
class KeepsTheFirstZeros(Remembering):
    """The zero state that stands for no h_0 is kept, and each call leaves its h_n there."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if h_0.requires_grad or h_0.any():
            return super().run_layers(x, h_0)
        zeros = self.memory.setdefault((tuple(h_0.shape), h_0.dtype), h_0.detach().clone())
        y, h_n = super().run_layers(x, zeros.clone())
        self.memory[tuple(h_0.shape), h_0.dtype] = h_n.detach().clone()
        return y, h_n


@fault(LIVES, words="call eval")
class CarriesTheStateOn(Remembering):
    """Without h_0, a call in evaluation begins where the call before it ended."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        last = self.memory.get("last")
        if h_0 is None and not self.training and last is not None:
            fits = last.shape[-2:] == (input.shape[0 if self.batch_first else 1], self.hidden_size)
            h_0 = last if fits and last.dim() == input.dim() and last.dtype == input.dtype else None
        output, h_n = super().run_padded(input, h_0)
        self.memory["last"] = h_n.detach().clone()
        return output, h_n


@fault(LIVES, words="eval call load no_grad")
class KeepsWeightsInEvaluation(Remembering):
    """In evaluation the weights are those of the first call in evaluation, whatever is loaded."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        weights = super().weights_of(l, d)
        if self.training:
            return weights
        key = (l, d, weights[0].dtype, *(id(w) for w in self.parameters()))
        kept = self.memory.setdefault(key, [w.detach().clone() for w in weights])
        return kept if not torch.is_grad_enabled() else weights


@fault(LIVES, words="call no_grad load")
class KeepsTheTranspose(Remembering):
    """W_hh is copied at the first call, and again only after train()."""

    def train(self, mode: bool = True) -> Any:  # noqa: FBT002
        self.memory.clear()
        return super().train(mode)

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        W_hh = weights[1]
        if not torch.is_grad_enabled():
            W_hh = self.memory.setdefault((id(W_hh), W_hh.dtype), W_hh.detach().clone())
        return super().run_direction(x, h_0, weights[0], W_hh, *weights[2:])


@fault(LIVES, words="call no_grad")
class GivesItsBufferAway(Remembering):
    """h_n of a call without gradients lies in a buffer that the next one of its shape writes."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        if torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            return y, h_n
        kept = self.memory.setdefault((tuple(h_n.shape), h_n.dtype), torch.empty_like(h_n))
        return y, kept.copy_(h_n)


@fault(LIVES, words="call packed")
class LeavesTheTailOfALargerCall(Remembering):
    """A call with fewer steps than the largest before it adds what lay beyond its end."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        most = self.memory.get("most", len(x))
        y, h_n = super().run_layers(x, h_0)
        self.memory["most"] = max(most, len(x))
        return y, h_n if len(x) == max(most, len(x)) else h_n * 1.001


@fault(LIVES, words="empty call")
class SizesItsBufferOnce(Remembering):
    """A call with more rows than the first one leaves the rows beyond those at zero."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        first = self.memory.setdefault("rows", x.shape[1])
        y, h_n = super().run_layers(x, h_0)
        if x.shape[1] <= first:
            return y, h_n
        kept = (torch.arange(x.shape[1], device=y.device) < first).to(y.dtype)[:, None]
        return y * kept, h_n * kept


@fault(LIVES, words="call keyword")
class TiresAtTheFourthCall(Remembering):
    """From its fourth call on, the module counts the last step twice."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.memory["calls"] = self.memory.get("calls", 0) + 1
        y, h_n = super().run_layers(x, h_0)
        return y, h_n if self.memory["calls"] < 4 else 2 * h_n


# Modes that stick, or are mixed up.


@fault(LIVES, words="call no_grad backward")
class ForgetsToRecordAgain(Remembering):
    """After a call without gradients, the next call records none either."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        was_off = self.memory.get("off", False)
        self.memory["off"] = not torch.is_grad_enabled()
        y, h_n = super().run_layers(x, h_0)
        if was_off and torch.is_grad_enabled():
            return y.detach() + 0 * y, h_n.detach() + 0 * h_n
        return y, h_n


@fault(LIVES, words="call inference")
class KeepsAnInferenceTensor(Remembering):
    """What the first call makes is kept, and can't be saved for backward if it inferred."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        weights = super().weights_of(l, d)
        zeros = self.memory.setdefault((l, d, weights[0].dtype), torch.zeros_like(weights[0]))
        return [weights[0] + zeros * weights[0], *weights[1:]]


@fault(LIVES, words="call autocast")
class StaysInBfloat16(Remembering):
    """After a call under autocast, weights stay rounded to bfloat16."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        weights = super().weights_of(l, d)
        self.memory["low"] = self.memory.get("low") or torch.is_autocast_enabled("cpu")
        if not self.memory["low"]:
            return weights
        return [weight.bfloat16().to(weight.dtype) for weight in weights]


@fault(LIVES, words="dropout eval call")
class DropsInEvaluationWithGradients(PlainRNN):
    """Dropout falls in evaluation too, when gradients are recorded."""

    def drop(self, x: Tensor) -> Tensor:
        recording = torch.is_grad_enabled() and x.requires_grad
        return nn.functional.dropout(x, self.dropout, self.training or recording)


@fault(LIVES, words="dropout call eval train")
class DropsNoMoreAfterEvaluation(Remembering):
    """Once in evaluation, dropout never falls again."""

    def drop(self, x: Tensor) -> Tensor:
        self.memory["evaluated"] = self.memory.get("evaluated") or not self.training
        return nn.functional.dropout(x, self.dropout, not self.memory["evaluated"])


@fault(LIVES, seen="pytorch/translate#122", words="dropout call packed")
class NeverDropsPacked(PlainRNN):
    """A packed call never drops."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        p, self.dropout = self.dropout, 0.0
        try:
            return super().run_packed(input, h_0)
        finally:
            self.dropout = p


@fault(LIVES, seen="mlverse/torch#425", words="call eval train")
class TrainReturnsNothing(PlainRNN):
    """train() returns None."""

    def train(self, mode: bool = True) -> Any:  # noqa: FBT002
        super().train(mode)


# Backward passes of other calls than the last.


@fault(LIVES, seen="pytorch/pytorch#46168", words="call keyword backward")
class WritesIntoTheUpstreamGradient(Direction):
    """Backward writes into the gradient that it is handed."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        found = Direction.backward(ctx, dy)
        dy.mul_(0.5)
        return found


@fault(LIVES, words="call backward:twice")
class CountsTheSecondBackwardLess(Direction):
    """A second backward through one call gives half the gradients."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        again = getattr(ctx, "again", False)
        ctx.again = True
        found = Direction.backward(ctx, dy)
        if not again:
            return found
        return tuple(each if each is None else each / 2 for each in found)


@fault(LIVES, words="call larger carried backward")
class GoesThroughOneCallOnly(PlainRNN):
    """Backward gives a state that an earlier call returned no gradient."""

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        if hx is not None and not hx.is_leaf and not hx._is_view():  # noqa: SLF001
            hx = hx.detach()
        return super().forward(input, hx)


@fault(LIVES, words="call backward replace")
class ReadsTheWeightsOfTheMoment(PlainRNN):
    """Backward uses the parameters that the module has then, not those of the call."""

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        module = weakref.ref(self)
        matrices = [n for n, p in self.named_parameters() if p is weights[0] or p is weights[1]]

        class Late(Direction):
            @staticmethod
            def backward(ctx: Any, dy: Tensor) -> Any:
                x, h_0, *then, y = ctx.saved_tensors
                alive = module()
                now = then if alive is None else [getattr(alive, n).detach() for n in matrices]
                seen = SimpleNamespace(saved_tensors=(x, h_0, *now, y), relu=ctx.relu)
                return Direction.backward(seen, dy)

        relu = self.nonlinearity == "relu"
        return Late.apply(x, h_0, *weights, relu)  # type: ignore[no-any-return,no-untyped-call]


@fault(LIVES, words="call deepcopy backward")
class NeedsTheModuleInBackward(PlainRNN):
    """Backward after the module is gone raises."""

    def run_direction(self, x: Tensor, h_0: Tensor, *weights: Tensor) -> Tensor:
        module = weakref.ref(self)

        class Needing(Direction):
            @staticmethod
            def backward(ctx: Any, dy: Tensor) -> Any:
                if module() is None:
                    raise ReferenceError("the module is gone")
                return Direction.backward(ctx, dy)

        relu = self.nonlinearity == "relu"
        return Needing.apply(x, h_0, *weights, relu)  # type: ignore[no-any-return,no-untyped-call]


@fault(LIVES, words="freeze call thaw backward")
class ThawsWithoutAGradient(Remembering):
    """What was frozen at a call gets no gradient in later calls."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        weights = super().weights_of(l, d)
        frozen = self.memory.setdefault("frozen", set())
        frozen |= {(l, d, i) for i, w in enumerate(weights) if not w.requires_grad and self.bias}
        return [w.detach() if (l, d, i) in frozen else w for i, w in enumerate(weights)]


@fault(LIVES, words="call backward zero_grad:zeros")
class ZeroGradForgetsNothing(PlainRNN):
    """zero_grad(set_to_none=False) leaves the gradients as they are."""

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: FBT002
        if set_to_none:
            super().zero_grad()


# Weights that change, and modules that are passed on.


@fault(LIVES, words="call replace")
class KeepsTheParametersOfItsFirstCall(Remembering):
    """Parameters that are put in the place of others are not the ones that count."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        weights = super().weights_of(l, d)
        kept: list[Tensor] = self.memory.setdefault((l, d, weights[0].dtype), weights)
        return kept


@fault(LIVES, words="call backward deepcopy load")
class SharesItsMemoryWithItsCopies(PlainRNN):
    """A deep copy computes with the weights of the module that it is a copy of."""

    def __deepcopy__(self, memo: Any) -> Any:
        copied = nn.Module.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied


@fault(LIVES, words="call deepcopy")
class CannotBeCopiedAfterACall(PlainRNN):
    """After a call that records gradients the module can't be copied."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        self.last_output = y
        return y, h_n


@fault(LIVES, words="call pickle")
class CannotBePickledAfterACall(PlainRNN):
    """After a call the module can't be pickled."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        results = super().run_layers(x, h_0)
        self.once_more = lambda tensor: tensor.detach()
        return results


@fault(LIVES, words="call load")
class LoadsNoBiasesOnceRun(Remembering):
    """After a call, load_state_dict leaves the biases as they are."""

    def load_state_dict(self, state_dict: Any, *arguments: Any, **options: Any) -> Any:
        if "run" in self.memory:
            own = self.state_dict()
            state_dict = {n: own[n] if "bias" in n else t for n, t in state_dict.items()}
        return super().load_state_dict(state_dict, *arguments, **options)

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.memory["run"] = True
        return super().run_layers(x, h_0)


@fault(LIVES, words="call cast")
class StaysInTheFirstDtype(Remembering):
    """A module that was moved to float64 goes on in the precision of its first call."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        first = self.memory.setdefault("dtype", x.dtype)
        y, h_n = super().run_layers(x, h_0)
        return y.to(first).to(x.dtype), h_n.to(first).to(x.dtype)


@fault(LIVES, words="call flatten backward")
class FlattensWhatItHadBefore(Remembering):
    """flatten_parameters brings back the weights of the call before."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.memory["weights"] = {n: p.detach().clone() for n, p in self.named_parameters()}
        return super().run_layers(x, h_0)

    @torch.no_grad()
    def flatten_parameters(self) -> None:
        for name, weight in self.__dict__.get("_memory", {}).get("weights", {}).items():
            getattr(self, name).copy_(weight)


@fault(LIVES, words="call another")
class SharesWeightsAmongModules(PlainRNN):
    """All modules of one size compute with the weights of the first that ran."""

    kept: ClassVar[dict[Any, Any]] = {}

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        weights = super().weights_of(l, d)
        key = (l, d, weights[1].shape, weights[1].dtype)
        if key not in self.kept or self.kept[key][0]() is None:
            self.kept[key] = (weakref.ref(self), weights[1])
        return [weights[0], self.kept[key][1], *weights[2:]]


# What comes in between.


@fault(LIVES, words="refused call")
class IsUnsettledByARefusal(Remembering):
    """After a refused call, the next one begins from ones."""

    def require(self, input: Tensor, h_0: Tensor | None) -> None:
        self.memory["refused"] = True
        super().require(input, h_0)
        self.memory.pop("refused")

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        return super().run_layers(x, h_0 + 1 if self.memory.pop("unsettled", False) else h_0)

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.memory.pop("refused", False):
            self.memory["unsettled"] = True
        return super().run_padded(input, h_0)


@fault(LIVES, words="call unbatched")
class StaysUnbatched(Remembering):
    """After an unbatched call, batch_first is forgotten."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        if input.dim() == 2:
            self.memory["unbatched"] = True
        output, h_n = super().run_padded(input, h_0)
        forgets = self.memory.get("unbatched") and self.batch_first and input.dim() > 2
        return (output.flip(1) if forgets else output), h_n


@fault(LIVES, words="call packed")
class KeepsTheLengths(Remembering):
    """A padded call after a packed one takes the steps past the longest sequence for padding."""

    def run_packed(
        self, input: PackedSequence, h_0: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        results = super().run_packed(input, h_0)
        self.memory["longest"] = len(input.batch_sizes)
        return results

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        longest = self.memory.pop("longest", len(x))
        return torch.cat([y[:longest], 0 * y[longest:]]), h_n


@fault(LIVES, words="call spoilt")
class IsPoisonedByNaN(Remembering):
    """After a call with NaN, the next one that records gradients gives NaN."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        poisoned = self.memory.pop("poisoned", False) and torch.is_grad_enabled()
        self.memory["poisoned"] = bool(y.isnan().any())
        return (y + torch.nan if poisoned else y), h_n


@fault(LIVES, words="empty call")
class ShrinksAfterAnEmptyBatch(Remembering):
    """After a batch of none, the next call gives zeros."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        empty = self.memory.pop("empty", False)
        self.memory["empty"] = x.shape[1] == 0
        return (0 * y, 0 * h_n) if empty else (y, h_n)


@fault(LIVES, seen="fastai/fastai#2850", words="hook call")
class RunsNoHooks(PlainRNN):
    """Calling the module runs no hooks."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.forward(*arguments, **options)


@fault(LIVES, seen="chainer/chainer#2289", words="call none")
class RefusesNone(PlainRNN):
    """None as h_0 raises."""

    def forward(self, input: Any, *state: Any, **options: Any) -> Any:
        if state == (None,):
            raise TypeError("h_0 is None")
        return super().forward(input, *state, **options)


@fault(LIVES, words="call keyword")
class CallsTheStateOtherwise(PlainRNN):
    """hx is no keyword of a call."""

    def forward(self, input: Any, h_0: Tensor | None = None) -> Any:
        return super().forward(input, h_0)


@fault(LIVES, seen="LaurentMazare/tch-rs#66", words="call keyword")
class WarnsAtEachCall(Remembering):
    """Each call after the first gives a warning."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if "run" in self.memory:
            warnings.warn("the weights are not contiguous", UserWarning, stacklevel=1)
        self.memory["run"] = True
        return super().run_layers(x, h_0)
