"""`rnn-ref bench`: what it times is right, and what it prints is what it writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_ref import cli
from rnn_ref.running.bench import command as bench
from rnn_ref.running.bench import peers
from rnn_ref.running.bench.command import (
    GRID,
    PASSES,
    Job,
    exponents,
    medians,
    read_sizes,
    time_shape,
)
from rnn_ref.running.bench.peers import EAGER, PEERS, PRODUCTS, REFERENCE, Peer
from rnn_ref.running.bench.suite import REST, place, watched
from rnn_ref.running.bench.table import shape_lines, suite_lines
from rnn_ref.running.bench.verdict import Wrong, require_right
from rnn_ref.running.bench.workload import Passes, network
from tests.support.commands import run_here

SIZES = (7, 2, 3, 5)
JOB = Job(seconds=0, threads=1)


def result_of(*shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a run of the bench finds, for made-up shapes."""
    described = {"torch": "2.13.0", "numpy": "2.4.6", "processor": "a processor"}
    common = {"environment": described, "threads": 1, "openblas": {}, "load": 0.0, "processors": 2}
    return {**common, "shapes": shapes, **more}


def row(peer: str, forward: float | None, both: float | None, why: str = "") -> dict[str, Any]:
    return {"peer": peer, "why": why, "note": "", "forward": forward, "both": both}


def test_exponents_are_those_of_the_data() -> None:
    """Times that grow as powers give these powers back."""
    seconds = [3e-9 * T * N**0.5 * H**2 for T, N, _, H in GRID]
    assert exponents(GRID, seconds) == pytest.approx({"T": 1.0, "N": 0.5, "H": 2.0}, abs=1e-9)


def test_each_call_is_made_in_every_turn() -> None:
    """Short calls many times, all of them at least three times, and the median is theirs."""
    made = {"a": 0, "b": 0}

    def count(name: str) -> None:
        made[name] += 1

    calls = {name: lambda name=name: count(name) for name in made}
    found = medians(calls, seconds=0)
    assert min(made.values()) > 3
    assert all(0 < seconds < bench.TURN for seconds in found.values())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [name for name in PEERS if name not in ("torch compiled", PRODUCTS)]
)
def test_a_peer_agrees_with_the_reference(name: str) -> None:
    """Each that is installed is within the bounds, output and gradients."""
    if PEERS[name].missing:
        pytest.skip(f"not installed: {', '.join(PEERS[name].missing)}")
    net = network(*SIZES)
    passes = PEERS[name].load(net)
    require_right(name, net, passes)
    assert passes.read(passes.forward()).shape == (7, 2, 5)


@pytest.mark.parametrize("at", [0, -1])
def test_a_wrong_output_is_not_timed(at: int) -> None:
    """One number off, in the first step or the last one, ends the run."""
    net = network(*SIZES)
    right = PEERS[REFERENCE].load(net)

    def wrong() -> Any:
        output = right.forward()
        output[at, 0, 0] += np.float32(1e-5)
        return output

    with pytest.raises(Wrong, match=r"^a peer, T, N, I, H = \(7, 2, 3, 5\): output of layer 0"):
        require_right("a peer", net, Passes(wrong))


def test_wrong_gradients_are_not_timed() -> None:
    """So does a bias's gradient that is twice what it must be."""
    net = network(*SIZES)
    right = PEERS[REFERENCE].load(net)
    assert right.both
    input, *weights, bias = right.both()
    wrong = right._replace(both=lambda: [input, *weights, 2 * bias])
    with pytest.raises(Wrong, match="gradient of bias_hh_l0"):
        require_right("a peer", net, wrong)


def test_what_is_not_installed_or_unrolled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, and without times; what unrolls is timed if it is asked for by name."""
    monkeypatch.setitem(PEERS, "absent", Peer(peers.reference, ("no_such_module",)))
    monkeypatch.setitem(PEERS, "unrolled", Peer(peers.reference, at_most=6))
    rows = time_shape(SIZES, {"absent": True, "unrolled": False}, JOB)["peers"]
    assert rows[0] == row("absent", None, None, "not installed: no_such_module")
    assert rows[1]["why"].startswith("not timed: to compile 7 steps takes minutes")
    rows = time_shape(SIZES, {PRODUCTS: True, "unrolled": True}, JOB)["peers"]
    assert all(each[kind] > 0 for each in rows for kind in PASSES)


def test_the_table_has_what_the_json_has() -> None:
    """A row for each peer, its microseconds a step, and the ratios of its times."""
    rows = [
        row(PRODUCTS, 1e-3, 3e-3), row(REFERENCE, 2e-3, 4e-3), row(EAGER, 4e-3, 16e-3),
        row("another", 8e-3, None), row("absent", None, None, "not installed: it"),
    ]  # fmt: skip
    fitted = {kind: {"T": 1.0, "N": 0.5, "H": 2.0} for kind in PASSES}
    shapes = [{"sizes": [100, 64, 512, 512], "peers": rows}] * 2
    lines = list(shape_lines(result_of(*shapes, growth=[{"peer": "fitted", **fitted}])))
    assert max(map(len, lines)) <= 100
    table = {line[:23].strip(): line[23:].split() for line in lines if "T^a" not in line}
    assert table[PRODUCTS] == ["10.00", "0.25", "100%", "30.00", "0.19", "100%"]
    assert table[REFERENCE][:6] == ["20.00", "0.50", "50%", "40.00", "0.25", "75%"]
    assert table["another"] == ["80.00", "2.00", "12%", "-", "-", "-"]
    assert table["absent"] == ["not", "installed:", "it"]
    text = "\n".join(lines)
    assert "torch eager, forward: geometric mean 0.50, at most 0.50 (100,64,512,512)" in text
    assert "products at large shapes, forward: at most 2.00" in text
    assert re.search(r"^fitted +1.00    0.50    2.00    1.00    0.50    2.00$", text, re.MULTILINE)


def test_a_busy_machine_and_slow_settings_are_said() -> None:
    """The load is compared with the processors, and OpenBLAS's settings are shown."""
    result = result_of(load=3.0, openblas={"OPENBLAS_CORETYPE": "Haswell"})
    text = "\n".join(shape_lines(result))
    assert "OPENBLAS_CORETYPE=Haswell is set" in text
    assert "3.0 other processes ran on 2 processors" in text
    assert "other processes" not in "\n".join(shape_lines(result_of()))


def test_the_suites_cost_is_shown_slowest_first() -> None:
    """Examples a second of each property, and where the time goes."""
    properties = [
        {"property": f"test_{name}", "group": "bounds", "examples": 3, "seconds": seconds}
        for name, seconds in {"quick": 0.5, "slow": 1.5}.items()
    ]
    lines = list(suite_lines(result_of(properties=properties, shares={"drawing": 1.0})))
    assert [line.split() for line in lines if "bounds" in line] == [
        ["2.0", "75.0%", "bounds", "slow"], ["6.0", "25.0%", "bounds", "quick"],
    ]  # fmt: skip
    assert lines[-1].split() == ["100.0%", "drawing"]


def test_a_stack_says_what_is_being_done() -> None:
    """By its innermost frame that is in a known place; looks are counted."""
    assert place(None) == REST
    with watched() as counts:
        _ = [network(*SIZES) for _ in range(300)]
    assert counts.total() > 0


def test_a_bench_of_one_shape(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The command prints the table of what it writes."""
    file = tmp_path / "bench.json"
    options = ("--shapes", "4,2,3,5", "--seconds", "0", "--threads", "1", "--peer", REFERENCE)
    done = run_here(capfd, "bench", *options, "--json", str(file))
    assert done.returncode == 0
    result = json.loads(file.read_text(encoding="utf-8"))
    assert done.stdout.splitlines() == list(shape_lines(result))
    assert result["threads"] == result["environment"]["threads"] == 1
    (shape,) = result["shapes"]
    assert shape["sizes"] == [4, 2, 3, 5]
    assert [each["peer"] for each in shape["peers"]] == [PRODUCTS, REFERENCE, EAGER]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shapes", "4,2,3"), "expected T,N,I,H such as 4,2,3,5, got '4,2,3'"),
        (("--shapes", "0,2,3,5"), "expected T,N,I,H such as 4,2,3,5, got '0,2,3,5'"),
        (("--threads", "0"), "threads: expected at least 1, got 0"),
        (("--peer", "no such"), "peer: expected one of the products alone; reference; "),
    ],
)
def test_nonsense_is_refused(
    options: tuple[str, ...], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Status 2, and one sentence."""
    done = run_here(capfd, "bench", *options)
    assert done.returncode == 2
    assert message in done.stderr


def test_sizes_are_read_in_order() -> None:
    """T, N, I, H."""
    assert read_sizes("4,2,3,5") == (4, 2, 3, 5)
    assert cli.peers_named(None) == dict.fromkeys(PEERS, False)
