"""State: names, order and shapes of parameters, how they begin, and how a module is moved about."""

import copy
import io
import math
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rnn_ref.bridge import TORCH_DTYPES, parameters_of, to_array
from rnn_ref.case import Case, Problem
from rnn_ref.examination import holds_for
from rnn_ref.judge import Comparison, Floats, compare_results, counted
from rnn_ref.oracle import Oracle
from rnn_ref.parameters import names
from rnn_ref.parity.test_dropout import require_chance
from rnn_ref.subject import Subject, SubjectFault, blaming

FEW: dict[str, Any] = {"at_most": 30}


def require(what: str, came: object, due: object) -> None:
    """Raise SubjectFault unless two descriptions are equal."""
    if came != due:
        raise SubjectFault(f"{what}: came {came}, due is {due}")


@holds_for(**FEW)
def test_parameters_have_their_documented_names_order_and_shapes(
    case: Case, subject: Subject
) -> list[Comparison]:
    """state_dict, named_parameters and all_weights go layer by layer, direction by direction.

    Promise: rnn.weight_ih, rnn.weight_hh, rnn.bias_ih, rnn.bias_hh, module.state_dict,
    module.named_parameters.
    """
    problem = case.problem()
    module = subject.build(problem)
    due = names(case.L, case.D, case.bias)
    require("the names of named_parameters", [n for n, _ in module.named_parameters()], [*due])
    require("the names of state_dict", list(module.state_dict()), [*due])
    for name, parameter in module.named_parameters():
        require(f"the shape of {name}", tuple(parameter.shape), problem.parameters[name].shape)
        require(f"requires_grad of {name}", parameter.requires_grad, True)  # noqa: FBT003
    per_run = 4 if case.bias else 2
    listed: Any = module.all_weights
    flat = [parameter for run in listed for parameter in run]
    require("the lengths of all_weights", [len(w) for w in listed], [per_run] * (case.L * case.D))
    require("all_weights", list(map(id, flat)), [id(p) for p in module.parameters()])
    return [counted("names and shapes", 3 * len(due))]


@holds_for(**FEW)
def test_state_dict_is_strict(case: Case, subject: Subject) -> list[Comparison]:
    """A name that is missing, one too many, or a wrong shape, is refused by load_state_dict.

    Promise: module.strict.
    """
    module = subject.build(case.problem())
    state = module.state_dict()
    first = next(iter(state))
    wrong = {
        "a name missing": {name: t for name, t in state.items() if name != first},
        "a name too many": {**state, "weight_xx_l0": state[first]},
        "a wrong shape": {**state, first: torch.cat([state[first], state[first]])},
    }
    for what, given in wrong.items():
        try:
            module.load_state_dict(given)
        except RuntimeError:
            continue
        raise SubjectFault(f"load_state_dict with {what} raised no RuntimeError")
    return [counted("refusals", len(wrong))]


def saved(module: torch.nn.Module) -> torch.nn.Module:
    """Through torch.save and torch.load."""
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    loaded: torch.nn.Module = torch.load(file, weights_only=False)
    return loaded


COPIES: dict[str, Callable[[torch.nn.Module], torch.nn.Module]] = {
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),  # noqa: S301 - our own
    "torch.save and load": saved,
}


@holds_for(**FEW, needs=("pickle",))
def test_a_copied_module_is_the_same_and_its_own(case: Case, subject: Subject) -> list[Comparison]:
    """Copied or pickled it computes the same, with weights of its own.

    Promise: unwritten.own.
    """
    problem = case.problem()
    name = list(COPIES)[case.seed % len(COPIES)]
    module = subject.build(problem)
    with blaming(name):
        twin = COPIES[name](module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(7)
    for key, array in parameters_of(twin).items():
        if not np.array_equal(array, problem.parameters[key]):
            raise SubjectFault(f"{key} of a module that went through {name} is not its own")
    run, oracle = subject.run(problem, twin), Oracle(problem)
    return compare_results(problem, run.output, run.h_n, (oracle.output, oracle.h_n))


@holds_for(**FEW)
def test_a_module_computes_in_the_dtype_it_is_moved_to(
    case: Case, subject: Subject
) -> list[Comparison]:
    """.double(), or .to(dtype), moves weights that float32 holds exactly, and all that follows.

    Promise: module.to, module.double.
    """
    narrow = replace(case, dtype="float32").problem()
    module = subject.build(narrow)
    with blaming("moving the module to float64"):
        module = module.double() if case.seed % 2 else module.to(torch.float64)
    wide = widened(narrow)
    run, oracle = subject.run(wide, module), Oracle(wide)
    return compare_results(wide, run.output, run.h_n, (oracle.output, oracle.h_n))


def widened(problem: Problem) -> Problem:
    """The same numbers in float64."""
    parameters: dict[str, Any] = {
        name: array.astype(np.float64) for name, array in problem.parameters.items()
    }
    h_0 = None if problem.h_0 is None else problem.h_0.astype(np.float64)
    return replace(
        problem,
        input=problem.input.astype(np.float64),
        h_0=h_0,
        parameters=parameters,
        grad_output=None,
        grad_h_n=None,
        dtype="float64",
    )


@holds_for(at_most=10)
def test_weights_begin_uniform_within_one_over_the_root_of_hidden_size(
    case: Case, subject: Subject
) -> list[Comparison]:
    """All parameters are drawn from U(-1/sqrt(H), 1/sqrt(H)), and repeat from the seed.

    Judged by exact binomial tests of how many fall into each quarter of the range.

    Promise: rnn.initialized, seed.sets.
    """
    H, I = 40, 30
    options = {"num_layers": case.L, "bidirectional": case.D == 2}
    drawn = []
    for seed in (case.seed, case.seed, case.seed + 1):
        torch.manual_seed(seed)
        module = subject.factory(I, H, **{k: v for k, v in options.items() if v not in (1, False)})
        drawn.append(parameters_of(module))
    first, again, other = drawn
    found = []
    for name, array in first.items():
        if not np.array_equal(array, again[name]):
            raise SubjectFault(f"{name} does not repeat after torch.manual_seed")
        if np.array_equal(array, other[name]):
            raise SubjectFault(f"{name} begins alike from two seeds")
        found += require_uniform(name, array, H)
    return found


def require_uniform(name: str, drawn: Floats, H: int) -> list[Comparison]:
    """Raise SubjectFault if numbers are beyond 1/sqrt(H), or fill quarters of that unevenly."""
    limit = 1 / math.sqrt(H)
    if not (np.abs(drawn) <= limit).all():
        raise SubjectFault(
            f"{name} begins beyond 1/sqrt(hidden_size): {np.abs(drawn).max()} > {limit}"
        )
    quarters = np.clip(np.floor((drawn + limit) / limit * 2), 0, 3)
    return [
        require_chance(f"{name} in quarter {q} of its range", quarters == q, 0.25) for q in range(4)
    ]


@holds_for(at_most=20, needs=("placement",))
def test_a_module_is_made_with_the_dtype_and_device_asked_for(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Constructed with dtype and device, all parameters have them, and so have the results.

    Promise: rnn.signature.
    """
    dtype, device = TORCH_DTYPES[case.dtype], torch.device(subject.device)
    with blaming("constructing the module with dtype and device"):
        module = subject.factory(case.I, case.H, num_layers=2, dtype=dtype, device=device)
    for name, parameter in module.named_parameters():
        require(f"the dtype of {name}", parameter.dtype, dtype)
        require(f"the device of {name}", parameter.device.type, device.type)
    with torch.no_grad(), blaming("the call"):
        output, h_n = module(torch.zeros(case.T, case.I, dtype=dtype, device=device))
    require("the dtypes of output and h_n", (output.dtype, h_n.dtype), (dtype, dtype))
    return [counted("dtypes and devices", 2 * len(list(module.parameters())) + 2)]


@holds_for(at_most=10)
def test_two_modules_begin_with_weights_of_their_own(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Two modules that are made one after the other differ, and share nothing.

    Promise: unwritten.own.
    """
    options = {"num_layers": case.L} if case.L > 1 else {}
    first, second = (subject.factory(20, 30, **options) for _ in range(2))
    for (name, a), (_, b) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        if torch.equal(a, b) or a.data_ptr() == b.data_ptr():
            raise SubjectFault(f"{name} of two new modules is the same")
    return [counted("parameters", len(list(first.parameters())))]


@holds_for(**FEW)
def test_training_mode_and_eval_are_alike_without_dropout(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Neither train() nor eval() changes a bit of the results.

    Promise: module.train, module.eval.
    """
    problem = case.problem()
    module = subject.build(problem)
    train, evaluated = (subject.run(problem, module.train(mode)) for mode in (True, False))
    if not np.array_equal(train.output, evaluated.output, equal_nan=True):
        raise SubjectFault("eval() changes the output of a module without dropout")
    return [counted("elements of output", train.output.size)]


@holds_for(**FEW)
def test_flattening_changes_nothing(case: Case, subject: Subject) -> list[Comparison]:
    """`flatten_parameters` leaves names, weights and results as they are.

    Promise: rnn.flatten.
    """
    problem = case.problem()
    module = subject.build(problem)
    with blaming("flatten_parameters"):
        module.flatten_parameters()  # type: ignore[operator]
    for name, array in parameters_of(module).items():
        if not np.array_equal(array, problem.parameters[name]):
            raise SubjectFault(f"flatten_parameters changed {name}")
    run, oracle = subject.run(problem, module), Oracle(problem)
    return compare_results(problem, run.output, run.h_n, (oracle.output, oracle.h_n))


@holds_for(**FEW, num_layers=(2, 3), directions=(1,), needs=("deep",))
def test_tied_weights_count_in_every_place(case: Case, subject: Subject) -> list[Comparison]:
    """weight_hh of two layers that are one parameter acts as two, and follows a change.

    Promise: unwritten.tied.
    """
    problem = case.problem()
    module = subject.build(problem)
    tied = problem.parameters["weight_hh_l0"]
    module.weight_hh_l1 = module.weight_hh_l0
    problem = replace(problem, parameters={**problem.parameters, "weight_hh_l1": tied})
    run, oracle = subject.run(problem, module), Oracle(problem)
    return compare_results(problem, run.output, run.h_n, (oracle.output, oracle.h_n))


class Doubled(torch.nn.Module):
    """A parametrisation that doubles, which rounds nothing."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Twice the weight."""
        return 2 * weight


@holds_for(
    **FEW,
    weights=("torch", "contracting", "chaotic", "sparse", "one-sided"),
    needs=("parametrized",),
)
def test_parametrized_weights_are_computed_anew(case: Case, subject: Subject) -> list[Comparison]:
    """A weight under torch.nn.utils.parametrize is what its parametrisation makes of it.

    Promise: parametrize.returns, parametrize.differentiates.
    """
    problem = case.problem()
    module = subject.build(problem)
    subject.run(problem, module)
    with blaming("parametrizing weight_hh_l0"):
        torch.nn.utils.parametrize.register_parametrization(module, "weight_hh_l0", Doubled())
    doubled = 2 * problem.parameters["weight_hh_l0"]
    problem = replace(problem, parameters={**problem.parameters, "weight_hh_l0": doubled})
    run, oracle = subject.run(problem, module), Oracle(problem)
    return compare_results(problem, run.output, run.h_n, (oracle.output, oracle.h_n))


@holds_for(**FEW, weights=("torch", "contracting"), needs=("parametrized",))
def test_a_weight_under_a_norm_hook_is_computed_anew(
    case: Case, subject: Subject
) -> list[Comparison]:
    """A weight that torch.nn.utils.weight_norm's hook sets before each call is the one used.

    Promise: weight_norm.hook.
    """
    problem = case.problem()
    module: Any = subject.build(problem)
    with warnings.catch_warnings(), blaming("torch.nn.utils.weight_norm of weight_hh_l0"):
        warnings.simplefilter("ignore")  # newer code would parametrize
        torch.nn.utils.weight_norm(module, "weight_hh_l0")
    subject.run(problem, module)
    with torch.no_grad():
        module.weight_hh_l0_g *= 2
    run = subject.run(problem, module)
    normed = to_array(module.weight_hh_l0)
    problem = replace(problem, parameters={**problem.parameters, "weight_hh_l0": normed})
    oracle = Oracle(problem)
    return compare_results(problem, run.output, run.h_n, (oracle.output, oracle.h_n))


@holds_for(at_most=5, needs=("meta",))
def test_a_module_on_the_meta_device_has_shapes_alone(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Made on the meta device, its parameters have shapes; moved off it, it can be loaded.

    Promise: module.to_empty.
    """
    problem = case.problem()
    with torch.device("meta"), blaming("constructing the module on the meta device"):
        module = subject.factory(case.I, case.H)
    devices = {parameter.device.type for parameter in module.parameters()}
    require("the devices of a module made on the meta device", devices, {"meta"})
    with blaming("to_empty"):
        module = module.to_empty(device=subject.device)
    single = replace(case, L=1, D=1, bias=True, nonlinearity="tanh", batch_first=False).problem()
    module = module.to(dtype=next(iter(subject.build(single).parameters())).dtype)
    module.load_state_dict(subject.build(single).state_dict())
    run, oracle = subject.run(single, module), Oracle(single)
    return [
        counted("devices", len(problem.parameters)),
        *compare_results(single, run.output, run.h_n, (oracle.output, oracle.h_n)),
    ]


@holds_for(at_most=10)
def test_repr_tells_the_sizes(case: Case, subject: Subject) -> list[Comparison]:
    """The module's representation names input_size and hidden_size, and options not by default.

    Promise: module.extra_repr.
    """
    module = subject.build(case.problem())
    told = repr(module)
    due = [f"{case.I}, {case.H}"]
    due += [f"num_layers={case.L}"] * (case.L > 1) + ["bias=False"] * (not case.bias)
    due += ["batch_first=True"] * case.batch_first + ["bidirectional=True"] * (case.D == 2)
    for words in due:
        if words not in told:
            raise SubjectFault(f"its representation, {told}, does not tell {words!r}")
    return [counted("facts told", len(due))]
