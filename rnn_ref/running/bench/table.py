"""The tables of `rnn-ref bench`, made of the data that `--json` writes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rnn_ref.running.bench.command import PASSES

PRODUCTS, REFERENCE, EAGER = "the products alone", "reference", "torch eager"
TITLES = {"forward": "forward", "both": "forward and backward"}
LARGE = 10**8
"""The multiplications of a step's products, T*N*H*(I + H), from which on a shape is large."""

NOISE = (
    "Medians. On a machine that does other work they vary by tens of per cent, more with",
    "more threads; ratios of programs that are timed in turn vary less. Repeat before you",
    "conclude anything from a difference of less than a fifth.",
)


def shape_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Write the table of every shape, the means, the growth and how it was timed."""
    environment, threads = result["environment"], result["threads"]
    yield (
        f"torch {environment['torch']}, NumPy {environment['numpy']}, {environment['processor']},"
        f" {plural(threads, 'thread')} for each"
    )
    for name, value in result["openblas"].items():
        yield f"{name}={value} is set, and may slow NumPy down"
    yield "us: microseconds a step. of eager: the time in units of torch eager's. of limit: the"
    yield "time of the matrix products alone, one NumPy call each, in units of the time; small"
    yield "products take less than NumPy's calls, so it may exceed 100% there."
    for shape in result["shapes"]:
        yield ""
        yield from one_shape(shape)
    yield ""
    if len(result["shapes"]) > 1:
        yield from means(result["shapes"])
    if "growth" in result:
        yield from growth_lines(result["growth"])
    yield from NOISE
    if result["load"] > 0.5:
        yield (
            f"Before this run {result['load']:.1f} other processes ran on"
            f" {plural(result['processors'], 'processor')}: these times mean little,"
        )
        yield "least with more than one thread, for then BLAS waits for one that does not run."


def plural(number: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def one_shape(shape: Mapping[str, Any]) -> Iterator[str]:
    """Write the table of one shape."""
    T, N, I, H = shape["sizes"]
    rows = {row["peer"]: row for row in shape["peers"]}
    heads = "".join(TITLES[kind].rjust(33) for kind in PASSES)
    yield f"T={T} N={N} I={I} H={H}".ljust(28) + heads[5:]
    yield " " * 23 + ("us".rjust(11) + "of eager".rjust(11) + "of limit".rjust(11)) * len(PASSES)
    for name, row in rows.items():
        if row["why"]:
            yield f"{name:24} {row['why']}"
            continue
        line = name.ljust(23)
        for kind in PASSES:
            line += "".join(cell.rjust(11) for cell in cells(kind, row, rows, T))
        yield f"{line}  {row['note']}".rstrip()


def cells(
    kind: str, row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], T: int
) -> Iterator[str]:
    """Write one pass of a peer: microseconds a step, ratio to torch eager, share of the limit."""
    seconds = row[kind]
    if seconds is None:
        yield from "---"
        return
    yield f"{seconds / T * 1e6:.2f}"
    eager = rows[EAGER][kind] if EAGER in rows else None
    yield f"{seconds / eager:.2f}" if eager else "-"
    yield f"{rows[PRODUCTS][kind] / seconds:.0%}"


def ratios(shapes: Sequence[Mapping[str, Any]], kind: str, below: str) -> dict[str, float]:
    """Return the reference's time over another row's, by shape."""
    found = {}
    for shape in shapes:
        rows = {row["peer"]: row for row in shape["peers"]}
        if REFERENCE in rows and below in rows:
            sizes = ",".join(map(str, shape["sizes"]))
            found[sizes] = rows[REFERENCE][kind] / rows[below][kind]
    return found


def means(shapes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Write how the reference stands over all shapes."""
    for kind in PASSES:
        if found := ratios(shapes, kind, EAGER):
            worst = max(found, key=lambda sizes: found[sizes])
            yield (
                f"reference / torch eager, {TITLES[kind]}: geometric mean"
                f" {statistics.geometric_mean(found.values()):.2f},"
                f" at most {found[worst]:.2f} ({worst})"
            )
        large = [shape for shape in shapes if multiplications(shape["sizes"]) >= LARGE]
        if found := ratios(large, kind, PRODUCTS):
            worst = max(found, key=lambda sizes: found[sizes])
            yield (
                f"reference / products at large shapes, {TITLES[kind]}: at most"
                f" {found[worst]:.2f} ({worst})"
            )
    yield ""


def multiplications(sizes: Sequence[int]) -> int:
    """Count the multiplications of the forward pass."""
    T, N, I, H = sizes
    return T * N * H * (I + H)


def growth_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Write the exponents to which time grows."""
    yield "time grows as T^a N^b H^c (I = H):" + "".join(TITLES[k].rjust(24) for k in PASSES)
    yield " " * 34 + ("a".rjust(8) + "b".rjust(8) + "c".rjust(8)) * len(PASSES)
    for row in rows:
        exponents = [value for kind in PASSES for value in row[kind].values()]
        yield row["peer"].ljust(34) + "".join(f"{value:8.2f}" for value in exponents)
    yield ""


def suite_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Write examples a second by property, slowest first, and where the time goes."""
    environment = result["environment"]
    yield f"torch {environment['torch']}, NumPy {environment['numpy']}, {environment['processor']}"
    yield ""
    yield "examples a second, by property, and its share of the time"
    judged = [row for row in result["properties"] if row["examples"]]
    rows = sorted(judged, key=lambda row: row["examples"] / row["seconds"])
    total = sum(row["seconds"] for row in rows)
    for row in rows:
        rate, share = row["examples"] / row["seconds"], row["seconds"] / total
        name = row["property"].removeprefix("test_")
        yield f"{rate:8.1f} {share:6.1%}  {row['group']:10} {name}"
    examples = sum(row["examples"] for row in rows)
    yield f"{examples / total:8.1f} 100.0%  all: {plural(examples, 'example')} in {total:.0f} s"
    yield ""
    yield "where the time goes, from looks at the stack every millisecond"
    for what, share in result["shares"].items():
        yield f"{share:8.1%}  {what}"
