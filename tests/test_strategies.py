"""The strategies: all they draw is legal, they reach the rare case, and they shrink."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings

from rnn_ref.arithmetic.dtypes import ARRAY_DTYPES
from rnn_ref.cases.case import LOSSES, Case
from rnn_ref.cases.random import INPUTS, WEIGHTS
from rnn_ref.cases.selection import CAPABILITIES, FAR_AXES, STRUCTURES, outside, restrict
from rnn_ref.judging.search import far_examples
from rnn_ref.judging.shares import examples_of
from rnn_ref.running.options import PROFILES
from rnn_ref.strategies import EDGES, SHAPES, cases, is_far
from tests.support.judging import PROPERTIES

SIMPLEST = Case("tanh", 1, 1, True, 1, 1, 1, 1, "float32", h_0=True)


def has(field: str, value: object) -> Callable[[Case], bool]:
    """Whether a field of a case has a value."""
    return lambda case: bool(getattr(case, field) == value)


RARE: dict[str, Callable[[Case], bool]] = {
    **{f"weights={name}": has("weights", name) for name in WEIGHTS},
    **{f"input={name}": has("input", name) for name in INPUTS},
    **{f"loss={name}": has("loss", name) for name in LOSSES},
    **{f"{axis} past 64": has(axis, 65) for axis in "TNIH"},
    "four layers in both directions": lambda case: case.L == 4 and case.D == 2,
    "no bias": lambda case: not case.bias,
    "no h_0": lambda case: not case.h_0,
    "I = H above 1": lambda case: case.I == case.H > 1,
    "T = N above 1, batch_first": lambda case: case.T == case.N > 1 and case.batch_first,
    "N = L*D above 1": lambda case: case.N == case.L * case.D > 1,
    "an exact network": lambda case: (
        (case.nonlinearity, case.weights, case.input) == ("relu", "sparse", "integer")
    ),
    "an exact saturation": lambda case: (case.weights, case.input) == ("saturating", "large"),
    "all sizes distinct": lambda case: len({case.T, case.N, case.I, case.H, case.L * case.D}) == 5,
}


@given(case=cases(dtypes=tuple(ARRAY_DTYPES)))
@settings(max_examples=200)
def test_drawn_cases_have_arrays_of_the_sizes_they_say(case: Case) -> None:
    """Every drawn case is legal, and its problem has its sizes."""
    problem = case.problem()
    assert problem.input.shape == (case.T, case.N, case.I)
    assert problem.parameters["weight_hh_l0"].shape == (case.H, case.H)
    assert len(problem.parameters) == case.L * case.D * (4 if case.bias else 2)


@pytest.fixture(scope="module")
def drawn() -> list[Case]:
    """Four thousand cases, always the same."""
    found: list[Case] = []

    @given(case=cases())
    @settings(max_examples=4000, derandomize=True, database=None, phases=[Phase.generate])
    def draw(case: Case) -> None:
        found.append(case)

    draw()
    return found


@pytest.mark.parametrize("name", RARE)
def test_rare_cases_are_reached(drawn: list[Case], name: str) -> None:
    """Among 4,000 cases are every regime, and the coincidences of sizes that hide swaps."""
    assert any(map(RARE[name], drawn))


@pytest.mark.parametrize("axis", "TNIH")
def test_every_edge_is_reached_on_every_axis(drawn: list[Case], axis: str) -> None:
    """Each size around a vector width or a tile is drawn for each axis."""
    assert set(EDGES) <= {getattr(case, axis) for case in drawn}


def test_most_cases_are_cheap(drawn: list[Case]) -> None:
    """Half of the cases take fewer than 5,000 multiplications."""
    costs = [c.T * c.N * c.H * (c.I + c.H) * c.L * c.D for c in drawn]
    assert statistics.median(costs) < 5000


def test_cases_shrink_to_the_simplest() -> None:
    """If anything is wrong, the smallest case is: all sizes 1, nothing optional, seed 0."""
    assert find(cases(), lambda case: True) == SIMPLEST


@pytest.mark.parametrize(
    ("fault", "minimal"),
    [
        (lambda case: case.T > 1, {"T": 2}),
        (lambda case: case.D == 2, {"D": 2}),
        (lambda case: case.L > 2, {"L": 3}),
        (lambda case: case.H > 8, {"H": 9}),
        (
            lambda case: case.nonlinearity == "relu" and not case.bias,
            {"nonlinearity": "relu", "bias": False},
        ),
        (lambda case: case.input == "subnormal", {"input": "subnormal"}),
    ],
)
def test_cases_shrink_to_what_a_fault_needs(
    fault: Callable[[Case], bool], minimal: dict[str, Any]
) -> None:
    """What a fault does not need shrinks away."""
    options = settings(max_examples=5000, database=None)
    found = find(cases(), fault, settings=options, random=Random(0))  # noqa: S311 - no secret
    assert found == replace(SIMPLEST, **minimal)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_what_a_subject_lacks_is_never_drawn(capability: str) -> None:
    """A domain without a capability holds no case that needs it."""
    domain = restrict({}, [capability])

    @given(case=cases(**domain))
    @settings(max_examples=50, database=None)
    def draw(case: Case) -> None:
        assert not outside(case, domain)

    draw()


@pytest.mark.parametrize("structure", STRUCTURES)
def test_structures_cover_depth_and_direction(structure: str) -> None:
    """The four structures are what their names say."""
    domain = STRUCTURES[structure]
    assert (min(domain["num_layers"]) > 1) == ("deep" in structure)
    assert (domain["directions"] == (2,)) == ("bidirectional" in structure)


@pytest.fixture(scope="module", params=SHAPES)
def far_out(request: pytest.FixtureRequest) -> tuple[str, list[Case]]:
    """An axis, and a few hundred cases that are far out along it."""
    axis, found = request.param, []

    @given(case=cases(far=(axis,), num_layers=(1, 1, 1, 4), directions=(1,)))
    @settings(max_examples=400, derandomize=True, database=None, phases=[Phase.generate])
    def draw(case: Case) -> None:
        found.append(case)

    draw()
    return axis, found


def test_far_cases_are_far_out_along_one_axis_alone(far_out: tuple[str, list[Case]]) -> None:
    """Most are, every far shape is drawn, and whatever is not far out is tiny."""
    axis, found = far_out
    far = {tuple(sorted(shape.items())) for shape in SHAPES[axis] if is_far(shape)}
    drawn = [tuple(sorted((n, getattr(c, n)) for n in dict(max(far)))) for c in found]
    assert sum(shape in far for shape in drawn) > 0.7 * len(found)
    assert far <= set(drawn)
    named = set("H" if axis == "W" else axis)
    assert {getattr(case, name) for case in found for name in set("TNIH") - named} <= {1, 2, 3}


def test_far_cases_shrink_to_the_simplest_and_to_what_a_fault_needs() -> None:
    """A far case shrinks as far as any other; what needs a size keeps the first far one."""
    for axis in SHAPES:
        assert find(cases(far=(axis,)), lambda case: True) == SIMPLEST
    many = settings(max_examples=2000)
    assert find(cases(far=("I",)), lambda c: c.I > 512, settings=many) == replace(SIMPLEST, I=513)
    assert find(cases(far=("I",)), lambda c: c.I > 31, settings=many) == replace(SIMPLEST, I=32)
    past = find(cases(far=("NT",)), lambda c: c.N * c.T > 65535, settings=many)
    assert past == replace(SIMPLEST, N=65536)


@pytest.mark.parametrize("most", PROFILES.values())
def test_every_property_that_depends_on_sizes_draws_far_ones(most: int) -> None:
    """In each profile, and along every axis by one property or another."""
    drawn: Counter[str] = Counter()
    for declared in PROPERTIES.values():
        if declared.baseline:
            continue
        for structure in declared.domains:
            examples = min(examples_of(declared.name, most), declared.at_most)
            far = far_examples(declared, structure, declared.domain(structure), examples, seed=0)
            assert bool(far) == bool(declared.far)
            assert declared.only_far or far.total() <= 1 + examples / 40
            drawn += far
    assert drawn.keys() >= set(FAR_AXES)
