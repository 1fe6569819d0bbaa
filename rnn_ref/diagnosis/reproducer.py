"""Write a failure down as a Python program that needs torch and the subject only.

The program gives a module the weights and inputs of one case, as decimal numbers that are
exact when rounded to the dtype, calls it once, and compares what is wrong of what it returns
with the values and bounds that the oracle computed, end to end, when the program was written.
So it can be pasted into an issue of a project that does not have this package.
"""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import Floats, Rounding
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.diagnosis.literals import (
    INDENT,
    WIDTH,
    Entry,
    Statement,
    called,
    close,
    entry,
    nested,
    numbers,
    upwards,
)
from rnn_ref.judging.comparison import compare_gradients, compare_results
from rnn_ref.judging.failures import SubjectFault
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import DEFAULTS, Subject, options_of

MOST = 60
"""The most lines of a program for a small case: it is made dense if that leads to them."""

FEW = 4
"""The most gradients that a program judges: the first that are wrong."""

BLANK = ""

ANOTHER_SUBJECT = """
if sys.argv[1:]:  # another subject to compare with, such as torch.nn:RNN
    module, _, name = sys.argv[1].partition(":")
    Subject = getattr(importlib.import_module(module), name)
"""

CONTAINER = """
from rnn_ref.container import container
Subject = container(Subject)  # a module that calls the function
""".strip()

TENSOR = "def tensor(numbers):\n    return torch.tensor(numbers, {options})"

JUDGE = """
def judge(what, tensors, expected):  # expected: [value, bound] for each element
    for name, pairs in expected.items():
        got, (value, bound) = tensors[name], torch.tensor(pairs, dtype=torch.float64).unbind(-1)
        forms = (got.shape, got.dtype, got.device), (value.shape, input.dtype, input.device)
        if forms[0] != forms[1]:
            raise SystemExit(f"{what} {name}: got {forms[0]}, expected {forms[1]}")
        x = got.detach().cpu().double()
        wrong = ~((x == value) | ((x - value).abs() <= bound) | bound.isinf())
        for at in map(tuple, wrong.nonzero().tolist()):
            numbers = "got {}, expected {}, bound {}".format(x[at], value[at], bound[at])
            raise SystemExit(f"{what} {name}{list(at)}: {numbers}; {wrong.sum()} are wrong")
"""

REQUIRE_TUPLE = 'assert isinstance(returned, tuple), "the call: expected a tuple (output, h_n)"'

Part = str | Statement
"""A part of a program: some lines, a BLANK one, or a statement that holds numbers."""


def reproducer(
    subject_name: str,
    case: Case,
    rounding: Rounding | None = None,
    *,
    sentence: str = "",
    replay: str = "",
    gradients: Sequence[str] = (),
    device: str = "cpu",
    function: bool = False,
) -> str:
    """Write the program that calls a subject on a case and compares the results.

    With the names of some `gradients`, it goes backward, and compares the first few of those
    in place of the results. It exits with status 0 if all numbers are within their bounds; with
    1 if not, if a result has another form, or if the subject raises. An argument
    `module:attribute` names another subject to run. `sentence` says what is wrong, and `replay`
    is the command that judges the case; `rounding` is the model that the bounds follow
    (default: the dtype's own). The subject may be a `function` of arrays: its program needs
    this package's container too.

    Raises ValueError unless the subject's name is `module:attribute`, of Python's identifiers.
    """
    problem = case.problem(rounding)
    oracle = Oracle(problem)
    parts: list[Part] = [
        *header(case, sentence, replay),
        *imports(subject_name),
        *([CONTAINER] if function else []),
        BLANK,
        ANOTHER_SUBJECT.strip(),
        BLANK,
        *helper(problem, device),
        BLANK,
        JUDGE.strip(),
        BLANK,
        *network(problem, device),
        *leaves(problem, gradients=bool(gradients)),
        *(backward(problem, oracle, gradients) if gradients else results(problem, oracle)),
        'print("within the bounds")',
    ]
    spacious, dense = (written(parts, dense=dense) for dense in (False, True))
    lines = dense if len(dense) <= MOST < len(spacious) else spacious
    return "\n".join(lines) + "\n"


def written(parts: Iterable[Part], *, dense: bool) -> list[str]:
    """Write the lines of a program, without a blank one if they shall be dense."""
    lines: list[str] = []
    for part in parts:
        if isinstance(part, Statement):
            lines += part.lines(dense=dense)
        elif not (dense and part == BLANK):
            lines += part.split("\n")
    return lines


def file_name(number: int, property: str) -> str:
    """Name the file of a program: `01_every_step_obeys_the_recurrence.py`."""
    return f"{number:02}_{property.removeprefix('test_')}.py"


def shown(subject: Subject, case: Case) -> list[str] | None:
    """Name the gradients that the case's program would show to be wrong, by running it here.

    Return an empty list where the results are wrong without gradients; None where all is
    right. A fault that only shows in a second call, in a packed one, in a relation of two
    calls or by the narrower bounds of single steps has no such program.
    """
    problem = subject.problem(case)
    oracle = Oracle(problem)
    try:
        run = subject.run(problem)
        if any(each.over for each in compare_results(problem, *run.results, oracle.results)):
            return []
    except SubjectFault:
        return []
    if "gradients" in subject.lacks:
        return None
    try:
        run = subject.run(problem, gradients=True)
    except SubjectFault:
        return ["input"]
    expected = oracle.gradients_end_to_end
    compared = compare_gradients(problem, run.gradients, expected)
    return [name for name, each in zip(expected, compared, strict=True) if each.over] or None


# The parts of a program.


def header(case: Case, sentence: str, replay: str) -> Iterable[str]:
    """Say in comments what is wrong, for which case, and how the program came about."""
    said = [
        *sentence.splitlines(),
        f"replay: {replay}" if replay else f"case: {case}",
        f"made with torch {torch.__version__}",
    ]
    for line in filter(None, said):
        printable = "".join(c if c.isprintable() else "?" for c in line.expandtabs())
        for part in textwrap.wrap(printable, WIDTH - 2, break_on_hyphens=False):
            yield f"# {part}"


def imports(subject_name: str) -> list[str]:
    """Import torch and the subject, as `Subject`."""
    module, _, attribute = subject_name.partition(":")
    if not all(map(is_identifier, [*module.split("."), *attribute.split(".")])):
        raise ValueError(f"subject_name: expected MODULE:ATTRIBUTE, got {subject_name!r}")
    outer, *inner = attribute.split(".")
    lines = ["import importlib, sys, torch"]
    if module.partition(".")[0] != "torch":
        # It is the path of the file, not the working directory, that Python searches first.
        lines.append('sys.path.insert(0, "")  # the subject may be in the working directory')
    lines.append(f"from {module} import {outer} as Subject")
    if inner:
        lines.append(f"Subject = {'.'.join(['Subject', *inner])}")
    return lines


def is_identifier(word: str) -> bool:
    """Tell whether a word can be a name in a program."""
    return word.isidentifier() and not keyword.iskeyword(word)


def helper(problem: Problem, device: str) -> list[str]:
    """Define the function that makes a tensor of numbers."""
    return [TENSOR.format(options=tensor_options(problem, device))]


def tensor_options(problem: Problem, device: str) -> str:
    """Write the options that give a tensor the problem's dtype on the device."""
    words = [] if device == "cpu" else [f"device={quoted(device)}"]
    return ", ".join([*words, f"dtype=torch.{problem.dtype}"])


def network(problem: Problem, device: str) -> list[Part]:
    """Build the module, and load its weights, those of many layers in the order of torch's."""
    arguments = [f"{problem.input.shape[2]},", f"{problem.H},"]
    arguments += [
        f"{name}={quoted(value)},"
        for name, value in options_of(problem).items()
        if value != DEFAULTS[name]
    ]
    made = Statement("rnn = Subject(", [arguments], f").to({tensor_options(problem, device)})")
    weights = {name: numbers(array, problem) for name, array in problem.parameters.items()}
    if problem.L * problem.D <= 2:
        entries = [entry(name, words) for name, words in weights.items()]
        return [
            made,
            Statement("weights = {", entries, "}"),
            "rnn.load_state_dict({name: tensor(array) for name, array in weights.items()})",
        ]
    return [
        made,
        Statement("names = torch.nn.RNN(", [arguments], ").state_dict()"),
        Statement("weights = [", [close(words, ",") for words in weights.values()], "]"),
        "rnn.load_state_dict(dict(zip(names, map(tensor, weights))))",
    ]


def quoted(value: object) -> str:
    """Write an option's value, a text in double quotes."""
    return f'"{value}"' if isinstance(value, str) else repr(value)


def leaves(problem: Problem, *, gradients: bool) -> list[Part]:
    """Make the arguments of the call, in the problem's layout."""
    ends = ").requires_grad_()" if gradients else ")"
    return [
        Statement(f"{name} = tensor(", [numbers(in_layout(problem, name, array), problem)], ends)
        for name, array in problem.arguments.items()
    ]


def results(problem: Problem, oracle: Oracle) -> list[Part]:
    """Call the module, and judge output and h_n."""
    named = dict(zip(("output", "h_n"), oracle.results, strict=True))
    return [
        f"with torch.no_grad():\n{INDENT}{call(problem)}",
        REQUIRE_TUPLE,
        *judge("result", '{"output": output, "h_n": h_n}', problem, named),
    ]


def call(problem: Problem) -> str:
    """Call the module."""
    return f"output, h_n = returned = rnn({', '.join(problem.arguments)})"


def backward(problem: Problem, oracle: Oracle, wrong: Sequence[str]) -> list[Part]:
    """Call the module, go backward from the results, and judge those gradients that are wrong."""
    upstream = [problem.grad_output, problem.grad_h_n]
    vectors = [
        (name, called("tensor", numbers(in_layout(problem, name, array), problem)))
        for name, array in zip(("output", "h_n"), upstream, strict=True)
        if array is not None
    ]
    of = ", ".join(name for name, _ in vectors)
    named = [f"{name}={name}" for name in problem.arguments]
    right = {name: oracle.gradients_end_to_end[name] for name in wrong[:FEW]}
    return [
        call(problem),
        REQUIRE_TUPLE,
        Statement(f"torch.autograd.backward([{of}], [", [words for _, words in vectors], "])"),
        f"leaves = dict(rnn.named_parameters(), {', '.join(named)})",
        "grads = {n: torch.zeros_like(t) if t.grad is None else t.grad for n, t in leaves.items()}",
        *judge("gradient of", "grads", problem, right),
    ]


def judge(what: str, tensors: str, problem: Problem, expected: Mapping[str, Bounded]) -> list[Part]:
    """Judge tensors, an expression, by their names' expected values."""
    entries = [entry(name, pairs(problem, name, bounded)) for name, bounded in expected.items()]
    numbers = [part for bounded in expected.values() for part in value_and_bound(bounded)]
    # Infinite numbers and NaN are rare, and printed as these names.
    names = [
        f'{name} = float("{name}")'
        for name, is_one in (("inf", np.isinf), ("nan", np.isnan))
        if any(is_one(array).any() for array in numbers)
    ]
    return [*names, Statement(f'judge("{what}", {tensors}, {{', entries, "})")]


def in_layout(problem: Problem, name: str, array: Floats) -> Floats:
    """Bring an array, or a gradient for it, to the caller's layout."""
    arrange: Callable[[Floats], Floats] | None = {
        "input": problem.layout.from_steps,
        "output": problem.layout.from_steps,
        "h_0": problem.layout.from_rows,
        "h_n": problem.layout.from_rows,
    }.get(name)
    return arrange(array) if arrange else array


def pairs(problem: Problem, name: str, bounded: Bounded) -> Entry:
    """Write the elements in the caller's layout: lists, the innermost of a value and its bound."""
    value, bound = (in_layout(problem, name, part) for part in value_and_bound(bounded))
    texts = np.empty(value.shape, object)
    for at in np.ndindex(value.shape):
        texts[at] = f"[{float(value[at])!r}, {upwards(float(bound[at]))}]"
    return nested(texts, str)


def value_and_bound(bounded: Bounded) -> tuple[Floats, Floats]:
    """Return the values and the bounds; where no number is expected, anything is within them."""
    value, bound = bounded.stored.value, bounded.stored.error
    return value, np.where(np.isnan(value), np.inf, bound)
