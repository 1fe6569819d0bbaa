"""`rnn-ref bench`: the reference beside other programs, and beside its matrix products alone.

All is timed in one child process, whose environment gives every library the same number
of threads. The result is plain data, which `bench_table` shows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnn_ref.process.environment import environment
from rnn_ref.recording.record import UnusableFile

Sizes = tuple[int, int, int, int]
Call = Callable[[], Any]

SHAPES: tuple[Sizes, ...] = (
    (4, 2, 3, 5), (25, 1, 32, 32), (100, 32, 64, 128),
    (50, 64, 512, 512), (300, 20, 800, 800), (1000, 64, 512, 512),
)  # fmt: skip
"""What is timed by default, each as T, N, I, H."""

MIDDLE = (64, 64, 256, 256)
GRID: tuple[Sizes, ...] = (
    MIDDLE, (32, 64, 256, 256), (128, 64, 256, 256), (64, 32, 256, 256), (64, 128, 256, 256),
    (64, 64, 128, 128), (64, 64, 512, 512),
)  # fmt: skip
"""The shapes that growth exponents are fitted to: T, N, and H together with I, each by itself."""

PASSES = ("forward", "both")
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
TURN = 0.02  # seconds: what another library's threads still do has then little weight


class Job(NamedTuple):
    """For how many seconds a shape is timed, and how many threads each program has."""

    seconds: float
    threads: int


def read_sizes(text: str) -> Sizes:
    """Read sizes such as 4,2,3,5 as T, N, I, H; raise ArgumentTypeError for anything else."""
    sizes = text.split(",")
    if len(sizes) != 4 or not all(size.isdecimal() and int(size) for size in sizes):
        raise argparse.ArgumentTypeError(f"expected T,N,I,H such as 4,2,3,5, got {text!r}")
    T, N, I, H = map(int, sizes)
    return T, N, I, H


def cores() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float:
    """Return how many processes wanted a processor in the last minute; 0 where none can tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def in_child(job: str, options: Mapping[str, Any], threads: int) -> Any:
    """Do a job of this module in a process with so many threads; return its result.

    Waiting threads sleep (OMP_WAIT_POLICY), so that none disturbs the library that is
    timed after its own.
    """
    ours = {"OMP_WAIT_POLICY": "PASSIVE"}
    for name in ("OMP", "OPENBLAS", "MKL"):
        ours[f"{name}_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-W", "ignore", "-m", __name__, job, json.dumps(options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, **ours}, check=False)
    if done.returncode:
        raise UnusableFile(f"the process that is timed ended with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def medians(calls: Mapping[Any, Call], seconds: float, least: int = 3) -> dict[Any, float]:
    """Return the median seconds of each call, from turns in an order drawn anew each time.

    There are turns until the seconds are spent, and at least `least`; in a turn a call is
    repeated for TURN seconds, or made once.
    """
    times: dict[Any, list[float]] = {name: [] for name in calls}
    order, shuffle = list(calls), random.Random(0).shuffle  # noqa: S311 - no secret
    for call in calls.values():
        call()
    end, turns = time.perf_counter() + seconds, 0
    while turns < least or time.perf_counter() < end:
        shuffle(order)
        for name in order:
            stop = time.perf_counter() + TURN
            while True:
                start = time.perf_counter()
                calls[name]()
                now = time.perf_counter()
                times[name].append(now - start)
                if now > stop:
                    break
        turns += 1
    return {name: statistics.median(each) for name, each in times.items()}


def time_shape(sizes: Sizes, asked: Mapping[str, bool], job: Job) -> dict[str, Any]:
    """Time the peers at one shape; return a row for each.

    `asked` has their names, and whether each was asked for by name, however long it takes.
    """
    from rnn_ref.running.bench.peers import PEERS, PRODUCTS
    from rnn_ref.running.bench.verdict import require_right
    from rnn_ref.running.bench.workload import network

    net, rows = network(*sizes, job.threads), []
    calls: dict[tuple[str, str], Call] = {}
    for name, by_name in asked.items():
        peer, row = PEERS[name], {"peer": name, "why": "", "note": ""}
        if peer.missing:
            row["why"] = f"not installed: {', '.join(peer.missing)}"
        elif peer.at_most < net.T and not by_name:
            row["why"] = f"not timed: to compile {net.T} steps takes minutes (see --peer)"
        else:
            passes = peer.load(net)
            if name != PRODUCTS:
                require_right(name, net, passes)
            row["note"] = passes.note
            both = {"forward": passes.forward, "both": passes.both}
            calls |= {(name, kind): call for kind, call in both.items() if call is not None}
        rows.append(row)
    seconds = medians(calls, job.seconds)
    timed = [row | {kind: seconds.get((row["peer"], kind)) for kind in PASSES} for row in rows]
    return {"sizes": sizes, "peers": timed}


def exponents(sizes: Sequence[Sizes], seconds: Sequence[float]) -> dict[str, float]:
    """Fit seconds ~ T^a N^b H^c, by least squares on logarithms; return the exponents."""
    columns = [[1.0, *np.log([T, N, H])] for T, N, _, H in sizes]
    fitted = np.linalg.lstsq(np.array(columns), np.log(seconds), rcond=None)[0]
    return dict(zip("TNH", map(float, fitted[1:]), strict=True))


def growth(job: Job) -> list[dict[str, Any]]:
    """Fit the growth of the products, the reference and torch eager, in each pass."""
    from rnn_ref.running.bench.peers import EAGER, PRODUCTS, REFERENCE

    asked = dict.fromkeys((PRODUCTS, REFERENCE, EAGER), False)
    timed = [time_shape(sizes, asked, job)["peers"] for sizes in GRID]
    return [
        {"peer": name}
        | {kind: exponents(GRID, [rows[i][kind] for rows in timed]) for kind in PASSES}
        for i, name in enumerate(asked)
    ]


def time_all(options: Mapping[str, Any]) -> dict[str, Any]:
    """Time the shapes, and fit growth if that is asked for; show the progress."""
    job, shapes = Job(options["seconds"], options["threads"]), []
    for sizes in options["shapes"]:
        print(f"timing T, N, I, H = {', '.join(map(str, sizes))}", file=sys.stderr)
        shapes.append(time_shape(tuple(sizes), options["peers"], job))
    result = {
        "environment": environment("cpu"),
        "threads": job.threads,
        "processors": cores(),
        "load": options["load"],
        "openblas": {name: os.environ[name] for name in SLOWING if name in os.environ},
        "shapes": shapes,
    }
    if options["growth"]:
        print("timing growth", file=sys.stderr)
        result["growth"] = growth(job._replace(seconds=job.seconds / 4))
    return result


if __name__ == "__main__":
    from rnn_ref.running.bench.suite import time_suite
    from rnn_ref.running.bench.verdict import Wrong

    do = {"shapes": time_all, "suite": time_suite}[sys.argv[1]]
    try:
        print(json.dumps(do(json.loads(sys.argv[2]))))
    except Wrong as error:
        sys.exit(f"rnn-ref: {error}")
