"""Special values: NaN and infinities go where the equations send them, and nowhere else."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.cases.random import RandomStream
from rnn_ref.functional import rnn
from rnn_ref.judging.comparison import (
    Comparison,
    compare_gradients,
    compare_results,
    left_open,
    same_results,
)
from rnn_ref.judging.facts import under
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.properties import in_group
from rnn_ref.judging.subject import Subject, read_gradients, require_results

holds_for = in_group("values")

Mask = NDArray[np.bool_]

SPECIAL = (np.nan, np.inf, -np.inf)
TAME: dict[str, Any] = {
    "weights": ("torch", "contracting", "one-sided", "sparse"),
    "inputs": ("normal", "integer"),
}
"""The domain of regimes in which nothing overflows by itself."""


def all_arrays(problem: Problem) -> dict[str, Floats]:
    """Return the arguments and the parameters by name."""
    return problem.arguments | problem.parameters


def with_arrays(problem: Problem, arrays: dict[str, Floats]) -> Problem:
    """Put other arrays in the place of the arguments and the parameters."""
    parameters = {name: arrays[name] for name in problem.parameters}
    return replace(problem, input=arrays["input"], h_0=arrays.get("h_0"), parameters=parameters)


def spoilt(problem: Problem, seed: int, names: list[str]) -> tuple[Problem, str, tuple[int, ...]]:
    """Put a special value into one element of one of the named arrays.

    Return the problem, the value and its place in words, and the element's index.
    """
    which, what, where = (int(word) for word in RandomStream(seed, "special").words((3,)))
    name = names[which % len(names)]
    arrays = all_arrays(problem)
    array = arrays[name].copy()
    at = tuple(map(int, np.unravel_index(where % array.size, array.shape)))
    array[at] = SPECIAL[what % len(SPECIAL)]
    words = f"{array[at]} in {name}{list(at)}"
    return with_arrays(problem, {**arrays, name: array}), words, at


def by_the_equations(problem: Problem) -> tuple[Floats, Floats]:
    """Compute output and h_n by the reference in float64, special values and all."""
    arrays = {name: array.astype(np.float64) for name, array in all_arrays(problem).items()}
    parameters = {name: arrays[name] for name in problem.parameters}
    with np.errstate(all="ignore"):
        output, h_n = rnn(
            arrays["input"], parameters, arrays.get("h_0"), nonlinearity=problem.nonlinearity
        )
    return np.asarray(output), np.asarray(h_n)


def may_overflow(problem: Problem) -> bool:
    """Tell whether a sum may overflow: whether the sum of its terms' absolute values does."""
    sizes = {name: np.abs(array) for name, array in all_arrays(problem).items()}
    output, _ = by_the_equations(with_arrays(problem, sizes))
    return not (output <= problem.rounding.largest / 2).all()


def special_alike(got: Floats, expected: Floats) -> Floats:
    """Expect the special values of `expected`; where it is finite, any finite number."""
    return np.where(np.isfinite(got) & np.isfinite(expected), got, expected)


@holds_for(promises=("unwritten.special",), **TAME)
def test_special_values_go_where_the_equations_send_them(
    case: Case, subject: Subject
) -> list[Comparison]:
    """One NaN or infinity in an argument or weight spreads as in the equations, and no further."""
    plain = subject.problem(case)
    problem, words, _ = spoilt(plain, case.seed, list(all_arrays(plain)))
    results = subject.run(problem).results
    if may_overflow(plain) or subject.measured.loses(problem.nonlinearity):
        return [left_open("output and h_n", sum(array.size for array in results))]
    expected = map(special_alike, results, by_the_equations(problem))
    output, h_n = map(partial(open_where, problem), expected, hidden(problem))
    return under(f"with {words}", compare_results(problem, *results, (output, h_n)))


def hidden(problem: Problem) -> tuple[Mask, Mask]:
    """Tell which elements of output and h_n read a special W_hh beside an absent state.

    The equations multiply it by the zeros that the state begins with, and 0 times infinity is
    NaN; a program that begins without a state leaves the product out. So they are left open.
    """
    special = [
        name
        for name, array in problem.parameters.items()
        if name.startswith("weight_hh") and not np.isfinite(array).all()
    ]
    if problem.h_0 is not None or not special:
        return np.zeros(problem.output_shape, bool), np.zeros(problem.h_n_shape, bool)
    marked = {
        name: np.where(np.isfinite(array), array, np.nan)
        for name, array in problem.parameters.items()
    }
    output, h_n = by_the_equations(replace(problem, parameters=marked))
    return np.isnan(output), np.isnan(h_n)


def open_where(problem: Problem, array: Floats, unsaid: Mask) -> Bounded:
    """Expect the same bits, but for elements that are left open."""
    return Bounded(array, np.where(unsaid, np.inf, 0.0), rounding=problem.rounding)


@holds_for(
    promises=("unwritten.rows", "unwritten.special"),
    **TAME,
    layouts=("steps", "batch_first"),
)
def test_special_values_stay_in_their_row(case: Case, subject: Subject) -> list[Comparison]:
    """A special value in one row's input or h_0 leaves the other rows within their bounds."""
    plain = subject.problem(case)
    problem, words, (_, row, _) = spoilt(plain, case.seed, list(plain.arguments))
    results = subject.run(problem).results
    output, h_n = (only_other_rows(array, row) for array in Oracle(plain).results)
    return under(f"with {words}", compare_results(plain, *results, (output, h_n)))


def only_other_rows(expected: Bounded, row: int) -> Bounded:
    """Leave one row open."""
    right = expected.stored
    error = right.error.copy()
    error[:, row] = np.inf
    return Bounded(right.value, error, rounding=right.rounding, whole=False)


@holds_for(promises=("unwritten.memory",))
def test_a_clean_call_forgets_a_spoilt_one(case: Case, subject: Subject) -> list[Comparison]:
    """After a call with nothing but NaN, the same module's results are within their bounds."""
    problem = subject.problem(case)
    module = subject.build(problem)
    of_nan = {name: np.full_like(array, np.nan) for name, array in problem.arguments.items()}
    subject.run(with_arrays(problem, of_nan | problem.parameters), module)
    run = subject.run(problem, module)
    return compare_results(problem, *run.results, Oracle(problem).results)


@holds_for(promises=("unwritten.range",), nonlinearities=("tanh",), needs=("tanh",))
def test_tanh_stays_within_one(case: Case, subject: Subject) -> list[Comparison]:
    """No state of a tanh network is beyond 1 in magnitude, however large its pre-activation."""
    problem = subject.problem(case)
    results = subject.run(problem).results
    output, h_n = (np.where(np.isnan(array), 0, np.clip(array, -1, 1)) for array in results)
    return same_results(problem, "of tanh, to be within [-1, 1]", results, (output, h_n))


@holds_for(
    promises=("unwritten.range", "unwritten.special"),
    nonlinearities=("tanh",),
    needs=("tanh",),
    weights=("torch",),
    inputs=("normal",),
)
def test_tanh_of_what_is_large_is_one(case: Case, subject: Subject) -> list[Comparison]:
    """Pre-activations of magnitude 50 and more give 1 or -1, by their sign, as near as tanh is."""
    problem = subject.problem(case)
    largest = problem.rounding.largest
    sizes = np.array([50, 100, 1e3, largest / 4, largest / 2])
    draws = RandomStream(case.seed, "large").words((problem.H,))
    preactivations = np.array([sizes[int(d) % 5] * (-1) ** (int(d) // 5 % 2) for d in draws])
    problem = with_preactivations(problem, preactivations.astype(problem.input.dtype))
    run = subject.run(problem)
    signs, r = np.sign(preactivations), problem.rounding
    output = np.broadcast_to(np.tile(signs, problem.D), run.output.shape)
    h_n = np.broadcast_to(signs, run.h_n.shape)
    first = " ".join(f"{a:.3g}" for a in preactivations[:6])
    error = r.tanh * r.u  # as everywhere: a tanh whose argument is clipped is not quite 1
    expected = [Bounded(a, np.full(a.shape, error), rounding=r) for a in (output, h_n)]
    compared = compare_results(problem, *run.results, (expected[0], expected[1]))
    return under(f"of tanh, the first units' pre-activations {first}", compared)


def with_preactivations(problem: Problem, preactivations: Floats) -> Problem:
    """Give every unit a pre-activation, the same at all steps: as a bias, with weights of 0.

    Without biases, it is the weight of one feature of an input of ones, in a single layer.
    """
    zero = {name: np.zeros_like(array) for name, array in problem.parameters.items()}
    if problem.bias:
        for name, array in zero.items():
            if name.startswith("bias_ih"):
                array[:] = preactivations
        return replace(problem, parameters=zero, h_0=None)
    first = {name: array for name, array in zero.items() if "_l0" in name}
    for name, array in first.items():
        if name.startswith("weight_ih"):
            array[:, 0] = preactivations
    ones = np.ones_like(problem.input)
    return replace(problem, parameters=first, input=ones, h_0=None, L=1)


@holds_for(
    promises=("autocast.accuracy",),
    dtypes=("float32",),
    inputs=("normal", "normal", "large", "tiny"),
    needs=("autocast",),
    at_most=50,
)
def test_autocast_stays_within_the_bounds_of_the_lower_dtype(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Under torch.autocast to bfloat16, a float32 module's results are within bfloat16's bounds."""
    low, high = low_and_high(case, subject)
    with torch.no_grad():
        results = called_under_autocast(subject, high, subject.build(high), subject.leaves(high))
    return compare_results(low, *subject.arrays(high, *results), Oracle(low).results)


@holds_for(
    promises=("autocast.accuracy",),
    dtypes=("float32",),
    num_layers=(1, 2, 2, 3),
    weights=("torch", "contracting", "one-sided"),
    inputs=("normal", "normal", "large"),
    needs=("autocast", "gradients"),
    at_most=50,
)
def test_gradients_of_a_call_under_autocast(case: Case, subject: Subject) -> list[Comparison]:
    """The gradients of a call made under autocast to bfloat16 are within bfloat16's bounds."""
    low, high = low_and_high(case, subject)
    module, leaves = subject.build(high), subject.leaves(high, gradients=True)
    results = called_under_autocast(subject, high, module, leaves)
    subject.backward(high, *results)
    gradients = read_gradients(subject, high, module, leaves)
    oracle = Oracle(low)
    arrays = subject.arrays(high, *results)
    return [
        *compare_results(low, *arrays, oracle.results),
        *compare_gradients(low, gradients, oracle.gradients()),
    ]


def low_and_high(case: Case, subject: Subject) -> tuple[Problem, Problem]:
    """Make a problem in bfloat16, and one of the same numbers in float32, which holds them."""
    low = subject.problem(replace(case, dtype="bfloat16"))
    return low, replace(low, dtype="float32", rounding=subject.rounding("float32"))


def called_under_autocast(
    subject: Subject, problem: Problem, module: torch.nn.Module, leaves: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Call a module under autocast to bfloat16; return output and h_n in float32."""
    device = torch.device(subject.device).type
    with subject.calling("the call under autocast"):
        with torch.autocast(device, torch.bfloat16):
            returned = module(*leaves.values())
        if isinstance(returned, tuple):
            returned = tuple(map(in_float32, returned))
    return require_results(subject, problem, returned)


def in_float32(result: Any) -> Any:
    """Bring a floating-point tensor, which autocast may have left in bfloat16, to float32."""
    is_float = isinstance(result, torch.Tensor) and result.is_floating_point()
    return result.float() if is_float else result
