"""Faults of precision: numbers are rounded more than their dtype rounds them."""

from tests.faults.catalogue import STEP, edit

# fmt: off
edit("tanh is too large by 2e-6 of itself", STEP, seen="pytorch/pytorch#7495",
     old="else a.tanh()", new="else a.tanh() * (1 + 2e-6)")
edit("tanh is too small by 3e-7 of itself", "tanh_is_accurate_over_its_whole_range",
     seen="pytorch/pytorch#7495",
     old="else a.tanh()", new="else a.tanh() * (1 - 3e-7)")
edit("tanh is computed from exp, inaccurately near 0", STEP, seen="pytorch/pytorch#7495",
     old="else a.tanh()", new="else 1 - 2 / ((2 * a).exp() + 1)")
edit("tanh is computed from exp, which overflows", STEP,
     old="else a.tanh()", new="else ((2 * a).exp() - 1) / ((2 * a).exp() + 1)")
edit("States are kept in bfloat16", STEP, seen="openvinotoolkit/openvino#21925",
     old="states.append(h)", new="states.append(h := h.bfloat16().to(x.dtype))")
edit("float64 is activated in float32", STEP,
     old="h = a.clamp(min=0) if relu else a.tanh()",
     new="h = (a.float().clamp(min=0) if relu else a.float().tanh()).to(x.dtype)")
edit("The input is rounded to float16", STEP, seen="openvinotoolkit/openvino#21925",
     old="a = x_t @ W_ih.T", new="a = x_t.half().to(x.dtype) @ W_ih.T")
edit("tanh of subnormal numbers is zero", "subnormal_numbers_are_kept", seen="apache/mxnet#19361",
     old="else a.tanh()",
     new="else torch.where(a.abs() < torch.finfo(a.dtype).tiny, 0 * a, a.tanh())")
edit("Subnormal sums are flushed to zero", STEP, seen="apache/mxnet#19361",
     old="a = a + b_ih", new="a = torch.where(a.abs() < 1e-38, 0 * a, a) + b_ih")
edit("float64 is multiplied in float32", STEP, seen="keras-team/keras#23704",
     old="a = x_t @ W_ih.T + h @ W_hh.T",
     new="a = (x_t.float() @ W_ih.float().T + h.float() @ W_hh.float().T).to(x.dtype)")
edit("The input is multiplied in float32", STEP, seen="keras-team/keras#23704",
     old="a = x_t @ W_ih.T", new="a = (x_t.float() @ W_ih.T.float()).to(x.dtype)")
edit("The state is multiplied in bfloat16", STEP,
     old="+ h @ W_hh.T", new="+ (h.bfloat16() @ W_hh.bfloat16().T).to(x.dtype)")
edit("The last state is rounded to bfloat16", STEP,
     old="states.append(h)",
     new="states.append(h := h if len(states) + 1 < len(x) else h.bfloat16().to(x.dtype))")
# fmt: on
