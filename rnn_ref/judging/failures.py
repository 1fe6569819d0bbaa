"""Hold failures as data, and make all their sentences here.

A failure has a kind, what is wrong (comparisons over their bound, a fact that is not so,
an exception with its place, or the end of the process), the case, and the command that
replays it. No code reads the sentences to decide anything.
"""

from __future__ import annotations

import math
import os
import re
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rnn_ref.judging.comparison import Comparison, Element


class Kind(StrEnum):
    """What kind of thing went wrong."""

    NUMBERS = "numbers over their bound"
    FACT = "a fact that is not so"
    EXCEPTION = "an exception"
    MEMORY = "out of memory"
    ENDED = "the process ended"
    HUNG = "the process hung"
    NOTHING = "nothing was compared"
    STALE = "a known deviation that is gone"
    WORSE = "less accurate than the baseline"
    OURS = "an error in rnn_ref itself"


class Wiring(StrEnum):
    """What must go well before any number can be judged; the words are those of a message."""

    CONSTRUCTION = "constructing the module"
    FUNCTION = "calling the function for a module"
    PARAMETERS = "setting the parameters"
    CALL = "the call"
    RESULT = "the result of the call"
    OUTPUT = "shape of output"
    H_N = "shape of h_n"


@dataclass(frozen=True)
class Fact:
    """A fact that must be so of a subject: what it is about, what was got, what was expected."""

    what: str
    got: str
    expected: str


@dataclass(frozen=True)
class Raised:
    """An exception: what the subject was doing, type, message in one line, and place.

    `place` is the file and line where it was raised, the subject's own where there is one: `own`.
    """

    doing: str
    type: str
    message: str
    place: str
    own: bool = True


@dataclass(frozen=True)
class Failure:
    """A property that does not hold.

    `case` is a line, or empty if there is none. `variant` is the variant of the property
    that was judged. `repeatable` is False if the same case gave other results before.
    `how` says in words how a process ended, or what else is wrong, and `place` where; that is
    the subject's `own` file, or another one if none of its own was running. `tanh` is how many
    units of roundoff the bounds take for the subject's tanh, if there is one.
    """

    kind: Kind
    property: str
    case: str
    replay: str
    variant: str = ""
    comparisons: Sequence[Comparison] = ()
    fact: Fact | None = None
    raised: Raised | None = None
    how: str = ""
    place: str = ""
    own: bool = True
    repeatable: bool = True
    tanh: float = 0.0

    def __str__(self) -> str:
        lines = [what_is_wrong(self)]
        lines += assumed(self)
        lines += [f"variant: {self.variant}"] if self.variant else []
        lines += [] if self.repeatable else ["not repeatable: identical runs give other results"]
        lines += [f"case: {self.case}"] if self.case else []
        lines += [f"replay: {self.replay}"] if self.replay else []
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Give it as numbers and text, for JSON; infinite numbers and NaN become text."""
        return {**plain(asdict(self)), "text": str(self)}


class CannotLoad(Exception):
    """The subject, or its device, can't be loaded; the message is one sentence."""


class SubjectFault(Exception):
    """The subject raised, or a fact that must be so of it is not."""

    def __init__(self, cause: Fact | Raised, *, out_of_memory: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.out_of_memory = out_of_memory

    def __str__(self) -> str:
        return sentence(self.cause)


def require(what: str, got: object, expected: object) -> None:
    """Raise SubjectFault unless two descriptions are equal."""
    if got != expected:
        raise SubjectFault(Fact(what, str(got), str(expected)))


# Sentences.


def what_is_wrong(failure: Failure) -> str:
    """Say what is wrong, in one line or a few."""
    if failure.kind == Kind.NUMBERS:
        return about_comparisons(failure.comparisons)
    cause = failure.fact or failure.raised
    said = sentence(cause) if cause else failure.how
    if failure.kind == Kind.OURS:
        return f"error in rnn_ref itself, not in the subject: {said}\nplease report it"
    if failure.kind == Kind.MEMORY:
        return "the subject ran out of memory" + (f": {said}" if cause else "")
    if failure.kind in (Kind.ENDED, Kind.HUNG):
        where = f" ({failure.place})" if failure.place else ""
        return f"the subject {said}{where}"
    return said


NEAR = 2.0
"""The ratio up to which a failure may be one of what the bounds assume."""


def assumed(failure: Failure, see: str = "--tanh") -> list[str]:
    """Say what the bounds assume of tanh, and the option, where a failure is within twice them."""
    worst = max((comparison.ratio for comparison in failure.comparisons), default=math.inf)
    if not failure.tanh or worst > NEAR:
        return []
    return [f"within twice its bound, which assumes a tanh within {failure.tanh:g} u (see {see})"]


def sentence(cause: Fact | Raised) -> str:
    """Say what was got and expected, or what was raised and where."""
    if isinstance(cause, Fact):
        return f"{cause.what}: got {cause.got}, expected {cause.expected}"
    error = f"{cause.type}: {cause.message}" if cause.message else cause.type
    return f"{cause.doing} raised {error} ({cause.place})"


def about_comparisons(comparisons: Sequence[Comparison]) -> str:
    """Describe the worst element of the first array over its bound; count all elements over.

    Return an empty text if no element is over its bound.
    """
    over = [comparison for comparison in comparisons if comparison.over]
    if not over:
        return ""
    first = over[0]
    counts = [f"{c.name}: {c.over} of {c.elements}" for c in over[:3]]
    counts += [f"and {len(over) - 3} more arrays"] if len(over) > 3 else []
    note = f" ({first.note})" if first.note else ""
    text = f"{first.name} at {named(first.worst)}{note}:\n{about_element(first.worst)}"
    return f"{text}\nover their bound: {', '.join(counts)}"


def named(element: Element | None) -> str:
    """Name an element's place, such as `step 3, row 0, direction reverse, unit 5`."""
    if element is None:
        return ""
    words = [
        f"{axis} {('forward', 'reverse')[i] if axis == 'direction' else i}"
        for axis, i in zip(element.axes, element.index, strict=True)
    ]
    return ", ".join(words)


def about_element(element: Element | None) -> str:
    """Say an element's values, its error and its bound, with the digits that its dtype has."""
    if element is None:
        return ""
    got, expected = (f"{x:.{element.digits}g}" for x in (element.got, element.expected))
    if element.bound == 0:
        return f"  got {got}, expected {expected}, which must be equal; off by {element.error:.2g}"
    return (
        f"  got {got}, expected {expected},\n"
        f"  off by {element.error:.2g}, bound {element.bound:.2g}, ratio {element.ratio:.3g}"
    )


# Exceptions and their places.


def raised(doing: str, error: BaseException) -> Raised:
    """Describe an exception: its type, its message in one line, and its place."""
    message = in_one_line(str(error))
    frames = frames_of(error)
    return Raised(doing, type(error).__name__, message, place(frames), has_own(frames))


RULE = 4
"""From how many characters on a word without a letter or a number is a rule."""

LONGEST = 400
"""The most characters of a message: what is beyond is a framework's stack trace."""


def in_one_line(message: str) -> str:
    """Fold a message into one line: what is wrong often stands in its second.

    Words without a letter or a number are left out: they draw a rule, or a frame.
    """
    words = (word for word in message.split() if len(word) < RULE or any(map(str.isalnum, word)))
    return " ".join(words)[:LONGEST]


def frames_of(error: BaseException) -> list[tuple[str, int]]:
    """List the files and lines through which an exception came, outermost first."""
    return [(f.filename, f.lineno or 0) for f in traceback.extract_tb(error.__traceback__)]


def place_in_subject(error: BaseException) -> str:
    """Name the file and line of the subject's own that raised; nothing if none did."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    theirs = [frame for frame in frames_of(error) if is_theirs(frame[0])]
    return place(theirs) if theirs else ""


def folder_of(package: str) -> str:
    """Find the folder of an installed package, without importing it."""
    spec = find_spec(package)
    return str(Path(spec.origin).parent) + os.sep if spec and spec.origin else "none"


OURS, TORCH, NUMPY, PYTEST = map(folder_of, ("rnn_ref", "torch", "numpy", "_pytest"))
SUBJECTS = (OURS + "ways.py", OURS + "container.py", OURS + "frameworks" + os.sep)
"""The files, and the folder, of the subjects that this package ships: they raise as subjects do."""

PYTHON = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<")
"""Where Python's own files are; frames without a file begin with `<`."""


def place(frames: Sequence[tuple[str, int]]) -> str:
    """Name the file and line of the innermost frame that a person can mend.

    That is the subject's own, if one is among the frames (outermost first), else torch's,
    else the innermost.
    """
    theirs = [frame for frame in frames if is_theirs(frame[0])]
    not_ours = [frame for frame in frames if not is_ours(frame[0])]
    for choice in (theirs, not_ours, frames):
        if choice:
            file, line = choice[-1]
            return f"{Path(file).name}:{line}"
    return ""


def has_own(frames: Sequence[tuple[str, int]]) -> bool:
    """Tell whether a frame is the subject's own."""
    return any(is_theirs(file) for file, _ in frames)


def is_ours(file: str) -> bool:
    """Tell whether a file belongs to this package, and is not a subject."""
    return file.startswith(OURS) and not file.startswith(SUBJECTS)


def is_theirs(file: str) -> bool:
    """Tell whether a file belongs to the subject: not to us, torch, NumPy, pytest or Python."""
    in_python = file.startswith(PYTHON) and "site-packages" not in Path(file).parts
    return not (is_ours(file) or in_python or file.startswith((TORCH, NUMPY, PYTEST)))


def is_subjects(error: BaseException) -> bool:
    """Tell whether an exception that passed through a property comes from its subject.

    It does if code of the subject or of torch was running, or if an object of the subject's
    lacked an attribute. What NumPy raises in our own lines is ours.
    """
    if isinstance(error, AttributeError) and not is_made_here(error.obj):
        return True
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return any(is_theirs(file) or file.startswith(TORCH) for file in files)


def is_made_here(value: object) -> bool:
    """Tell whether an object's type is this package's, NumPy's, or Python's own, as None's is."""
    return type(value).__module__.partition(".")[0] in ("rnn_ref", "numpy", "builtins")


def plain(value: Any) -> Any:
    """Convert dictionaries, sequences and numbers to what JSON has."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, str):
        return str(value)  # a Kind becomes plain text: another process has no such class
    if isinstance(value, Iterable):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def claim_of(name: str) -> str:
    """Say a property's name in words, without the structure for which it was judged."""
    words = name.removeprefix("test_").partition("[")[0].replace("_", " ")
    return re.sub(r"\b(h) ([n0])\b|\b(batch) (first)\b", r"\1\3_\2\4", words)
