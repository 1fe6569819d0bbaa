"""What may be wrong from some step on: the first that is wrong in one case of a single layer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial

import numpy as np

from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import (
    BackwardChange,
    Change,
    Hypothesis,
    changed,
    changed_backward,
)
from rnn_ref.diagnosis.hypotheses.backward import in_parts
from rnn_ref.diagnosis.hypotheses.measured import Seen
from rnn_ref.diagnosis.hypotheses.results import about_steps_from, restarted_once
from rnn_ref.diagnosis.regions import shape_of


def from_a_step(seen: Seen) -> Iterator[Hypothesis]:
    """List what may be wrong from the first wrong step on, as the forward direction reads them.

    Going back, that is the last step whose input has a wrong gradient.
    """
    if seen.problem.L > 1:
        return
    if "output" in seen.wrong:
        states = seen.wrong["output"].reshape(shape_of("output", seen.problem))
        steps = np.flatnonzero(states[:, :, 0].any(axis=(1, 2)))
        if steps.size and steps[0] > 1:
            yield from about_results(seen.problem, int(steps[0]))
    elif seen.problem.D == 1 and "input" in seen.wrong:
        steps = np.flatnonzero(seen.wrong["input"].any(axis=(1, 2)))
        if steps.size:
            yield from about_gradients(int(steps[-1]) + 1)


def about_results(p: Problem, k: int) -> Iterator[Hypothesis]:
    """List what may be wrong from step k on of the results."""
    for start, by in {"zero": 0.0, **({} if p.h_0 is None else {"h_0": 1.0})}.items():
        anew = partial(restarted_once, at=k, by=by)
        yield changed(f"the state is reset to {start} at step {k}", Change(runs=anew))
    for sentence, runs in about_steps_from(p, k):
        yield changed(sentence, Change(runs=runs))


def about_gradients(k: int) -> Iterator[Hypothesis]:
    """List what may be wrong before step k of the gradients."""
    change = BackwardChange(differentiates=partial(in_parts, first=k, every=sys.maxsize))
    yield changed_backward(f"the recurrent gradient is cut at step {k}", change)
