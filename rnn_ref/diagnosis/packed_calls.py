"""What may be wrong with a call with packed sequences, where a call with a whole batch is right.

Each sequence is a network's call by itself, with its own length and h_0. What is wrong is one
of the changes of such a call, or sequences that are taken for one another, or padding that is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn_ref.bridge import to_array
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.budget import Budget
from rnn_ref.diagnosis.changes import Expected, Hypothesis, results_of
from rnn_ref.diagnosis.draws import Sizes, sized
from rnn_ref.diagnosis.experiment import WRONG_CASES, Diagnosis
from rnn_ref.diagnosis.hypotheses.results import wide_hypotheses
from rnn_ref.diagnosis.trial import distinct_elements, over
from rnn_ref.judging.failures import SubjectFault
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import Subject

LENGTHS = ((3, 6, 1, 4), (2, 5, 7, 3), (6, 4, 4, 1))
"""The lengths of the sequences of each batch; in the last they are sorted."""

SECONDS = 2.0
"""How long one diagnosis may take."""


@dataclass
class Packed:
    """One call with packed sequences: what was got, and what each sequence makes alone."""

    problem: Problem
    lengths: tuple[int, ...]
    output: Any
    h_n: Any

    @cached_property
    def order(self) -> list[int]:
        """The sequences from the longest to the shortest, as torch sorts them."""
        return torch.tensor(self.lengths).sort(descending=True).indices.tolist()

    def alone(self, n: int, *, row_of_h_0: int | None = None, steps: int | None = None) -> Problem:
        """Make the problem of one sequence, from a row of h_0, with zeros up to some steps."""
        p, length = self.problem, self.lengths[n]
        x = np.zeros((steps or length, 1, p.input.shape[2]), p.input.dtype)
        x[:length, 0] = p.input[:length, n]
        row = n if row_of_h_0 is None else row_of_h_0
        h_0 = None if p.h_0 is None else p.h_0[:, row : row + 1]
        return replace(p, input=x, h_0=h_0, grad_output=None, grad_h_n=None)

    def got(self, n: int) -> dict[str, Any]:
        """Take what was got of one sequence."""
        return {"output": self.output[: self.lengths[n], n : n + 1], "h_n": self.h_n[:, n : n + 1]}

    def over(self, n: int, expected: Expected) -> dict[str, Any]:
        """Tell of each element of one sequence whether it is over a bound."""
        return {name: over(got, expected[name]) for name, got in self.got(n).items()}

    @cached_property
    def right(self) -> list[Expected]:
        """What is expected of each sequence."""
        return [results_of(Oracle(self.alone(n))) for n in range(len(self.lengths))]

    @cached_property
    def wrong(self) -> list[int]:
        """How many elements of each sequence are wrong."""
        return [count(self.over(n, expected)) for n, expected in enumerate(self.right)]

    def distinct(self, n: int, expected: Expected) -> int:
        """Count the wrong elements of one sequence of which something else is expected."""
        right, wrong = self.right[n], self.over(n, self.right[n])
        return sum(distinct_elements(wrong[m], expected[m], right[m]) for m in wrong)


def count(masks: dict[str, Any]) -> int:
    """Count the elements that are chosen."""
    return sum(int(mask.sum()) for mask in masks.values())


WITH_PACKED = "with packed sequences, "
"""How the sentence begins of what may be wrong with a call of any kind."""

Expects = Callable[[Packed, int], Expected | None]
"""What a hypothesis expects of one sequence; None where it says nothing of it."""


def hypotheses(packed: Packed) -> Iterator[tuple[str, Expects]]:
    """List what may be wrong with packed sequences, as sentences."""
    p = packed.problem
    if p.h_0 is not None:
        not_put = "is not put in the order in which packed sequences are sorted"
        yield f"h_0 {not_put}", other_h_0
        for d, name in enumerate(("forward", "reverse") if p.D == 2 else ()):
            yield f"h_0 of the {name} direction {not_put}", partial(other_h_0, directions=(d,))
        yield "neither h_0 nor h_n is in the order of the packed sequences", neither
    if p.h_0 is not None and p.D == 2:
        yield "in reverse, packed sequences that end before the longest start from zero", joining
    yield "h_n of packed sequences is left in the order in which they are sorted", other_h_n
    yield "h_n of packed sequences is put back by their order, not by its inverse", twice_sorted
    read = "h_n of packed sequences is read where the longest ends: shorter ones have zeros"
    yield read, partial(zero_h_n, directions=range(p.D))
    if p.D == 2:
        yield read.replace("h_n", "the forward h_n"), partial(zero_h_n, directions=(0,))
    if p.L == 1:
        both = "packed sequences run on, with zeros, to the end of the longest"
        yield both, partial(run_on, directions=range(p.D))
        if p.D == 2:
            words = "the reverse direction of packed sequences begins at the end of the longest"
            yield f"{words}, with zeros", partial(run_on, directions=(1,))
            forward = "the forward direction of packed sequences runs on, with zeros, to the end"
            yield f"{forward} of the longest", partial(run_on, directions=(0,))
    longest = packed.order[0]
    for hypothesis in wide_hypotheses(packed.alone(longest)):
        sentence = hypothesis.sentence
        yield WITH_PACKED + sentence, partial(changed_alone, sentence=sentence)


def changed_alone(packed: Packed, n: int, sentence: str) -> Expected | None:
    """Change the call of each sequence by itself."""
    alone = packed.alone(n)
    found: dict[str, Hypothesis] = {h.sentence: h for h in wide_hypotheses(alone)}
    return found[sentence].expected(Oracle(alone)) if sentence in found else None


def other_h_0(packed: Packed, n: int, directions: tuple[int, ...] = (0, 1)) -> Expected:
    """Start some directions of each sequence from the row of h_0 where it is sorted to."""
    own, moved = packed.alone(n), packed.alone(n, row_of_h_0=packed.order.index(n))
    if own.h_0 is not None and moved.h_0 is not None:
        others = np.isin(np.arange(own.L * own.D) % own.D, directions)[:, None, None]
        own = replace(own, h_0=np.where(others, moved.h_0, own.h_0))
    return results_of(Oracle(own))


def joining(packed: Packed, n: int) -> Expected:
    """Start the reverse direction of each sequence but the longest from zero."""
    alone = packed.alone(n)
    if alone.h_0 is not None and packed.lengths[n] < max(packed.lengths):
        forward = (np.arange(alone.L * alone.D) % alone.D == 0)[:, None, None]
        alone = replace(alone, h_0=np.where(forward, alone.h_0, 0).astype(alone.h_0.dtype))
    return results_of(Oracle(alone))


def other_h_n(packed: Packed, n: int) -> Expected:
    """Give each sequence the h_n of that which is sorted to its place."""
    return packed.right[n] | {"h_n": packed.right[packed.order[n]]["h_n"]}


def twice_sorted(packed: Packed, n: int) -> Expected:
    """Sort h_n, which is in the order of the sorted sequences, once more."""
    return packed.right[n] | {"h_n": packed.right[packed.order[packed.order[n]]]["h_n"]}


def neither(packed: Packed, n: int) -> Expected:
    """Start and end each sequence in the rows in which they are sorted."""
    return other_h_0(packed, n) | {"h_n": other_h_0(packed, packed.order[n])["h_n"]}


def zero_h_n(packed: Packed, n: int, directions: range | tuple[int, ...]) -> Expected:
    """Give sequences that end before the longest an h_n of zeros in some directions."""
    right, D = packed.right[n], packed.problem.D
    if packed.lengths[n] == max(packed.lengths):
        return right
    h_n = right["h_n"].stored
    kept = np.isin(np.arange(len(h_n)) % D, directions, invert=True)[:, None, None]
    return right | {"h_n": chosen(kept, h_n, (h_n * 0).stored)}


def run_on(packed: Packed, n: int, directions: range | tuple[int, ...]) -> Expected:
    """Run some directions of a single layer as far as the longest sequence, over zeros."""
    longer = results_of(Oracle(packed.alone(n, steps=max(packed.lengths))))
    own, H = packed.right[n], packed.problem.H
    output, h_n = own["output"].stored, own["h_n"].stored
    for d in directions:
        units = np.arange(output.shape[2]) // H == d
        output = chosen(units, longer["output"].stored[: len(output)], output)
        h_n = chosen((np.arange(len(h_n)) == d)[:, None, None], longer["h_n"].stored, h_n)
    return {"output": output, "h_n": h_n}


def chosen(mask: Any, one: Any, other: Any) -> Any:
    """Take the elements of one array where a mask says so, else those of another."""
    value = np.where(mask, one.value, other.value)
    error = np.where(mask, one.error, other.error)
    return type(one)(value, error, rounding=one.rounding, whole=False)


def fits(packed: Packed, expects: Expects) -> bool:
    """Tell whether a hypothesis explains a call: the longest sequence is looked at first.

    Of most of what is wrong it must expect something else; a bound that is wide explains nothing.
    """
    distinct = 0
    with np.errstate(all="ignore"):
        for n in packed.order:
            expected = expects(packed, n)
            if packed.wrong[n] if expected is None else count(packed.over(n, expected)):
                return False
            distinct += packed.distinct(n, expected) if expected else 0
    return 2 * distinct > sum(packed.wrong)


def about_packed_calls(subject: Subject, case: Case) -> Diagnosis | None:
    """Say what a call with packed sequences computes in place of an RNN.

    Return None if none is wrong. Raises nothing, whatever the subject raises.
    """
    budget, found = Budget(SECONDS), None
    for form in dict.fromkeys((replace(case, L=1), case)):
        calls = [packed_call(subject, form, seed, of) for seed, of in enumerate(LENGTHS, start=60)]
        wrong = [call for call in calls if call is not None and any(call.wrong)]
        if len(wrong) < WRONG_CASES:
            continue
        tried = 0
        left: list[str] = []
        for sentence, expects in hypotheses(wrong[0]):
            if not budget.left:  # what is not tried may fit as well
                left.clear()
                break
            tried += 1
            left += [sentence] if all(fits(call, expects) for call in wrong) else []
        elements = sum(sum(call.wrong) for call in wrong)
        total = sum(call.output.size + call.h_n.size for call in wrong)
        stated = tuple(left) if len(left) == 1 else ()
        found = Diagnosis("packed sequences", stated, elements, total, len(wrong), tried)
        if stated:
            return replace(found, base=stated[0].removeprefix(WITH_PACKED))
    return found


def packed_call(subject: Subject, case: Case, seed: int, lengths: tuple[int, ...]) -> Packed | None:
    """Call a fresh module with packed sequences; None if it raises."""
    sizes = Sizes(max(lengths), len(lengths), 4, 5)
    problem = subject.problem(sized(replace(case, unbatched=False), sizes, seed, plain=True).case)
    leaves, first = subject.leaves(problem), problem.layout.batch_first
    of = torch.tensor(lengths)
    batch = pack_padded_sequence(leaves.pop("input"), of, first, enforce_sorted=False)
    try:
        module = subject.build(problem)
        with torch.no_grad(), subject.calling("the call with a packed sequence"):
            returned, last = module(batch, *leaves.values())
            output, _ = pad_packed_sequence(returned, first)
            y, h_n = problem.layout.to_steps(to_array(output)), to_array(last)
    except SubjectFault:
        return None
    right = y.shape == problem.output_shape and h_n.shape == problem.h_n_shape
    return Packed(problem, lengths, y, h_n) if right else None
