"""Write a failure down as a Python program that needs torch and the subject only.

The program gives a module the weights and inputs of one case, as exact hexadecimal floats,
calls it once, and compares what it returns with the values and bounds that the oracle
computed, end to end, when the program was written. So it can be pasted into an issue of a
project that does not have this package.
"""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from rnn_ref.arithmetic.bounded import Bounded
from rnn_ref.arithmetic.dtypes import Floats, Rounding
from rnn_ref.cases.case import Case
from rnn_ref.cases.problem import Problem
from rnn_ref.judging.comparison import compare_gradients, compare_results
from rnn_ref.judging.failures import SubjectFault
from rnn_ref.judging.oracle import Oracle
from rnn_ref.judging.subject import DEFAULTS, Subject, options_of, read_gradients

WIDTH = 100
"""The most characters that a line of a program has."""

MOST = 60
"""The most lines of a program for a small case: it is made dense if that leads to them."""

INDENT = 4 * " "
BLANK = ""

ANOTHER_SUBJECT = """
if sys.argv[1:]:  # another subject to compare with, such as torch.nn:RNN
    module, _, name = sys.argv[1].partition(":")
    Subject = getattr(importlib.import_module(module), name)
"""

TENSOR = "def tensor(text, *shape):"
RETURNS = "return torch.tensor([*map(float.fromhex, text.split())], {options}).reshape(shape)"

JUDGE = """
def judge(what, tensors, expected):  # expected: [value, bound] for each element
    off = []
    for name, pairs in expected.items():
        got, (value, bound) = tensors[name], torch.tensor(pairs, dtype=torch.float64).unbind(-1)
        forms = (got.shape, got.dtype, got.device), (value.shape, input.dtype, input.device)
        if forms[0] != forms[1]:
            raise SystemExit(f"{what} {name}: got {forms[0]}, expected {forms[1]}")
        x = got.detach().cpu().double()
        right = (x == value) | ((x - value).abs() <= bound) | bound.isinf()
        for at in (~right).nonzero().tolist():
            numbers = [each[tuple(at)].item() for each in (x, value, bound)]
            off.append("{} {}{}: got {}, expected {}, bound {}".format(what, name, at, *numbers))
    if off:
        raise SystemExit("\\n".join([*off[:5], f"over their bounds: {len(off)} elements"]))
"""

REQUIRE_TUPLE = 'assert isinstance(returned, tuple), "the call: expected a tuple (output, h_n)"'

Entry = Sequence[str]
"""The words of a literal: a line may end between any two of them."""


class Statement(NamedTuple):
    """A statement that holds numbers: how it begins, its entries, and how it ends."""

    begins: str
    entries: Sequence[Entry]
    ends: str

    def lines(self, *, dense: bool) -> list[str]:
        """Write it in one line if it fits, else in several.

        The entries have lines of their own, and only those longer than a line are broken. If
        it shall be dense, or has a single entry, a line may end between any two words.
        """
        words = list(chain(*self.entries))
        words[-1] = words[-1].removesuffix(",")
        whole = self.begins + " ".join(words) + self.ends
        if len(whole) <= WIDTH:
            return [whole]
        if not dense and len(self.entries) > 1:
            return [self.begins, *filled(self.entries), self.ends]
        words[-1] += self.ends
        if len(self.begins + words[0]) <= WIDTH:
            words[0] = self.begins + words[0]
        else:
            words.insert(0, self.begins)
        first, *others = filled([[word] for word in words])
        return [first.removeprefix(INDENT), *others]


Part = str | Statement
"""A part of a program: some lines, a BLANK one, or a statement that holds numbers."""


def reproducer(
    subject_name: str,
    case: Case,
    rounding: Rounding | None = None,
    *,
    sentence: str = "",
    replay: str = "",
    gradients: bool = False,
    device: str = "cpu",
) -> str:
    """Write the program that calls a subject on a case and compares the results, and gradients.

    It exits with status 0 if all numbers are within their bounds; with 1 if not, if a result
    has another form, or if the subject raises. An argument `module:attribute` names another
    subject to run. `sentence` says what is wrong, and `replay` is the command that judges the
    case; `rounding` is the model that the bounds follow (default: the dtype's own).

    Raises ValueError unless the subject's name is `module:attribute`, of Python's identifiers.
    """
    problem = case.problem(rounding)
    oracle = Oracle(problem)
    parts: list[Part] = [
        *header(case, sentence, replay),
        *imports(subject_name),
        BLANK,
        ANOTHER_SUBJECT.strip(),
        BLANK,
        *helper(problem, device),
        BLANK,
        JUDGE.strip(),
        BLANK,
        *network(problem, device),
        *leaves(problem, gradients=gradients),
        *results(problem, oracle, gradients=gradients),
        *(backward(problem, oracle) if gradients else ()),
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


def reproduces(subject: Subject, case: Case, *, gradients: bool) -> bool:
    """Tell whether the case's program would fail: run the same comparison in this process.

    A fault that only shows in a second call, in a packed one, in a relation of two calls or
    by the narrower bounds of single steps has no such program.
    """
    problem = subject.problem(case)
    oracle = Oracle(problem)
    try:
        module = subject.build(problem)
        leaves = subject.leaves(problem, gradients=gradients)
        with torch.set_grad_enabled(gradients):
            output, h_n = subject.forward(problem, module, leaves)
        got = subject.arrays(problem, output, h_n)
        comparisons = compare_results(problem, *got, oracle.results)
        if gradients:
            subject.backward(problem, output, h_n)
            by_name = read_gradients(subject, problem, module, leaves)
            comparisons += compare_gradients(problem, by_name, oracle.gradients_end_to_end)
    except SubjectFault:
        return True
    return any(comparison.over for comparison in comparisons)


# The parts of a program.


def header(case: Case, sentence: str, replay: str) -> Iterable[str]:
    """Say in comments what is wrong, for which case, and how the program came about."""
    said = [
        *sentence.splitlines(),
        f"case: {case}",
        f"replay: {replay}" if replay else "",
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
    """Define the function that makes a tensor of hexadecimal numbers."""
    returns = RETURNS.format(options=tensor_options(problem, device))
    return [TENSOR, *filled([returns.split()])]


def tensor_options(problem: Problem, device: str) -> str:
    """Write the options that give a tensor the problem's dtype on the device."""
    words = [] if device == "cpu" else [f"device={quoted(device)}"]
    return ", ".join([*words, f"dtype=torch.{problem.dtype}"])


def network(problem: Problem, device: str) -> list[Part]:
    """Build the module, and load its weights."""
    arguments = [f"{problem.input.shape[2]},", f"{problem.H},"]
    arguments += [
        f"{name}={quoted(value)},"
        for name, value in options_of(problem).items()
        if value != DEFAULTS[name]
    ]
    weights = [entry(name, tensor(array)) for name, array in problem.parameters.items()]
    return [
        Statement("rnn = Subject(", [arguments], f").to({tensor_options(problem, device)})"),
        Statement("rnn.load_state_dict({", weights, "})"),
    ]


def quoted(value: object) -> str:
    """Write an option's value, a text in double quotes."""
    return f'"{value}"' if isinstance(value, str) else repr(value)


def leaves(problem: Problem, *, gradients: bool) -> list[Part]:
    """Make the arguments of the call, in the problem's layout."""
    ends = ".requires_grad_()" if gradients else ""
    return [
        Statement(f"{name} = ", [tensor(in_layout(problem, name, array))], ends)
        for name, array in problem.arguments.items()
    ]


def results(problem: Problem, oracle: Oracle, *, gradients: bool) -> list[Part]:
    """Call the module, and judge output and h_n."""
    call = f"output, h_n = returned = rnn({', '.join(problem.arguments)})"
    named = dict(zip(("output", "h_n"), oracle.results, strict=True))
    return [
        call if gradients else f"with torch.no_grad():\n{INDENT}{call}",
        REQUIRE_TUPLE,
        *judge("result", '{"output": output, "h_n": h_n}', problem, named),
    ]


def backward(problem: Problem, oracle: Oracle) -> list[Part]:
    """Go backward from the results, which are right, and judge every gradient."""
    upstream = [problem.grad_output, problem.grad_h_n]
    vectors = [
        (name, close(tensor(in_layout(problem, name, array)), ","))
        for name, array in zip(("output", "h_n"), upstream, strict=True)
        if array is not None
    ]
    of = ", ".join(name for name, _ in vectors)
    named = [f"{name}={name}" for name in problem.arguments]
    return [
        Statement(f"torch.autograd.backward([{of}], [", [words for _, words in vectors], "])"),
        f"leaves = dict(rnn.named_parameters(), {', '.join(named)})",
        "grads = {n: torch.zeros_like(t) if t.grad is None else t.grad for n, t in leaves.items()}",
        *judge("gradient of", "grads", problem, oracle.gradients_end_to_end),
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


# Literals, each as words between which a line may end.


def tensor(array: Floats) -> Entry:
    """Write an array as `tensor("0x1.8p+0", 1, 1)`."""
    words = [hexadecimal(x) for x in array.ravel().tolist()]
    quotes = '"' if len(words) == 1 else '"""'  # a text of several lines needs three
    words[0] = f"tensor({quotes}{words[0]}"
    sizes = ", ".join(map(str, array.shape)) + ")"
    return [*close(words, f"{quotes},"), *sizes.split()]


def hexadecimal(x: float) -> str:
    """Write a number, to the bit, as float.fromhex reads it, without zeros at its end.

    A number of a narrower dtype has many of those: 0x1.8000000000000p+0 is 0x1.8p+0.
    """
    mantissa, p, exponent = x.hex().partition("p")
    return mantissa.rstrip("0").rstrip(".") + p + exponent if x and p else f"{x:.0f}"


def pairs(problem: Problem, name: str, bounded: Bounded) -> Entry:
    """Write the elements in the caller's layout: lists, the innermost of a value and its bound."""
    parts = [in_layout(problem, name, part) for part in value_and_bound(bounded)]
    laid_out = np.stack(parts, axis=-1)
    return str(laid_out.tolist()).replace("], [", "],\n[").splitlines()


def value_and_bound(bounded: Bounded) -> tuple[Floats, Floats]:
    """Return the values and the bounds; where no number is expected, anything is within them."""
    value, bound = bounded.stored.value, bounded.stored.error
    return value, np.where(np.isnan(value), np.inf, bound)


def entry(name: str, words: Entry) -> Entry:
    """Write an entry of a dictionary."""
    return [f'"{name}":', *close(words, ",")]


def close(words: Entry, ends: str) -> Entry:
    """Add text to the last word."""
    return [*words[:-1], words[-1] + ends]


def filled(entries: Iterable[Entry], indent: str = INDENT) -> list[str]:
    """Fill lines with entries, of which only those longer than a line are broken."""
    room = WIDTH - len(indent)
    lines: list[str] = []
    for words in entries:
        whole = " ".join(words)
        for word in [whole] if len(whole) <= room else words:
            if lines and len(lines[-1]) + 1 + len(word) <= room:
                lines[-1] += " " + word
            else:
                lines.append(word)
    return [indent + line for line in lines]
