"""The figures of a report: what is drawn, and the words below it.

No colour stands alone for anything: series have marks, dashes or hatches of their own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from rnn_ref.arithmetic.dtypes import Floats
from rnn_ref.cases.case import Case
from rnn_ref.recording.record import COLUMNS, MEASURED
from rnn_ref.report.drawing import (
    BLUE,
    GREEN,
    HATCHES,
    INK,
    SERIES,
    VERMILLION,
    Drawing,
    draw,
)  # fmt: skip
from rnn_ref.report.growth import Growth
from rnn_ref.report.inputs import Judged, Places, Recorded
from rnn_ref.running.rows import Row, ratio

NUMBERS = FuncFormatter(lambda x, _: f"{x:g}")
"""How the numbers along an axis are written: matplotlib's own powers are mathematical text."""

MARKS = {"holds": ("o", BLUE), "known": ("D", GREEN), "FAILS": ("X", VERMILLION)}
"""The mark and the colour of a verdict."""

SMALLEST, LARGEST = 1e-3, 1e6
"""Ratios that are smaller or larger are drawn at these."""

CELLS = 48
"""How many steps, or units, a heat map shows at most: more are joined."""


parsed = functools.cache(Case.parse)
"""A case of a record, which several figures ask for."""


# Where the error is.


def heat_map(places: Places) -> Drawing:
    """Draw error / bound over steps (across) and units (down), in cividis whose middle is 1."""
    ratios = np.array(places.ratios, np.float64)
    steps, units = (math.ceil(size / CELLS) for size in ratios.shape)
    cells = joined(ratios, steps, units)
    drawn = np.log10(np.clip(cells, SMALLEST, LARGEST))

    def plot(figure: Figure) -> None:
        axes = figure.add_subplot()
        least, most = min(-1.0, smallest(drawn)), max(0.3, largest(drawn))
        edges = (-0.5, ratios.shape[0] - 0.5, ratios.shape[1] - 0.5, -0.5)
        image = axes.imshow(
            np.ma.masked_invalid(drawn.T), cmap="cividis", norm=TwoSlopeNorm(0, least, most),
            extent=edges, aspect="auto", interpolation="none",
        )  # fmt: skip
        step, unit = worst_place(ratios)
        for colour, width in (("black", 3.5), ("white", 1.5)):  # one is seen on any cell
            axes.plot(
                step, unit, marker="o", markersize=11, color=colour, fillstyle="none", mew=width
            )
        axes.set(xlabel=places.axes[0], ylabel=places.axes[1], title=places.name)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        bar = figure.colorbar(image, ax=axes, label="error / bound", pad=0.02)
        bar.outline.set_visible(False)
        ticks = sorted({math.ceil(least), 0, math.floor(10 * most) / 10})
        bar.set_ticks(ticks, labels=[f"{10**tick:.3g}" for tick in ticks])

    height = 1.6 + min(1.8, 0.12 * cells.shape[1])
    return draw(f"Error / bound of {places.name}", about_places(places, steps, units), height, plot)


def joined(ratios: Floats, steps: int, units: int) -> Floats:
    """Take the largest ratio of each block of so many steps and units; NaN where all are open."""
    T, H = ratios.shape
    wide = np.full((math.ceil(T / steps) * steps, math.ceil(H / units) * units), -np.inf)
    wide[:T, :H] = np.where(np.isnan(ratios), -np.inf, ratios)
    blocks = wide.reshape(wide.shape[0] // steps, steps, wide.shape[1] // units, units)
    cells: Floats = blocks.max(axis=(1, 3))
    return np.where(np.isneginf(cells), np.nan, cells)


def smallest(array: Floats) -> float:
    """Find the smallest number that is not NaN; 0 if there is none."""
    return float(np.nanmin(array)) if not np.isnan(array).all() else 0.0


def largest(array: Floats) -> float:
    """Find the largest number that is not NaN; 0 if there is none."""
    return float(np.nanmax(array)) if not np.isnan(array).all() else 0.0


def worst_place(ratios: Floats) -> tuple[int, int]:
    """Find the step and the unit of the largest ratio."""
    at = int(np.argmax(np.where(np.isnan(ratios), -np.inf, ratios)))
    step, unit = divmod(at, ratios.shape[1])
    return step, unit


def about_places(places: Places, steps: int, units: int) -> str:
    """Say how many places are over the bound, where it begins, and what was joined."""
    ratios, (across, down) = np.array(places.ratios, np.float64), places.axes
    over, open_ = ratios > 1, int(np.isnan(ratios).sum())
    step, unit = worst_place(ratios)
    said = [f"{int(over.sum())} of {ratios.size} places are over their bound"]
    if over.any():
        said.append(f"the first at {across} {int(np.argmax(over.any(axis=1)))}")
    if not math.isnan(ratios[step, unit]):
        worst = ratio(ratios[step, unit])
        said.append(f"the worst (ringed) at {across} {step}, {down} {unit}, is {worst} of it")
    said += [f"{open_} are left open, and blank"] if open_ else []
    text = ", ".join(said) + "."
    if steps > 1 or units > 1:
        text += f" Each cell is the worst of {steps} {across}s and {units} {down}s."
    return text + " Dark blue is within the bound, yellow is over it, grey is at it."


# Error against step.


def growth_plot(runs: Sequence[Growth]) -> Drawing:
    """Draw the plain program's error and its bound by step, for each regime of weights."""

    def plot(figure: Figure) -> None:
        axes = figure.add_subplot()
        for run, colour, mark in zip(runs, (VERMILLION, BLUE), "so", strict=True):
            steps = np.arange(len(run.error))
            shown: Any = {"color": colour, "marker": mark, "markevery": 10, "markersize": 4}
            axes.plot(steps, positive(run.error), "-", label=run.weights, **shown)
            axes.plot(steps, positive(run.bound), "--", label=f"{run.weights}: bound", **shown)
            axes.plot(steps, positive(run.one_step), ":", label=f"{run.weights}: one step", **shown)
        axes.set(xlabel="step", ylabel="largest error of a unit")
        logarithmic(axes, "y")
        axes.grid(visible=True)
        figure.legend(loc="outside upper left", ncols=2, fontsize=8)

    return draw(
        "The plain program: error against step",
        "The plainest correct program in float32, computed for this page. With chaotic weights"
        " the error end to end (solid) grows until nothing can be said of it, for the bound"
        " (dashed) is as wide as tanh; with contracting weights it stays. The error of one step"
        " (dotted) does not grow with either: that is why each step is judged by itself.",
        3.4,
        plot,
    )


def positive(numbers: Floats) -> Floats:
    """Take the place of zeros with NaN, which a logarithmic axis leaves out."""
    return np.where(numbers > 0, numbers, np.nan)


def by_step(shown: Sequence[tuple[str, Places]]) -> Drawing:
    """Draw the worst ratio of each step of some failures, each with a name, one below another."""

    def plot(figure: Figure) -> None:
        for axes, (name, places) in zip(panels(figure, len(shown), 1), shown, strict=True):
            ratios = np.array(places.ratios, np.float64)
            worst = joined(ratios, 1, ratios.shape[1])[:, 0]
            mark = "o" if len(worst) <= CELLS else ""
            axes.plot(np.clip(worst, SMALLEST, LARGEST), mark + "-", color=BLUE, markersize=3.5)
            axes.axhline(1, color=INK, linewidth=1, linestyle="--")
            axes.set_title(name)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.grid(visible=True)
            logarithmic(axes, "y")
        axes.set_xlabel("step")
        figure.supylabel("worst error / bound", fontsize=9, color=INK)

    caption = (
        "For each cause whose error has steps: the worst error / bound of each step of its case."
        " The dashed line is the bound."
    )
    return draw("The failures: error against step", caption, 0.4 + 1.5 * len(shown), plot)


def panels(figure: Figure, rows: int, columns: int, **options: Any) -> list[Axes]:
    """Divide a figure into panels."""
    axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    return axes


def logarithmic(axes: Axes, *names: str) -> None:
    """Make the axes x, y or both logarithmic, with a number at every power of ten or fewer."""
    for name in names:
        axes.set(**{f"{name}scale": "log"})
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_locator(LogLocator(numticks=6))
        axis.set_major_formatter(NUMBERS)
        axis.set_minor_locator(NullLocator())  # half of the time is theirs


REGIMES = {"chaotic": ("s", VERMILLION), "contracting": ("o", BLUE)}


def by_length(series: Mapping[str, Recorded]) -> Drawing | None:
    """Draw the records' errors end to end by the number of steps; None without such cases."""
    dots = {
        name: {weights: list(lengths(recorded, weights)) for weights in REGIMES}
        for name, recorded in series.items()
    }
    dots = {name: of for name, of in dots.items() if any(of.values())}
    if not dots:
        return None

    def plot(figure: Figure) -> None:
        for axes, (name, of) in zip(
            panels(figure, 1, len(dots), sharey=True), dots.items(), strict=True
        ):
            for weights, (mark, colour) in REGIMES.items():
                x, y = zip(*of[weights], strict=True) if of[weights] else ((), ())
                axes.plot(x, y, mark, color=colour, label=weights, markersize=5, fillstyle="none")
            axes.set(xlabel="steps of the case", title=name)
            logarithmic(axes, "x", "y")
            axes.grid(visible=True)
        figure.supylabel("error in norm / roundoff", fontsize=9, color=INK)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)

    caption = (
        "One mark a case: its output's error end to end, relative to the true values,"
        " in units of the dtype's roundoff."
    )
    return draw("The records: error against steps", caption, 3.0, plot)


def lengths(recorded: Recorded, weights: str) -> Iterator[tuple[int, float]]:
    """Yield the number of steps and the error of each case with such weights."""
    for line, entry in recorded.record.cases.items():
        case = parsed(line)
        norm = entry.get("end_to_end", {}).get("output", {}).get("norm")
        if case.weights == weights and norm and norm[0] > 0:
            yield case.T, norm[0]


# Error / bound by property.


def by_property(judged: Judged) -> Drawing | None:
    """Draw each judged property's worst ratio, by group; None if nothing was judged."""
    rows = [row for row in judged.rows if row.elements > row.open or row.verdict == "FAILS"]
    if not rows:
        return None
    groups = list(dict.fromkeys(row.group for row in rows))

    def plot(figure: Figure) -> None:
        axes = figure.add_subplot()
        for verdict, (mark, colour) in MARKS.items():
            of = [row for row in rows if row.verdict == verdict]
            x = [drawn_ratio(row) for row in of]
            y = [groups.index(row.group) + offset(row, rows) for row in of]
            if of:
                axes.plot(x, y, mark, color=colour, label=verdict, markersize=5)
        axes.axvline(1, color=INK, linewidth=1, linestyle="--")
        axes.set(xlabel="worst error / bound")
        logarithmic(axes, "x")
        axes.set_xlim(SMALLEST / 2, 2 * max(2.0, *map(drawn_ratio, rows)))
        axes.set_yticks(range(len(groups)), labels=groups)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.grid(visible=True, axis="x")
        figure.legend(loc="outside upper left", ncols=3, fontsize=8)

    caption = (
        "One mark a property, in the row of its group. Right of the dashed line an error is over"
        f" its bound. Ratios below {SMALLEST:g} and above {LARGEST:g} are drawn there."
    )
    return draw("Error / bound by property", caption, 1.2 + 0.2 * len(groups), plot)


def drawn_ratio(row: Row) -> float:
    """Return where a property is drawn: one that fails without numbers is far to the right."""
    fails_without = row.verdict == "FAILS" and not row.worst > 1
    return LARGEST if fails_without else float(np.clip(row.worst, SMALLEST, LARGEST))


def offset(row: Row, rows: Sequence[Row]) -> float:
    """Move a property off the middle of its group's row, so that no mark hides another."""
    of = [each.name for each in rows if each.group == row.group]
    return 0.6 * ((of.index(row.name) + 0.5) / len(of) - 0.5)


# ULP histograms.


POWERS = range(-2, 23)
BINS = ("0", *(f"{2.0**i:g}" if i <= 10 else f"2^{i}" for i in POWERS), "more")
"""The upper ends of the bins: 0, powers of 2, and what is beyond."""


def histograms(series: Mapping[str, Recorded]) -> list[Drawing]:
    """Draw how many cases have errors of how many ULPs, for each dtype, and what is measured."""
    dtypes: dict[str, None] = {}
    for recorded in series.values():
        dtypes |= dict.fromkeys(parsed(line).dtype for line in recorded.record.cases)
    drawings = []
    for dtype in dtypes:
        for measured in MEASURED:
            for kind in ("output", "gradients"):
                counts = {
                    name: bin_counts(ulps(recorded, dtype, measured, kind))
                    for name, recorded in series.items()
                }
                if any(count.any() for count in counts.values()):
                    title = f"{dtype}, {kind}, {measured.replace('_', ' ')}"
                    drawings.append(histogram(title, counts))
    return drawings


def ulps(recorded: Recorded, dtype: str, measured: str, kind: str) -> Iterator[float]:
    """Yield each case's error in ULPs (99th percentile), of output and h_n, or of gradients."""
    for line, entry in recorded.record.cases.items():
        if "fault" in entry or parsed(line).dtype != dtype:
            continue
        errors = [
            quantity["ulp"][COLUMNS["ulp"].index("p99")]
            for name, quantity in entry[measured].items()
            if quantity["ulp"] and (name in ("output", "h_n")) == (kind == "output")
        ]
        if errors:
            yield max(errors)


def bin_counts(errors: Iterator[float]) -> NDArray[np.intp]:
    """Count errors by BINS."""
    ends = [0.0, *(2.0**i for i in POWERS)]
    return np.bincount(np.searchsorted(ends, list(errors)), minlength=len(BINS))


def histogram(title: str, counts: Mapping[str, Any]) -> Drawing:
    """Draw the counts of each series beside one another, bin by bin."""
    there = np.flatnonzero(sum(counts.values()))
    first, end = int(there[0]), int(there[-1]) + 1

    def plot(figure: Figure) -> None:
        axes = figure.add_subplot()
        width = 0.85 / len(counts)
        for i, (name, count) in enumerate(counts.items()):
            x = np.arange(first, end) + (i - (len(counts) - 1) / 2) * width
            axes.bar(
                x, count[first:end], width, label=name, color=SERIES[i % 4], edgecolor=INK,
                linewidth=0.4, hatch=HATCHES[i % 4],
            )  # fmt: skip
        shown = range(first, end, 2 if end - first > 14 else 1)
        axes.set_xticks(shown, labels=[BINS[i] for i in shown], fontsize=8)
        axes.tick_params(axis="x", rotation=50 if end - first > 8 else 0)
        axes.set(xlabel="error in ULPs (at most)", ylabel="cases")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        figure.legend(loc="outside upper left", ncols=4, fontsize=8)

    said = "; ".join(f"{name}: {int(count.sum())} cases" for name, count in counts.items())
    return draw(
        title, f"One count a case, by the 99th percentile of its errors. {said}.", 2.6, plot
    )


# The benchmark.


PASSES = {"forward": ("o", BLUE), "both": ("s", VERMILLION)}
TITLES = {"forward": "forward", "both": "forward and backward"}


def shape_plot(shape: Mapping[str, Any]) -> Drawing | None:
    """Draw the microseconds a step of each program, at one shape; None if none was timed."""
    T, N, I, H = shape["sizes"]
    peers = [row for row in shape["peers"] if row["forward"] or row["both"]]
    if not peers:
        return None

    def plot(figure: Figure) -> None:
        axes = figure.add_subplot()
        for (kind, (mark, colour)), off in zip(PASSES.items(), (-0.12, 0.12), strict=True):
            timed = [(row[kind] / T * 1e6, i + off) for i, row in enumerate(peers) if row[kind]]
            x, y = zip(*timed, strict=True) if timed else ((), ())
            axes.plot(x, y, mark, color=colour, label=TITLES[kind], markersize=6)
        axes.set(xlabel="microseconds a step")
        logarithmic(axes, "x")
        axes.set_yticks(range(len(peers)), labels=[row["peer"] for row in peers])
        axes.set_ylim(len(peers) - 0.5, -0.5)
        axes.grid(visible=True)
        figure.legend(loc="outside upper left", ncols=2, fontsize=8)

    title = f"T={T} N={N} I={I} H={H}"
    return draw(title, "Further left is faster.", 1.1 + 0.22 * len(peers), plot)
