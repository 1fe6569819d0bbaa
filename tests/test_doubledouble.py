"""Double-doubles: their operations against exact ones, and the true values made of them."""

from __future__ import annotations

from typing import Any

import flint
import numpy as np
import pytest

from rnn_ref.arithmetic.doubledouble import ROUNDOFF, TANH, DoubleDouble
from rnn_ref.cases.case import Case
from rnn_ref.cases.corpus import read_corpus
from rnn_ref.cases.random import RandomStream
from rnn_ref.recording.measure import Exact, Float64
from tests.test_bounded import run, to_arb

flint.ctx.prec = 400


def exact(a: Any) -> Any:
    """The same numbers, exactly."""
    return to_arb(a.high) + to_arb(a.low)


def drawn(seed: int, shape: tuple[int, ...], spread: int = 20) -> DoubleDouble:
    """Double-doubles of many magnitudes and both signs."""
    words = RandomStream(seed, "double-doubles")
    high = words.normal(shape) * 2.0 ** words.integers(spread, shape)
    return DoubleDouble(high, high * 2.0**-54 * words.uniform(shape))


def off(got: Any, expected: Any, scale: Any) -> float:
    """The largest error, relative to a scale."""
    apart = np.abs(exact(got) - expected) / np.abs(scale)
    return max(float(x.upper()) for x in apart.ravel())


@pytest.mark.parametrize("K", [1, 2, 3, 17, 200])
def test_sums_of_products_are_as_precise_as_stated(K: int) -> None:
    """A product of matrices is within K ROUNDOFF of the sum of its terms' magnitudes."""
    a, b = drawn(1, (5, K)), drawn(2, (K, 4))
    scale = abs(exact(a)) @ abs(exact(b))
    assert off(a @ b, exact(a) @ exact(b), scale) <= K * ROUNDOFF


def test_elementwise_operations_are_as_precise_as_stated() -> None:
    """A product is within ROUNDOFF of itself, a sum too, even where its terms cancel."""
    a, b = drawn(3, (2000,)), drawn(4, (2000,))
    assert off(a * b, exact(a) * exact(b), exact(a) * exact(b)) <= ROUNDOFF
    close: Any = DoubleDouble(-a.high, a.low)
    assert off(a + b, exact(a) + exact(b), exact(a) + exact(b)) <= ROUNDOFF
    assert off(a + close, exact(a) + exact(close), exact(a) + exact(close)) <= ROUNDOFF


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e-3, 1.0, 30.0])
def test_tanh_is_as_precise_as_stated(scale: float) -> None:
    """tanh is within TANH of itself, from where it is linear to where it is 1."""
    words = RandomStream(5, "tanh")
    high = words.uniform((3000,)) * scale
    a = DoubleDouble(high, high * 2.0**-54 * words.uniform((3000,)))
    expected = np.vectorize(lambda x: x.tanh(), otypes=[object])(exact(a))
    assert off(np.tanh(a), expected, expected) <= TANH


def test_tanh_of_what_is_not_finite() -> None:
    """tanh of +-inf is +-1, and of NaN NaN."""
    assert np.tanh(DoubleDouble([np.inf, -np.inf, 50.0])).high.tolist() == [1.0, -1.0, 1.0]
    assert np.isnan(np.tanh(DoubleDouble([np.nan])).high).all()


def test_comparisons_read_both_parts() -> None:
    """Of two numbers with the same upper part, the lower one decides."""
    a: Any = DoubleDouble([1.0, 1.0], np.array([1e-20, -1e-20]))
    b: Any = DoubleDouble([1.0, 1.0])
    assert (a > b).high.tolist() == [1.0, 0.0]
    assert np.maximum(a, b).low.tolist() == [1e-20, 0.0]


SMALL = [
    case
    for case in read_corpus().cases
    if case.dtype == "float64" and case.L * case.T * case.N * case.H * (case.H + case.I) <= 9000
]


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_true_values_are_true(case: Case) -> None:
    """Where float64 agrees to 2^-10, they are within a sixty-fourth of float64's last place."""
    problem = case.problem()
    oracle, twin = Exact(problem), Float64(problem)
    true: dict[str, Any] = {"output": oracle.output, "h_n": oracle.h_n} | oracle.gradients()
    near: dict[str, Any] = {"output": twin.output, "h_n": twin.h_n} | twin.gradients()
    expected = run(problem, to_arb)
    for name, value in true.items():
        resolved = np.abs(near[name].numbers - value.high) <= 2.0**-10 * np.abs(value.high)
        apart = exact(value) - expected[name]
        size = np.array([float(x.abs_upper()) for x in apart.ravel()]).reshape(apart.shape)
        assert (size <= 2.0**-59 * np.abs(value.high))[resolved].all(), name


def test_what_chaos_has_swallowed_is_unresolved() -> None:
    """After 1,000 chaotic steps float64 and double-double are apart, and neither is trusted."""
    case = Case("tanh", 1, 1, True, 1000, 1, 1, 24, "float64", weights="chaotic")
    true: Any = Exact(case.problem()).output
    twin: Any = Float64(case.problem()).output
    far = np.abs(twin.numbers - true.high) > 2.0**-10 * np.abs(true.high)
    assert not far[:20].any()
    assert far[-500:].mean() > 0.5
