"""A module that was just made: its dtype and device, its first values, its printed form."""

import re
from itertools import combinations

import numpy as np
import torch

from rnn_ref.bridge import TORCH_DTYPES, parameters_of
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.comparison import Comparison, counted
from rnn_ref.judging.facts import same_arrays, same_facts, same_order, uniform
from rnn_ref.judging.failures import Fact, SubjectFault, require
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject, differing, options_of

holds_for = in_group("state")


@holds_for(promises=("rnn.initialized", "seed.sets"), at_most=10, far=(), needs=("module",))
def test_weights_begin_uniform_within_one_over_the_root_of_hidden_size(
    case: Case, subject: Subject
) -> list[Comparison]:
    """All parameters are drawn from U(-1/sqrt(H), 1/sqrt(H)), and repeat from the seed.

    Exact binomial tests judge how many fall into each quarter of the range.
    """
    H, I, problem = 40, 30, subject.problem(case)
    drawn = []
    for seed in (case.seed, case.seed, case.seed ^ 1):
        torch.manual_seed(seed)
        with subject.calling("constructing the module"):
            module = subject.factory(I, H, **differing(options_of(problem)))
        with subject.calling("reading the parameters"):
            drawn.append(parameters_of(module))
    first, again, other = drawn
    note = "made again after the same torch.manual_seed"
    comparisons = same_arrays(note, again, first, problem.rounding)
    same_order("parameters made after another torch.manual_seed", list(other), list(first))
    for name, array in first.items():
        if np.array_equal(array, other[name]):
            fact = f"the initial {name} after another torch.manual_seed"
            raise SubjectFault(Fact(fact, "the same values", "other values"))
        comparisons += uniform(name, array, H)
    return comparisons


@holds_for(promises=("rnn.signature",), at_most=20, needs=("placement",))
def test_a_module_is_made_with_the_dtype_and_device_asked_for(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Constructed with dtype and device, all parameters have them, and so have the results."""
    problem, dtype = subject.problem(case), TORCH_DTYPES[case.dtype]
    with subject.calling("constructing the module with dtype and device"):
        module = subject.factory(
            case.I, case.H, **differing(options_of(problem)), dtype=dtype, device=subject.device
        )
    return of_one_dtype(subject, problem, module)


@holds_for(
    promises=("rnn.signature",),
    at_most=20,
    needs=("module",),
    needs_dtypes=("float64",),
    dtypes=("float64",),
)
def test_a_module_is_made_with_the_default_dtype(case: Case, subject: Subject) -> list[Comparison]:
    """Constructed under torch.set_default_dtype, parameters and results have that dtype."""
    problem, before = subject.problem(case), torch.get_default_dtype()
    torch.set_default_dtype(TORCH_DTYPES[case.dtype])
    try:
        with subject.calling(f"constructing the module with the default dtype {case.dtype}"):
            module = subject.factory(case.I, case.H, **differing(options_of(problem))).to(
                subject.device
            )
        return of_one_dtype(subject, problem, module)
    finally:
        torch.set_default_dtype(before)


def of_one_dtype(subject: Subject, problem: Problem, module: torch.nn.Module) -> list[Comparison]:
    """Require the problem's dtype, and the subject's device, of all parameters and results."""
    dtype, device = TORCH_DTYPES[problem.dtype], torch.device(subject.device)
    with subject.calling("reading named_parameters"):
        parameters = dict(module.named_parameters())
        dtypes = {name: parameter.dtype for name, parameter in parameters.items()}
        devices = {name: parameter.device.type for name, parameter in parameters.items()}
    facts = [
        same_facts("dtype of", dtypes, dict.fromkeys(problem.parameters, dtype)),
        same_facts("device of", devices, dict.fromkeys(problem.parameters, device.type)),
    ]
    with torch.no_grad():  # raises a SubjectFault for a result of another dtype or device
        results = subject.forward(problem, module, subject.leaves(problem))
    return [*facts, counted("dtype and device of output and h_n", 2 * len(results))]


@holds_for(promises=("unwritten.own",), at_most=10, far=(), needs=("module",))
def test_two_modules_begin_with_weights_of_their_own(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Two modules made one after the other have different weights, and share none."""
    options = differing(options_of(subject.problem(case)))
    with subject.calling("constructing two modules"):
        modules = [subject.factory(20, 30, **options) for _ in range(2)]
    with subject.calling("reading named_parameters"):
        first, second = (dict(module.named_parameters()) for module in modules)
    same_order("named_parameters of a second module", list(second), list(first))
    with subject.calling("reading the parameters"):
        alike = [name for name, a in first.items() if torch.equal(a, second[name])]
        shared = [name for name, a in first.items() if a.data_ptr() == second[name].data_ptr()]
    require("parameters that two modules share", ", ".join(shared) or "none", "none")
    require("parameters that begin alike in two modules", ", ".join(alike) or "none", "none")
    return [counted("parameters of two modules", len(first))]


@holds_for(
    promises=("rnn.initialized", "unwritten.own"),
    at_most=20,
    far=(),
    num_layers=(2, 2, 3),
    needs=("module",),
)
def test_parameters_begin_with_values_of_their_own(
    case: Case, subject: Subject
) -> list[Comparison]:
    """No two parameters of one module begin alike, whichever layers and directions they are of.

    Two independent ones agree in all of their first 20 values with a probability below 2^-400.
    """
    options = differing(options_of(subject.problem(case)))
    with subject.calling("constructing the module"):
        module = subject.factory(20, 20, **options)
    with subject.calling("reading the parameters"):
        first = {name: array.ravel()[:20] for name, array in parameters_of(module).items()}
    pairs = list(combinations(first, 2))
    alike = [f"{a} and {b}" for a, b in pairs if np.array_equal(first[a], first[b])]
    require("parameters that begin alike", ", ".join(alike) or "none", "none")
    return [counted("pairs of parameters", len(pairs))]


@holds_for(promises=("module.extra_repr",), at_most=10, needs=("module", "repr"))
def test_repr_tells_the_sizes(case: Case, subject: Subject) -> list[Comparison]:
    """The module's repr names input_size, hidden_size and the options that are not defaults."""
    problem = subject.problem(case)
    module = subject.build(problem)
    with subject.calling("repr of the module"):
        representation = " ".join(repr(module).split())
    expected = [f"{case.I}, {case.H}"]
    for name, value in differing(options_of(problem)).items():
        if name != "nonlinearity":
            expected.append(f"{name}={value}")
    for words in expected:
        if not re.search(rf"\b{re.escape(words)}\b", representation):
            what = "the module's representation"
            raise SubjectFault(Fact(what, representation[:300], f"{words!r} in it"))
    return [counted("sizes and options in the representation", len(expected))]
