"""The catalogue of planted faults: each an edit of one line of `plain_rnn`, and what finds it.

The names follow the classes of real faults in RNN layers. An escaped fault enters here
before the property that finds it is written.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from rnn_ref.judging.subject import Subject
from tests.subjects.plain_rnn import PlainRNN

SOURCE = (Path(__file__).parent / "plain_rnn.py").read_text(encoding="utf-8")
PACKING = (Path(__file__).parent / "plain_packing.py").read_text(encoding="utf-8")

STEP = "every_step_obeys_the_recurrence"
END = "output_and_h_n_are_within_their_bounds"
SLOPE = "gradients_follow_from_the_states"
GRADIENT = "gradients_are_within_their_bounds"


class Fault(NamedTuple):
    """An edit of a plain source: `old`, which stands there once, becomes `new`."""

    name: str
    found_by: str
    old: str
    new: str
    source: str = SOURCE

    def plant(self) -> Subject:
        """The plain RNN, cell or packing functions with the fault in them."""
        if self.source.count(self.old) != 1:
            raise ValueError(f"{self.name}: expected {self.old!r} once in the plain source")
        module = ModuleType(self.name)
        exec(compile(self.source.replace(self.old, self.new), self.name, "exec"), module.__dict__)
        if self.source is PACKING:
            return Subject(self.name, PlainRNN, packing=module)
        return Subject(self.name, module.PlainRNN, cell_name=self.name, cell=module.PlainCell)


SETTINGS = "settings_of_the_process_are_left_as_they_were"
CELL = "every_step_of_a_cell_obeys_the_recurrence"
DRAWS = "a_call_without_dropout_draws_nothing"

ACTIVATE = "h = a.clamp(min=0) if relu else a.tanh()"
TANH = "else a.tanh()"

RESULT = "        h = torch.stack(h_n)\n"
CLASS = "    def forward(self, input, h_0"
CELL_CLASS = "    def forward(self, input, hx"
BACK = "        T = len(x)\n"
BEGIN = "        h_n = []\n"
ORDER = """
    def __init__(self, I, H, num_layers=1, bias=True, nonlinearity="tanh", *rest, **options):
        super().__init__(I, H, num_layers, nonlinearity, bias, *rest, **options)

"""
START = "        unbatched = input.dim() == 2\n"
WEIGHTS = "weights = self.weights_of(l, d)\n"
DROP = "nn.functional.dropout(x, self.dropout, self.training)"
CLEAR = "        for parameter in self.parameters():\n            parameter.grad = None\n"
QUIET = """
    def __init__(self, *arguments, **options):
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().__init__(*arguments, **options)

"""
ANYTHING = """
    def __init__(self, input_size, hidden_size, *rest, **options):
        super().__init__(input_size, max(1, hidden_size), *rest, **options)

"""
RESET = """
    def reset_parameters(self):
        for parameter in self.parameters():
"""
KEEP = """
        h_n = []
        kept = self.__dict__.setdefault("kept", [])
        if kept and kept[0].shape == h_0.shape:
            h_0 = h_0 + kept.pop()
        kept.append(0.1 + 0 * h_0)
"""

FAULTS = (
    # Forward values.
    Fault("b_hh dropped", STEP, "a = a + b_hh", "pass"),
    Fault("b_ih dropped", STEP, "a = a + b_ih", "pass"),
    Fault("b_hh from the second step on", STEP, "a = a + b_hh", "a = a + b_hh if states else a"),
    Fault("b_ih added twice", STEP, "a = a + b_hh", "a = a + b_ih"),
    Fault("recurrence cut", STEP, "+ h @ W_hh.T", "+ h_0 @ W_hh.T"),
    Fault("W_hh transposed", STEP, "+ h @ W_hh.T", "+ h @ W_hh"),
    Fault("tanh twice", STEP, TANH, "else a.tanh().tanh()"),
    Fault("tanh missing at the first step", STEP, TANH, "else (a.tanh() if states else a)"),
    Fault("relu ignored", STEP, ACTIVATE, "h = a.tanh()"),
    Fault("relu leaky", STEP, "a.clamp(min=0) if", "torch.where(a > 0, a, 1e-3 * a) if"),
    Fault("relu clipped at 6", STEP, "a.clamp(min=0) if", "a.clamp(0, 6) if"),
    Fault("relu clipped at 1e6", STEP, "a.clamp(min=0) if", "a.clamp(0, 1e6) if"),
    Fault("one state for all steps", STEP, "torch.stack(states)", "torch.stack([h] * len(x))"),
    Fault("state reset at step 32", STEP, "for x_t in x:", "for x_t in x:\n            h = h_0 if len(states) == 32 else h"),
    Fault("last unit past a tile of 8 stale", STEP, "states.append(h)", "states.append(torch.cat([h[:, :-1], h[:, -2:-1]], 1) if h.shape[1] % 8 == 1 and h.shape[1] > 8 else h)"),
    Fault("rows past 4 wrong", STEP, "states.append(h)", "states.append(torch.cat([h[:4], 0.999 * h[4:]]))"),
    Fault("inner size past 32 cut", STEP, "a = x_t @ W_ih.T", "a = x_t[:, :32] @ W_ih[:, :32].T"),
    # Order of layers, directions and states.
    Fault("reverse reads forward", STEP, "seen = x.flip(0) if d else x", "seen = x"),
    Fault("reverse output in reading order", STEP, "y.flip(0) if d else y", "y"),
    Fault("reverse h_n at the wrong end", "h_n_is_the_state_in_which_each_direction_ended", "h_n.append(y[-1])", "h_n.append(y[0] if d else y[-1])"),
    Fault("h_n before the last step", "h_n_is_the_state_in_which_each_direction_ended", "h_n.append(y[-1])", "h_n.append(y[len(y) // 2])"),
    Fault("h_n of layer 0 for all", END, "h_n.append(y[-1])", "h_n.append(h_n[d] if l else y[-1])"),
    Fault("h_0 by direction before layer", STEP, "h_0[l * D + d]", "h_0[d * self.num_layers + l]"),
    Fault("one h_0 for all layers", STEP, "h_0[l * D + d]", "h_0[d]"),
    Fault("h_0 ignored", STEP, "h_0[l * D + d]", "0 * h_0[l * D + d]"),
    Fault("reverse starts from zero", STEP, "h_0[l * D + d]", "h_0[l * D + d] * (1 - d)"),
    Fault("directions merged in reverse", STEP, "torch.cat(outputs, dim=2)", "torch.cat(outputs[::-1], dim=2)"),
    Fault("directions interleaved", STEP, "torch.cat(outputs, dim=2)", "torch.stack(outputs, dim=3).flatten(2)"),
    Fault("reverse has forward's weights", STEP, "self.weights_of(l, d)", "self.weights_of(l, 0)"),
    Fault("layer above reads the first step", STEP, "x = torch.cat(outputs, dim=2)", "x = torch.cat(outputs, dim=2)\n            x = x[:1].expand_as(x) if l + 1 < self.num_layers else x"),
    Fault("batch_first ignored", STEP, "x = input[:, None] if unbatched else input", "x = input[:, None] if unbatched else input.reshape(input.shape[1], input.shape[0], -1).transpose(0, 1) if self.batch_first else input"),
    # Precision.
    Fault("tanh 2e-6 too large", STEP, TANH, "else a.tanh() * (1 + 2e-6)"),
    Fault("tanh by exp, wrong near 0", STEP, TANH, "else 1 - 2 / ((2 * a).exp() + 1)"),
    Fault("tanh by exp, overflows", STEP, TANH, "else ((2 * a).exp() - 1) / ((2 * a).exp() + 1)"),
    Fault("states in bfloat16", STEP, "states.append(h)", "h = h.bfloat16().to(x.dtype)\n            states.append(h)"),
    Fault("float64 in float32", STEP, ACTIVATE, "h = (a.float().clamp(min=0) if relu else a.float().tanh()).to(x.dtype)"),
    Fault("input in 10 bits", STEP, "a = x_t @ W_ih.T", "a = (x_t * 1025 - x_t * 1024).half().to(x.dtype) @ W_ih.T"),
    Fault("subnormals flushed", STEP, "a = a + b_ih", "a = torch.where(a.abs() < 1e-38, 0 * a, a) + b_ih"),
    # Between calls, and memory.
    Fault("state kept between calls", "a_later_call_owes_nothing_to_an_earlier_one", BEGIN, KEEP),
    Fault("h_0 overwritten", "a_call_changes_neither_arguments_nor_weights", "y = torch.stack(states)", "y = torch.stack(states)\n        h_0.copy_(h)"),
    Fault("input overwritten", "a_call_changes_neither_arguments_nor_weights", "y = torch.stack(states)", "y = torch.stack(states)\n        x.mul_(2)"),
    # Gradients.
    Fault("b_hh has no gradient", SLOPE, "db_hh += da.sum(0)", "pass"),
    Fault("b_ih's gradient overwritten", SLOPE, "db_ih += da.sum(0)", "db_ih = da.sum(0)"),
    Fault("W_hh's gradient overwritten", SLOPE, "dW_hh += da.T @ before", "dW_hh = da.T @ before"),
    Fault("W_hh's gradient transposed", SLOPE, "dW_hh += da.T @ before", "dW_hh += before.T @ da"),
    Fault("W_hh's gradient from the state after", SLOPE, "y[t - 1] if t else h_0", "y[t]"),
    Fault("W_hh's gradient without h_0", SLOPE, "y[t - 1] if t else h_0", "y[t - 1] if t else 0 * h_0"),
    Fault("recurrent gradient cut", SLOPE, "dh = da @ W_hh\n", "dh = 0 * dh\n"),
    Fault("recurrent gradient by W_hh transposed", SLOPE, "dh = da @ W_hh\n", "dh = da @ W_hh.T\n"),
    Fault("recurrent gradient truncated after 16 steps", SLOPE, "dh = da @ W_hh\n", "dh = da @ W_hh if t % 16 or not t else 0 * dh\n"),
    Fault("relu's slope at 0 is 1", "whole_gradients_come_out_exactly", "y[t] > 0", "y[t] >= 0"),
    Fault("tanh's slope 1 - y", SLOPE, "1 - y[t] * y[t]", "1 - y[t]"),
    Fault("tanh's slope 1e-5 too large", SLOPE, "1 - y[t] * y[t]", "(1 - y[t] * y[t]) * (1 + 1e-5)"),
    Fault("first input without gradient", SLOPE, "dx[t] = da @ W_ih", "dx[t] = da @ W_ih if t else 0"),
    Fault("h_0 without gradient", SLOPE, "return dx, dh,", "return dx, 0 * dh,"),
    Fault("h_n's gradient dropped", SLOPE, "h_n.append(y[-1])", "h_n.append(y[-1].detach())"),
    Fault("h_n's gradient doubled", SLOPE, "h_n.append(y[-1])", "h_n.append(2 * y[-1] - y[-1].detach())"),
    Fault("reverse gives no gradient to the input", SLOPE, "x.flip(0) if d else x", "x.detach().flip(0) if d else x"),
    Fault("lower layers without gradient", SLOPE, "seen = x.flip(0) if d else x", "x = x.detach() if l else x\n                seen = x.flip(0) if d else x"),
    Fault("weight gradients summed in bfloat16", SLOPE, "dW_ih += da.T @ x[t]", "dW_ih = (dW_ih + da.T @ x[t]).bfloat16().to(x.dtype)"),
    Fault("gradients clipped at 10", SLOPE, "da = dh * slope", "da = (dh * slope).clamp(-10, 10)"),
    Fault("gradient in float32", SLOPE, "da = dh * slope", "da = (dh * slope).float().to(x.dtype)"),
    # What the laws are for: one run against another.
    Fault("weights not loaded", "setup_weights_arrive_and_two_tensors_come_back", CLASS, "    def load_state_dict(self, state):\n        pass\n\n" + CLASS),
    Fault("h_n without its first axis", "shapes_dtypes_and_devices_are_as_documented", RESULT, RESULT + "        h = h[0] if len(h) == 1 else h\n"),
    Fault("h_n in float32", "shapes_dtypes_and_devices_are_as_documented", RESULT, RESULT + "        h = h.float()\n"),
    Fault("relu rounded up by one unit", "whole_numbers_come_out_exactly", "a.clamp(min=0) if", "a.clamp(min=0) * (1 + torch.finfo(a.dtype).eps) if"),
    Fault("reverse skips its first step", "reverse_direction_equals_forward_on_flipped_input", "seen = x.flip(0) if d else x", "seen = torch.cat([x[:-1].flip(0), x[:1]]) if d else x"),
    Fault("residual added between layers", "a_stack_equals_its_layers_composed", "x = torch.cat(outputs, dim=2)", "y = torch.cat(outputs, dim=2)\n            x = y + x if l and x.shape == y.shape else y"),
    Fault("h_n one unit off the last state", "one_run_equals_two_joined_by_the_carried_state", RESULT, RESULT + "        h = h * (1 + 1e-3)\n"),
    Fault("last row depends on its neighbour", "a_permuted_batch_gives_the_permuted_result", "h, states = h_0, []", "h, states = h_0 + (torch.arange(len(h_0)) == 3)[:, None], []"),
    Fault("rows normalised together", "a_row_of_a_batch_equals_that_sequence_alone", "a = a + b_hh", "a = a + b_hh + 1e-3 * a.mean(0)"),
    Fault("unbatched is another network", "a_row_of_a_batch_equals_that_sequence_alone", RESULT, RESULT + "        x = 0.99 * x if unbatched else x\n"),
    Fault("batch_first reads h_0 by rows", "batch_first_is_a_transposition", BEGIN, BEGIN + "        h_0 = h_0.reshape(x.shape[1], -1, self.hidden_size).transpose(0, 1) if self.batch_first else h_0\n"),
    Fault("absent h_0 is ones", "no_h_0_is_a_zero_h_0", "h_0 = x.new_zeros(", "h_0 = x.new_ones("),
    Fault("input centred over time", "later_input_leaves_earlier_output_alone", BEGIN, BEGIN + "        x = x - x.mean(0)\n"),
    Fault("options in another order", "options_by_position_equal_options_by_name", CLASS, ORDER + CLASS),
    # Gradients asked for in other ways.
    Fault("gradients overwritten", "gradients_of_two_calls_add_up", BEGIN, CLEAR + BEGIN),
    Fault("backward changes what it saved", "a_retained_graph_gives_the_same_gradients_again", "return dx, dh,", "y.zero_()\n        return dx, dh,"),
    Fault("frozen weights stop the gradient", "what_is_frozen_gets_no_gradient_and_the_rest_its_own", "dx[t] = da @ W_ih", "dx[t] = da @ W_ih if ctx.needs_input_grad[2] else 0"),
    Fault("loss at one step taken for the last", "the_gradient_of_one_element_of_output", "T = len(x)\n", "T = len(x)\n        dy = dy.roll(1, 0) if dy.count_nonzero() == 1 else dy\n"),
    Fault("expanded gradient read as dense", "the_gradient_of_a_sum_comes_expanded", "T = len(x)\n", "T = len(x)\n        dy = dy * 0.5 if dy.stride() == (0, 0, 0) else dy\n"),
    Fault("strides of the gradient ignored", "upstream_gradients_may_lie_in_any_order", "T = len(x)\n", "T = len(x)\n        dy = dy if dy.is_contiguous() or 0 in dy.stride() else dy.as_strided(dy.shape, torch.empty(dy.shape).stride())\n"),
    Fault("weights kept from the first call", "changed_weights_are_the_ones_that_count", WEIGHTS, "weights = self.__dict__.setdefault('kept', {}).setdefault((l, d), [w + 0 for w in self.weights_of(l, d)])\n"),
    Fault("no gradient in eval", "gradients_are_there_in_eval_too", RESULT, RESULT + "        x = x if self.training else x.detach()\n"),
    Fault("another result when called again", "gradients_survive_checkpointing", START, "        self.calls = getattr(self, 'calls', 0) + 1\n        input = input if self.calls % 2 else 1.01 * input\n" + START),
    Fault("gradient cut after 500 steps", "gradients_reach_through_a_thousand_steps", "dW_hh += da.T @ before", "dW_hh += da.T @ before if T - t < 500 else 0"),
    Fault("second derivatives cut", "gradients_have_gradients", "x, h_0, W_ih, W_hh, y = ctx.saved_tensors", "x, h_0, W_ih, W_hh, y = (a.detach() for a in ctx.saved_tensors)"),
    # Packed sequences.
    Fault("h_n in the sorted order", "packed_sequences_are_each_run_alone", "return packed, torch.stack(h_n, dim=1)", "h = torch.stack(h_n, dim=1)\n        return packed, h if input.sorted_indices is None else h[:, input.sorted_indices]"),
    Fault("packed sequences start from zero", "every_step_of_a_packed_sequence_obeys_the_recurrence", "None if h_0 is None else h_0[:, n]", "None"),
    Fault("packed rows give h_0 no gradient", "gradients_of_packed_sequences", "None if h_0 is None else h_0[:, n]", "None if h_0 is None else h_0[:, n].detach()"),
    Fault("packed output depends on the call", "a_list_packs_as_its_padded_batch", "alone = x[:length, n]", "self.calls = getattr(self, 'calls', 0) + 1\n            alone = x[:length, n] + 1e-3 * self.calls"),
    # Dropout.
    Fault("dropout on the input too", "dropout_falls_between_layers_at_its_rate", "if l else x\n            outputs", "\n            outputs"),
    Fault("one mask for all steps", "masks_are_fresh_for_every_step_row_unit_and_call", DROP, "x * nn.functional.dropout(torch.ones_like(x[:1]), self.dropout, self.training)"),
    Fault("masks not from the seed", "masks_repeat_from_the_seed", DROP, "(torch.seed(), " + DROP + ")[1]"),
    Fault("dropout in eval", "without_chance_dropout_does_nothing", DROP, "nn.functional.dropout(x, self.dropout, True)"),
    Fault("dropout not scaled at 1", "dropout_of_everything_leaves_zeros", DROP, "nn.functional.dropout(x, min(self.dropout, 0.99), self.training)"),
    Fault("backward through a fresh mask", "training_goes_forward_and_back_through_one_mask", DROP, "x + (" + DROP + " - x).detach()"),
    Fault("no warning for one layer", "dropout_in_one_layer_warns_and_does_nothing", CLASS, QUIET + CLASS),
    # Memory.
    Fault("strides of the input ignored", "arguments_may_lie_in_any_way", START, "        input = input if input.is_contiguous() else input.as_strided(input.shape, torch.empty(input.shape).stride())\n" + START),
    Fault("strides of W_hh ignored", "parameters_may_lie_in_any_way", 'for kind in ("ih", "hh")]\n        zero', 'for kind in ("ih", "hh")]\n        W = weights[1]\n        weights[1] = W if W.is_contiguous() else W.as_strided(W.shape, (W.shape[1], 1))\n        zero'),
    Fault("expanded h_0 differentiated once", "an_expanded_state_is_every_rows_own", BEGIN, BEGIN + "        h_0 = h_0 if h_0 is None or h_0.stride()[-2] or h_0.shape[-2] == 1 else h_0[:, :1].expand_as(h_0) * 0.5 + h_0.detach() * 0.5\n"),
    Fault("a call adds up", "two_identical_calls_agree_to_the_bit", START, "        self.calls = getattr(self, 'calls', 0) + 1\n        input = input + 1e-3 * (self.calls % 2)\n" + START),
    Fault("one buffer for all results", "results_do_not_change_after_they_are_returned", RESULT, RESULT + "        x = self.buffer.copy_(x) if not torch.is_grad_enabled() and getattr(self, 'buffer', x[:0]).shape == x.shape else x\n        self.buffer = x\n"),
    Fault("h_n is a view of output", "results_share_no_memory_with_arguments", RESULT, RESULT + "        h = x[-1:] if len(h) == 1 else h\n"),
    Fault("a buffer read before it is written", "stale_memory_is_not_read", RESULT, RESULT + "        x = x + 0 * torch.empty(x.shape, dtype=x.dtype).fill_(torch.nan if x.shape[0] > 2 else 0)\n"),
    Fault("state shared by threads", "threads_that_share_a_module_do_not_disturb_one_another", BEGIN, BEGIN + "        self.__dict__['scratch'] = x\n        __import__('time').sleep(0.001)\n        x = self.__dict__['scratch']\n"),
    Fault("one thread computes in float32", "the_number_of_threads_changes_no_more_than_rounding", RESULT, RESULT + "        x = x.bfloat16().to(x.dtype) if torch.get_num_threads() == 4 else x\n"),
    Fault("autocast loses a digit", "autocast_stays_within_the_bounds_of_the_lower_dtype", RESULT, RESULT + "        x = x * 1.1 if torch.is_autocast_enabled('cpu') else x\n"),
    # Special values.
    Fault("relu swallows NaN", "special_values_go_where_the_equations_send_them", "a.clamp(min=0) if", "torch.nan_to_num(a, nan=0.0, posinf=torch.inf).clamp(min=0) if"),
    Fault("NaN spreads over the batch", "special_values_stay_in_their_row", "a = a + b_hh", "a = a + b_hh + 0 * a.sum(0)"),
    Fault("NaN is remembered", "a_clean_call_forgets_a_spoilt_one", RESULT, RESULT + "        x = x + 0 * self.__dict__.get('last', torch.zeros(1)).sum().to(x.dtype)\n        self.__dict__['last'] = x.detach()\n"),
    Fault("tanh beyond 1", "tanh_stays_within_one", TANH, "else a.tanh() * (1 + 3e-7)"),
    Fault("tanh overflows", "tanh_of_what_is_large_is_one", TANH, "else (a.exp() - (-a).exp()) / (a.exp() + (-a).exp())"),
    # Misuse.
    Fault("no size is refused", "nonsense_is_not_constructed", CLASS, ANYTHING + CLASS),
    Fault("h_0 of more layers accepted", "a_wrong_call_is_refused_and_leaves_no_trace", "due = (L_D,", "due = (L_D if h_0 is None else len(h_0),"),
    Fault("h_0 is broadcast over the batch", "a_state_of_another_batch_is_refused", "tuple(h_0.shape) != due", "h_0.shape[0] != due[0]"),
    Fault("an empty batch has one unit", "a_batch_of_none_is_accepted", RESULT, RESULT + "        x = x[:, :, :1] if x.shape[1] == 0 else x\n"),
    # State.
    Fault("parameters in reverse order", "parameters_have_their_documented_names_order_and_shapes", CLASS, "    def named_parameters(self, *arguments, **options):\n        return reversed(list(super().named_parameters(*arguments, **options)))\n\n" + CLASS),
    Fault("any state is loaded", "state_dict_is_strict", CLASS, "    def load_state_dict(self, state, strict=True):\n        return super().load_state_dict(state, strict=False)\n\n" + CLASS),
    Fault("a copy is the module itself", "a_copied_module_is_the_same_and_its_own", CLASS, "    def __deepcopy__(self, memo):\n        return self\n\n" + CLASS),
    Fault("float64 is rounded to float32", "a_module_computes_in_the_dtype_it_is_moved_to", RESULT, RESULT + "        x = x.float().to(x.dtype)\n"),
    Fault("weights begin normal", "weights_begin_uniform_within_one_over_the_root_of_hidden_size", CLASS, RESET + "            nn.init.normal_(parameter, std=self.hidden_size**-0.5 / 3**0.5)\n\n" + CLASS),
    Fault("weights always begin alike", "two_modules_begin_with_weights_of_their_own", CLASS, RESET + "            nn.init.uniform_(parameter, -0.1, 0.1, generator=torch.Generator().manual_seed(0))\n\n" + CLASS),
    Fault("eval scales", "training_mode_and_eval_are_alike_without_dropout", RESULT, RESULT + "        x = x if self.training else 1.0001 * x\n"),
    Fault("flattening doubles", "flattening_changes_nothing", CLASS, "    @torch.no_grad()\n    def flatten_parameters(self):\n        for parameter in self.parameters():\n            parameter.mul_(2)\n\n" + CLASS),
    Fault("tied weights count once", "tied_weights_count_in_every_place", WEIGHTS, WEIGHTS + "                weights[1] = 0 * weights[1] if l and weights[1] is self.weight_hh_l0 else weights[1]\n"),
    Fault("weights by a list of old", "parametrized_weights_are_computed_anew", 'weights = [getattr(self, f"weight_{kind}{suffix}")', 'flat = dict(zip(self._flat_weights_names, self._flat_weights))\n        weights = [flat[f"weight_{kind}{suffix}"]'),
    Fault("made on the CPU whatever is asked", "a_module_on_the_meta_device_has_shapes_alone", CLASS, "    def __init__(self, *arguments, **options):\n        with torch.device('cpu'):\n            super().__init__(*arguments, **options)\n\n" + CLASS),
    Fault("no sizes in its representation", "repr_tells_the_sizes", CLASS, "    def extra_repr(self):\n        return ''\n\n" + CLASS),
    Fault("sets the default dtype", SETTINGS, RESULT, RESULT + "        torch.set_default_dtype(x.dtype)\n        torch.set_default_dtype(torch.float64)\n"),
    Fault("leaves gradients off", SETTINGS, RESULT, RESULT + "        torch.set_grad_enabled(False)\n"),
    Fault("takes one thread for all", SETTINGS, RESULT, RESULT + "        torch.set_num_threads(torch.get_num_threads() + 1)\n"),
    Fault("flushes subnormals from now on", SETTINGS, RESULT, RESULT + "        torch.set_flush_denormal(True)\n"),
    Fault("seeds torch", DRAWS, RESULT, RESULT + "        torch.manual_seed(0)\n"),
    Fault("draws a mask for nothing", DRAWS, RESULT, RESULT + "        x = x * (torch.rand_like(x) < 2)\n"),
    Fault("seeds Python", DRAWS, BEGIN, "        import random\n        random.seed(0)\n" + BEGIN),
    Fault("seeds NumPy", DRAWS, BEGIN, "        import numpy\n        numpy.random.seed(0)\n" + BEGIN),
    Fault("prints", "nothing_is_printed", RESULT, RESULT + "        print(x.shape)\n"),
    Fault("writes below Python", "nothing_is_printed", RESULT, RESULT + "        __import__('os').write(1, b'step')\n"),
    Fault("made as float32 whatever is asked", "a_module_is_made_with_the_dtype_and_device_asked_for", CLASS, "    def __init__(self, *arguments, dtype=None, **options):\n        super().__init__(*arguments, **options)\n\n" + CLASS),
    Fault("a weight set by a hook is kept", "a_weight_under_a_norm_hook_is_computed_anew", 'weights = [getattr(self, f"weight_{kind}{suffix}")', 'weights = [getattr(self, n := f"weight_{kind}{suffix}") if isinstance(getattr(self, n), nn.Parameter) else self.__dict__.setdefault("kept " + n, getattr(self, n))'),
    Fault("backward seeds", "backward_leaves_the_process_as_it_was", BACK, BACK + "        torch.manual_seed(0)\n"),
    Fault("backward prints", "backward_leaves_the_process_as_it_was", BACK, BACK + "        print(len(x))\n"),
    # The cell.
    Fault("a cell without b_hh", CELL, "self.bias_ih + self.bias_hh", "self.bias_ih"),
    Fault("a cell that takes relu for tanh without a batch", CELL, 'sums.tanh() if self.nonlinearity == "tanh"', 'sums.tanh() if self.nonlinearity == "tanh" and input.dim() == 2'),
    Fault("a cell whose tanh is off", CELL, "return sums.tanh() if", "return sums.tanh() * (1 + 2e-6) if"),
    Fault("a cell that cuts the state's gradient", "gradients_of_a_cell_are_within_their_bounds", "hx @ self.weight_hh.T", "hx.detach() @ self.weight_hh.T"),
    Fault("a network with another sum than its cell", "a_network_equals_its_cell_unrolled", "a = a + b_hh", "a = a + 1.001 * b_hh"),
    Fault("a cell with its biases first", "a_cell_has_its_documented_parameters", CELL_CLASS, "    def __init__(self, *arguments, **options):\n        super().__init__(*arguments, **options)\n        self._parameters = dict(reversed(self._parameters.items()))\n\n" + CELL_CLASS),
    Fault("a cell that begins at 0", "a_cell_has_its_documented_parameters", CELL_CLASS, "    def reset_parameters(self):\n        for parameter in self.parameters():\n            nn.init.zeros_(parameter)\n\n" + CELL_CLASS),
    Fault("a cell that stretches a state of one row", "a_wrong_call_of_a_cell_is_refused", "if tuple(hx.shape) != (", "if hx.dim() > 2 or hx.shape[-1] != self.hidden_size or hx.shape[0] not in (1, *input.shape[:1]) or (input.dim() == 1) != (hx.dim() == 1) or () == ("),
    Fault("a cell that knows every nonlinearity", "a_wrong_call_of_a_cell_is_refused", 'self.nonlinearity not in ("tanh", "relu")', "not self.nonlinearity"),
    Fault("a cell that needs a row", "a_cell_takes_a_batch_of_none", "        if hx is None:\n            hx = input", "        input.reshape(-1)[0]\n        if hx is None:\n            hx = input"),
    # Packing.
    Fault("packed row by row", "a_list_packs_step_by_step", "for t in range(max(lengths)) for n in order if lengths[n] > t]", "for n in order for t in range(max(lengths)) if lengths[n] > t]", PACKING),
    Fault("batch sizes of one too few", "a_list_packs_step_by_step", "sizes = [sum(length > t for", "sizes = [sum(length >= t for", PACKING),
    Fault("indices of whole width", "a_padded_batch_packs_step_by_step", "indices = torch.tensor(order, device=device)", "indices = torch.tensor(order, device=device, dtype=torch.int32)", PACKING),
    Fault("sorted indices the wrong way round", "a_padded_batch_packs_step_by_step", "[order.index(n) for n in range(len(order))]", "order", PACKING),
    Fault("lengths in sorted order", "unpacking_undoes_packing", "        lengths = lengths[packed.unsorted_indices.cpu()]\n", "", PACKING),
    Fault("padded with zeros whatever is asked", "unpacking_undoes_packing", "packed.data.new_full(shape, value)", "packed.data.new_zeros(shape)", PACKING),
    Fault("a total that is too small cuts off", "unpacking_undoes_packing", 'raise ValueError("total_length is too small")', "total = len(sizes)", PACKING),
    Fault("padded on the left", "padding_is_on_the_right_and_comes_off_again", "rows[n, : len(sequence)] = sequence", "rows[n, longest - len(sequence) :] = sequence", PACKING),
    Fault("unpadded along the batch", "padding_is_on_the_right_and_comes_off_again", "rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)", "rows = padded_sequences", PACKING),
    Fault("a length of zero", "wrong_lengths_are_refused", "if min(lengths) <= 0:", "if min(lengths) < 0:", PACKING),
    Fault("a length too long", "a_length_beyond_the_last_step_is_refused", "if max(lengths) > rows.shape[1]:", "if max(lengths) > rows.shape[1] + 1:", PACKING),
    Fault("h_n of a chaotic layer rounded", GRADIENT, "dh = dh + dy[t]", "dh = dh + dy[t] * 0.9999"),
)  # fmt: skip
