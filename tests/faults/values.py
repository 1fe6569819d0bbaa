"""Faults of special values: NaN, infinities, and numbers near the limits of a dtype."""

import torch
from torch import Tensor

from tests.faults.catalogue import edit, fault
from tests.subjects.plain_rnn import PlainRNN

# fmt: off
edit("relu swallows NaN", "special_values_go_where_the_equations_send_them",
     seen="pytorch/pytorch#7999",
     old="a.clamp(min=0) if",
     new="torch.nan_to_num(a, nan=0.0, posinf=torch.inf).clamp(min=0) if")
edit("relu of NaN is zero", "relu_of_nan_is_nan", seen="pytorch/pytorch#7999",
     old="a.clamp(min=0) if", new="torch.where(a > 0, a, 0) if")
edit("NaN spreads over the batch", "special_values_stay_in_their_row",
     seen="pytorch/pytorch#177016",
     old="a = a + b_hh", new="a = a + b_hh + 0 * a.sum(0)")
edit("tanh exceeds 1", "tanh_stays_within_one",
     old="else a.tanh()", new="else a.tanh() * (1 + 3e-7)")
edit("tanh is a quotient of exponentials, which overflow", "tanh_of_what_is_large_is_one",
     old="else a.tanh()", new="else (a.exp() - (-a).exp()) / (a.exp() + (-a).exp())")
edit("NaN from above is taken for zero", "special_gradients_go_where_the_chain_rule_sends_them",
     old="dh = dh + dy[t]", new="dh = (dh + dy[t]).nan_to_num(0.0, torch.inf, -torch.inf)")
edit("Gradients are clipped to 1e4", "special_gradients_go_where_the_chain_rule_sends_them",
     old="dh = dh + dy[t]", new="dh = (dh + dy[t]).clamp(-1e4, 1e4)")
edit("NaN from above spreads over the batch",
     "special_gradients_go_where_the_chain_rule_sends_them",
     old="da = dh * slope", new="da = dh * slope + 0 * dh.sum(0)")
edit("NaN from above spreads to all steps",
     "special_gradients_go_where_the_chain_rule_sends_them",
     old="dh = dh + dy[t]", new="dh = dh + dy[t] + 0 * dy.sum(0)")
# fmt: on


@fault("a_clean_call_forgets_a_spoilt_one", seen="microsoft/onnxruntime#3893")
class RemembersNaN(PlainRNN):
    """0 times the previous call's output is added."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        if "last" in self.__dict__:
            y = y + 0 * self.__dict__["last"].sum().to(y.dtype)
        self.__dict__["last"] = y.detach()
        return y, h_n


@fault("autocast_stays_within_the_bounds_of_the_lower_dtype")
class ScalesUnderAutocast(PlainRNN):
    """Under autocast output is 10 % larger."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        return (y * 1.1 if torch.is_autocast_enabled("cpu") else y), h_n


@fault("gradients_of_a_call_under_autocast")
class CutsUnderAutocast(PlainRNN):
    """Under autocast no gradient passes from a layer to the one below."""

    def drop(self, x: Tensor) -> Tensor:
        x = super().drop(x)
        return x.detach() if torch.is_autocast_enabled("cpu") else x


@fault("gradients_of_a_call_under_autocast")
class DoublesUnderAutocast(PlainRNN):
    """Under autocast all gradients are doubled, as of a loss that is scaled and not unscaled."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = super().run_layers(x, h_0)
        if torch.is_autocast_enabled("cpu") and y.requires_grad:
            y, h_n = (2 * result - result.detach() for result in (y, h_n))
        return y, h_n
