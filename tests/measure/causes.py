"""Measure what a run says of each planted fault: how many causes, and in which words.

    python -m tests.measure.causes [FILE [NAME ...]]

Each fault (or those whose names begin with a NAME) is judged by all properties, as
`rnn-ref verify --profile smoke -n 0` does it, in this process. The property that must find it
gets the examples of the default profile if those of smoke do not show it. A line for each
fault says how many causes were printed; FILE gets a line of JSON with the failures as well,
and at the end the score of all that FILE holds is printed, as rnn_ref/docs/subjects.md has it.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rnn_ref import parity
from rnn_ref.cases.selection import CAPABILITIES
from rnn_ref.diagnosis.causes import Cause, causes
from rnn_ref.diagnosis.findings import Explainer, of_probe
from rnn_ref.diagnosis.probes import lacking
from rnn_ref.judging.judge import Judge
from rnn_ref.judging.measuring import measure as measured_of
from rnn_ref.judging.properties import Property
from rnn_ref.judging.subject import Subject
from rnn_ref.process.settings import restoring_settings
from rnn_ref.running.dtypes import computed, with_low
from rnn_ref.running.options import DTYPES, PROFILES
from rnn_ref.running.rows import row_of_probe
from rnn_ref.running.session import EXPLAINING
from tests.faults import FAULTS, Fault
from tests.test_diagnosis import NAMED

Entry = dict[str, Any]


def failures(subject: Subject, found_by: str) -> Iterator[Entry]:
    """Yield the failing properties of a run, as `causes` takes them."""
    judge = Judge(subject, DTYPES, PROFILES["smoke"], 1, subject.lacks, around=restoring_settings)
    explainer = Explainer(EXPLAINING)
    declared = [d for d in parity.properties().values() if not d.baseline]
    for setup in [d for d in declared if d.setup]:
        if failed := list(failing(judge, setup, explainer)):
            yield from failed
            return
    probed = lacking(subject, DTYPES, judge.without, lambda _: None, judge.around)
    missing = dict(probed)
    for name, failure in missing.items():
        found = {"failure": failure.as_dict(), "findings": of_probe(judge, name, failure)}
        yield vars(row_of_probe(name, found))
    names = frozenset(missing) & CAPABILITIES.keys()
    judge = informed(replace(judge, without=judge.without | names, lacking=names))
    thorough = replace(judge, examples=PROFILES["default"])
    for each in (d for d in declared if not d.setup):
        failed = list(failing(judge, each, explainer))
        if not failed and each.name == f"test_{found_by}":
            failed = list(failing(thorough, each, explainer))
        yield from failed


def informed(judge: Judge) -> Judge:
    """Tell a judge in which 16-bit dtypes its subject computes, and what was measured of it."""
    low = computed(judge.subject, judge.without, judge.around)
    with judge.around(), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        around = judge.around
        found = measured_of(judge.subject, (*judge.dtypes, *low), judge.without, around=around)
    subject = replace(judge.subject, measured=found)
    return replace(judge, dtypes=with_low(judge.dtypes, low), subject=subject)


def failing(judge: Judge, declared: Property, explainer: Explainer) -> Iterator[Entry]:
    """Judge a property on each structure of its cases, and yield the failures."""
    for structure in declared.domains:
        outcome = judge.judge(declared, structure)
        if outcome.failure is None:
            continue
        yield {
            "name": f"{declared.name}[{structure}]" if structure else declared.name,
            "group": declared.group,
            "setup": declared.setup,
            "failure": outcome.failure.as_dict(),
            "findings": explainer.findings(judge, declared, structure, outcome.failure),
        }


def about(fault: Fault, found: list[Cause], seconds: float) -> str:
    """One fault's line, and its sentences if there are several, or none."""
    line = f"{len(found)} causes, {seconds:4.0f} s: {fault.name}"
    return "\n".join([line, *(f"    {c.sentence} [{len(c.properties)}]" for c in found)])


def measure(fault: Fault) -> Entry:
    """Judge one fault."""
    start, subject = time.process_time(), fault.plant()
    entries = list(failures(subject, fault.found_by))
    found = causes(entries)
    print(about(fault, found, time.process_time() - start), flush=True)
    found_by_it = any(f"test_{fault.found_by}" == e["name"].partition("[")[0] for e in entries)
    return {"fault": fault.name, "found": found_by_it, "entries": entries}


PLACES = {
    "b_hh is added from the second step on": "from the second step on",
    "tanh is missing at the first step": "at the first step",
    "The state is reset at step 32": "at step 32",
    "Rows after the fourth are 0.1 % too small": "rows from 4 on",
    "Features after the 32nd are not read": "from 32 on",
    "A single unit after the last full tile of 8 has its neighbour's state": "tile of 8",
    "The recurrent gradient is cut every 16 steps": "every 16 steps",
    "The first step's input has no gradient": "first step's input",
    "The reverse direction gives the input no gradient": "reverse direction",
    "Lower layers have no gradient": "layers below the last",
    "The reverse direction starts from zero": "reverse direction",
    "The reverse direction uses the forward weights": "reverse direction",
    "h_n of layer 0 is returned for all layers": "layer 0",
    "All layers start from layer 0's h_0": "layer 0",
    "Row 3 starts from h_0 + 1": "row 3",
    "Output is 1 % smaller without a batch axis": "unbatched",
}
"""Faults that have a place, and how their first cause must name it."""


def score(measured: list[Entry]) -> str:
    """Count in how many faults the causes are one, are right, and name the place, as a table."""
    found = {each["fault"]: causes(each["entries"]) for each in measured}
    words = {name: said for name, _, said in NAMED if name in found}
    places = {name: place for name, place in PLACES.items() if name in found}
    one = [name for name, told in found.items() if len(told) == 1]
    named = [name for name, said in words.items() if said in found[name][0].sentence]
    placed = [
        name
        for name, place in places.items()
        if place in "\n".join([found[name][0].sentence, *found[name][0].evidence])
    ]
    rows: dict[str, tuple[list[str], Collection[str]]] = {
        "one cause": (one, found),
        "the hypothesis that is the fault's": (named, words),
        "the place, where a fault has one": (placed, places),
    }
    lines = ["| a run says | of planted faults |", "|---|---|"]
    lines += [f"| {what} | {len(right)} of {len(of)} |" for what, (right, of) in rows.items()]
    lines += [f"not so: {name}" for right, of in rows.values() for name in of if name not in right]
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    file, names = Path(sys.argv[1]) if len(sys.argv) > 1 else None, tuple(sys.argv[2:]) or ("",)
    for fault in FAULTS:
        if fault.name.startswith(names):
            told = json.dumps(measure(fault))
            if file:
                with file.open("a", encoding="utf-8") as lines:
                    lines.write(told + "\n")
    if file:
        print(score([json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]))
