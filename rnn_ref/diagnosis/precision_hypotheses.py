"""What may be rounded too much: a dtype coarser than the case's, or an inaccurate tanh."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from rnn_ref.arithmetic.dtypes import ROUNDING, Floats, rounded
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import (
    Change,
    Expected,
    Hypothesis,
    Place,
    changed,
    error_of,
    replaced,
    results_of,
    value_of,
)
from rnn_ref.judging.oracle import Oracle
from rnn_ref.reference import Activation, Array, Weights, in_reading_order, run

LARGEST_ERROR = 2.0**-13
"""The largest relative error that is taken for one of tanh."""

COARSER = ("float32", "float16", "bfloat16")
"""The dtypes that numbers of a finer one are rounded to, from the finest."""


def to(dtype: str, a: Floats) -> Floats:
    """Round an array to a coarser dtype, in its own."""
    with np.errstate(over="ignore"):
        return rounded(np.asarray(a, np.float64), dtype).astype(a.dtype)


def coarser(p: Problem) -> list[str]:
    """List the dtypes that are coarser than the problem's."""
    return [dtype for dtype in COARSER if ROUNDING[dtype].u > p.rounding.u]


def precision_hypotheses(p: Problem) -> list[Hypothesis]:
    """List losses of precision; of those that fit, the first is meant."""
    return [
        *exactly_rounded(p),
        *rounded_output(p),
        *inexact_output(p),
        *rounded_states(p),
        *inaccurate(p, 8 * p.rounding.u, 32 * p.rounding.u),
        *inaccurate_near_0(p),
        *inaccurate(p, 64 * p.rounding.u, LARGEST_ERROR),
        *rounded_factors(p),
        *flushed(p),
    ]


def exactly_rounded(p: Problem) -> Iterator[Hypothesis]:
    """List the roundings of arguments, which leave nothing open."""
    for dtype in coarser(p):
        x = to(dtype, p.input)
        weights = {name: to(dtype, a) for name, a in p.parameters.items()}
        yield changed(
            f"the input is rounded to {dtype}",
            Change(problem=lambda p, x=x: replace(p, input=x)),  # type: ignore[misc]
        )
        yield changed(
            f"the weights are rounded to {dtype}",
            Change(problem=lambda p, weights=weights: replace(p, parameters=weights)),  # type: ignore[misc]
        )
        biases = {n: a if a.ndim == 2 else to(dtype, a) for n, a in p.parameters.items()}
        yield changed(
            f"the biases are rounded to {dtype}",
            Change(problem=lambda p, biases=biases: replace(p, parameters=biases)),  # type: ignore[misc]
        )
        yield changed(
            f"the sum of both biases is rounded to {dtype}",
            Change(problem=lambda p, dtype=dtype: with_summed_biases(p, dtype)),  # type: ignore[misc]
        )
        yield changed(
            f"input and weights are rounded to {dtype}",
            Change(
                problem=lambda p, x=x, weights=weights: replace(p, input=x, parameters=weights)  # type: ignore[misc]
            ),
        )


def with_summed_biases(p: Problem, dtype: str) -> Problem:
    """Put the rounded sum of both biases in bias_ih, and zero in bias_hh."""
    parameters = dict(p.parameters)
    for name in [name for name in parameters if name.startswith("bias_ih")]:
        other = name.replace("bias_ih", "bias_hh")
        parameters[name] = to(dtype, parameters[name] + parameters[other])
        parameters[other] = 0 * parameters[other]
    return replace(p, parameters=parameters)


def inaccurate_near_0(p: Problem) -> Iterator[Hypothesis]:
    """List a tanh that is computed as a difference: its error near 0 is not relative to it."""
    if p.nonlinearity == "tanh":
        near_0 = partial(wider, absolute=8 * p.rounding.u)
        yield changed(
            "tanh is inaccurate near 0: its error is not relative to it", Change(activation=near_0)
        )._replace(widens=True, of_tanh=True)


def inaccurate(p: Problem, least: float, largest: float) -> Iterator[Hypothesis]:
    """List nonlinearities that are less accurate than a subject's may be, by powers of 2.

    relu rounds nothing, and of its errors a small one alone is worth a sentence.
    """
    relu = p.nonlinearity == "relu"
    error = p.rounding.u * 2 if relu and least < 16 * p.rounding.u else least
    while error <= (4 * p.rounding.u if relu else largest):
        yield changed(
            f"{p.nonlinearity} has a relative error of up to {error:.2g}",
            Change(activation=partial(wider, relative=error)),
        )._replace(widens=True, of_tanh=not relu)
        error *= 2


def flushed(p: Problem) -> Iterator[Hypothesis]:
    """List thresholds below which numbers may be taken for zero."""
    for dtype in ("float32", "float16") if p.dtype == "float64" else ("float32",):
        flush = ROUNDING[dtype].smallest_normal
        rounding = replace(p.rounding, flush=max(flush, p.rounding.smallest_normal))
        yield Hypothesis(
            f"numbers below {rounding.flush:.2g} are taken for zero",
            lambda oracle, r=rounding: results_of(Oracle(replace(oracle.problem, rounding=r))),  # type: ignore[misc]
            widens=True,
            zeros=True,
        )


def wider(own: Activation, relative: float = 0.0, absolute: float = 0.0) -> Activation:
    """Give a nonlinearity's results a further error."""

    def value(a: Array) -> Array:
        y = own.value(a)
        error = error_of(y) + relative * np.abs(value_of(y)) + absolute
        return replaced(y, value_of(y), error)

    return own._replace(value=value)


def rounded_output(p: Problem) -> Iterator[Hypothesis]:
    """List the roundings of the output alone, beside a right h_n."""
    for dtype in reversed(coarser(p)):
        r = ROUNDING[dtype]
        hypothesis = off_in_output(f"the output is rounded to {dtype}", 2 * r.u, r.eta)
        yield hypothesis._replace(few_digits=dtype)


def inexact_output(p: Problem) -> Iterator[Hypothesis]:
    """List relative errors of the output alone, beside a right h_n, by powers of 2."""
    relative = 2 * p.rounding.u
    while relative <= LARGEST_ERROR:
        sentence = f"the output, unlike h_n, has a relative error of up to {relative:.2g}"
        yield off_in_output(sentence, relative)
        relative *= 2


def off_in_output(sentence: str, relative: float, absolute: float = 0.0) -> Hypothesis:
    """Give the output a further error, and h_n none."""

    def expected(oracle: Oracle) -> Expected:
        y, h_n = oracle.results
        error = error_of(y) + relative * np.abs(value_of(y)) + absolute
        return {"output": replaced(y, value_of(y), error), "h_n": h_n}

    return Hypothesis(sentence, expected, arrays=frozenset(["output"]), widens=True)


def rounded_states(p: Problem) -> Iterator[Hypothesis]:
    """List the roundings of every state: these show in the states' digits."""
    for dtype in reversed(coarser(p)):
        r = ROUNDING[dtype]
        for sentence, relative in (
            (f"every state is rounded to {dtype}", 2 * r.u),
            (f"{p.nonlinearity} is computed in {dtype}", 8 * r.u),
        ):
            activation = partial(wider, relative=relative, absolute=r.eta)
            yield changed(sentence, Change(activation=activation))._replace(
                widens=True, few_digits=dtype
            )


def rounded_factors(p: Problem) -> Iterator[Hypothesis]:
    """List the roundings of what products are taken of: of what is read, or of all factors.

    The first layer's arguments are rounded exactly, so that its first step is sharp; what is
    computed, and then rounded, has an error.
    """
    for dtype in coarser(p):
        u = ROUNDING[dtype].u
        x, h = to(dtype, p.input), None if p.h_0 is None else to(dtype, p.h_0)
        parameters = {
            name: to(dtype, a) if name.startswith("weight") else a
            for name, a in p.parameters.items()
        }
        reads = partial(inexact_input, u=u)
        yield changed(
            f"what each layer reads is rounded to {dtype}",
            Change(problem=lambda p, x=x: replace(p, input=x), reads=reads),  # type: ignore[misc]
        )._replace(widens=True, both_signs=True)
        factors = lambda p, x=x, h=h, w=parameters: replace(p, input=x, h_0=h, parameters=w)  # noqa: E731
        yield changed(
            f"products are taken of numbers rounded to {dtype}",
            Change(problem=factors, reads=reads, runs=partial(inexact_states, u=u)),
        )._replace(widens=True, both_signs=True)


def inexact_input(x: Array, place: Place, u: float) -> Array:
    """Give what a layer above the first reads the error of a rounding."""
    if place.l > 0:
        x = replaced(x, value_of(x), error_of(x) + 2 * u * np.abs(value_of(x)))
    return in_reading_order(x, place.d)


def inexact_states(x: Array, h: Array, w: Weights, f: Activation, u: float) -> Array:
    """Run with an error of rounding of each state that is read, but for h_0.

    The error is put on the weights that multiply it.
    """
    first = run(x[:1], h, w, f)
    if len(x) == 1:
        return first
    W_hh = replaced(w.W_hh, value_of(w.W_hh), 2 * u * np.abs(value_of(w.W_hh)))
    return np.concatenate([first, run(x[1:], first[-1], w._replace(W_hh=W_hh), f)])
