"""brevitas.nn.QuantRNN with its quantizers off."""

from typing import Any

import torch
from brevitas.nn import QuantRNN

import rnn_ref
from rnn_ref.frameworks.tensors import on_arrays, vjp_of

OFF = dict.fromkeys(("weight_quant", "bias_quant", "io_quant", "gate_acc_quant"))


def network(
    input: Any, h_0: Any, parameters: Any, *, nonlinearity: str, batch_first: bool = False
) -> Any:
    """Make a network that has loaded the weights of an nn.RNN, and call it."""
    ends = [name.removeprefix("weight_ih") for name in parameters if name.startswith("weight_ih")]
    both, bias = "_l0_reverse" in ends, "bias_ih_l0" in parameters
    H, I = parameters["weight_ih_l0"].shape
    net = QuantRNN(
        I, H, len(ends) // (1 + both), nonlinearity, bias, batch_first, both, **OFF,
        dtype=input.dtype,
    )  # fmt: skip
    net.load_state_dict({name: value.detach().clone() for name, value in parameters.items()})
    loaded = {}
    for end in ends:
        place = f"layers.{end[2]}.{int(end.endswith('_reverse'))}.gate_params."
        for kind, own in (("ih", "input"), ("hh", "hidden")):
            loaded[f"{place}{own}_weight.weight"] = parameters[f"weight_{kind}{end}"]
        if bias:
            both_of = parameters["bias_ih" + end] + parameters["bias_hh" + end]
            off = (net.get_parameter(place + "bias") - both_of).detach()
            loaded[place + "bias"] = both_of + off.nan_to_num(0.0)  # the value is that of the net
    output, h_n = torch.func.functional_call(net, loaded, (input, h_0))
    return output, h_n.reshape(len(ends), -1, H)


lacks = ("unbatched",)
rnn = rnn_ref.function(vjp=vjp_of(network), lacks=lacks)(on_arrays(network))
