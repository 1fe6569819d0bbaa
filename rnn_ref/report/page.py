"""Make the page: choose what is shown of the files, draw it, and fill in `page.html`.

The template escapes whatever is put into it; only SVG that `drawing` made is taken as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rnn_ref.cases.case import Case
from rnn_ref.judging.replay import command
from rnn_ref.recording.compare import Group, Regression, compare_records
from rnn_ref.recording.record import UnusableFile
from rnn_ref.recording.table import MARKS, QUANTITIES
from rnn_ref.report import plots
from rnn_ref.report.drawing import Drawing
from rnn_ref.report.growth import REGIMES, growth
from rnn_ref.report.inputs import (
    Cause,
    Compared,
    Inputs,
    Judged,
    Matrix,
    Recorded,
    Timed,
    exponents,
)
from rnn_ref.running.bench.command import PASSES
from rnn_ref.running.bench.table import NOISE, cells, means, suite_lines
from rnn_ref.running.output import own_version
from rnn_ref.running.rows import Row, plural, ratio

HERE = Path(__file__).parent

SECTIONS = {
    "causes": "Causes",
    "steps": "Error against step",
    "properties": "Error / bound by property",
    "ulps": "Errors in ULPs",
    "comparison": "Comparison of records",
    "matrix": "Matrix",
    "benchmark": "Benchmark",
}
"""The sections in the order of the page; the ones without content are left out."""

IN_FULL = 10
"""How many causes of a file stand open; the others are folded away."""

SHOWN = 5
"""How many groups of a comparison that are worse are shown in full, as `compare` prints."""


@dataclass(frozen=True)
class Verdict:
    """One line at the top of the page."""

    word: str
    file: str
    text: str


def page(inputs: Inputs) -> str:
    """Write the page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(ratio=ratio, count=plural, claim=claim, short=short)
    environment.globals["place"] = itertools.count(1).__next__
    style = Markup((HERE / "style.css").read_text(encoding="utf-8"))  # noqa: S704 - our own
    verdicts = list(verdicts_of(inputs))
    text = environment.get_template("page.html").render(
        title=f"rnn-ref: {'; '.join(each.word for each in verdicts) or 'report'}",
        style=style,
        verdicts=verdicts,
        version=own_version(),
        files=inputs.files,
        **contents(inputs),
    )
    return text.lstrip()


def contents(inputs: Inputs) -> dict[str, Any]:
    """Make the content of every section, by the template's names, and choose the sections."""
    series = series_of(inputs.recorded)
    failing = list(failing_of(inputs.judged))
    shown: dict[str, Any] = {
        "failing": failing,
        "steps": steps_of(inputs),
        "properties": [(each, plots.by_property(each)) for each in inputs.judged],
        "series": series,
        "ulps": plots.histograms(series),
        "comparisons": [comparison(each, inputs.recorded) for each in inputs.compared],
        "matrices": [matrix(each) for each in inputs.matrices],
        "timed": [benchmark(each) for each in inputs.timed],
        "suites": [
            {"name": each.name, "text": "\n".join(suite_lines(each.result))}
            for each in inputs.suites
        ],
    }
    there = {
        "causes": failing,
        "comparison": shown["comparisons"],
        "matrix": shown["matrices"],
        "benchmark": shown["timed"] or shown["suites"],
        **shown,
    }
    sections = {id: name for id, name in SECTIONS.items() if there[id]}
    return {**shown, "sections": sections, "noise": " ".join(NOISE)}


def claim(name: str) -> str:
    """Write a property's name as words."""
    return Row(name, "").claim


def short(number: float | None) -> str:
    """Write a number in three digits, or - where there is none."""
    return "-" if number is None else f"{number:.3g}"


# The verdicts, and what is behind them.


def verdicts_of(inputs: Inputs) -> Iterator[Verdict]:
    """Say each verdict of the files in a line, in the order of the sections."""
    for judged in inputs.judged:
        word = "conforms" if judged.conforms else "does not conform"
        yield Verdict(word, judged.name, judged.summary)
    for compared in inputs.compared:
        yield Verdict(compared.regression.verdict, compared.name, counted(compared.regression))
    for each in inputs.matrices:
        results = [result for result in each.ways.values() if result is not None]
        conform = sum(result.conforms for result in results)
        word = "conforms" if results and conform == len(results) else "does not conform"
        run = f"{conform} of {plural(len(results), 'way', 'ways')} that were judged"
        yield Verdict(word, each.name, f"{run} conform; {len(each.ways)} in all")


def counted(regression: Regression) -> str:
    """Count the groups of a comparison by verdict."""
    counts = [f"{len(of)} {v}" for v in MARKS if (of := regression.of(v))]
    return f"{plural(regression.cases, 'case', 'cases')}, groups: {', '.join(counts)}"


def failing_of(judged: Sequence[Judged]) -> Iterator[dict[str, Any]]:
    """Give the causes of all files numbers; add a heat map where the file has a cause's places."""
    numbers = itertools.count(1)
    for each in judged:
        causes = [
            (next(numbers), cause, plots.heat_map(cause.places) if cause.places else None)
            for cause in each.shown
        ]
        if causes:
            yield {"judged": each, "first": causes[:IN_FULL], "more": causes[IN_FULL:]}


def steps_of(inputs: Inputs) -> list[Drawing]:
    """Draw error against step: of failures, of records by length, and what rounding alone does."""
    if not (inputs.judged or inputs.recorded or inputs.matrices):
        return []
    causes = itertools.chain.from_iterable(each.shown for each in inputs.judged)
    failures = [
        (named(number, cause), cause.places)
        for number, cause in enumerate(causes, start=1)
        if cause.places and "step" in cause.places.axes
    ]
    drawings = [plots.by_step(failures[:4])] if failures else []
    drawings.append(plots.growth_plot([growth(weights) for weights in REGIMES]))
    by_length = plots.by_length(series_of(inputs.recorded))
    return [*drawings, by_length] if by_length else drawings


def named(number: int, cause: Cause) -> str:
    """Name a cause in a legend: its number, and the weights of its case."""
    try:
        return f"cause {number}, {Case.parse(cause.case).weights} weights"
    except ValueError:
        return f"cause {number}"


# Records and their comparison.


def series_of(recorded: Sequence[Recorded]) -> dict[str, Recorded]:
    """Name the records: of two, the first is the old one."""
    names = ["old", "new"] if len(recorded) == 2 else range(1, len(recorded) + 1)
    return {f"{name}": each for name, each in zip(names, recorded, strict=True)}


def comparison(compared: Compared, recorded: Sequence[Recorded]) -> dict[str, Any]:
    """Make the table of a comparison, and the groups that are worse, clearest first."""
    regression = compared.regression
    worse = sorted(regression.of("worse"), key=lambda g: min((s.p for s in g.signs), default=0.0))
    there = {group.quantity for group in regression.groups}
    quantities = [name for name in QUANTITIES if name in there]
    header = new_header(regression, recorded)
    return {
        "name": compared.name,
        "regression": regression,
        "worse": [(group, header and replay(group, header)) for group in worse[:SHOWN]],
        "more": len(worse[SHOWN:]),
        "quantities": quantities,
        "table": verdict_table(regression.groups, quantities),
    }


def verdict_table(groups: Sequence[Group], quantities: Sequence[str]) -> dict[str, list[str]]:
    """Give the verdicts by row (dtype, kind of network, measured), one for each quantity."""
    marks: dict[tuple[str, str], str] = {}
    titles: dict[str, None] = {}
    for g in groups:
        title = f"{g.dtype} {g.kind}, {g.measured.replace('_', ' ')}"
        titles[title] = None
        marks[title, g.quantity] = MARKS.get(g.verdict, g.verdict)
    return {title: [marks.get((title, name), "-") for name in quantities] for title in titles}


def new_header(regression: Regression, recorded: Sequence[Recorded]) -> dict[str, Any] | None:
    """Find the header of the newer record, if the records are those that were compared."""
    if len(recorded) != 2:
        return None
    old, new = (each.record for each in recorded)
    try:
        same = asdict(compare_records(old, new)) == asdict(regression)
    except UnusableFile:
        return None
    return new.header if same else None


def replay(group: Group, header: Mapping[str, Any]) -> str:
    """Write the command that records a group's worst case again."""
    words = ("record", "-", "--case", group.worst)
    return command(*words, subject=header["subject"], device=header["device"])


# The matrix and the benchmark.


def matrix(each: Matrix) -> dict[str, Any]:
    """Make the table of the ways, and the remarks below it."""
    results = [result for result in each.ways.values() if result is not None]
    groups = list(dict.fromkeys(row.group for result in results for row in result.rows))
    rows = {
        way: None if result is None else [cell(result, group) for group in groups]
        for way, result in each.ways.items()
    }
    remarks = [
        (way, verdict, text)
        for way, result in each.ways.items()
        if result is not None
        for verdict in ("FAILS", "known")
        for text in dict.fromkeys(first_line(row) for row in result.of(verdict))
    ]
    return {"name": each.name, "groups": groups, "rows": rows, "remarks": remarks}


def cell(result: Judged, group: str) -> str:
    """Write a group's worst verdict, or its worst ratio; - if nothing was judged."""
    rows = [row for row in result.rows if row.group == group]
    verdicts = {row.verdict for row in rows}
    for verdict in ("FAILS", "known"):
        if verdict in verdicts:
            return verdict
    return ratio(max(row.worst for row in rows)) if "holds" in verdicts else "-"


def first_line(row: Row) -> str:
    """Return the first line of a property's message, or what it claims."""
    lines = row.message.splitlines()
    return lines[0] if lines else row.claim


def benchmark(timed: Timed) -> dict[str, Any]:
    """Make the figures and the tables of a benchmark."""
    shapes = timed.result["shapes"]
    drawings = [plots.shape_plot(shape) for shape in shapes]
    return {
        "name": timed.name,
        "result": timed.result,
        "drawings": [drawing for drawing in drawings if drawing],
        "means": [line for line in means(shapes) if line] if len(shapes) > 1 else [],
        "shapes": [shape_table(shape) for shape in shapes],
        "growth": {
            row["peer"]: [f"{value:.2f}" for value in exponents(row)]
            for row in timed.result.get("growth", [])
        },
    }


def shape_table(shape: Mapping[str, Any]) -> dict[str, Any]:
    """Make the table of one shape: by program, what was timed, or why it was not."""
    T, N, I, H = shape["sizes"]
    rows = {row["peer"]: row for row in shape["peers"]}
    table = [
        {
            "peer": name,
            "cells": [text for kind in PASSES for text in cells(kind, row, rows, T)],
            "note": row["why"] or row["note"],
        }
        for name, row in rows.items()
    ]
    return {"title": f"T={T} N={N} I={I} H={H}", "rows": table}
