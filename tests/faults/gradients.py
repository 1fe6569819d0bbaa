"""Faults of the backward pass, and of gradients that are asked for in other ways."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tests.faults.catalogue import GRADIENTS, SLOPES, edit, fault
from tests.subjects.correct import Loop
from tests.subjects.plain_rnn import Direction, PlainRNN

FROZEN = "what_is_frozen_gets_no_gradient_and_the_rest_its_own"
OVERWRITTEN = "what_is_overwritten_before_backward_gives_no_wrong_gradient"
CHANGED = "changed_weights_are_the_ones_that_count"

# fmt: off
edit("b_hh has no gradient", SLOPES, seen="apache/mxnet#17872",
     old="db_hh += da.sum(0)", new="pass")
edit("b_ih's gradient is overwritten at each step", SLOPES, seen="mratsim/Arraymancer#237",
     old="db_ih += da.sum(0)", new="db_ih = da.sum(0)")
edit("W_hh's gradient is overwritten at each step", SLOPES, seen="mratsim/Arraymancer#237",
     old="dW_hh += da.T @ before", new="dW_hh = da.T @ before")
edit("W_hh's gradient is transposed", SLOPES,
     old="dW_hh += da.T @ before", new="dW_hh += before.T @ da")
edit("W_hh's gradient is taken with the state after the step", SLOPES,
     old="y[t - 1] if t else h_0", new="y[t]")
edit("W_hh's gradient leaves h_0 out", SLOPES,
     old="y[t - 1] if t else h_0", new="y[t - 1] if t else 0 * h_0")
edit("The recurrent gradient is cut", SLOPES, seen="ooples/AiDotNet#722",
     old="dh = da @ W_hh\n", new="dh = 0 * dh\n")
edit("The recurrent gradient goes through W_hh transposed", SLOPES,
     old="dh = da @ W_hh\n", new="dh = da @ W_hh.T\n")
edit("The recurrent gradient is cut every 16 steps", SLOPES,
     old="dh = da @ W_hh\n", new="dh = da @ W_hh if t % 16 or not t else 0 * dh\n")
edit("relu's slope at 0 is 1", "whole_gradients_come_out_exactly", seen="pytorch/pytorch#11662",
     old="y[t] > 0", new="y[t] >= 0")
edit("tanh's slope is 1 - a^2", SLOPES,
     old="1 - y[t] * y[t]", new="1 - y[t].atanh() ** 2")
edit("tanh's slope is 1 - y", SLOPES,
     old="1 - y[t] * y[t]", new="1 - y[t]")
edit("tanh's slope is too large by 1e-5 of itself", SLOPES,
     old="1 - y[t] * y[t]", new="(1 - y[t] * y[t]) * (1 + 1e-5)")
edit("The first step's input has no gradient", SLOPES,
     old="dx[t] = da @ W_ih", new="dx[t] = da @ W_ih if t else 0")
edit("h_0 has no gradient", SLOPES, seen="pytorch/pytorch#87579",
     old="return dx, dh,", new="return dx, 0 * dh,")
edit("h_0's gradient is not multiplied by W_hh", SLOPES,
     old="return dx, dh,", new="return dx, da,")
edit("h_n's gradient is dropped", SLOPES, seen="pytorch/pytorch#619",
     old="h_n.append(y[-1])", new="h_n.append(y[-1].detach() + 0 * y[-1])")
edit("h_n's gradient is doubled", SLOPES, seen="pytorch/pytorch#619",
     old="h_n.append(y[-1])", new="h_n.append(2 * y[-1] - y[-1].detach())")
edit("The reverse direction gives the input no gradient", SLOPES, seen="mlpack/mlpack#1742",
     old="x.flip(0) if d else x", new="x.detach().flip(0) if d else x")
edit("Lower layers have no gradient", SLOPES, seen="apache/mxnet#18203",
     old="self.drop(x) if l else x", new="self.drop(x).detach() if l else x")
edit("W_ih's gradient is summed in bfloat16", SLOPES,
     old="dW_ih += da.T @ x[t]", new="dW_ih = (dW_ih + da.T @ x[t]).bfloat16().to(x.dtype)")
edit("Gradients are clipped at 10", SLOPES,
     old="da = dh * slope", new="da = (dh * slope).clamp(-10, 10)")
edit("float64 gradients are rounded to float32", SLOPES,
     old="da = dh * slope", new="da = (dh * slope).float().to(x.dtype)")
edit("Gradients from above are 1e-4 of themselves too small", GRADIENTS,
     old="dh = dh + dy[t]", new="dh = dh + dy[t] * 0.9999")
edit("Frozen W_ih leaves the input without a gradient", FROZEN, seen="pytorch/pytorch#776",
     old="dx[t] = da @ W_ih", new="dx[t] = da @ W_ih if ctx.needs_input_grad[2] else 0")
edit("W_hh's gradient is cut after 500 steps", "gradients_reach_through_a_thousand_steps",
     old="dW_hh += da.T @ before", new="dW_hh += da.T @ before if T - t < 500 else 0")
edit("Second derivatives are cut", "gradients_have_gradients", seen="pytorch/pytorch#20449",
     old="x, h_0, W_ih, W_hh, y = ctx.saved_tensors",
     new="x, h_0, W_ih, W_hh, y = (a.detach() for a in ctx.saved_tensors)")
edit("The recurrent gradient is cut every 3 steps from the last", SLOPES,
     old="dh = da @ W_hh\n", new="dh = da @ W_hh if (T - t) % 3 else 0 * dh\n")
edit("The slope is that of the state after the step", SLOPES,
     old="slope = (y[t] > 0).to(y.dtype) if ctx.relu else 1 - y[t] * y[t]",
     new="z = y[min(t + 1, T - 1)]\n"
     "            slope = (z > 0).to(y.dtype) if ctx.relu else 1 - z * z")
edit("b_ih's gradient is that of the first row", SLOPES,
     old="db_ih += da.sum(0)", new="db_ih += da[0]")
edit("b_ih's gradient lacks the slope", SLOPES,
     old="db_ih += da.sum(0)", new="db_ih += dh.sum(0)")
edit("W_ih's gradient leaves the last step out", SLOPES,
     old="dW_ih += da.T @ x[t]", new="dW_ih += da.T @ x[t] * (t < T - 1)")
edit("The recurrent gradient is clipped at 1", SLOPES,
     old="dh = da @ W_hh\n", new="dh = (da @ W_hh).clamp(-1, 1)\n")
edit("W_hh's gradient is multiplied in float32", SLOPES,
     old="dW_hh += da.T @ before", new="dW_hh += (da.T.float() @ before.float()).to(x.dtype)")
edit("The lower layers' forward states have no gradient from above", SLOPES,
     old="outputs.append(y.flip(0) if d else y)",
     new="outputs.append(y.flip(0) if d else y if l + 1 == self.num_layers else y.detach())")
# fmt: on


@fault("whole_gradients_come_out_exactly")
class SharesTiesOfRelu(Loop):
    """relu's slope at 0 is 0.5, as that of a maximum of two."""

    def activate(self, a: Tensor) -> Tensor:
        return torch.maximum(a, 0 * a.detach()) if self.nonlinearity == "relu" else a.tanh()


@fault("gradients_of_two_calls_add_up")
class ClearsGradientsInTheCall(PlainRNN):
    """A call clears the gradients of the one before."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        for parameter in self.parameters():
            parameter.grad = None
        return super().run_layers(x, h_0)


@fault("a_retained_graph_gives_the_same_gradients_again", seen="pytorch/pytorch#777")
class OverwritesWhatItSaved(Direction):
    """Backward overwrites the states that it saved."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        gradients = Direction.backward(ctx, dy)
        *_, y = ctx.saved_tensors
        y.data.zero_()
        return gradients


@fault("backward_goes_through_its_own_call")
class KeepsOneTape(Direction):
    """Backward goes through what the latest call with these weights and sizes saved."""

    tapes: dict[Any, Any] = {}  # noqa: RUF012

    @staticmethod
    def forward(ctx: Any, x: Tensor, *rest: Any) -> Tensor:
        y = Direction.forward(ctx, x, *rest)
        ctx.key = rest[1].data_ptr(), x.shape
        KeepsOneTape.tapes[ctx.key] = (x, *rest[:3], y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        latest = SimpleNamespace(saved_tensors=KeepsOneTape.tapes[ctx.key], relu=ctx.relu)
        return Direction.backward(latest, dy)


@fault("a_retained_graph_gives_the_same_gradients_again")
class RemembersItsGradients(Direction):
    """A second backward gives the first one's gradients, whatever comes from above."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        if torch.is_grad_enabled():
            return Direction.backward(ctx, dy)
        if not hasattr(ctx, "gradients"):
            ctx.gradients = Direction.backward(ctx, dy)
        return ctx.gradients


@fault(FROZEN, seen="intel/torch-xpu-ops#1192")
class RefusesFrozenWeights(Direction):
    """Backward raises where W_hh is frozen."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        if not ctx.needs_input_grad[3]:
            raise RuntimeError("backward needs a gradient for W_hh")
        return Direction.backward(ctx, dy)


@fault("the_gradient_of_one_element_of_output")
class ShiftsTheGradientOfOneElement(Direction):
    """The gradient of one element of output goes to the step after it."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return Direction.backward(ctx, dy.roll(1, 0) if dy.count_nonzero() == 1 else dy)


@fault("the_gradient_of_a_sum_comes_expanded")
class HalvesAnExpandedGradient(Direction):
    """An expanded gradient, with strides of 0, counts half."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return Direction.backward(ctx, dy * 0.5 if dy.stride() == (0, 0, 0) else dy)


@fault("backward_writes_into_nothing_that_it_is_handed", seen="pytorch/pytorch#46168")
class AddsUpInTheUpstreamGradient(Direction):
    """Backward adds up the gradients of the states in the gradient that it is handed."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        found = Direction.backward(ctx, dy)
        dy += dy.flip(0).cumsum(0).flip(0)
        return found


@fault("upstream_gradients_may_lie_in_any_order")
class ReadsAStridedGradientAsDense(Direction):
    """The strides of the gradient for output are ignored."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        if not dy.is_contiguous() and 0 not in dy.stride():
            dy = dy.as_strided(dy.shape, torch.empty(dy.shape).stride())
        return Direction.backward(ctx, dy)


@fault(CHANGED, seen="apache/mxnet#16037")
class KeepsTheFirstCallsWeights(PlainRNN):
    """All calls use the weights of the first."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        kept = self.__dict__.setdefault("kept", {})
        if (l, d) not in kept:
            kept[l, d] = [weight + 0 for weight in super().weights_of(l, d)]
        return list(kept[l, d])


@fault(CHANGED, seen="pytorch/pytorch#95563")
class KeepsWeightsByTheirVersion(PlainRNN):
    """Weights are kept until they are changed in place or replaced."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        weights = super().weights_of(l, d)
        kept = self.__dict__.setdefault("kept", {})
        key = [(id(weight), weight._version) for weight in weights[:2]]  # noqa: SLF001
        if (l, d) not in kept or kept[l, d][0] != key:
            kept[l, d] = key, [weight + 0 for weight in weights]
        return list(kept[l, d][1])


@fault(CHANGED)
class KeepsWeightsInEvaluation(KeepsTheFirstCallsWeights):
    """In evaluation, without gradients, weights are kept until the next training."""

    def train(self, mode: bool = True) -> Any:  # noqa: FBT002 - as torch has it
        self.__dict__["kept"] = {}
        return super().train(mode)

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        if self.training or torch.is_grad_enabled():
            return PlainRNN.weights_of(self, l, d)
        return super().weights_of(l, d)


@fault(CHANGED)
class KeepsTheResultsOfItsArguments(PlainRNN):
    """Without gradients the same arguments have the same results, whatever the weights are."""

    def run_padded(self, input: Tensor, h_0: Tensor | None) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled() or (self.training and self.dropout):
            return super().run_padded(input, h_0)
        kept = self.__dict__.setdefault("kept", {})
        given = input, h_0
        versions = [tensor._version for tensor in given if tensor is not None]  # noqa: SLF001
        if not all(a is b for a, b in zip(kept.get("given", (None,)), given, strict=False)):
            kept.clear()
        if kept.get("versions") != versions:
            results = super().run_padded(input, h_0)
            kept.update(given=given, versions=versions, results=results)
        y, h_n = kept["results"]
        return y.clone(), h_n.clone()


@fault("gradients_are_there_in_eval_too", seen="pytorch/pytorch#5878")
class DetachesOutputInEval(PlainRNN):
    """In eval, output has no gradient."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return (y if self.training else y.detach()), h_n


class AddsByItself(torch.autograd.Function):
    """Hands a parameter on, and adds its gradient to one that is there already."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        ctx.weight = weight
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor | None:
        if ctx.weight.grad is None or torch.is_grad_enabled():
            return gradient
        ctx.weight.grad.add_(gradient)
        return None


@fault("gradients_are_returned_to_who_asks_for_them")
class AddsGradientsByItself(PlainRNN):
    """Backward adds W_hh's gradient to .grad by itself, where there is one."""

    def weights_of(self, l: int, d: int) -> list[Tensor]:
        W_ih, W_hh, *biases = super().weights_of(l, d)
        own = W_hh.is_leaf and W_hh.requires_grad
        return [W_ih, AddsByItself.apply(W_hh) if own else W_hh, *biases]  # type: ignore[no-untyped-call]


@fault("gradients_survive_checkpointing")
class ScalesTheInputOfEverySecondCall(PlainRNN):
    """Every second call has its input scaled by 1.01."""

    calls = 0

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return super().run_layers(x if self.calls % 2 else 1.01 * x, h_0)


class WithoutVersions(Direction):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        y = Direction.forward(ctx, *arguments)
        ctx.kept = (*arguments[:4], y.detach())
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        kept = SimpleNamespace(saved_tensors=ctx.kept, relu=ctx.relu)
        return Direction.backward(kept, dy)


@fault(OVERWRITTEN, seen="pytorch/pytorch#24413")
class KeepsNoVersions(PlainRNN):
    """What backward needs is kept without its version, and overwriting it goes unseen."""

    direction = WithoutVersions


@fault(OVERWRITTEN)
class ComputesStatesAgain(PlainRNN):
    """Backward computes the states again, with the weights as they are then."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if not torch.is_grad_enabled():
            return super().run_layers(x, h_0)
        both: tuple[Tensor, Tensor] = checkpoint(super().run_layers, x, h_0, use_reentrant=True)
        return both
