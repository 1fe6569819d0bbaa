"""Known deviations: what a build is known to get wrong, kept until it gets it right.

A TOML file with a table [[deviation]] for each. In every run that it applies to, an
entry's case is replayed: one that holds is no deviation any more, and the run fails until
the entry is removed. Cases that `where` describes are not drawn for its property; without
`where`, the property is not drawn at all.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from rnn_ref.case import Case

OURS = Path(__file__).parent / "deviations.toml"


class Unreadable(ValueError):
    """A ledger that can't be used; the message is one sentence."""


@dataclass(frozen=True)
class Deviation:
    """One entry: the property, the case that shows it, and where it applies.

    `torch` is a version specifier (PEP 440), `subject` and `device` are as on the command
    line, `cpu` is a flag of the processor's; empty ones apply everywhere. `where` maps
    fields of a case to the values for which the property is known to fail.
    """

    property: str
    case: str
    why: str
    since: str
    upstream: str = ""
    subject: str = "torch.nn:RNN"
    device: str = ""
    torch: str = ""
    cpu: str = ""
    where: dict[str, list[Any]] = field(default_factory=dict)

    def applies(self, subject: str, device: str, version: str, flags: Sequence[str]) -> bool:
        """Whether a run is one that this is known of."""
        return (
            self.subject == subject
            and self.device in ("", device)
            and self.cpu in ("", *flags)
            and SpecifierSet(self.torch).contains(version.partition("+")[0], prereleases=True)
        )

    def covers(self, case: Case) -> bool:
        """Whether a case is one of those for which the property is known to fail."""
        return all(getattr(case, name) in values for name, values in self.where.items())

    def __str__(self) -> str:
        return f"{self.why} ({self.upstream or 'no upstream thread'}; since {self.since})"


def read_ledger(file: Path, properties: Sequence[str]) -> list[Deviation]:
    """The entries of a ledger, whose properties must be among those named.

    Raises Unreadable, in one sentence, for a file that is no ledger.
    """
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Unreadable(f"{file} can't be read as TOML: {error}") from error
    if found.keys() - {"deviation"} or not isinstance(found.get("deviation", []), list):
        raise Unreadable(f"{file}: expected tables [[deviation]], came {', '.join(found)}")
    return [entry(file, table, properties) for table in found.get("deviation", [])]


def entry(file: Path, table: Any, properties: Sequence[str]) -> Deviation:
    """One entry, checked."""
    known = {f.name for f in fields(Deviation)}
    due = {"property", "case", "why", "since"}
    if not isinstance(table, dict) or not due <= table.keys() <= known:
        raise Unreadable(
            f"{file}: expected an entry with {', '.join(sorted(due))}, and of"
            f" {', '.join(sorted(known - due))} what applies, came {', '.join(table)}"
        )
    made = Deviation(**table)
    try:
        Case.parse(made.case)
        SpecifierSet(made.torch)
    except (ValueError, InvalidSpecifier) as error:
        raise Unreadable(f"{file}: {error}") from error
    if made.property not in properties:
        raise Unreadable(f"{file}: no property is named {made.property!r}")
    if unknown := made.where.keys() - {f.name for f in fields(Case)}:
        raise Unreadable(f"{file}: a case has no field {', '.join(unknown)}")
    return made
