"""State: names, order and shapes of parameters; copies and moves of a module; its modes."""

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import Module

from rnn_ref.bridge import TORCH_DTYPES, set_parameters, to_array
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.comparison import (
    Comparison,
    compare_gradients,
    compare_results,
)
from rnn_ref.judging.facts import (
    has_parameters,
    refuses,
    same_facts,
    same_order,
    under,
)
from rnn_ref.judging.failures import Fact, SubjectFault, require
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject, differing, options_of
from rnn_ref.parameters import names

holds_for = in_group("state")

FEW: dict[str, Any] = {"at_most": 30}

Change = Callable[[Module], Module | None]
"""A call that returns a module: a copy, or the module itself in another state."""


def changed(subject: Subject, doing: str, module: Module, change: Change) -> Module:
    """Return the module that a change returns; raise SubjectFault if it returns None."""
    with subject.calling(doing):
        returned = change(module)
    if returned is None:
        raise SubjectFault(Fact(f"the result of {doing}", "None", "a module"))
    return returned


@holds_for(
    promises=(
        "rnn.weight_ih", "rnn.weight_hh", "rnn.bias_ih", "rnn.bias_hh", "module.state_dict",
        "module.named_parameters",
    ),
    **FEW,
    needs=("module",),
)  # fmt: skip
def test_parameters_have_their_documented_names_order_and_shapes(
    case: Case, subject: Subject
) -> list[Comparison]:
    """state_dict and named_parameters go layer by layer, direction by direction."""
    problem = subject.problem(case)
    module, expected = subject.build(problem), names(case.L, case.D, case.bias)
    with subject.calling("reading named_parameters"):
        parameters = dict(module.named_parameters())
        shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
        learning = {name: parameter.requires_grad for name, parameter in parameters.items()}
    with subject.calling("reading state_dict"):
        state = list(module.state_dict())
    return [
        same_order("named_parameters", list(parameters), expected),
        same_order("state_dict", state, expected),
        same_facts("shape of", shapes, {name: a.shape for name, a in problem.parameters.items()}),
        same_facts("requires_grad of", learning, dict.fromkeys(expected, True)),
    ]


@holds_for(promises=("module.named_parameters",), **FEW, needs=("module", "all_weights"))
def test_all_weights_lists_the_parameters_run_by_run(
    case: Case, subject: Subject
) -> list[Comparison]:
    """all_weights has the module's own parameters, a list for each layer and direction."""
    problem = subject.problem(case)
    module, expected = subject.build(problem), names(case.L, case.D, case.bias)
    with subject.calling("reading named_parameters"):
        known = {id(parameter): name for name, parameter in module.named_parameters()}
    with subject.calling("reading all_weights"):
        weights: Any = module.all_weights
        listed = [[known.get(id(w), "no parameter") for w in run] for run in weights]
    per_run = 4 if case.bias else 2
    runs = [list(expected[i : i + per_run]) for i in range(0, len(expected), per_run)]
    return [same_order("all_weights", list(map(", ".join, listed)), list(map(", ".join, runs)))]


@holds_for(promises=("module.strict",), **FEW, needs=("module",))
def test_state_dict_is_strict(case: Case, subject: Subject) -> list[Comparison]:
    """load_state_dict refuses a missing name, an extra name and a wrong shape."""
    module = subject.build(subject.problem(case))
    with subject.calling("reading state_dict"):
        state = dict(module.state_dict())
        first = next(iter(state))
        twice = torch.cat([state[first], state[first]])
    wrong = {
        "a name missing": {name: tensor for name, tensor in state.items() if name != first},
        "a name too many": {**state, "weight_xx_l0": state[first]},
        "a wrong shape": {**state, first: twice},
    }

    def load(state: dict[str, torch.Tensor]) -> None:
        module.load_state_dict(state)

    return [
        refuses(subject, f"load_state_dict with {what}", partial(load, state))
        for what, state in wrong.items()
    ]


def saved(module: Module) -> Module:
    """Take a module through torch.save and torch.load."""
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    loaded: Module = torch.load(file, weights_only=False)
    return loaded


COPIES: dict[str, Change] = {
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),  # noqa: S301 - our own
    "torch.save": saved,
}


FROZEN = "weight_hh_l0"
"""A parameter that each network has."""


@holds_for(promises=("unwritten.own",), **FEW, needs=("pickle",), variants=tuple(COPIES))
def test_a_copied_module_is_the_same_and_its_own(case: Case, subject: Subject) -> list[Comparison]:
    """A copied or pickled module computes the same, with weights of its own.

    It is in the mode of the original, and the parameter that is frozen there is frozen.
    """
    problem = subject.problem(case)
    module = subject.build(problem)
    with subject.calling("eval"):
        module.eval()
        module.get_parameter(FROZEN).requires_grad = False
    twin = changed(subject, f"a copy by {case.variant}", module, COPIES[case.variant])
    with torch.no_grad(), subject.calling("filling the parameters of the original"):
        for parameter in module.parameters():
            parameter.fill_(7)
    parameters = has_parameters(subject, twin, problem, "of the copy")
    require("training of the copy", twin.training, module.training)
    for name, parameter in twin.named_parameters():
        require(f"requires_grad of {name} of the copy", parameter.requires_grad, name != FROZEN)
    run = subject.run(problem, twin)
    return [*parameters, *compare_results(problem, *run.results, Oracle(problem).results)]


MOVES: dict[str, Change] = {
    "double": lambda module: module.double(),
    "to-float64": lambda module: module.to(torch.float64),
}


@holds_for(
    promises=("module.to", "module.double"),
    **FEW,
    variants=tuple(MOVES),
    dtypes=("float32",),
    needs_dtypes=("float32", "float64"),
    needs=("module",),
)
def test_a_module_computes_in_the_dtype_it_is_moved_to(
    case: Case, subject: Subject
) -> list[Comparison]:
    """After .double() or .to(float64), a float32 module computes in float64 with its weights."""
    narrow = subject.problem(case)
    module = subject.build(narrow)
    module = changed(subject, "moving the module to float64", module, MOVES[case.variant])
    wide = widened(narrow, subject)
    return compare_results(wide, *subject.run(wide, module).results, Oracle(wide).results)


def widened(problem: Problem, subject: Subject) -> Problem:
    """Take the same numbers in float64, without upstream gradients."""
    parameters: dict[str, Any] = {
        name: array.astype(np.float64) for name, array in problem.parameters.items()
    }
    return replace(
        problem,
        input=problem.input.astype(np.float64),
        h_0=None if problem.h_0 is None else problem.h_0.astype(np.float64),
        parameters=parameters,
        grad_output=None,
        grad_h_n=None,
        dtype="float64",
        rounding=subject.rounding("float64"),
    )


@holds_for(promises=("module.train", "module.eval"), **FEW, needs=("module",))
def test_training_mode_and_eval_are_alike_without_dropout(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Evaluation gives the results of training, within the bounds: it may add up otherwise."""
    problem = subject.problem(case)
    module = changed(subject, "train()", subject.build(problem), lambda module: module.train())
    training = subject.run(problem, module)
    module = changed(subject, "eval()", module, lambda module: module.eval())
    evaluating = subject.run(problem, module)
    expected = Oracle(problem).near(*training.results)
    return under(
        "after eval(), against train()", compare_results(problem, *evaluating.results, expected)
    )


@holds_for(promises=("rnn.flatten",), **FEW, needs=("module", "flatten_parameters"))
def test_flattening_changes_nothing(case: Case, subject: Subject) -> list[Comparison]:
    """`flatten_parameters` leaves names, weights and results as they are."""
    problem = subject.problem(case)
    module: Any = subject.build(problem)
    with subject.calling("reading state_dict"):
        before = list(module.state_dict())
    with subject.calling("flatten_parameters"):
        module.flatten_parameters()
    with subject.calling("reading state_dict"):
        after = list(module.state_dict())
    same_order("state_dict after flatten_parameters", after, before)
    parameters = has_parameters(subject, module, problem, "after flatten_parameters")
    run = subject.run(problem, module)
    return [*parameters, *compare_results(problem, *run.results, Oracle(problem).results)]


@holds_for(
    promises=("unwritten.tied",),
    **FEW,
    num_layers=(2, 3),
    directions=(1,),
    needs=("deep", "module"),
)
def test_tied_weights_count_in_every_place(case: Case, subject: Subject) -> list[Comparison]:
    """One parameter that is weight_hh of two layers acts in both; so does a change in place."""
    problem = subject.problem(case)
    module: Any = subject.build(problem)
    with subject.calling("setting weight_hh_l1 to weight_hh_l0"):
        module.weight_hh_l1 = module.weight_hh_l0
    weight = problem.parameters["weight_hh_l0"]
    tied = with_weight(problem, "weight_hh_l1", weight)
    comparisons = compare_results(tied, *subject.run(tied, module).results, Oracle(tied).results)
    with torch.no_grad(), subject.calling("negating weight_hh_l0 in place"):
        module.weight_hh_l0.neg_()
    negated = with_weight(with_weight(tied, "weight_hh_l0", -weight), "weight_hh_l1", -weight)
    run = subject.run(negated, module)
    after = compare_results(negated, *run.results, Oracle(negated).results)
    return [*comparisons, *under("after a change in place", after)]


def with_weight(problem: Problem, name: str, values: Any) -> Problem:
    """Take a problem with other values of one parameter."""
    return replace(problem, parameters={**problem.parameters, name: values})


class Doubled(Module):
    """A parametrisation that doubles a weight, and so rounds nothing."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Double the weight."""
        return 2 * weight


@holds_for(
    promises=("parametrize.returns", "parametrize.differentiates"),
    **FEW,
    weights=("torch", "contracting", "chaotic", "sparse", "one-sided"),
    needs=("parametrized", "gradients"),
)
def test_parametrized_weights_are_computed_anew(case: Case, subject: Subject) -> list[Comparison]:
    """The weight used, forward and backward, is what torch.nn.utils.parametrize computes."""
    problem = subject.problem(case)
    module: Any = subject.build(problem)
    subject.run(problem, module)
    with subject.calling("parametrizing weight_hh_l0"):
        torch.nn.utils.parametrize.register_parametrization(module, "weight_hh_l0", Doubled())
    doubled = with_weight(problem, "weight_hh_l0", 2 * problem.parameters["weight_hh_l0"])
    oracle, leaves = Oracle(doubled), subject.leaves(doubled, gradients=True)
    results = subject.forward(doubled, module, leaves)
    subject.backward(doubled, *results)
    with subject.calling("reading the gradient of weight_hh_l0's original"):
        original = to_array(module.parametrizations.weight_hh_l0.original.grad)
    gradient = oracle.gradients()["weight_hh_l0"]
    return [
        *compare_results(doubled, *subject.arrays(doubled, *results), oracle.results),
        *compare_gradients(
            doubled, {"weight_hh_l0": original}, {"weight_hh_l0": (gradient + gradient).stored}
        ),
    ]


@holds_for(
    promises=("weight_norm.hook",), **FEW, weights=("torch", "contracting"), needs=("parametrized",)
)
def test_a_weight_under_a_norm_hook_is_computed_anew(
    case: Case, subject: Subject
) -> list[Comparison]:
    """The weight used is the one that torch.nn.utils.weight_norm's hook sets before each call."""
    problem = subject.problem(case)
    module: Any = subject.build(problem)
    with warnings.catch_warnings(), subject.calling("torch.nn.utils.weight_norm of weight_hh_l0"):
        warnings.simplefilter("ignore")  # newer code would parametrize
        torch.nn.utils.weight_norm(module, "weight_hh_l0")
    subject.run(problem, module)
    with torch.no_grad(), subject.calling("doubling weight_hh_l0_g"):
        before = to_array(module.weight_hh_l0)
        module.weight_hh_l0_g *= 2
    run = subject.run(problem, module)
    with subject.calling("reading weight_hh_l0"):
        after = to_array(module.weight_hh_l0)
    if np.array_equal(before, after):
        fact = "weight_hh_l0 in a call after its norm was doubled"
        raise SubjectFault(Fact(fact, "the values of the call before", "their double"))
    normed = with_weight(problem, "weight_hh_l0", after)
    return compare_results(normed, *run.results, Oracle(normed).results)


@holds_for(promises=("module.to_empty",), at_most=5, needs=("meta",))
def test_a_module_on_the_meta_device_has_shapes_alone(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Made on the meta device, its parameters have shapes; moved off it, it can be loaded."""
    problem = subject.problem(case)
    with subject.calling("constructing the module on the meta device"), torch.device("meta"):
        module = subject.factory(case.I, case.H, **differing(options_of(problem)))
    with subject.calling("reading named_parameters"):
        parameters = dict(module.named_parameters())
        devices = {name: parameter.device.type for name, parameter in parameters.items()}
        shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    expected = {name: array.shape for name, array in problem.parameters.items()}
    facts = [
        same_facts("on the meta device, device of", devices, dict.fromkeys(expected, "meta")),
        same_facts("on the meta device, shape of", shapes, expected),
    ]
    module = changed(subject, "to_empty", module, lambda m: m.to_empty(device=subject.device))
    dtype = TORCH_DTYPES[problem.dtype]
    module = changed(subject, f"to({dtype})", module, lambda module: module.to(dtype=dtype))
    with subject.calling("setting the parameters"):
        set_parameters(module, problem.parameters)
    run = subject.run(problem, module)
    return [*facts, *compare_results(problem, *run.results, Oracle(problem).results)]
