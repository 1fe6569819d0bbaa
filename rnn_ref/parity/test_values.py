"""Special values: NaN and infinities go where the equations send them, and nowhere else."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rnn_ref.bounded import ROUNDING
from rnn_ref.bridge import to_array
from rnn_ref.case import Case, Problem, Words
from rnn_ref.examination import holds_for
from rnn_ref.functional import rnn
from rnn_ref.judge import Comparison, compare_results, counted, left_open
from rnn_ref.oracle import Oracle
from rnn_ref.subject import Subject, SubjectFault, blaming

Floats = NDArray[np.floating[Any]]

SPECIAL = (np.nan, np.inf, -np.inf)
TAME: dict[str, Any] = {
    "weights": ("torch", "contracting", "one-sided", "sparse"),
    "inputs": ("normal", "integer"),
}
"""Regimes in which nothing overflows by itself."""


def arguments(problem: Problem) -> dict[str, Floats]:
    """All arrays that go in, by name."""
    h_0 = {} if problem.h_0 is None else {"h_0": problem.h_0}
    return {"input": problem.input, **h_0, **problem.parameters}


def with_arguments(problem: Problem, given: Mapping[str, Floats]) -> Problem:
    """The problem with other arrays."""
    parameters = {name: given[name] for name in problem.parameters}
    return replace(problem, input=given["input"], h_0=given.get("h_0"), parameters=parameters)


def spoilt(problem: Problem, seed: int, names: list[str]) -> tuple[Problem, str, tuple[int, ...]]:
    """The problem with a special value in one element of one of some arrays, and where."""
    which, what, where = (int(word) for word in Words(seed, "special").raw((3,)))
    name = names[which % len(names)]
    given = arguments(problem)
    array = given[name].copy()
    at = np.unravel_index(where % array.size, array.shape)
    array[at] = SPECIAL[what % len(SPECIAL)]
    return with_arguments(problem, {**given, name: array}), name, tuple(map(int, at))


def by_the_equations(problem: Problem) -> tuple[Floats, Floats]:
    """What the reference makes of the problem in float64, special values and all."""
    given = {name: array.astype(np.float64) for name, array in arguments(problem).items()}
    parameters = {name: given[name] for name in problem.parameters}
    with np.errstate(all="ignore"):
        output, h_n = rnn(
            given["input"], parameters, given.get("h_0"), nonlinearity=problem.nonlinearity
        )
    return np.asarray(output), np.asarray(h_n)


def may_overflow(problem: Problem) -> bool:
    """Whether a sum may overflow by itself: that of all terms' absolute values does."""
    given = {name: np.abs(array) for name, array in arguments(problem).items()}
    output, _ = by_the_equations(with_arguments(problem, given))
    return not (output <= ROUNDING[problem.dtype].largest / 2).all()


def require_alike(what: str, came: Floats, due: Floats) -> None:
    """Raise SubjectFault unless NaN and infinities stand where they are due."""
    for name, kind in (("NaN", np.isnan), ("infinite", np.isinf)):
        if (wrong := kind(came) != kind(due)).any():
            at = tuple(map(int, np.argwhere(wrong)[0]))
            raise SubjectFault(
                f"{what} at {at} (step, row, unit; or layer and direction, row, unit):"
                f" came {came[at]}, due is {due[at]}: {int(wrong.sum())} elements are"
                f" {name} in one alone"
            )


@holds_for(**TAME)
def test_special_values_go_where_the_equations_send_them(
    case: Case, subject: Subject
) -> list[Comparison]:
    """One NaN or infinity in any argument or weight makes the elements special that it must.

    Promise: unwritten.special.
    """
    plain = case.problem()
    problem, name, at = spoilt(plain, case.seed, list(arguments(plain)))
    run = subject.run(problem)
    output, h_n = by_the_equations(problem)
    if may_overflow(plain):
        return [left_open("elements special or not", output.size + h_n.size)]
    where = f"{arguments(problem)[name][at]} in {name}{list(at)}"
    require_alike(f"{where}: output", run.output, output)
    require_alike(f"{where}: h_n", run.h_n, h_n)
    return [counted("elements special or not", output.size + h_n.size)]


@holds_for(**TAME, layouts=("steps", "batch_first"))
def test_special_values_stay_in_their_row(case: Case, subject: Subject) -> list[Comparison]:
    """What is special in one row's input or h_0 leaves the other rows as they are, to the bit.

    Promise: unwritten.rows, unwritten.special.
    """
    plain = case.problem()
    names = ["input"] if plain.h_0 is None else ["input", "h_0"]
    problem, name, at = spoilt(plain, case.seed, names)
    module = subject.build(plain)
    before, after = subject.run(plain, module), subject.run(problem, module)
    others = np.arange(plain.input.shape[1]) != at[1]
    for a, b in ((before.output, after.output), (before.h_n, after.h_n)):
        if not np.array_equal(a[:, others], b[:, others], equal_nan=True):
            raise SubjectFault(f"a special value in {name}{list(at)} changes other rows")
    return [counted("elements of other rows", before.output[:, others].size + 1)]


@holds_for()
def test_a_clean_call_forgets_a_spoilt_one(case: Case, subject: Subject) -> list[Comparison]:
    """After a call with nothing but NaN, the same module is right again.

    Promise: unwritten.memory.
    """
    problem = case.problem()
    module, oracle = subject.build(problem), Oracle(problem)
    h_0 = None if problem.h_0 is None else problem.h_0 * np.nan
    subject.run(replace(problem, input=problem.input * np.nan, h_0=h_0), module)
    run = subject.run(problem, module)
    return compare_results(problem, run.output, run.h_n, (oracle.output, oracle.h_n))


@holds_for(nonlinearities=("tanh",), needs=("tanh",))
def test_tanh_stays_within_one(case: Case, subject: Subject) -> list[Comparison]:
    """No state of a tanh network is beyond 1 in magnitude, however large what leads to it.

    Promise: unwritten.range.
    """
    run = subject.run(case.problem())
    largest = max(float(np.abs(a).max()) for a in (run.output, run.h_n))
    if not largest <= 1:
        raise SubjectFault(f"a state of a tanh network has magnitude {largest}")
    return [counted("states", run.output.size + run.h_n.size)]


@holds_for(nonlinearities=("tanh",), needs=("tanh",), weights=("torch",), inputs=("normal",))
def test_tanh_of_what_is_large_is_one(case: Case, subject: Subject) -> list[Comparison]:
    """Pre-activations from 50 to the largest number give 1, with the right sign.

    Promise: unwritten.range, unwritten.special.
    """
    problem = case.problem()
    largest = Oracle(problem).rounding.largest
    sizes = np.array([50, 100, 1e3, largest / 4, largest / 2])
    draws = Words(case.seed, "large").raw((problem.H,))
    rows = np.array([sizes[int(d) % 5] * (-1) ** (int(d) // 5 % 2) for d in draws])
    zero = {name: 0 * array for name, array in problem.parameters.items()}
    for name in zero:
        if name.startswith("bias_ih"):
            zero[name] = rows.astype(problem.input.dtype)
    if not problem.bias:
        zero = {name: a for name, a in zero.items() if "bias" not in name}
        for name in zero:
            if name.startswith("weight_ih_l0"):
                zero[name][:, 0] = rows.astype(problem.input.dtype)
        problem = replace(problem, input=np.ones_like(problem.input), L=1)
        zero = {name: a for name, a in zero.items() if "_l0" in name}
    run = subject.run(replace(problem, parameters=zero, h_0=None))
    due = np.tile(np.sign(rows), run.output.shape[2] // problem.H)
    if not (run.output == due).all():
        raise SubjectFault(f"tanh of {rows.tolist()} came as {run.output[0, 0].tolist()}")
    return [counted("states", run.output.size)]


@holds_for(
    dtypes=("float32",),
    inputs=("normal", "normal", "large", "tiny"),
    needs=("autocast",),
    at_most=50,
)
def test_autocast_stays_within_the_bounds_of_the_lower_dtype(
    case: Case, subject: Subject
) -> list[Comparison]:
    """Under torch.autocast to bfloat16, a float32 module's results are as good as bfloat16's.

    Promise: autocast.accuracy.
    """
    low = replace(case, dtype="bfloat16").problem()
    high = replace(low, dtype="float32")  # the same numbers, which float32 holds exactly
    module, leaves = subject.build(high), subject.leaves(high)
    device = torch.device(subject.device).type
    with torch.no_grad(), torch.autocast(device, torch.bfloat16), blaming("the call"):
        output, h_n = module(*leaves.values())
    y, last = low.layout.to_steps(to_array(output)), low.layout.to_rows(to_array(h_n))
    oracle = Oracle(low)
    return compare_results(low, y, last, (oracle.output, oracle.h_n))
