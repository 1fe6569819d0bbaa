"""What may be wrong by a constant: a factor, a shift or a limit, measured in one wrong case.

The shortest number that all wrong elements of that case allow becomes part of a sentence,
which must then fit in further cases, of other sizes and seeds, like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.changes import (
    Change,
    Expected,
    Hypothesis,
    changed,
    error_of,
    replaced,
    stored,
    unit_of,
    value_of,
)
from rnn_ref.diagnosis.hypotheses.activation import clipped
from rnn_ref.diagnosis.places import KINDS
from rnn_ref.diagnosis.regions import Region, regions, shape_of
from rnn_ref.judging.oracle import Oracle
from rnn_ref.reference import run

DIGITS = 7
"""The most decimal digits of a constant."""


class Seen(NamedTuple):
    """What was got in one wrong case, what is right, and where these differ; all by name."""

    problem: Problem
    got: Mapping[str, Floats]
    right: Expected
    wrong: Mapping[str, NDArray[np.bool_]]

    def names(self) -> list[str]:
        """List the arrays that are wrong."""
        return [name for name, mask in self.wrong.items() if mask.any()]

    def regions(self, name: str) -> list[Region]:
        """List the regions that may be wrong of an array."""
        return regions(name, self.wrong[name].reshape(shape_of(name, self.problem)))


def are_there(names: Iterable[str], p: Problem) -> bool:
    """Tell whether a problem has all results, or gradients, that a wrong case has."""
    return {"output", "h_n", *p.arguments, *p.parameters}.issuperset(names)


def measured(seen: Seen) -> list[Hypothesis]:
    """List the hypotheses whose constants are those of a wrong case."""
    if not seen.names():
        return []
    about = about_results if seen.got.keys() <= {"output", "h_n"} else about_gradients
    return list({h.sentence: h for h in about(seen)}.values())


# Constants.


def shortest(low: float, high: float) -> float | None:
    """Return the number of fewest decimal digits in an interval; None if there is none."""
    if low <= 0 <= high:
        return 0.0
    for digits in range(1, DIGITS + 1):
        number = float(f"{(low + high) / 2:.{digits}g}")
        if low <= number <= high:
            return number
    return None


class Elements(NamedTuple):
    """Some elements: what was got, and what is right with its error."""

    got: Floats
    value: Floats
    error: Floats


def elements(seen: Seen, name: str, region: Region) -> Elements:
    """Take a region's elements."""
    mask = region.mask(shape_of(name, seen.problem)).reshape(seen.got[name].shape)
    right = seen.right[name]
    return Elements(
        seen.got[name].astype(np.float64)[mask], value_of(right)[mask], error_of(right)[mask]
    )


def factor(of: Sequence[Elements]) -> float | None:
    """Return the number by which elements seem to be multiplied."""
    got, value, error = (np.concatenate(arrays) for arrays in zip(*of, strict=True))
    clear = np.abs(value) > 4 * error
    with np.errstate(all="ignore"):
        ends = np.sort(np.stack([got - error, got + error]) / value, axis=0)[:, clear]
    if not ends.size or not np.isfinite(ends).all():
        return None
    return shortest(float(ends[0].max()), float(ends[1].min()))


def shift(of: Elements) -> float | None:
    """Return the number that seems to be added to elements."""
    off = of.got - of.value
    if not off.size or not np.isfinite(off).all() or not np.isfinite(of.error).all():
        return None
    return shortest(float((off - of.error).max()), float((off + of.error).min()))


class Constant(NamedTuple):
    """A factor and a term that elements seem to have got, and the words for it."""

    words: str
    c: float = 1.0
    b: float = 0.0

    @classmethod
    def factor(cls, c: float) -> Constant:
        """Make a factor."""
        words = "zero" if c == 0 else "negated" if c == -1 else f"scaled by {c:.8g}"
        return cls(words, c=c)

    @classmethod
    def term(cls, b: float) -> Constant:
        """Make a term."""
        return cls(f"too large by {b:.8g}" if b > 0 else f"too small by {-b:.8g}", b=b)

    def applied(self, y: Any, mask: Any) -> Any:
        """Multiply and shift the chosen elements, with room for the rounding."""
        c, b = np.where(mask, self.c, 1.0), np.where(mask, self.b, 0.0)
        value = c * value_of(y) + b
        room = np.where(mask, 3.0, 0.0) * unit_of(y) * (np.abs(value) + np.abs(b))
        return replaced(y, value, np.abs(c) * error_of(y) + room)


def constants(of: Sequence[Elements]) -> Iterator[Constant]:
    """List what may have become of elements."""
    c = factor(of)
    if c is not None and c != 1:
        yield Constant.factor(c)
    if len(of) == 1 and (b := shift(of[0])):
        yield Constant.term(b)


# Results.


def about_results(seen: Seen) -> Iterator[Hypothesis]:
    """List what may be wrong by a constant with results."""
    names = seen.names()
    if len(names) == 1:
        yield from finished(seen, names, f"{'the ' * (names == ['output'])}{names[0]} is")
        return
    yield from finished(seen, names, "output and h_n are")
    if seen.problem.L == 1:
        yield from about_states(seen)


def about_states(seen: Seen) -> Iterator[Hypothesis]:
    """List what may be wrong by a constant with the states of a single layer."""
    for region in seen.regions("output"):
        for constant in constants([elements(seen, "output", region)]):
            yield changed(
                f"the states that a run returns are {constant.words}{region.words}",
                Change(runs=partial(changed_run, constant=constant, region=region)),
            )
    for low, c in limits(seen):
        name = f"[{low:.8g}, {c:.8g}]" if low else f"at most {c:.8g}"
        clips = partial(clipped, low=low, c=c)
        yield changed(
            f"the states that a run returns are clipped to {name}",
            Change(runs=partial(clipped_run, clips=clips)),
        )
        yield changed(
            f"states are clipped to {name}",
            Change(activation=partial(clipped_activation, clips=clips)),
        )
    right = seen.right["output"]
    arrays = (seen.got["output"].astype(np.float64), value_of(right), error_of(right))
    first = Elements(*(a[0, :, : seen.problem.H].ravel() for a in arrays))
    for constant in constants([first]):
        yield changed(
            f"{seen.problem.nonlinearity} is {constant.words}",
            Change(activation=partial(changed_activation, constant=constant)),
        )


def limits(seen: Seen) -> Iterator[tuple[float, float]]:
    """List the range to which states seem to be clipped, if those that are wrong are at its end."""
    got = seen.got["output"]
    largest = float(np.max(np.abs(got), initial=0.0))
    if np.isfinite(largest) and (np.abs(got[seen.wrong["output"]]) == largest).sum() > 1:
        c = shortest(largest * (1 - 1e-7), largest * (1 + 1e-7)) or largest
        yield (-c if seen.problem.nonlinearity == "tanh" else 0.0), c


def clipped_run(x: Any, h: Any, w: Any, f: Any, clips: Callable[[Any], Any]) -> Any:
    """Clip states after they were computed."""
    return clips(run(x, h, w, f))


def clipped_activation(own: Any, clips: Callable[[Any], Any]) -> Any:
    """Clip every result of the nonlinearity."""
    return own._replace(value=lambda a: clips(stored(own.value(a))))


def changed_run(x: Any, h: Any, w: Any, f: Any, constant: Constant, region: Region) -> Any:
    """Change states after they were computed."""
    y = run(x, h, w, f)
    T, N, H = y.shape
    return constant.applied(y, region.mask((T, N, 1, H)).reshape(y.shape))


def changed_activation(own: Any, constant: Constant) -> Any:
    """Change every result of the nonlinearity."""
    return own._replace(value=lambda a: constant.applied(stored(own.value(a)), np.True_))


def finished(seen: Seen, names: list[str], what: str) -> Iterator[Hypothesis]:
    """List what may have become of finished arrays: of a region of one, or of all of several."""
    if len(names) == 1:
        (name,) = names
        tried = [
            ([region], constants([elements(seen, name, region)])) for region in seen.regions(name)
        ]
    else:
        each = [[r for r in seen.regions(name) if not r.words] for name in names]
        if not all(each):
            return
        whole = [found[0] for found in each]
        of = [elements(seen, name, r) for name, r in zip(names, whole, strict=True)]
        tried = [(whole, constants(of))]
    for chosen, found in tried:
        for constant in found:
            become = dict(zip(names, chosen, strict=True))
            yield Hypothesis(
                f"{what} {constant.words}{chosen[0].words}",
                partial(after, constant=constant, become=become),
                arrays=frozenset(names),
            )


def after(oracle: Oracle, constant: Constant, become: dict[str, Region]) -> Expected:
    """Change regions of finished arrays."""
    if "output" in become or "h_n" in become:
        right = dict(zip(("output", "h_n"), oracle.results, strict=True))
    else:
        right = oracle.gradients_end_to_end
    changed = {}
    for name, region in become.items():
        mask = region.mask(shape_of(name, oracle.problem)).reshape(right[name].shape)
        changed[name] = constant.applied(right[name], mask)
    return right | changed


# Gradients.


def about_gradients(seen: Seen) -> Iterator[Hypothesis]:
    """List what may be wrong by a constant with finished gradients."""
    names = seen.names()
    yield from finished(seen, names, f"the gradient of {listed(names, seen)} is")
    if seen.got.keys() == {*seen.problem.parameters, *seen.problem.arguments}:
        yield from about_limits(seen)


def about_limits(seen: Seen) -> Iterator[Hypothesis]:
    """List the limits to which gradients, or their norms, may be clipped."""
    parameters = list(seen.problem.parameters)
    for of, words in ((list(seen.got), "gradients"), (parameters, "gradients of parameters")):
        largest = max(float(np.max(np.abs(seen.got[name]), initial=0.0)) for name in of)
        if c := shortest(largest * (1 - 1e-6), largest * (1 + 1e-6)):
            yield Hypothesis(
                f"{words} are clipped to [-{c:.8g}, {c:.8g}]", partial(clipped_to, c=c, names=of)
            )
    for groups, words in (
        ([parameters], "the gradients of all parameters together"),
        ([[name] for name in parameters], "the gradient of each parameter"),
    ):
        squares = [sum(np.sum(np.square(seen.got[name])) for name in group) for group in groups]
        largest = float(np.sqrt(max(squares)))
        if c := shortest(largest * (1 - 3e-6), largest * (1 + 3e-6)):
            yield Hypothesis(
                f"the norm of {words} is clipped to {c:.8g}",
                partial(clipped_norms, c=c, groups=groups),
            )


def listed(names: list[str], seen: Seen) -> str:
    """Name arrays in a few words: by kinds, where all parameters of a kind are among them."""
    parameters, left, words = list(seen.problem.parameters), list(names), []
    if set(names) >= {*parameters, *seen.problem.arguments}:
        return "everything"
    if set(names) == set(parameters):
        return "all parameters"
    for kind in KINDS:
        own = {name for name in parameters if name.startswith(kind)}
        if own and own <= set(left):
            words.append(kind)
            left = [name for name in left if name not in own]
    return " and ".join(words + left)


def clipped_to(oracle: Oracle, c: float, names: list[str]) -> Expected:
    """Clip gradients by value."""
    right = oracle.gradients_end_to_end
    return right | {
        name: replaced(
            right[name],
            np.clip(value_of(right[name]), -c, c),
            error_of(right[name]) + unit_of(right[name]) * c,
        )
        for name in names
    }


def clipped_norms(oracle: Oracle, c: float, groups: list[list[str]]) -> Expected:
    """Scale groups of gradients down to a norm, where theirs is larger.

    torch.nn.utils.clip_grad_norm_ adds 1e-6 to the norm; there is room for doing so or not.
    """
    right = dict(oracle.gradients_end_to_end)
    for group in groups:
        values = [value_of(right[name]) for name in group]
        norm = float(np.sqrt(sum(np.sum(v * v) for v in values)))
        if norm <= c:
            continue
        off = float(np.sqrt(sum(np.sum(np.square(error_of(right[name]))) for name in group)))
        size = sum(v.size for v in values)
        for name in group:
            value = value_of(right[name]) * c / norm
            relative = (off + 1e-6) / norm + (size + 4) * unit_of(right[name])
            error = error_of(right[name]) * c / norm + relative * np.abs(value)
            right[name] = replaced(right[name], value, error)
    return right
