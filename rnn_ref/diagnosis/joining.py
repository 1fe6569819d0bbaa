"""Which failures have one cause: what is said of them alike, and what explains them together.

Works on what reports carry: rows of failures as data, from any process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from rnn_ref.cases.case import Case
from rnn_ref.judging.comparison import GRADIENT, SECOND
from rnn_ref.judging.failures import Kind, Wiring

Entry = dict[str, Any]
"""A failing property: its `name` and `group`, its `failure` and its `findings` as data."""

ONE_FACT = ("dropout",)
"""Groups whose properties look at one thing from several sides: their failures are one cause."""

SPECIAL = "special"
"""What properties use that put NaN or an infinity into an array."""

JOINED = ("dropout", "keyword", "hook", "autocast", SPECIAL)
"""What shows in histories and with packed input too, where a plain call is right: one cause."""

CRASHES = (Kind.ENDED, Kind.HUNG, Kind.MEMORY)
"""The kinds of failure that cost a process."""

NETWORK, LATER, ARGUMENTS = "network", "a later call", "arguments"
PACKED, CELL, SETTINGS = "packed", "cell", "settings"
PACKING, TANH = "the functions that pack", "tanh"
GRADIENTS, USES = "gradients handed", "other uses"
"""What is to blame: what may be mended, later calls of the network alone, or uses of it in which
it is wrong though a plain call is right.
"""

MEASURED = "measured"
"""What is told of a property that judges what was measured of the subject's arithmetic."""

METHOD, SEED, ATTRIBUTE = "method", "seed", "attribute"
"""What may be put back: torch's method in the place of the module's own, or an attribute's value;
or the module is kept from seeding a generator.
"""

NAN = "nan"
"""What is told of a use of the network in which calls return NaN."""

MENDED = {("follows", USES), ("follows", PACKED), ("follows", LATER)}
"""The keys of failures that right results of the network mend, though a plain call is right."""

Groups = dict[tuple[Any, ...], list[Entry]]
"""Failures by what they have in common."""


def joined(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Group failures by cause."""
    grouped: Groups = {}
    for entry in entries:
        grouped.setdefault(key(entry), []).append(entry)
    join_tanh(grouped)
    join_undecided(grouped)
    join_single(grouped)
    for used in JOINED:
        join(grouped, used)
    join_equal_facts(grouped)
    join_lost_gradients(grouped)
    join_unrepeatable(grouped)
    join_held(grouped)
    join_untried(grouped)
    join_other_uses(grouped)
    for origin in (LATER, PACKED):
        join_alike(grouped, origin)
    join_second(grouped)
    return list(grouped.values())


def join_tanh(grouped: Groups) -> None:
    """Join what follows, in most properties, from a tanh that is off, diagnosed or not."""
    off = [
        of
        for of, group in grouped.items()
        if 2 * sum(e["findings"].get(TANH, False) for e in group) > len(group)
    ]
    off.sort(key=lambda of: of[0] != "numbers")
    for of in off[1:]:
        grouped[off[0]] += grouped.pop(of)


def join(grouped: Groups, used: str) -> None:
    """Join the groups that are wrong with one thing of JOINED, unless it has two diagnoses.

    Settings, and the module's mode, may spoil it and more.
    """
    split(grouped, used)
    wrong = [
        of
        for of, group in grouped.items()
        if (any if spoils(of) or is_of(used, group) else all)(is_wrong_with(used, e) for e in group)
    ]
    diagnosed = [of for of in wrong if of[0] == "numbers"]
    if len(diagnosed) > 1 or not wrong:
        return
    first, *others = sorted(wrong, key=lambda of: (of not in diagnosed, not spoils(of)))
    for of in others:
        grouped[first] += grouped.pop(of)


def split(grouped: Groups, used: str) -> None:
    """Move to the one diagnosis of a thing that is used what is wrong with it in other groups."""
    diagnosed = [of for of, group in grouped.items() if is_of(used, group)]
    for of in [of for of in grouped if of[:2] in MENDED] if len(diagnosed) == 1 else []:
        moved = [entry for entry in grouped[of] if is_wrong_with(used, entry)]
        grouped[diagnosed[0]] += moved
        grouped[of] = [entry for entry in grouped[of] if entry not in moved]
        if not grouped[of]:
            del grouped[of]


def is_of(used: str, group: list[Entry]) -> bool:
    """Tell whether the diagnosis of a group is of what is used."""
    return any(said and said["of"] == used for said in map(diagnosis_of, group))


def spoils(of: tuple[Any, ...]) -> bool:
    """Tell whether failures follow from settings that are not as they were."""
    return of[:2] == ("follows", SETTINGS)


def join_undecided(grouped: Groups) -> None:
    """Join what has two hypotheses left to what has one of them alone."""
    for of in [of for of in grouped if of[0] == "numbers" and len(of) > 2]:
        decided = [("numbers", sentence) for sentence in of[1:] if ("numbers", sentence) in grouped]
        if len(decided) == 1:
            grouped[decided[0]] += grouped.pop(of)


def join_single(grouped: Groups) -> None:
    """Join the groups that one and the same method, or attribute, of the module explains.

    A hypothesis about later calls explains some of what an attribute that is kept does.
    """
    first: dict[tuple[str, ...], tuple[Any, ...]] = {}
    for of in sorted(grouped, key=lambda of: of[0] != "numbers"):
        things = {tuple(e["findings"].get("single") or ()) for e in grouped[of]} - {()}
        if len(things) == 1 and (thing := things.pop()) and first.setdefault(thing, of) != of:
            grouped[first[thing]] += grouped.pop(of)


def join_equal_facts(grouped: Groups) -> None:
    """Join the groups that are about one fact, whatever the properties are that state it."""
    first: dict[str, tuple[Any, ...]] = {}
    for of in [of for of in grouped if of[0] != "numbers"]:
        facts = [e["failure"]["fact"] for e in grouped[of]]
        whats = {fact["what"] if fact else "" for fact in facts}
        if len(whats) == 1 and "" not in whats and first.setdefault(what := whats.pop(), of) != of:
            grouped[first[what]] += grouped.pop(of)


def join_lost_gradients(grouped: Groups) -> None:
    """Join the groups in which gradients alone are wrong, and once NaN, and no hypothesis fits.

    What is read from memory that was never written differs from call to call.
    """
    lost = [
        of
        for of, group in grouped.items()
        if all(map(is_unsaid_of_gradients, group)) and any(map(is_lost, group))
    ]
    for of in lost[1:]:
        grouped[lost[0]] += grouped.pop(of)


def is_unsaid_of_gradients(entry: Entry) -> bool:
    """Tell whether a failure has no sentence, and is of gradients alone."""
    names = [c["name"] for c in entry["failure"]["comparisons"]]
    gradients = bool(names) and all(name.startswith(GRADIENT) for name in names)
    return gradients and not (diagnosis_of(entry) or {}).get("sentences")


def is_lost(entry: Entry) -> bool:
    """Tell whether NaN was got in a use that asks for none."""
    return is_nan([entry]) and SPECIAL not in entry["findings"].get("uses", ())


def join_unrepeatable(grouped: Groups) -> None:
    """Join the groups of numbers in which identical runs differ, unless two have diagnoses.

    What is read there, such as memory that another module had, is what no case can tell.
    """
    unrepeatable = [of for of, group in grouped.items() if any(map(is_unrepeatable, group))]
    unrepeatable.sort(key=lambda of: of[0] != "numbers")
    if sum(of[0] == "numbers" for of in unrepeatable) <= 1:
        for of in unrepeatable[1:]:
            grouped[unrepeatable[0]] += grouped.pop(of)


def is_unrepeatable(entry: Entry) -> bool:
    """Tell whether numbers are wrong that are others when the same is done again."""
    failure = entry["failure"]
    return failure["kind"] == Kind.NUMBERS and not failure["repeatable"]


def join_held(grouped: Groups) -> None:
    """Join the facts about memory: what is still held is what makes it grow."""
    about = [of for of, group in grouped.items() if all(map(is_of_memory, group))]
    for of in about[1:]:
        grouped[about[0]] += grouped.pop(of)


def is_of_memory(entry: Entry) -> bool:
    """Tell whether a fact is about what is held, or how much."""
    return bool(entry["group"] == "memory" and entry["failure"]["kind"] == Kind.FACT)


def join_untried(grouped: Groups) -> None:
    """Join what is wrong with the network to its one diagnosis, where no time was left for more.

    Both are right with right results of the network. What no hypothesis explains stays apart.
    """
    named, untried = [], []
    for of, group in grouped.items():
        if all(e["findings"].get("follows") == NETWORK for e in group):
            if of[0] == "numbers":
                named.append(of)
            elif not any(diagnosis_of(e) for e in group):
                untried.append(of)
    if len(named) == 1:
        for of in untried:
            grouped[named[0]] += grouped.pop(of)


def join_other_uses(grouped: Groups) -> None:
    """Join what right results of the network mend to what is wrong with it, if that is one thing.

    By chance a plain call may be right, as where relu is wrong and nothing is below 0. Where no
    hypothesis says what that thing is, NaN is joined to NaN alone, gradients to gradients alone.
    """
    wrong = [
        of
        for of, group in grouped.items()
        if of[0] in ("numbers", "follows")
        and any(e["findings"].get("follows") == NETWORK for e in group)
    ]
    named = [of for of in wrong if of[0] == "numbers"]
    for of in [of for of in grouped if of[:2] in MENDED] if len(named) == 1 else ():
        if is_measured(grouped[of]) and is_of_alike(grouped[of], grouped[named[0]]):
            grouped[named[0]] += grouped.pop(of)
    if len(wrong) != 1:
        return
    (network,) = wrong
    for of in [of for of in grouped if of[:2] in MENDED]:
        if is_measured(grouped[of]) and not is_of_alike(grouped[of], grouped[network]):
            continue
        lost = all(e["findings"].get(NAN) for e in grouped[of]) and is_nan(grouped[network])
        alike = all(map(is_of_gradients, (*grouped[of], *grouped[network])))
        if network[0] == "numbers" or lost or alike:
            grouped[network] += grouped.pop(of)


def is_measured(group: list[Entry]) -> bool:
    """Tell whether failures are of what was measured of the subject's arithmetic."""
    return all(entry["findings"].get(MEASURED) for entry in group)


def is_of_alike(some: list[Entry], others: list[Entry]) -> bool:
    """Tell whether the cases of some failures have no nonlinearity that others' have not."""
    own, theirs = (
        {Case.parse(e["failure"]["case"]).nonlinearity for e in g} for g in (some, others)
    )
    return own <= theirs


def join_alike(grouped: Groups, origin: str) -> None:
    """Join what is wrong with later calls, or with packed ones, to the one diagnosis of these.

    Other forms of case may have it, or none. What threads do differs from run to run, and no
    hypothesis explains it.
    """
    alike = [
        of
        for of, group in grouped.items()
        if all(e["findings"].get("follows") == origin for e in group)
    ]
    named = [of for of in alike if of[0] == "numbers"]
    if len(named) <= 1:
        alike.sort(key=lambda of: of[0] not in ("numbers", "single"))
        for of in alike[1:]:
            grouped[alike[0]] += grouped.pop(of)


def join_second(grouped: Groups) -> None:
    """Join second derivatives to gradients that are wrong in one way.

    They are compared with differences of first ones, which must be right for that.
    """
    second = [of for of, group in grouped.items() if all(map(is_second, group))]
    first = [
        of
        for of, group in grouped.items()
        if of not in second and all(is_second(e) or is_of_gradients(e) for e in group)
    ]
    if len(first) == 1:
        for of in second:
            grouped[first[0]] += grouped.pop(of)


def is_second(entry: Entry) -> bool:
    """Tell whether a fact is about second derivatives."""
    fact = entry["failure"]["fact"]
    return bool(fact and fact["what"] == SECOND)


def is_of_gradients(entry: Entry) -> bool:
    """Tell whether gradients are wrong, and nothing else; where they are NaN is another thing."""
    names = [c["name"] for c in entry["failure"]["comparisons"]]
    return bool(names) and all(n.startswith(GRADIENT) for n in names) and not is_nan([entry])


def is_nan(entries: list[Entry]) -> bool:
    """Tell whether each failure of numbers has NaN: got, or expected of another result's NaN."""
    numbers = [e["failure"]["comparisons"] for e in entries if e["failure"]["comparisons"]]
    worst = [[c["worst"] for c in of] for of in numbers]
    lost = [any(math.isnan(float(w[n])) for w in of for n in ("got", "expected")) for of in worst]
    return bool(lost) and all(lost)


def is_wrong_with(used: str, entry: Entry) -> bool:
    """Tell whether numbers or facts are wrong with one thing of JOINED, and a plain call right."""
    found, kind = entry["findings"], entry["failure"]["kind"]
    is_right = found.get("gradients") is None
    return used in found.get("uses", ()) and is_right and kind in (Kind.NUMBERS, Kind.FACT)


def key(entry: Entry) -> tuple[Any, ...]:
    """Say what failures of one cause have in common."""
    failure = entry["failure"]
    kind, raised, fact = failure["kind"], failure["raised"], failure["fact"]
    if kind in CRASHES:
        return kind, failure["place"], "" if failure["own"] else failure["how"]
    diagnosis, follows = diagnosis_of(entry), entry["findings"].get("follows")
    if follows == TANH:
        return "follows", TANH
    if diagnosis and diagnosis["sentences"]:
        one = diagnosis.get("kind") or diagnosis.get("base")
        return "numbers", *([one] if one else diagnosis["sentences"])
    if single := entry["findings"].get("single"):
        return "single", *single
    if follows == USES and entry["findings"].get(MEASURED):
        return "follows", USES, entry["name"]  # each is a fact by itself
    if follows:
        return "follows", follows, wrong_in_plain_call(entry) if follows == NETWORK else ""
    if raised:
        # Outside the subject's own lines the place is where all calls pass; but attributes that
        # are not there are one thing that a module lacks, whichever they are.
        told = raised["own"] or raised["type"] == "AttributeError"
        called = "" if told else raised["doing"]
        return "raised", raised["type"], raised["place"], called
    if fact and fact["what"] in list(Wiring):  # a shape differs with the sizes of each case
        return "wiring", fact["what"]
    if entry["group"] in ONE_FACT:
        return "group", entry["group"]
    if fact:  # several things may be wrong in one way: no error where one is due
        return "fact", entry["group"], fact["got"], fact["expected"]
    first = failure["comparisons"][0] if failure["comparisons"] else None
    place = (*first["first"]["axes"], *first["pattern"]["along"]) if first else ()
    if is_of_gradients(entry):
        return kind, "gradients"
    # Uses of several kinds show what is wrong where a plain call is right.
    group = "" if entry["findings"].get("gradients", ()) is None else entry["group"]
    return kind, group, *place


def diagnosis_of(entry: Entry) -> dict[str, Any] | None:
    """Return what experiments said of a failure; None where they found the plain call right."""
    found: dict[str, Any] | None = entry["findings"].get("diagnosis")
    return found


def wrong_in_plain_call(entry: Entry) -> str:
    """Say what a plain call of the failing case shows to be wrong; nothing where it is right."""
    diagnosis, gradients = diagnosis_of(entry), entry["findings"].get("gradients")
    if diagnosis:
        return str(diagnosis["of"])
    return "" if gradients is None else "gradients" if gradients else "results"
