"""What is said of errors: units, signs, counts, and the yardstick that they stand beside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rnn_ref.arithmetic.dtypes import ROUNDING, rounded, ulp
from rnn_ref.arithmetic.rounded import RoundedArray
from rnn_ref.cases.case import Case
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Subject
from rnn_ref.recording.measure import (
    Exact,
    Float64,
    PlainProgram,
    describe,
    measure,
    oracles_of,
    recorder,
)
from rnn_ref.recording.record import COLUMNS, MEASURED

TORCH = Subject("torch.nn:RNN", torch.nn.RNN)
CASE = Case("tanh", 2, 2, True, 6, 3, 4, 5, "float32", h_0=True, seed=7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ulp_is_the_distance_to_the_next_number(dtype: Any) -> None:
    """At each number of the dtype, subnormal ones too, it is NumPy's spacing."""
    info = np.finfo(dtype)
    powers = 2.0 ** np.arange(info.minexp - info.nmant, info.maxexp)
    numbers = np.concatenate([powers, 1.25 * powers[info.nmant :], [0.0]]).astype(dtype)
    assert (ulp(numbers.astype(np.float64), np.dtype(dtype).name) == np.spacing(numbers)).all()


def described(change: Any) -> dict[str, Any]:
    """What is said of an output that is the true one, rounded, after a change to it."""
    problem = CASE.problem()
    oracles = {
        "true": Exact(problem),
        "float64": Float64(problem),
        "plain": PlainProgram(problem),
        "bound": Oracle(problem),
    }
    expected: dict[str, list[Any]] = {name: [oracle.output] for name, oracle in oracles.items()}
    own = change(rounded(expected["true"][0].high, "float32"))
    with np.errstate(all="ignore"):
        return describe(problem, [own], expected, tanh=True)


def test_a_true_value_rounded_is_off_by_half_an_ulp_at_most() -> None:
    """The best result there is has errors up to 0.5 ULPs, without bias, and is in its bound."""
    found = described(lambda y: y)
    largest, p99, mean, bias = found["ulp"]
    assert 0.4 < p99 <= largest <= 0.5
    assert 0.2 < mean < 0.3
    assert abs(bias) < 0.1
    assert found["counts"] == [180, 0, 0, 0, 0]
    assert found["norm"][0] < found["plain"][0]


@pytest.mark.parametrize("share", [3e-6, -3e-6])
def test_bias_is_positive_where_results_are_too_large(share: float) -> None:
    """A share that is added to every magnitude is the bias, in units of roundoff."""
    found = described(lambda y: y * np.float32(1 + share))
    assert found["norm"][1] == pytest.approx(share / ROUNDING["float32"].u, rel=0.01)
    assert found["norm"][0] == pytest.approx(abs(found["norm"][1]), rel=0.01)
    assert np.sign(found["ulp"][3]) == np.sign(found["bound"][3]) == np.sign(share)


def test_what_is_not_finite_is_counted_as_lost_and_over() -> None:
    """NaN and infinities are no errors that can be averaged: they are counted."""

    def spoil(y: Any) -> Any:
        y = y.copy()
        y[0, 0, :3] = np.nan, np.inf, -np.inf
        return y

    assert described(spoil)["counts"] == [180, 0, 0, 3, 3]


def test_an_error_beyond_the_bound_is_counted_as_over() -> None:
    """One element that is off by 1e-3 is one that is over."""

    def spoil(y: Any) -> Any:
        y = y.copy()
        y[0, 0, 0] += 1e-3
        return y

    assert described(spoil)["counts"] == [180, 0, 0, 1, 0]


@pytest.mark.parametrize("dtype", ROUNDING)
def test_every_quantity_is_measured_both_ways(dtype: str) -> None:
    """Output, h_n and each gradient, one step and end to end, with all columns."""
    case = Case("tanh", 2, 2, True, 6, 3, 4, 5, dtype, h_0=True, seed=7)
    found = measure(TORCH, oracles_of(case.problem()))
    kinds = ("input", "h_0", "weight_ih", "weight_hh", "bias_ih", "bias_hh")
    names = {"output", "h_n", *(f"gradient of {kind}" for kind in kinds)}
    for way in MEASURED:
        assert found[way].keys() == names
        for quantity in found[way].values():
            assert quantity.keys() == COLUMNS.keys()
            assert all(
                values is None or len(values) == len(COLUMNS[name])
                for name, values in quantity.items()
            )
            assert quantity["counts"][3:] == [0, 0]
    assert found["bits"].keys() == names


def test_digests_tell_bits_apart() -> None:
    """The same run has the same digests; a network of other arrays has others."""
    case = Case("tanh", 1, 1, True, 3, 2, 2, 3, "float32")
    first, again, other = (
        measure(TORCH, oracles_of(replace(case, seed=seed).problem()))["bits"] for seed in (1, 1, 2)
    )
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_a_yardsticks_step_is_one_running_sum() -> None:
    """a + h V is added up from a on, product by product, each rounded to float32."""
    rng = np.random.default_rng(0)
    a, h, V = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 4), (3, 5), (5, 4)))
    expected = a.copy()
    for k in range(5):
        expected = expected + h[:, k : k + 1] * V[k]
    got: Any = RoundedArray(a, "float32") + RoundedArray(h, "float32") @ RoundedArray(V, "float32")
    assert (got.numbers == expected).all()


def test_a_yardsticks_tanh_is_rounded_once() -> None:
    """It is float64's tanh, rounded."""
    a = np.linspace(-3, 3, 100, dtype=np.float32)
    got: Any = np.tanh(RoundedArray(a, "float32"))
    assert (got.numbers == np.tanh(a.astype(np.float64)).astype(np.float32)).all()


class ForwardOnly(torch.nn.RNN):
    def forward(self, *arguments: Any) -> Any:
        with torch.no_grad():
            return super().forward(*arguments)


def test_a_subject_without_gradients_is_recorded_without() -> None:
    """`without` leaves out what the subject lacks, and cases that need it."""
    subject = Subject("tests:ForwardOnly", ForwardOnly)
    recording = recorder(subject, ("float32",), ["gradients", "bidirectional"])
    assert {case.D for case in recording.cases} == {1}
    assert recording.measure(recording.cases[0])["step"].keys() == {"output", "h_n"}
    blamed = recorder(subject, ("float32",)).measure(recording.cases[0])
    assert blamed["fault"].startswith("backward raised RuntimeError")
