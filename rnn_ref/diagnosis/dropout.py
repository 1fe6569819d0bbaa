"""What may be wrong with dropout: masks are made visible, and their form says what was done.

In a network of identities, output is 1 more than the mask between its two layers, and the
gradient of the input is the mask that backward goes through.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.experiment import Diagnosis
from rnn_ref.judging.chance import as_far_as
from rnn_ref.judging.failures import SubjectFault
from rnn_ref.judging.subject import Run, Subject

PROBABILITIES = (0.25, 0.5)
"""The probabilities of dropout that are tried; a sentence must be true of each."""

LEVEL = 1e-12
"""How unlikely a count of dropped elements must be, to be another one."""

LAYERS = "relu L{} D1 bias T16 N8 I16 H16 {} weights=torch input=normal seed=0"


@dataclass(frozen=True)
class Masks:
    """What calls show at one probability p: each mask is (T, N, H).

    `first` is that of a call in training, `backward` that of its backward pass, `second` that
    of the call after it, `again` of one from the same seed, `eval` of one in eval; `single` has
    what a single layer returns less what it returns without dropout, `single_h_n` its h_n's;
    `deep` is the output of three layers, whose second mask falls on one more than the first.
    """

    p: float
    first: Floats
    backward: Floats
    second: Floats
    again: Floats
    eval: Floats
    single: Floats
    single_h_n: Floats
    deep: Floats

    def drops(self, mask: Floats, p: float) -> bool:
        """Tell whether a mask drops about as many elements as one of probability p would."""
        return as_far_as(int((mask == 0).sum()), mask.size, p) > LEVEL

    def keeps(self, mask: Floats) -> float:
        """Return what a mask multiplies those elements by that it keeps; NaN if not the same."""
        kept = mask[mask != 0]
        same = kept.size and bool((np.abs(kept - kept[0]) <= 1e-5).all())
        return float(kept[0]) if same else np.nan

    @property
    def scale(self) -> float:
        """What is kept is to be multiplied by this."""
        return 1 / (1 - self.p)

    @property
    def right(self) -> bool:
        """Whether the mask of the first call is as it should be, taken by itself."""
        return self.drops(self.first, self.p) and close(self.keeps(self.first), self.scale)


LIKE = 1e-5
"""How near two numbers must be to be one."""


def close(a: float, b: float) -> bool:
    """Tell whether two factors are the same."""
    return abs(a - b) <= LIKE


def shared(axis: int) -> Callable[[Masks], bool]:
    """Tell of masks whether all indices of an axis have the same one, some of it dropped."""
    return lambda m: (
        bool((m.first == m.first.take([0], axis)).all())
        and bool((m.first == 0).any())
        and close(m.keeps(m.first), m.scale)
    )


def shares_layers(m: Masks) -> bool:
    """Tell whether no element is kept by the second mask alone: 1 + scale in the output."""
    both = 1 + m.scale * (1 + m.scale)
    shown = [bool((np.abs(m.deep - value) <= LIKE).any()) for value in (1, 1 + m.scale, both)]
    return shown == [True, False, True]


SENTENCES: dict[str, Callable[[Masks], bool]] = {
    "dropout does nothing in training": lambda m: bool((m.first == 1).all()),
    "elements are dropped in eval too": lambda m: (
        m.right and bool((m.eval == 0).any()) and bool((m.second != m.first).any())
    ),
    "dropout falls on the input of the first layer too": lambda m: bool(
        m.single.any() and m.single_h_n.any()
    ),
    "dropout falls on the output of the last layer too": lambda m: bool(
        m.single.any() and not m.single_h_n.any()
    ),
    "what dropout keeps is not scaled by 1 / (1 - p)": lambda m: (
        m.drops(m.first, m.p) and close(m.keeps(m.first), 1)
    ),
    "what dropout keeps is scaled by 1 - p, not by 1 / (1 - p)": lambda m: (
        m.drops(m.first, m.p) and close(m.keeps(m.first), 1 - m.p)
    ),
    "what dropout keeps is scaled by 1 / p, not by 1 / (1 - p)": lambda m: (
        m.drops(m.first, m.p) and close(m.keeps(m.first), 1 / m.p)
    ),
    "dropout keeps elements with probability p, and does not drop them": lambda m: m.drops(
        m.first, 1 - m.p
    ),
    "all steps share one mask of dropout": shared(0),
    "all rows share one mask of dropout": shared(1),
    "all units share one mask of dropout": shared(2),
    "all layers share one mask of dropout": lambda m: (
        m.right and shares_layers(m) and bool((m.second != m.first).any())
    ),
    "all calls share one mask of dropout": lambda m: (
        m.right and bool((m.second == m.first).all()) and bool((m.again == m.first).all())
    ),
    "masks of dropout do not depend on torch.manual_seed": lambda m: (
        m.right and bool((m.again != m.first).any())
    ),
    "backward goes through no mask of dropout": lambda m: m.right and bool((m.backward == 1).all()),
    "backward goes through another mask of dropout than forward": lambda m: (
        m.right and m.drops(m.backward, m.p) and bool(((m.backward == 0) != (m.first == 0)).any())
    ),
    "backward scales what dropout keeps by another factor than forward": lambda m: (
        m.right
        and bool(((m.backward == 0) == (m.first == 0)).all())
        and not close(m.keeps(m.backward), m.scale)
    ),
}
"""What may be said of dropout, and of which masks it is true at every probability."""


def about_dropout(subject: Subject, dtype: str = "float32") -> Diagnosis | None:
    """Say what is wrong with a subject's dropout; None if no sentence, or several, are true.

    Raises nothing, whatever the subject raises.
    """
    try:
        seen = [masks(subject, p, dtype) for p in PROBABILITIES]
    except SubjectFault:
        return None
    true = [sentence for sentence, holds in SENTENCES.items() if all(map(holds, seen))]
    if len(true) != 1:
        return None
    elements = sum(m.first.size for m in seen)
    return Diagnosis("dropout", tuple(true), elements, elements, len(seen), len(SENTENCES))


def identities(subject: Subject, L: int, dtype: str) -> Problem:
    """Make a network of L layers of identities, on ones; each above the first adds 1."""
    problem = subject.problem(Case.parse(LAYERS.format(L, dtype)))
    own = problem.input.dtype
    parameters = {name: 0 * array for name, array in problem.parameters.items()}
    for l in range(L):
        parameters[f"weight_ih_l{l}"] = np.eye(16, dtype=own)
        parameters[f"bias_ih_l{l}"] = np.full(16, min(l, 1), own)
    ones = np.ones_like(problem.input)
    return replace(problem, parameters=parameters, input=ones, grad_output=ones, grad_h_n=None)


def masks(subject: Subject, p: float, dtype: str) -> Masks:
    """Run a subject with dropout; raise SubjectFault if it raises."""
    deep, single = identities(subject, 2, dtype), identities(subject, 1, dtype)
    deeper = identities(subject, 3, dtype)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        module, alone = subject.build(deep, dropout=p), subject.build(single, dropout=p)

        def run(seed: int | None = None) -> Run:
            if seed is not None:
                torch.manual_seed(seed)
            return subject.run(deep, module, gradients=True)

        first, second, again = run(0), run(), run(0)
        of_single, plain = subject.run(single, alone), subject.run(single)
        of_three = subject.run(deeper, subject.build(deeper, dropout=p))
        with subject.calling("eval"):
            module.eval()
        evaluated = run()
    return Masks(
        p,
        first.output - 1,
        first.gradients["input"],
        second.output - 1,
        again.output - 1,
        evaluated.output - 1,
        of_single.output - plain.output,
        of_single.h_n - plain.h_n,
        of_three.output,
    )
