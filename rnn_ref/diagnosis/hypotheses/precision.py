"""What may be rounded too much: a dtype coarser than the case's, or an inaccurate tanh."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import (
    Change,
    Expected,
    Hypothesis,
    changed,
    error_of,
    replaced,
    results_of,
    stored,
    value_of,
)
from rnn_ref.diagnosis.hypotheses.products import (
    about_products,
    coarser,
    rounded_between,
    rounded_reads,
    rounded_sums,
    to,
)
from rnn_ref.diagnosis.places import parts
from rnn_ref.judging.oracle import Oracle
from rnn_ref.reference import Activation, Array, Weights, run

CHUNKS = (2, 4, 8, 16, 32, 64, 128, 256)
"""How many steps a kernel may take at once."""

CARRIED = 0.2
"""The ratio that some error must reach, of a state that is rounded and read by the next step."""

LARGEST_ERROR = 2.0**-13
"""The largest relative error that is taken for one of tanh."""


def dtypes(p: Problem) -> list[str]:
    """List the dtypes that are coarser than the problem's."""
    return [name for name in coarser(p) if name in ROUNDING]


def precision_hypotheses(p: Problem) -> list[Hypothesis]:
    """List losses of precision; of those that fit, the first is meant."""
    return [
        *exactly_rounded(p),
        *rounded_output(p),
        *inexact_output(p),
        *rounded_states(p),
        *(of_one_layer(p) if p.L == 1 else [*off_by_units(p), *of_layers(p)]),
        *flushed(p),
    ]


def of_layers(p: Problem) -> Iterator[Hypothesis]:
    """List losses of precision in what each layer reads, or in those above the first alone."""
    yield from rounded_between(p)
    for where in parts(p.L, p.D):
        if all(place.l > 0 for place in where.places):
            yield from rounded_reads(p, where)


def of_one_layer(p: Problem) -> list[Hypothesis]:
    """List losses of precision that a single layer shows: in a deeper network they are alike."""
    return [
        *rounded_between_chunks(p),
        *rounded_sums(p),
        *off_by_units(p),
        *inaccurate_near_0(p),
        *about_products(p),
        *inaccurate(p, 64 * p.rounding.u, LARGEST_ERROR),
    ]


def exactly_rounded(p: Problem) -> Iterator[Hypothesis]:
    """List the roundings of arguments, which leave nothing open."""
    for dtype in coarser(p):
        x = to(dtype, p.input)
        weights = {name: to(dtype, a) for name, a in p.parameters.items()}
        yield changed(
            f"the input is rounded to {dtype}",
            Change(problem=lambda p, x=x: replace(p, input=x)),  # type: ignore[misc]
        )._replace(kind=f"input in {dtype}")
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


def off_by_units(p: Problem) -> Iterator[Hypothesis]:
    """List errors of relu of a few units of roundoff, or of tanh in a single layer."""
    if p.nonlinearity == "relu" or p.L == 1:
        yield from inaccurate(p, 8 * p.rounding.u, 32 * p.rounding.u)


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
        )._replace(widens=True, of_tanh=not relu, kind=f"error of {p.nonlinearity}", limit=error)
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
    for dtype in reversed(dtypes(p)):
        r = ROUNDING[dtype]
        hypothesis = off_in_output(f"the output is rounded to {dtype}", 2 * r.u, r.eta)
        yield hypothesis._replace(few_digits=dtype)


def inexact_output(p: Problem) -> Iterator[Hypothesis]:
    """List relative errors of the output alone, beside a right h_n, by powers of 2."""
    relative = 2 * p.rounding.u
    while relative <= LARGEST_ERROR:
        sentence = f"the output, unlike h_n, has a relative error of up to {relative:.2g}"
        yield off_in_output(sentence, relative)._replace(kind="error of output", limit=relative)
        relative *= 2


def off_in_output(sentence: str, relative: float, absolute: float = 0.0) -> Hypothesis:
    """Give the output a further error, and h_n none."""

    def expected(oracle: Oracle) -> Expected:
        y, h_n = oracle.results
        error = error_of(y) + relative * np.abs(value_of(y)) + absolute
        return {"output": replaced(y, value_of(y), error), "h_n": h_n}

    return Hypothesis(sentence, expected, arrays=frozenset(["output"]), widens=True)


def rounded_between_chunks(p: Problem) -> Iterator[Hypothesis]:
    """List roundings of the state that is carried from one chunk of steps to the next."""
    for dtype in reversed(dtypes(p)):
        for k in CHUNKS:
            if k < p.input.shape[0]:
                yield changed(
                    f"the state is rounded to {dtype} every {k} steps",
                    Change(runs=partial(run_in_chunks, every=k, dtype=dtype)),
                )._replace(widens=True, least=CARRIED)


def run_in_chunks(x: Array, h: Array, w: Weights, f: Activation, every: int, dtype: str) -> Array:
    """Run so many steps at a time, and leave room for a rounding of the state between."""
    r, ys = ROUNDING[dtype], []
    for start in range(0, len(x), every):
        ys.append(run(x[start : start + every], h, w, f))
        last = stored(ys[-1][-1])
        error = error_of(last) + 2 * r.u * np.abs(value_of(last)) + r.eta
        h = replaced(last, value_of(last), error)
    return np.concatenate(ys)


def rounded_states(p: Problem) -> Iterator[Hypothesis]:
    """List the roundings of every state: these show in the states' digits."""
    for dtype in reversed(dtypes(p)):
        r = ROUNDING[dtype]
        for sentence, relative in (
            (f"every state is rounded to {dtype}", 2 * r.u),
            (f"{p.nonlinearity} is computed in {dtype}", 8 * r.u),
        ):
            activation = partial(wider, relative=relative, absolute=r.eta)
            yield changed(sentence, Change(activation=activation))._replace(
                widens=True, few_digits=dtype
            )
