"""From failures to causes: what failed for one reason is one entry, and the worst comes first.

Works on what reports carry: rows of failures as data, from any process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from functools import partial
from itertools import accumulate
from typing import Any

from rnn_ref.cases.case import SIZES, Case
from rnn_ref.diagnosis.joining import (
    ATTRIBUTE,
    CELL,
    CRASHES,
    METHOD,
    SEED,
    SETTINGS,
    Entry,
    diagnosis_of,
    joined,
)
from rnn_ref.judging.comparison import GRADIENT
from rnn_ref.judging.failures import Kind, Raised, Wiring, claim_of, plain, sentence
from rnn_ref.judging.pattern import DECADES


class Rank(IntEnum):
    """How bad a cause is: the first is the worst."""

    NUMBERS = 0
    CRASH = 1
    STATE = 2
    REFUSAL = 3
    NAMES = 4


GROUPS = {
    "state": Rank.STATE,
    "memory": Rank.STATE,
    "process": Rank.STATE,
    "errors": Rank.REFUSAL,
    "packing": Rank.NAMES,
    "setup": Rank.NAMES,
}
"""The rank of a wrong number or fact, by the group of its property; others are NUMBERS."""

MANY = 20
"""From how many wrong elements on it is said how their ratios are spread."""

FACTS, WORDS = 3, 160
"""The most facts of one kind that a sentence names, and the most characters of them."""

SETUP = "test_setup_weights_arrive_and_two_tensors_come_back"
"""The property that a replay of a probe runs: the probes come behind it."""

CAPABILITY = "capability "
"""How the property of a probe's failure begins."""


@dataclass(frozen=True)
class Cause:
    """One reason for failures, as data.

    `sentence` says it. `evidence` has lines on how it shows. `capabilities` are what probes
    found lacking for it; none for changed settings, which are to blame whatever they spoil.
    `failure` is that of the smallest case. `gradients` are those that the plain call of that case
    shows to be wrong, none if its results are; None if it is right.
    """

    rank: Rank
    sentence: str
    kind: str
    evidence: Sequence[str]
    worst: float | None
    properties: Sequence[str]
    groups: Sequence[str]
    case: str
    replay: str
    capabilities: Sequence[str] = ()
    failure: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Any] | None = None
    gradients: Sequence[str] | None = None

    @property
    def about(self) -> list[str]:
        """What the cause is about: capabilities, else the groups of its properties."""
        return list(self.capabilities or self.groups)

    def as_dict(self) -> dict[str, Any]:
        """Give it for JSON."""
        worst = self.worst if self.worst is not None and math.isfinite(self.worst) else None
        return {**plain(asdict(self)), "worst": worst, "rank": self.rank.name.lower()}


def causes(entries: Iterable[Entry]) -> list[Cause]:
    """Group failures by what they have in common; the worst cause first, then the widest."""
    found = [cause_of(group) for group in joined(entries)]
    return sorted(found, key=lambda c: (c.rank, c.kind != Kind.NUMBERS, -len(c.properties)))


def rank_of(entry: Entry) -> Rank:
    """Rank a failure."""
    failure = entry["failure"]
    if failure["kind"] in CRASHES:
        return Rank.CRASH
    if failure["raised"]:
        return Rank.REFUSAL
    return GROUPS.get(entry["group"], Rank.NUMBERS)


def cause_of(entries: Sequence[Entry]) -> Cause:
    """Make one cause of the failures that share it; the smallest case stands for all."""
    probed = [e for e in entries if e["name"].startswith(CAPABILITY)]
    least = min(size(e["failure"]["case"])[0] for e in entries)
    smallest = min(entries, key=partial(told_by, least=least))
    failure, settings = smallest["failure"], smallest["findings"].get("follows") == SETTINGS
    whole = [e["failure"]["case"] for e in entries]
    ratios = [number(c["ratio"]) for e in entries for c in e["failure"]["comparisons"]]
    return Cause(
        rank=min(map(rank_of, entries)),
        sentence=sentence_of(smallest, entries),
        kind=str(failure["kind"]),
        evidence=[*evidence(smallest), *in_common(whole, smallest)],
        worst=max(ratios, default=None),
        properties=[e["name"] for e in entries if e not in probed],
        groups=list(dict.fromkeys(e["group"] for e in entries if e not in probed)),
        case=failure["case"],
        replay=failure["replay"],
        capabilities=[] if settings else [e["name"].removeprefix(CAPABILITY) for e in probed],
        failure=failure,
        places=places(failure),
        gradients=smallest["findings"].get("gradients"),
    )


PLAINEST = ("bounds", "results")
"""The groups whose properties ask for nothing but a call, the plainest first."""

NEARLY = 8
"""How many times as large as the smallest case one of the plainest groups may be."""


def told_by(entry: Entry, least: int) -> tuple[Any, ...]:
    """Order failures of one cause: what shows it itself, a probe, then the smallest case.

    An exception from lines that are not the subject's tells least. What has a sentence tells more
    than what was joined to it. A case whose plain call has wrong results tells more than one whose
    gradients are wrong, and that more than one whose plain call is right; what uses less besides
    tells more. Of cases that are nearly the smallest, of size `least`, one of the plainest groups
    is told.
    """
    failure, settings = entry["failure"], entry["findings"].get("follows") == SETTINGS
    origin = Kind.FACT if settings else Kind.NUMBERS
    elsewhere = bool(failure["raised"]) and not failure["raised"]["own"]
    probed = entry["name"].startswith(CAPABILITY)
    gradients = entry["findings"].get("gradients")  # none if the results are wrong without them
    indirect = 2 if gradients is None else bool(gradients)
    unsaid = not (diagnosis_of(entry) or {}).get("sentences")
    product, _ = size(failure["case"])
    near = product <= NEARLY * least
    group = PLAINEST.index(entry["group"]) if entry["group"] in PLAINEST else len(PLAINEST)
    plainest = group if near else len(PLAINEST), product, len(failure["case"].split())
    uses = len(entry["findings"].get("uses", ()))
    other = settings and entry["group"] != "process"  # whose properties look at the settings
    how = failure["kind"] != origin, other, elsewhere, not probed, unsaid, indirect, uses
    return *how, not near, *plainest


SIMPLEST: dict[str, Any] = {
    "nonlinearity": "tanh", "L": 1, "D": 1, "bias": True, "dtype": "float32",
    "batch_first": False, "unbatched": False, "h_0": True,
}  # fmt: skip
"""The values to which cases shrink: another one is left where a failure needs it."""


def in_common(lines: Sequence[str], told: Entry) -> list[str]:
    """Say which fields most of several shrunk cases have, though they could shrink to others.

    Say nothing where the entry that is told of says already what it needs.
    """
    cases = [Case.parse(line) for line in lines if line]
    if len(cases) < 3 or told["findings"].get("needs"):
        return []
    words = []
    for name, simplest in SIMPLEST.items():
        have = [case for case in cases if getattr(case, name) != simplest]
        if len(have) * 5 >= len(cases) * 4:
            own = getattr(have[0], name)
            word = name if own is True else f"no {name}" if own is False else f"{name} {own}"
            words.append(f"{len(have)} of {len(cases)} failing cases have {word}")
    return ["; ".join(words)] if words else []


def number(value: Any) -> float:
    """Read a number that JSON may hold as text, because it is infinite or NaN."""
    return float(value)


def size(line: str) -> tuple[int, int]:
    """Measure a case: its numbers of elements, and the length of its line."""
    if not line:
        return 2**63, 0
    case, product = Case.parse(line), 1
    for name in SIZES:
        product *= getattr(case, name)
    return product, len(line)


def sentence_of(entry: Entry, alike: Sequence[Entry] = ()) -> str:
    """Say a cause in one sentence: the diagnosis, else what was raised or what is wrong.

    A fact names what is so of those that are alike, the first few.
    """
    failure, diagnosis = entry["failure"], diagnosis_of(entry)
    if diagnosis and diagnosis["sentences"]:
        said = [d for d in map(diagnosis_of, (entry, *alike)) if d and "kind" in d]
        widest = max(said, key=lambda d: d["limit"], default=diagnosis)
        return " or ".join(widest["sentences"])
    if failure["comparisons"]:
        first = failure["comparisons"][0]
        how = "is NaN" if math.isnan(number(first["worst"]["got"])) else "is wrong"
        note = first["note"] or ("a plain call is right" if right_elsewhere(entry) else "")
        return f"{first['name']} {how}" + (f" ({note})" if note else "")
    if (raised := failure["raised"]) and not raised["own"]:
        others = (e["failure"]["raised"] for e in alike)
        doing = some_of([raised["doing"], *(r["doing"] for r in others if r)])
        return sentence(Raised(**{**raised, "doing": doing}))
    facts = [e["failure"]["fact"] for e in (entry, *alike) if e["failure"]["fact"]]
    whats = dict.fromkeys(f["what"] for f in facts if same_way(f, failure["fact"]))
    if failure["fact"] and len(whats) > 1:
        got, expected = (failure["fact"][name] for name in ("got", "expected"))
        return f"{some_of(whats)}: got {got}, expected {expected}"
    return str(failure["text"]).partition("\n")[0]


def right_elsewhere(entry: Entry) -> bool:
    """Tell whether the plain call of a failure's case, a network's, is right."""
    found, told = entry["findings"], entry["failure"]["repeatable"]
    right = "gradients" in found and found["gradients"] is None
    return right and told and found.get("follows") != CELL


def some_of(words: Iterable[str]) -> str:
    """Name the first few of several things, each once, and say how many more there are."""
    each = list(dict.fromkeys(words))
    lengths = accumulate(map(len, each))
    told = [word for word, end in zip(each, lengths, strict=True) if end <= WORDS] or each[:1]
    more = len(each) - len(told[:FACTS])
    return "; ".join([*told[:FACTS], *([f"and {more} more"] if more else [])])


def same_way(one: dict[str, Any], other: dict[str, Any] | None) -> bool:
    """Tell whether two facts differ from what was expected in the same way."""
    return other is not None and all(one[name] == other[name] for name in ("got", "expected"))


SHAPES = "output is (T, N, D * hidden_size), h_n is (D * num_layers, N, hidden_size)"

HINTS = {
    Wiring.CONSTRUCTION: "the constructor takes input_size, hidden_size, nn.RNN's options",
    Wiring.FUNCTION: "it must make a module; one that computes on arrays is marked by"
    " @rnn_ref.function()",
    Wiring.PARAMETERS: "state_dict has nn.RNN's names: weight_ih_l0, weight_hh_l0, ...",
    Wiring.CALL: "a module is called with an input (T, N, input_size), and an h_0 or nothing",
    Wiring.RESULT: "a call must return two tensors, (output, h_n)",
    Wiring.OUTPUT: SHAPES,
    Wiring.H_N: SHAPES,
}
"""What to look at where the set-up fails, by what was done or by what is not so."""


def hint(failure: dict[str, Any]) -> list[str]:
    """Say what to look at, where what was done or what is not so is a part of the wiring."""
    cause = failure["raised"] or failure["fact"] or {}
    about = cause.get("doing") or cause.get("what", "")
    return [HINTS[Wiring(about)]] if about in list(Wiring) else []


def evidence(entry: Entry) -> list[str]:
    """Gather the lines that show a cause: what explains it, where it is, what it needs."""
    failure, lines = entry["failure"], []
    if failure["variant"]:
        lines.append(f"variant: {failure['variant']}")
    if not failure["repeatable"]:
        lines.append("not repeatable: identical runs give other results")
    lines += hint(failure) if entry["setup"] else []
    diagnosis = diagnosis_of(entry)
    if diagnosis and (diagnosis["sentences"] or not failure["raised"]):
        lines.append(diagnosis["text"])
    named = bool(diagnosis and diagnosis["sentences"])
    wiring = bool(failure["fact"] and failure["fact"]["what"] in list(Wiring))
    numbers = bool(failure["comparisons"]) and not named
    of_property = not (entry["setup"] or entry["name"].startswith(CAPABILITY))
    if (numbers or (wiring and of_property)) and (claim := claim_of(entry["name"])):
        lines.append(f"does not hold: {claim}")
    if single := entry["findings"].get("single"):
        lines.append(HOLDS[single[0]].format(single[1]))
    for comparison in failure["comparisons"][:1]:
        lines += about(comparison)
        names = entry["findings"].get("gradients")
        if names and comparison["name"].startswith(GRADIENT):
            lines.append(about_gradients(names, Case.parse(failure["case"])))
    if entry["findings"].get("needs"):
        lines.append(entry["findings"]["fields"])
    if error := entry["findings"].get("error"):
        lines.append(error)
    return lines


HOLDS = {
    METHOD: "holds with torch's {0} in place of the module's own",
    SEED: "holds if calls seed no generator",
    ATTRIBUTE: "holds if calls leave the attribute {0} as it was",
}
"""What is said of the one thing of a module that must be put back."""


def about(comparison: dict[str, Any]) -> list[str]:
    """Say where an array is first wrong, how far, and what its wrong elements have in common."""
    first, found = comparison["first"], comparison["pattern"]
    place = ", ".join(
        ("forward", "reverse")[i] if axis == "direction" else f"{axis} {i}"
        for axis, i in zip(first["axes"], first["index"], strict=True)
    )
    got, expected = number(first["got"]), number(first["expected"])
    values = f"got {got:.{first['digits']}g}, expected {expected:.{first['digits']}g}"
    ratio = number(first["ratio"])
    times = f", off by {ratio:.3g} times the bound" if math.isfinite(ratio) else ""
    lines = [f"first at {place}: {values}{times}"]
    absolute, relative = (number(comparison[name]) for name in ("absolute", "relative"))
    needed = f"assert_close would need atol {absolute:.2g} or rtol {relative:.2g}"
    share = f"wrong: {comparison['over']:,} of {comparison['elements']:,}"
    parts = [share, *found["along"], *found["moved"], *histogram(found["spread"])]
    parts += [needed] if math.isfinite(absolute) else []
    return [*lines, "; ".join(parts)]


def about_gradients(names: Sequence[str], case: Case) -> str:
    """Say which gradients a plain call shows to be wrong; its results are right."""
    every = (4 if case.bias else 2) * case.L * case.D + 1 + case.h_0
    more = f" and {len(names) - FACTS} more" if len(names) > FACTS else ""
    which = "the gradient of " if len(names) == 1 else "the gradients of "
    which += ", ".join(names[:FACTS]) + more
    return f"output and h_n are right; wrong: {'all gradients' if len(names) == every else which}"


def histogram(spread: Sequence[int]) -> list[str]:
    """Say how error / bound is spread, where many elements are wrong."""
    if sum(spread) < MANY:
        return []
    bins = [*(f"up to {decade:,}" for decade in DECADES), "beyond"]
    told = [f"{count:,} {name}" for name, count in zip(bins, spread, strict=True) if count]
    return [f"error / bound: {', '.join(told)}"]


def places(failure: dict[str, Any]) -> dict[str, Any] | None:
    """Return the ratios by step and unit of the first array that is wrong, for a picture."""
    for comparison in failure["comparisons"]:
        found = comparison["pattern"]
        if found and found["grid"]:
            axes = comparison["first"]["axes"]
            return {"name": comparison["name"], "axes": axes, "ratio": found["grid"]}
    return None


def declared_by(name: str) -> str:
    """Write the option that declares a lacking capability."""
    return "--dtype float32" if name == "float64" else f"--without {name}"
