"""Known deviations, the ledger: what a build is known to get wrong, until it gets it right.

A TOML file with a table [[deviation]] for each fact. An entry names the properties in
which the fact shows (or their group), the subjects, and the cases that show it. In every
run that it applies to, these cases are replayed: if one no longer fails, the fact is gone,
and the run fails until the entry is removed. What torch.nn.RNN deviates in, a subclass of
it may; one that does not is judged like any other. Cases that `where` describes are not drawn
for the entry's properties; without `where`, its properties are not judged at all.
"""

from __future__ import annotations

import operator
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rnn_ref.cases.case import Case, require_field
from rnn_ref.judging.replay import DEFAULT_SUBJECT

BUILT_IN = Path(__file__).parent / "deviations.toml"
"""The ledger of torch.nn.RNN and of the ways of running it."""


class Unreadable(ValueError):
    """A ledger that can't be used; the message is one sentence."""


COMPARISONS = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Deviation:
    """One entry: the fact, where it shows, and what it applies to.

    `torch` are bounds on the version, such as ">=2.13,<2.15"; `subjects` and `device` are
    as on the command line, `cpu` is a flag of the processor's. An empty device, torch or
    cpu matches all.
    `where` maps fields of a case to the values for which the properties are known to fail.
    """

    properties: Sequence[str]
    group: str
    cases: Sequence[Case]
    why: str
    since: str
    upstream: str = ""
    subjects: Sequence[str] = (DEFAULT_SUBJECT,)
    device: str = ""
    torch: str = ""
    cpu: str = ""
    where: dict[str, list[Any]] = field(default_factory=dict)

    def names(self, name: str, group: str) -> bool:
        """Tell whether the entry names the property of this name and group."""
        return name in self.properties or group == self.group

    def applies(
        self, subjects: Sequence[str], device: str, version: str, flags: Sequence[str]
    ) -> bool:
        """Tell whether the entry applies to a run, by subject, device, torch and processor.

        `subjects` are the subject's names: its own, and that of the class that it inherits from.
        """
        return (
            any(name in self.subjects for name in subjects)
            and self.device in ("", device)
            and self.cpu in ("", *flags)
            and all(
                COMPARISONS[sign](numbers(version), numbers(bound))
                for sign, bound in version_bounds(self.torch)
            )
        )

    def covers(self, case: Case) -> bool:
        """Tell whether a case is one of those for which the properties are known to fail."""
        return all(getattr(case, name) in values for name, values in self.where.items())

    def __str__(self) -> str:
        return f"{self.why} ({self.upstream or 'no upstream thread'}; since {self.since})"


def version_bounds(text: str) -> list[tuple[str, str]]:
    """Split ">=2.13,<2.15" into its signs and versions; raise ValueError if it can't be."""
    bounds = []
    for part in filter(None, text.replace(" ", "").split(",")):
        match = re.fullmatch(r"(>=|<=|==|!=|>|<)(\d+(?:\.\d+)*)", part)
        if match is None:
            raise ValueError(
                f"torch: expected a range of versions such as '>=2.13,<2.15', got {text!r}"
            )
        bounds.append((match[1], match[2]))
    return bounds


def numbers(version: str) -> list[int]:
    """Take the three numbers of a version, such as [2, 13, 0] of 2.13.0+cpu."""
    release = [int(number) for number in re.findall(r"\d+", version.partition("+")[0])]
    return [*release, 0, 0, 0][:3]


TEXTS = ("why", "since", "upstream", "device", "torch", "cpu")
LISTS = {"property": "properties", "subject": "subjects", "case": "cases"}
"""Keys that take a text or a list of texts, and the field of Deviation that each fills."""

KEYS = (*LISTS, "group", *TEXTS, "where")


def read_ledger(file: Path, groups: Mapping[str, str]) -> list[Deviation]:
    """Read the entries of a ledger; `groups` has the group of each property by its name.

    Raises Unreadable, in one sentence, for a file that is no ledger.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Unreadable(f"{file} can't be read as TOML: {error}") from error
    entries = tables.get("deviation", [])
    if tables.keys() - {"deviation"} or not isinstance(entries, list):
        got = ", ".join(tables)
        raise Unreadable(f"{file}: expected tables [[deviation]] alone, got {got}")
    deviations = []
    for number, table in enumerate(entries, start=1):
        try:
            deviations.append(entry(table, groups))
        except ValueError as error:
            raise Unreadable(f"{file}: entry {number}: {error}") from error
    return deviations


def entry(table: Any, groups: Mapping[str, str]) -> Deviation:
    """Check one entry, every value of it; raise ValueError, in one sentence, for a wrong one."""
    if not isinstance(table, dict):
        raise ValueError(f"expected a table, got {table!r}")  # noqa: TRY004 - ValueError, so that the caller needs one except
    if unknown := [key for key in table if key not in KEYS]:
        raise ValueError(f"unknown key {', '.join(unknown)}; known keys: {', '.join(KEYS)}")
    if missing := [key for key in ("case", "why", "since") if key not in table]:
        raise ValueError(f"missing key {', '.join(missing)}")
    if ("property" in table) == ("group" in table):
        raise ValueError("expected either property or group")
    values: dict[str, Any] = {}
    for key, name in LISTS.items():
        if key in table:
            values[name] = texts(key, table[key])
    for key in (*TEXTS, "group"):
        if key in table and not isinstance(table[key], str):
            raise ValueError(f"{key}: expected a text, got {table[key]!r}")
        if key in table:
            values[key] = table[key]
    for name in values.setdefault("properties", []):
        if name not in groups:
            raise ValueError(f"property: no property is named {name!r}")
    if values.setdefault("group", "") not in ("", *groups.values()):
        known = ", ".join(dict.fromkeys(groups.values()))
        raise ValueError(f"group: expected one of {known}, got {values['group']!r}")
    version_bounds(values.get("torch", ""))
    values["cases"] = [Case.parse(line) for line in values["cases"]]
    return Deviation(**values, where=where(table.get("where", {})))


def texts(key: str, value: Any) -> list[str]:
    """Take a text, or a list of them, as a list; raise ValueError for anything else."""
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(isinstance(each, str) for each in listed):
        raise ValueError(f"{key}: expected a text or a list of texts, got {value!r}")
    return listed


def where(table: Any) -> dict[str, list[Any]]:
    """Check fields of a case and the values of each; raise ValueError for a wrong one."""
    if not isinstance(table, dict):
        got = f"got {table!r}"
        raise ValueError(f"where: expected fields of a case and lists of values, {got}")  # noqa: TRY004
    known = [field.name for field in fields(Case)]
    for name, values in table.items():
        if name not in known:
            raise ValueError(f"where: a case has no field {name!r}; its fields: {', '.join(known)}")
        if not isinstance(values, list) or not values:
            raise ValueError(f"where.{name}: expected a list of values, got {values!r}")
        for value in values:
            require_field(name, value)
    return table
