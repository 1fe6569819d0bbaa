"""The bounds: rigorous against exact arithmetic, for every order of summation, and not slack."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import flint
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_ref.arithmetic.bounded import CHECK, CHECK_TANH, Bounded
from rnn_ref.arithmetic.dtypes import ROUNDING, gamma, rounded
from rnn_ref.cases.case import Case
from rnn_ref.cases.random import RandomStream
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Subject
from rnn_ref.parameters import names, read
from rnn_ref.reference import ACTIVATIONS, backward, final, forward
from rnn_ref.strategies import cases
from tests.support.judging import PROPERTIES
from tests.support.orders import ORDERS, Ordered, ordered

flint.ctx.prec = 400
DTYPES = tuple(ROUNDING)

to_arb = np.vectorize(lambda x: flint.arb(float(x)), otypes=[object])

FULL = "tanh L2 D2 bias T3 N2 I2 H2 float32 weights=torch input=normal h_0 loss=both seed=1"


def furthest(values: Any, exact: Any) -> np.ndarray:
    """An upper bound on each |value - exact|, in float64."""
    apart = np.vectorize(lambda v, e: float((flint.arb(float(v)) - e).abs_upper()), otypes=[float])
    return np.asarray(apart(values, exact))


def share(values: Any, exact: Any, bound: Bounded) -> float:
    """The largest |value - exact| in units of the bound; open elements count as 0."""
    error = bound.stored.error
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(np.isinf(error), 0.0, furthest(values, exact) / error)
    return float(np.nan_to_num(ratio, nan=0.0).max(initial=0.0))


def hostile(words: RandomStream, K: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Two (3, K) arrays whose products cancel heavily: large pairs of opposite sign and crumbs."""
    a, b = words.normal((3, K)) * 2.0 ** words.integers(6, (3, K)), words.normal((3, K))
    half = K // 2
    a[:, half : 2 * half], b[:, half : 2 * half] = -a[:, :half], b[:, :half] * (1 + 1e-3)
    return rounded(a, dtype), rounded(b, dtype)


@pytest.mark.parametrize("order", ORDERS)
@given(dtype=st.sampled_from(DTYPES), K=st.integers(1, 40), seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_sums_of_products_are_within_their_bound_in_every_order(
    order: str, dtype: str, K: int, seed: int
) -> None:
    """Whatever the order, a product of matrices is within its bound of the exact one."""
    a, b = hostile(RandomStream(seed, "hostile"), K, dtype)
    exact = to_arb(a) @ to_arb(b).T
    bound = Bounded(a, rounding=ROUNDING[dtype]) @ Bounded(b, rounding=ROUNDING[dtype]).T
    got = ordered(a, order, dtype) @ ordered(b, order, dtype).T
    assert share(got, exact, bound) <= 1
    assert share(bound.value, exact, bound) <= 1


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.9), ("float64", 0.45)])
def test_bound_of_a_sum_is_nearly_reached(dtype: str, least: float) -> None:
    """1 + u + u + ... loses every u when added in order: 0.9 of the bound (0.45 in float64)."""
    u, K = ROUNDING[dtype].u, 40
    a = np.full((1, K), u)
    a[0, 0] = 1
    ones = np.ones((K, 1))
    exact = to_arb(a) @ to_arb(ones)
    bound = Bounded(a, rounding=ROUNDING[dtype]) @ Bounded(ones, rounding=ROUNDING[dtype])
    got = ordered(a, "sequential", dtype) @ ordered(ones, "sequential", dtype)
    assert least <= share(got, exact, bound) <= 1


@given(
    a=st.floats(-50, 50) | st.floats(-1e-3, 1e-3) | st.floats(-0.5, 0.5),
    e=st.floats(0, 2) | st.floats(0, 1e-6),
    dtype=st.sampled_from(DTYPES),
)
@settings(max_examples=500, deadline=None)
def test_tanh_bound_holds_at_the_ends_of_its_argument(a: float, e: float, dtype: str) -> None:
    """tanh of anything within the argument's error, off by the stated ULPs, is within the bound."""
    r = ROUNDING[dtype]
    bound = np.tanh(Bounded([a], np.array([e]), rounding=r))
    for end in (flint.arb(a) - e, flint.arb(a) + e):
        for sign in (-1, 1):
            got = end.tanh() * (1 + sign * flint.arb(r.tanh * r.u))
            off = (got - flint.arb(float(bound.value[0]))).abs_upper()
            assert off <= flint.arb(float(bound.error[0]))


def test_tanh_of_numpy_is_as_accurate_as_the_check_assumes() -> None:
    """np.tanh in float64 is off by less than half of CHECK_TANH units of 2^-53."""
    a = np.concatenate(
        [
            RandomStream(1, "wide").normal((20_000,)) * 3,
            RandomStream(1, "tiny").normal((5_000,)) * 1e-3,
        ]
    )
    exact = np.array([flint.arb(float(x)).tanh() for x in a], object)
    assert (furthest(np.tanh(a), exact) <= CHECK_TANH / 2 * CHECK * np.abs(np.tanh(a))).all()


def test_relu_slope_is_open_where_its_argument_may_be_zero() -> None:
    """A state within its error of 0 leaves relu's slope open; one beyond decides it."""
    y = Bounded(
        [0.0, 1e-9, 1e-3, 0.0], np.array([1e-6, 1e-6, 1e-6, 0.0]), rounding=ROUNDING["float32"]
    )
    slope = y > 0
    assert np.isinf(slope.error).tolist() == [True, True, False, False]
    assert slope.value[2:].tolist() == [1, 0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_that_may_overflow_are_left_open(dtype: str) -> None:
    """Where partial sums may exceed the largest number, anything may come."""
    largest = ROUNDING[dtype].largest
    half = Bounded([[largest / 2, largest / 2, -largest]], rounding=ROUNDING[dtype])
    ones = Bounded(np.ones((3, 1)), rounding=ROUNDING[dtype])
    assert np.isinf((half @ ones).stored.error).all()
    assert np.isfinite((half[:, :1] @ ones[:1]).stored.error).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_that_underflow_are_within_their_bound(dtype: str) -> None:
    """Products below the smallest subnormal round to 0 or to it, and both are allowed."""
    eta = ROUNDING[dtype].eta
    a, b = np.full((1, 9), 3 * eta), np.full((9, 1), 0.25)
    bound = Bounded(a, rounding=ROUNDING[dtype]) @ Bounded(b, rounding=ROUNDING[dtype])
    got = ordered(a, "sequential", dtype) @ ordered(b, "sequential", dtype)
    assert share(got, to_arb(a) @ to_arb(b), bound) <= 1


def test_whole_numbers_have_no_error_until_they_outgrow_the_dtype() -> None:
    """Sums of products of whole numbers are exact up to 1/u, and rounded above."""
    r = ROUNDING["float32"]
    small, large = Bounded([[3.0, -2.0]], rounding=r), Bounded([[3.0, 2.0**23]], rounding=r)
    assert (small @ small.T).stored.exact
    assert not (large @ small.T).stored.exact


FINITE = ("torch", "contracting", "chaotic", "sparse", "one-sided", "zero")


def run(problem: Any, take: Any) -> dict[str, Any]:
    """All results of the reference on one kind of array."""
    layers = read({name: take(a) for name, a in problem.parameters.items()}).layers
    x, activation = take(problem.input), ACTIVATIONS[problem.nonlinearity]
    rows = (problem.L * problem.D, x.shape[1], problem.H)
    h_0 = take(np.zeros(rows) if problem.h_0 is None else problem.h_0)
    states = forward(x, h_0, layers, activation)
    dy = take(np.zeros(states[-1].shape) if problem.grad_output is None else problem.grad_output)
    dh = take(np.zeros(rows) if problem.grad_h_n is None else problem.grad_h_n)
    dx, dh_0, dlayers = backward(dy, dh, x, h_0, layers, states, activation)
    flat = [a for layer in dlayers for w in layer for a in w if a is not None]
    found = dict(zip(names(problem.L, problem.D, problem.bias), flat, strict=True))
    return found | {"output": states[-1], "h_n": final(states, problem.D), "input": dx, "h_0": dh_0}


small_cases = cases(
    dtypes=DTYPES, num_layers=(1, 2), inputs=("normal", "integer", "tiny"), weights=FINITE
).filter(lambda case: case.T * case.N * (case.I + case.H) <= 200)


@pytest.mark.parametrize("order", ORDERS)
@given(case=small_cases)
@settings(max_examples=25, deadline=None)
def test_networks_are_within_their_bounds_in_every_order(order: str, case: Case) -> None:
    """Outputs, states and gradients of whole networks are within their bounds of the exact ones."""
    with np.errstate(over="ignore", invalid="ignore"):
        problem = case.problem()
        oracle = Oracle(problem)
        bounds = {"output": oracle.output, "h_n": oracle.h_n} | oracle.gradients()
        exact = run(problem, to_arb)
        got = run(problem, lambda array: ordered(array, order, case.dtype))
        for name, bound in bounds.items():
            assert share(got[name], exact[name], bound) <= 1, name
            assert share(bound.stored.value, exact[name], bound) <= 1, name


def test_bound_of_a_network_is_not_slack() -> None:
    """Some float32 network comes within 0.4 of its bound, added up in order."""
    worst = 0.0
    for seed in range(40):
        case = Case("relu", 1, 1, False, 2, 2, 1, 1, "float32", weights="chaotic", seed=seed)
        problem = case.problem()
        exact = run(problem, to_arb)["output"]
        got = run(problem, lambda array: ordered(array, "sequential", "float32"))["output"]
        worst = max(worst, share(got, exact, Oracle(problem).output))
    assert 0.4 <= worst <= 1


def test_what_was_judged_is_freed_at_once() -> None:
    """No array with bounds waits for a search for circles: wide networks would fill the memory."""
    claim = PROPERTIES["gradients_are_within_their_bounds"].claim
    gc.collect()
    before = living()
    gc.disable()
    try:
        claim(Case.parse(FULL), Subject("torch.nn:RNN", torch.nn.RNN))
        assert living() == before
    finally:
        gc.enable()


def living() -> int:
    """How many arrays with bounds there are."""
    return sum(type(each) is Bounded for each in gc.get_objects())


def test_gamma_is_infinite_where_its_series_diverges() -> None:
    """k roundings of which k u >= 1 may change a number without limit."""
    assert gamma(4, 0.25) == np.inf


def test_ordered_sums_differ_from_one_another() -> None:
    """The orders are different subjects: on hostile data their results are not all the same."""
    a, b = hostile(RandomStream(3, "hostile"), 40, "float32")
    results = {
        order: (ordered(a, order, "float32") @ ordered(b, order, "float32").T).numbers.tobytes()
        for order in ORDERS
    }
    assert len(set(results.values())) >= 5
    assert isinstance(ordered(a, "pairwise", "float32"), Ordered)


def test_a_long_sum_with_an_open_term_is_open() -> None:
    """So many 16-bit terms that their rounding has no limit, one of them 0 times any number."""
    rounding = replace(ROUNDING["bfloat16"], ua=ROUNDING["bfloat16"].u)
    factor = Bounded(np.zeros(300), rounding=rounding)
    slope = Bounded(np.ones(300), np.where(np.arange(300) == 7, np.inf, 0), rounding=rounding)
    total = (factor * slope).sum(axis=0).stored
    assert np.isinf(total.error)
