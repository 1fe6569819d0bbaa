"""Histories: what a module lives through, step by step, as the words of a case's line.

    history=eval,call+no_grad,train,call,backward,call+packed+carried,backward:0

A call may have traits: one of each kind in TRAITS. `backward` goes back from the last call
that is still open, `backward:K` from the K-th of those that are, `backward:all` from all of
them at once, `backward:twice` two times from the last. A call is open while backward may pass
through it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product

TRAITS: dict[str, dict[str, str]] = {
    "mode": {
        "no_grad": "under torch.no_grad",
        "inference": "under torch.inference_mode",
        "autocast": "under torch.autocast to bfloat16, gradients off",
    },
    "size": {
        "larger": "with more steps and more rows",
        "large": "with 17 more steps and rows",
    },
    "form": {
        "unbatched": "with one sequence, without a batch axis",
        "packed": "with a packed sequence",
    },
    "start": {
        "none": "with None as h_0",
        "keyword": "with h_0 by its keyword, hx",
        "carried": "with the h_n of the last call as h_0, through which gradients flow",
        "detached": "with a copy of the h_n of the last call as h_0",
    },
    "data": {"strided": "with arguments that are every other element of larger tensors"},
}
"""What may be special about a call, by kind; each by its word."""

STRAY = ("packed", "unbatched", "large", "strided")
"""Traits that now and then a call has whatever the history is about.

What is wrong for such a call alone is often wrong in one mode or after one step alone.
"""

SOME = 224
"""The smallest of the numbers up to 255 with which a call has one of them: an eighth of all."""

BACKWARDS = {
    "backward": "backward from the last open call",
    "backward:0": "backward from the first open call",
    "backward:1": "backward from the second open call",
    "backward:all": "backward from all open calls at once",
    "backward:twice": "backward from the last open call, twice",
}
WEIGHTS = {
    "descend": "a step of gradient descent",
    "load": "other weights by load_state_dict",
    "change": "other weights written in place",
    "exchange": "other weights as the parameters' data",
    "replace": "new parameters in the place of the old ones",
    "reset": "reset_parameters",
    "cast": "to() the other of float32 and float64",
}
"""The steps after which a module computes with other weights."""

PASSED_ON = {
    "deepcopy": "copy.deepcopy, and on with the copy",
    "pickle": "pickle, and on with what is loaded",
    "state": "state_dict, loaded into a new module",
    "delete": "the module deleted, and a new one made",
}
"""The steps after which another module goes on."""

OTHERS = {
    "train": "train()",
    "eval": "eval()",
    "zero_grad": "zero_grad()",
    "zero_grad:zeros": "zero_grad(set_to_none=False)",
    "freeze": "requires_grad off for all parameters of layer 0",
    "thaw": "requires_grad on for all parameters",
    "flatten": "flatten_parameters()",
    "hook": "hooks before and after each call, which must be run",
    "unhook": "these hooks removed",
    "refused": "a call with an input of one feature too many, which must be refused",
    "spoilt": "a call with nothing but NaN",
    "empty": "a call with a batch of none",
    "another": "a call of a second module with weights of its own",
}
DROPOUT = "dropout"
"""The word before all steps with which the module is made with dropout=1, so that all drops."""

STEPS = {"call": "a call", **BACKWARDS, **WEIGHTS, **PASSED_ON, **OTHERS}
"""All steps, by their words."""

WORDS: dict[str, str] = {
    **STEPS,
    **{word: says for kind in TRAITS.values() for word, says in kind.items()},
    DROPOUT: "the module made with dropout=1",
}
"""All words that a history is made of: steps, traits of calls, and dropout."""

OFTEN = {"eval": 3, "freeze": 4, "no_grad": 3, "inference": 2, "carried": 3, "backward:0": 3}
"""The words that stand more than once among those drawn: most faults are about these."""

TOGETHER = {"freeze": ("thaw",), "hook": ("unhook",), "eval": ("train", "no_grad", "load")}
"""Words that come with another: what undoes it, or how calls are made after it."""

GRADIENTS = (*BACKWARDS, "descend", "zero_grad", "zero_grad:zeros", "carried", "freeze", "thaw")
"""What makes sense with gradients only."""

FULL_PRECISION = ("autocast",)
"""What makes sense in float32 and float64 only: torch.autocast's page advises against it in others.

A packed call of two directions in float16 raises there (pytorch/pytorch#100932).
"""

CLOSING = ("descend", "load", "change", "exchange", "reset", "cast", "freeze", "thaw")
"""The steps after which backward may not pass through earlier calls.

Their weights are gone, or another program may compute anew, for backward, what has a gradient now
(torch.utils.checkpoint raises where that is less).
"""


@dataclass(frozen=True)
class Step:
    """One step: its word; of a call its traits; of backward, or of a carried state, the calls.

    `calls` are numbers of calls, counted from 0 in the order in which they are made.
    """

    word: str
    traits: tuple[str, ...] = ()
    calls: tuple[int, ...] = ()

    def __str__(self) -> str:
        return "+".join((self.word, *self.traits))


@dataclass
class Progress:
    """How far a history has come: what is open, frozen, hooked, and what the calls were."""

    calls: list[Step] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    states: set[str] = field(default_factory=lambda: {"train"})

    def close(self, calls: Iterable[int]) -> None:
        """Let backward pass no more through some calls, nor through those that they began."""
        closed = set(calls)
        for i in self.open:
            if closed.intersection(self.calls[i].calls):
                closed.add(i)
        self.open = [i for i in self.open if i not in closed]

    def ancestors(self, calls: Iterable[int]) -> set[int]:
        """Name the calls through which backward from some calls passes, themselves included."""
        passed = set(calls)
        while more := {j for i in passed for j in self.calls[i].calls} - passed:
            passed |= more
        return passed


def words_of(history: str) -> list[str]:
    """Split a history into its words, traits included."""
    return [word for step in history.split(",") for word in step.split("+") if word]


def calls_with(words: Iterable[str]) -> list[str]:
    """List the calls that some words allow: the plain one first, then by how many traits."""
    allowed = set(words)
    kinds = [("", *(w for w in kind if w in allowed)) for kind in TRAITS.values()]
    traits = [tuple(filter(None, combined)) for combined in product(*kinds)]
    return ["+".join(("call", *combined)) for combined in sorted(traits, key=len)]


def plan(steps: Sequence[str]) -> list[Step]:
    """Read the steps of a history; leave out those that can do nothing where they stand."""
    progress = Progress()
    taking = (taken(word, progress) for word in steps if word not in ("", DROPOUT))
    return [step for step in taking if step is not None]


def taken(text: str, progress: Progress) -> Step | None:
    """Take a step, and note what it leads to; return None if it would do nothing."""
    word, *traits = text.split("+")
    if word == "call":
        return called(tuple(traits), progress)
    if word in BACKWARDS:
        return gone_back(word, progress)
    if word == "unhook" and "hook" not in progress.states:
        return None
    if word == "thaw" and "freeze" not in progress.states:
        return None
    if word in CLOSING:
        progress.close(range(len(progress.calls)))
    progress.states.add(word)
    if word in PASSED_ON:
        progress.states -= {"freeze", "hook"}
    progress.states -= {"hook"} if word == "unhook" else {"freeze"} if word == "thaw" else set()
    return Step(word)


def called(traits: tuple[str, ...], progress: Progress) -> Step:
    """Make a call; a state can be carried only from a like call, with gradients if it is open."""
    number, begun_by = len(progress.calls), ()
    traits = tuple(trait for kind in TRAITS.values() for trait in kind if trait in traits)
    if {"carried", "detached"}.intersection(traits):
        last = progress.calls[-1].traits if progress.calls else ("autocast",)
        shapes = (*TRAITS["size"], "unbatched")
        like = all((shape in last) == (shape in traits) for shape in shapes)
        if not like or "autocast" in last or "cast" in progress.states:
            traits = tuple(trait for trait in traits if trait not in ("carried", "detached"))
        elif number - 1 not in progress.open or closed_by(traits):
            traits = tuple("detached" if trait == "carried" else trait for trait in traits)
    if "carried" in traits:
        begun_by = (number - 1,)  # type: ignore[assignment]
    step = Step("call", traits, begun_by)
    progress.calls.append(step)
    progress.states.discard("cast")
    if not closed_by(traits):
        progress.open.append(number)
    return step


def closed_by(traits: Iterable[str]) -> bool:
    """Tell whether a call with some traits records no gradients."""
    return bool(set(TRAITS["mode"]).intersection(traits))


def gone_back(word: str, progress: Progress) -> Step | None:
    """Go backward; every call passed through is closed."""
    which = word.partition(":")[2]
    if not progress.open or (which == "1" and len(progress.open) < 2):
        return None
    if which == "all":
        calls = tuple(progress.open)
    else:
        calls = (progress.open[int(which) if which.isdigit() else -1],)
    progress.close(progress.ancestors(calls))
    return Step(word, calls=calls)


def normal(steps: Sequence[str]) -> str:
    """Write the steps of a history that do something, as a case's line has them."""
    begun = [DROPOUT] if DROPOUT in steps else []
    return ",".join([*begun, *map(str, plan(steps))])


def to_pick(words: Iterable[str]) -> list[str]:
    """List the words that make histories differ, each as often as it is drawn.

    Two are traits that some calls have anyway: they take no other word's place.
    """
    left = {"call", "backward", DROPOUT, "thaw", "unhook", "train", "large", "strided"}
    return [word for word in words if word not in left for _ in range(OFTEN.get(word, 1))]


def with_partners(few: Iterable[str]) -> set[str]:
    """Add to a few words those that they come with: call, backward, and their partners."""
    few = set(few)
    partners = {partner for word in few for partner in TOGETHER.get(word, ())}
    return {"call", "backward", *few, *partners}


def choices(words: Sequence[str]) -> list[str]:
    """List the steps that some words allow, the simplest first, each as often as it is drawn."""
    calls = calls_with(words)
    backwards = [word for word in BACKWARDS if word in words]
    steps = [word for word in STEPS if word in words and word not in (*BACKWARDS, "call")]
    return [*calls[:1] * 3, *backwards * (4 // max(1, len(backwards))), *calls[1:6], *steps * 2]


def chosen(number: int, allowed: Sequence[str], words: Collection[str]) -> str:
    """Choose a step by a number up to 255; a call may get a trait that is among all words."""
    step = allowed[number % len(allowed)]
    stray = STRAY[number // len(STRAY) % len(STRAY)]
    kind = next(kind for kind in TRAITS.values() if stray in kind)
    word, *traits = step.split("+")
    if word != "call" or number < SOME or stray not in words or kind.keys() & set(traits):
        return step
    return f"{step}+{stray}"
