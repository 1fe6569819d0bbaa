"""Cases: lines of text and arrays are each other's, on every platform."""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from rnn_ref.arithmetic.dtypes import ARRAY_DTYPES, ROUNDING, rounded
from rnn_ref.cases.case import Case
from rnn_ref.cases.random import INPUTS, WEIGHTS, RandomStream
from rnn_ref.strategies import cases

LINE = "tanh L2 D2 bias T18 N3 I4 H6 float32 weights=chaotic input=normal h_0 seed=81"


def digest(case: Case) -> str:
    """A checksum of all arrays of a case, in little-endian order."""
    problem = case.problem()
    arrays = [*problem.parameters.values(), problem.input, problem.h_0, problem.grad_output]
    sha = hashlib.sha256()
    for array in [*arrays, problem.grad_h_n]:
        if array is not None:
            sha.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return sha.hexdigest()[:16]


@given(case=cases(dtypes=tuple(ARRAY_DTYPES)))
def test_parse_is_the_inverse_of_str(case: Case) -> None:
    """A line gives back the case that it was printed from."""
    assert Case.parse(str(case)) == case


def test_words_of_a_line_may_stand_in_any_order() -> None:
    """A line with its words reversed is the same case."""
    assert str(Case.parse(" ".join(reversed(LINE.split())))) == LINE


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (LINE, "7379753a3c0c400b"),
        (LINE.replace("float32", "float64").replace("chaotic", "torch"), "ef78337adc1f9949"),
        (LINE.replace("float32", "bfloat16").replace("chaotic", "one-sided"), "f0ee54e66c6c0ab6"),
        (LINE.replace("float32", "float16").replace("normal", "subnormal"), "236d605aad30f2c7"),
        (LINE.replace("chaotic", "sparse").replace("normal", "integer"), "43f7b92bafdc7c00"),
        (LINE.replace("chaotic", "contracting").replace("normal", "tiny"), "e74cee6facb5d56f"),
        (LINE.replace("chaotic", "saturating").replace("normal", "large"), "0dcbf603f5270de9"),
    ],
)
def test_arrays_are_the_same_to_the_bit_on_every_platform(line: str, expected: str) -> None:
    """The arrays of a line have the checksum that they had where the line was written."""
    assert digest(Case.parse(line)) == expected


def test_every_array_of_a_case_is_drawn_afresh() -> None:
    """Equal shapes do not mean equal numbers: no two arrays of a case are the same."""
    problem = Case("tanh", 2, 1, True, 4, 4, 4, 4, "float64", h_0=True).problem()
    arrays: list[Any] = [*problem.parameters.values(), problem.input, problem.h_0]
    arrays += [problem.grad_output, problem.grad_h_n]
    assert len({array.tobytes() for array in arrays}) == len(arrays)


def test_normal_numbers_have_mean_zero_and_variance_one() -> None:
    """A million of them are as near to mean 0 and variance 1 as five standard errors allow."""
    drawn = RandomStream(7, "moments").normal((1_000_000,))
    assert abs(drawn.mean()) < 5e-3
    assert abs(drawn.var() - 1) < 5e-3 * np.sqrt(2)


def test_torchs_regime_fills_its_interval() -> None:
    """torch's own initialisation is uniform to +-1/sqrt(H), for weights and biases alike."""
    problem = Case("tanh", 1, 1, True, 1, 1, 40, 64, "float64").problem()
    for array in problem.parameters.values():
        largest = np.abs(array).max() * np.sqrt(64)
        assert 0.9 < largest <= 1


@pytest.mark.parametrize("dtype", ARRAY_DTYPES)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("input", INPUTS)
def test_numbers_are_finite_ones_of_the_dtype(dtype: str, weights: str, input: str) -> None:
    """Every regime stays within every dtype: finite, and unchanged by rounding to it."""
    case = Case("tanh", 1, 2, True, 3, 4, 5, 6, dtype, weights=weights, input=input, h_0=True)
    problem = case.problem()
    arrays: list[Any] = [*problem.parameters.values(), problem.input, problem.h_0]
    for array in arrays:
        assert np.isfinite(array).all()
        assert np.array_equal(rounded(array.astype(np.float64), dtype), array)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_subnormal_input_is_subnormal(dtype: str) -> None:
    """The subnormal regime lies below the smallest normal number, and is not all zero."""
    case = Case("tanh", 1, 1, True, 3, 4, 5, 6, dtype, input="subnormal")
    smallest_normal = 1 / ROUNDING[dtype].largest * 4
    found = np.abs(case.problem().input.astype(np.float64))
    assert 0 < found.max() < smallest_normal


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "expected nonlinearity, L, D, T, N, I, H, dtype, weights, input, seed too, got ''"),
        (LINE.replace("T18 ", ""), "expected T too"),
        (LINE.replace("T18", "T0"), "expected T from 1 to 100000, got 0"),
        (LINE.replace("D2", "D3"), "expected D from 1 to 2, got 3"),
        (LINE + " T4", "expected T once, got 'T4' as well"),
        (LINE.replace("tanh", "gelu"), "got 'gelu'"),
        (LINE.replace("float32", "int8"), "got 'int8'"),
        (LINE.replace("chaotic", "odd"), "expected weights to be one of torch, contracting,"),
        (LINE + " unbatched", "expected N1, as it is unbatched, got N3"),
        (LINE.replace("seed=81", "seed=-1"), "got 'seed=-1'"),
        (LINE + " loss=none", "expected loss to be one of both, output, h_n, got 'none'"),
    ],
)
def test_a_line_that_is_no_case_is_refused_in_one_sentence(line: str, complaint: str) -> None:
    """The message says what was expected and what got."""
    with pytest.raises(ValueError, match=re.escape(complaint)):
        Case.parse(line)


def test_a_line_shows_every_field() -> None:
    """Cases that differ in any field have different lines."""
    base = Case("tanh", 2, 2, True, 3, 1, 4, 5, "float32")
    others = {
        "nonlinearity": "relu", "L": 3, "D": 1, "bias": False, "T": 4, "N": 2, "I": 5, "H": 6,
        "dtype": "float64", "batch_first": True, "unbatched": True, "weights": "zero",
        "input": "large", "h_0": True, "loss": "h_n", "variant": "a",
        "history": "call", "seed": 1,
    }  # fmt: skip
    assert set(others) == {field.name for field in fields(Case)}
    lines = {str(Case(**(base.__dict__ | {name: value}))) for name, value in others.items()}
    assert len(lines | {str(base)}) == len(others) + 1


@given(case=cases())
@settings(max_examples=20)
def test_arrays_depend_on_the_line_alone(case: Case) -> None:
    """Drawn twice, the arrays are the same to the bit."""
    assert digest(case) == digest(Case.parse(str(case)))
