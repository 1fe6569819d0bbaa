"""The reference against independent truths: numbers done by hand, exact ones, and calculus."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
from hypothesis import given, settings

import rnn_ref
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.functional import Gradients
from rnn_ref.parameters import Layout, names, read
from rnn_ref.reference import ACTIVATIONS, backward, forward
from rnn_ref.strategies import cases

to_fraction = np.vectorize(Fraction, otypes=[object])
to_arb = np.vectorize(lambda x: flint.arb(float(x)), otypes=[object])

BY_HAND = {
    "weight_ih_l0": np.array([[2.0]]),
    "weight_hh_l0": np.array([[3.0]]),
    "bias_ih_l0": np.array([5.0]),
    "bias_hh_l0": np.array([-1.0]),
}


def test_two_steps_of_relu_are_as_done_by_hand() -> None:
    """h_1 = 2*1 + 5 + 3*0 - 1 = 6; h_2 = relu(2*(-20) + 5 + 3*6 - 1) = relu(-18) = 0."""
    output, h_n = rnn_ref.rnn(np.array([[[1.0]], [[-20.0]]]), BY_HAND, nonlinearity="relu")
    assert output.ravel().tolist() == [6, 0]
    assert h_n.tolist() == [[[0]]]


def test_gradients_of_two_steps_are_as_done_by_hand() -> None:
    """With x = (1, 1), h_0 = 1: h = 9, 33; dL/dW_hh of h_2 is h_1 + W_hh h_0 = 9 + 3 = 12."""
    x, h_0 = np.ones((2, 1, 1)), np.ones((1, 1, 1))
    gradients = rnn_ref.rnn_backward(None, h_0, x, BY_HAND, h_0, nonlinearity="relu")
    assert gradients.parameters["weight_hh_l0"].tolist() == [[12]]
    assert gradients.parameters["weight_ih_l0"].tolist() == [[1 + 3]]
    assert gradients.parameters["bias_hh_l0"].tolist() == [1 + 3]
    assert gradients.input.ravel().tolist() == [3 * 2, 2]
    assert gradients.h_0.ravel().tolist() == [9]


def test_reverse_direction_ends_at_the_first_step() -> None:
    """h_n holds forward's state at T-1, then reverse's at 0; output has both side by side."""
    both = BY_HAND | {f"{name}_reverse": array for name, array in BY_HAND.items()}
    output, h_n = rnn_ref.rnn(np.array([[[1.0]], [[2.0]]]), both, nonlinearity="relu")
    assert output[:, 0].tolist() == [[6, 6 + 3 * 8], [26, 8]]
    assert h_n.ravel().tolist() == [26, 30]


def run(problem: Problem, take: Any) -> tuple[Any, Any]:
    """output and h_n of the reference on one kind of number."""
    parameters = {name: take(array) for name, array in problem.parameters.items()}
    h_0 = None if problem.h_0 is None else take(problem.h_0)
    return rnn_ref.rnn(take(problem.input), parameters, h_0, nonlinearity=problem.nonlinearity)


def differentiate(problem: Problem) -> Gradients:
    return rnn_ref.rnn_backward(
        problem.grad_output,
        problem.grad_h_n,
        problem.input,
        problem.parameters,
        problem.h_0,
        nonlinearity=problem.nonlinearity,
    )


small = cases(
    dtypes=("float64",), num_layers=(1, 2, 3), inputs=("normal",), weights=("torch", "contracting")
).filter(lambda case: case.T * case.N * case.H * case.I <= 500)


@given(case=small)
@settings(max_examples=60, deadline=None)
def test_gradients_agree_with_complex_step_derivatives(case: Case) -> None:
    """A gradient, along a drawn direction, is the imaginary part of the loss a tiny step aside."""
    problem, h = case.problem(), 1e-200
    aside = Case.parse(str(case).replace(f"seed={case.seed}", f"seed={case.seed + 1}")).problem()
    gradients = differentiate(problem)
    zero = np.zeros((problem.L * problem.D, problem.input.shape[1], problem.H))
    h_0, along_h_0 = (zero if p.h_0 is None else p.h_0 for p in (problem, aside))
    output, h_n = rnn_ref.rnn(
        problem.input + 1j * h * aside.input,
        {n: a + 1j * h * aside.parameters[n] for n, a in problem.parameters.items()},
        h_0 + 1j * h * along_h_0,
        nonlinearity=problem.nonlinearity,
    )
    loss = 0j
    if problem.grad_output is not None:
        loss += (problem.grad_output * output).sum()
    if problem.grad_h_n is not None:
        loss += (problem.grad_h_n * h_n).sum()
    terms = [gradients.input * aside.input, gradients.h_0 * along_h_0]
    terms += [gradients.parameters[n] * aside.parameters[n] for n in problem.parameters]
    along = sum(term.sum() for term in terms)
    scale = sum(np.abs(term).sum() for term in terms)
    assert abs(loss.imag / h - along) <= 1e-12 * scale


@given(case=small)
@settings(max_examples=40, deadline=None)
def test_floats_agree_with_rigorous_enclosures(case: Case) -> None:
    """In float64 the reference is within 1e-10 of itself on rigorous enclosures."""
    problem = case.problem()
    for got, exact in zip(run(problem, np.asarray), run(problem, to_arb), strict=True):
        middle = np.vectorize(lambda x: float(flint.arb(x).mid()), otypes=[float])(exact)
        assert np.abs(got - middle).max() <= 1e-10


whole = cases(
    dtypes=("float64",), nonlinearities=("relu",), weights=("sparse",), inputs=("integer",)
).filter(lambda case: case.T * case.N * case.H * case.I * case.L <= 1000)


@given(case=whole)
@settings(max_examples=40, deadline=None)
def test_whole_relu_networks_equal_exact_fractions(case: Case) -> None:
    """On whole numbers that float64 holds, the floats are the fractions."""
    problem = case.problem()
    floats, fractions = run(problem, np.asarray), run(problem, to_fraction)
    for got, exact in zip(floats, fractions, strict=True):
        small_enough = np.abs(exact).max() < 2**50
        assert not small_enough or (to_fraction(got) == exact).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_results_keep_the_dtype_given(dtype: str) -> None:
    """Outputs and gradients have the dtype of the arguments, with an h_0 and without."""
    problem = Case("tanh", 2, 2, True, 3, 2, 4, 5, "float32", h_0=True).problem()

    def take(array: Any) -> Any:
        return array.astype(dtype)

    assert {result.dtype for result in run(problem, take)} == {np.dtype(dtype)}
    gradients = rnn_ref.rnn_backward(
        None,
        take(problem.grad_h_n),
        take(problem.input),
        {n: take(a) for n, a in problem.parameters.items()},
    )
    found = {gradients.input.dtype, gradients.h_0.dtype} | {
        a.dtype for a in gradients.parameters.values()
    }
    assert found == {np.dtype(dtype)}


@pytest.mark.parametrize("layout", [Layout(True, False), Layout(False, True), Layout(True, True)])
def test_layouts_are_rearrangements_of_steps_first(layout: Layout) -> None:
    """batch_first and unbatched change where numbers stand, in results and in gradients alike."""
    problem = Case("tanh", 2, 2, True, 4, 1, 3, 5, "float64", h_0=True).problem()
    output, h_n = run(problem, np.asarray)
    arguments = [
        layout.from_steps(problem.input),
        problem.parameters,
        layout.from_rows(problem.h_0),
    ]
    got = rnn_ref.rnn(*arguments, batch_first=layout.batch_first)
    assert np.array_equal(got[0], layout.from_steps(output))
    assert np.array_equal(got[1], layout.from_rows(h_n))
    gradients = rnn_ref.rnn_backward(
        layout.from_steps(problem.grad_output), layout.from_rows(problem.grad_h_n),
        *arguments, batch_first=layout.batch_first,
    )  # fmt: skip
    expected = differentiate(problem)
    assert np.array_equal(gradients.input, layout.from_steps(expected.input))
    assert np.array_equal(gradients.h_0, layout.from_rows(expected.h_0))


def test_gradient_names_are_those_of_the_parameters() -> None:
    """rnn_backward returns a gradient of the same shape for each parameter, in torch's order."""
    problem = Case("tanh", 2, 2, True, 3, 2, 4, 5, "float64").problem()
    found = differentiate(problem).parameters
    assert tuple(found) == names(2, 2, True)
    assert all(found[name].shape == array.shape for name, array in problem.parameters.items())


def test_an_empty_batch_gives_empty_results() -> None:
    """N = 0 is allowed: results of the right shape, and zero gradients."""
    output, h_n = rnn_ref.rnn(np.zeros((3, 0, 1)), BY_HAND)
    assert (output.shape, h_n.shape) == ((3, 0, 1), (1, 0, 1))
    gradients = rnn_ref.rnn_backward(None, None, np.zeros((3, 0, 1)), BY_HAND)
    assert gradients.parameters["weight_ih_l0"].tolist() == [[0]]


def test_relu_keeps_nan() -> None:
    """A NaN in the input reaches every later state of its row, through relu too."""
    output, _ = rnn_ref.rnn(np.array([[[1.0]], [[np.nan]], [[1.0]]]), BY_HAND, nonlinearity="relu")
    assert np.isnan(output.ravel()).tolist() == [False, True, True]


LENGTHS = [3, 1, 5]


def packed_batch() -> tuple[Any, dict[str, Any], Any]:
    """A deep bidirectional network's parameters, input and h_0, in float64."""
    case = Case("tanh", 2, 2, True, 5, 3, 2, 4, "float64", h_0=True, seed=5)
    problem = case.problem()
    return problem.input, problem.parameters, problem.h_0


def test_with_lengths_each_sequence_is_run_alone() -> None:
    """What lies beyond a sequence's end is not read, its output is 0, and gradients add up."""
    x, parameters, h_0 = packed_batch()
    for n, length in enumerate(LENGTHS):
        x[length:, n] = np.nan
    output, h_n = rnn_ref.rnn(x, parameters, h_0, lengths=LENGTHS)
    ones = np.ones_like(output), np.ones_like(h_n)
    found = rnn_ref.rnn_backward(*ones, x, parameters, h_0, lengths=LENGTHS)
    total = {name: np.zeros_like(array) for name, array in parameters.items()}
    for n, length in enumerate(LENGTHS):
        alone = x[:length, n : n + 1], parameters, h_0[:, n : n + 1]
        y, h = rnn_ref.rnn(*alone)
        assert np.array_equal(output[:length, n : n + 1], y)
        assert not output[length:, n].any()
        assert np.array_equal(h_n[:, n : n + 1], h)
        piece = rnn_ref.rnn_backward(ones[0][:length, :1], ones[1][:, :1], *alone)
        assert np.array_equal(found.input[:length, n : n + 1], piece.input)
        assert not found.input[length:, n].any()
        total = {name: total[name] + piece.parameters[name] for name in total}
    assert all(np.allclose(found.parameters[name], total[name]) for name in total)


@pytest.mark.parametrize("lengths", [[3, 1], [3, 0, 1], [6, 1, 1], [-1, 2, 2]])
def test_lengths_that_do_not_fit_are_refused(lengths: list[int]) -> None:
    """One sentence says what is expected, and what got."""
    x, parameters, h_0 = packed_batch()
    with pytest.raises(ValueError, match=r"lengths: expected 3 numbers of steps from 1 to 5"):
        rnn_ref.rnn(x, parameters, h_0, lengths=lengths)


def test_dropout_masks_gradients_agree_with_complex_step_derivatives() -> None:
    """With masks between layers, forward and backward belong together."""
    x, parameters, h_0 = packed_batch()
    layers, activation = read(parameters).layers, ACTIVATIONS["tanh"]
    mask = np.random.default_rng(1).integers(0, 2, (5, 3, 8)) * 2.0

    def loss(x: Any) -> Any:
        return forward(x, h_0.astype(x.dtype), layers, activation, [mask])[-1].sum()

    states = forward(x, h_0, layers, activation, [mask])
    dx, _, _ = backward(
        np.ones_like(states[-1]), np.zeros_like(h_0), x, h_0, layers, states, activation, [mask]
    )
    step = np.zeros_like(x, dtype=complex)
    step[1, 2, 1] = 1e-30j
    assert np.isclose(loss(x + step).imag / 1e-30, dx[1, 2, 1], rtol=1e-12, atol=0)
