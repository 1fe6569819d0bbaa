"""Judge a peer's results before they are timed, by the reference's bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rnn_ref.functional import prepare
from rnn_ref.judging.check import check, posed
from rnn_ref.judging.comparison import compare_gradients
from rnn_ref.judging.failures import about_comparisons
from rnn_ref.judging.oracle import Oracle
from rnn_ref.running.bench.workload import NAMES, Network, Passes

STEPS = 2
SMALL = 2**17


class Wrong(Exception):
    """A peer's result is over its bound."""


def require_right(name: str, net: Network, passes: Passes) -> None:
    """Raise Wrong if a peer's results are over their bounds.

    The first steps and the last ones are judged, and at a small shape the gradients.
    """
    output = passes.read(passes.forward())
    verdicts = [check(output[:STEPS], None, net.x[:STEPS], net.parameters)]
    if net.T > STEPS:
        before, x = output[None, -STEPS - 1], net.x[-STEPS:]
        verdicts.append(check(output[-STEPS:], None, x, net.parameters, before))
    faults = [str(verdict) for verdict in verdicts if not verdict.conforms]
    if passes.both and net.T * net.N * net.H * net.I <= SMALL:
        faults += wrong_gradients(net, [passes.read(gradient) for gradient in passes.both()])
    if faults:
        raise Wrong(f"{name}, T, N, I, H = {net[:4]}: {faults[0]}")


def wrong_gradients(net: Network, gradients: list[Any]) -> list[str]:
    """Say which gradients, in the order of Passes, are over their bounds."""
    read, layout, x, h_0, _ = prepare(
        net.x, net.parameters, None, nonlinearity="tanh", batch_first=False
    )
    problem = posed(read, layout, x, h_0, net.parameters, "tanh")
    problem = replace(problem, h_0=None, grad_output=net.dy, grad_h_n=net.dh_n)
    got = dict(zip(("input", *NAMES), gradients, strict=True))
    comparisons = compare_gradients(problem, got, Oracle(problem).gradients())
    return [about_comparisons(comparisons)] if any(c.over for c in comparisons) else []
