"""Comparisons: what is worse is called so, where it is worse; what is not never is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from rnn_ref.cases.case import Case
from rnn_ref.cases.corpus import read_corpus
from rnn_ref.judging.subject import Subject
from rnn_ref.recording.compare import ALPHA, STATISTICS, Regression, compare_records, sign
from rnn_ref.recording.measure import measure
from rnn_ref.recording.record import Record, UnusableFile
from rnn_ref.recording.table import comparison_lines
from tests.subjects.correct import CORRECT, Float64Throughout
from tests.subjects.degraded import DEGRADED
from tests.support.recording import oracles

CORPUS = read_corpus()
HEADER: dict[str, Any] = {
    "corpus": {"version": CORPUS.version, "sha256": CORPUS.sha256},
    "subject": "torch.nn:RNN",
    "device": "cpu",
    "dtypes": [],
    "environment": {"torch": torch.__version__},
}


def cases(dtype: str) -> list[Case]:
    """Half of the corpus's tanh networks of a dtype, but for those that take long."""
    chosen = [
        case
        for case in CORPUS.cases
        if case.dtype == dtype and case.nonlinearity == "tanh" and case.T < 1000 and case.H < 100
    ]
    return chosen[::2]


def recorded(factory: Any, dtype: str, chosen: Sequence[Case] | None = None) -> Record:
    """A record of a subject on those cases, or on others."""
    subject, chosen = Subject("tests:subject", factory), chosen or cases(dtype)
    return Record(HEADER, {str(case): measure(subject, oracles(case)) for case in chosen})


@cache
def torchs_own(dtype: str) -> Record:
    return recorded(torch.nn.RNN, dtype)


@pytest.mark.parametrize("name", DEGRADED)
def test_what_is_degraded_is_worse_in_the_right_group(name: str) -> None:
    """A planted loss of accuracy is called worse, where it is; its undoing is called better."""
    factory, dtype, quantity = DEGRADED[name]
    old, new = torchs_own(dtype), recorded(factory, dtype)
    found = compare_records(old, new)
    assert found.verdict == "worse"
    worse = [group.quantity for group in found.of("worse")]
    assert quantity in worse
    if quantity.startswith("gradient"):
        assert set(worse) == {quantity}
    assert compare_records(new, old).verdict == "better"


@pytest.mark.parametrize("factory", CORRECT, ids=lambda factory: str(factory.__name__))
def test_another_order_of_summation_is_noise(factory: Any) -> None:
    """A correct RNN that adds up in another way than torch is not called worse in float32."""
    found = compare_records(torchs_own("float32"), recorded(factory, "float32"))
    assert found.verdict in ("within noise", "better"), [group.name for group in found.of("worse")]


def test_what_may_overflow_is_not_lost() -> None:
    """Where a gradient may overflow, correct orders of summation overflow in other elements."""
    chaotic = [c for c in CORPUS.cases if c.T == 1000 and c.weights == "chaotic" and c.H == 24]
    few = [case for case in chaotic if case.dtype in ("float32", "float16")]
    old, new = (recorded(f, "", few) for f in (Float64Throughout, torch.nn.RNN))
    assert compare_records(old, new).verdict != "worse"
    assert compare_records(new, old).verdict != "worse"


class AllNaN(torch.nn.RNN):
    def forward(self, *arguments: Any) -> Any:
        output, h_n = super().forward(*arguments)
        return output * torch.nan, h_n


class OneNaN(torch.nn.RNN):
    def forward(self, *arguments: Any) -> Any:
        output, h_n = super().forward(*arguments)
        first = torch.arange(output.numel()).reshape(output.shape) == 0
        return torch.where(first, torch.nan, output), h_n


def test_what_was_wrong_can_be_worse() -> None:
    """Of results that were wrong in one element, NaN everywhere is worse, and not better."""
    old, new = recorded(OneNaN, "float32"), recorded(AllNaN, "float32")
    assert "output" in [group.quantity for group in compare_records(old, new).of("worse")]
    assert "output" not in [group.quantity for group in compare_records(old, new).of("better")]


class ReverseDegraded(torch.nn.RNN):
    """Output that is off by 20 units of roundoff, in networks of two directions alone."""

    def forward(self, *arguments: Any) -> Any:
        output, h_n = super().forward(*arguments)
        if not self.bidirectional:
            return output, h_n
        signs = torch.where(torch.arange(output.numel()) % 2 == 0, 1.0, -1.0)
        return output * (1 + 20 * 2.0**-24 * signs.reshape(output.shape).to(output.dtype)), h_n


def test_what_is_degraded_in_one_kind_of_network_is_worse() -> None:
    """A loss in networks of two directions alone is told, though most cases have one."""
    both = [c for c in CORPUS.cases if c.dtype == "float32" and c.D == 2]
    old, new = (recorded(f, "", both) for f in (torch.nn.RNN, ReverseDegraded))
    worse = compare_records(old, new).of("worse")
    assert ("bidirectional", "output") in [(group.kind, group.quantity) for group in worse]


def test_a_record_of_faults_alone_is_no_baseline() -> None:
    """Where nothing was measured nothing is the same, and the comparison is refused."""
    old = torchs_own("float32")
    broken = replace(old, cases={line: {"fault": "the call raised"} for line in old.cases})
    with pytest.raises(UnusableFile, match="the older record has faults alone"):
        compare_records(broken, broken)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_noise_at_most(threads: int) -> None:
    """The number of threads changes bits at most."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = compare_records(torchs_own("float32"), recorded(torch.nn.RNN, "float32"))
    finally:
        torch.set_num_threads(before)
    assert found.verdict in ("same bits", "within noise")


def test_onednn_off_is_noise_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch without oneDNN is as accurate, in the dtype that oneDNN computes."""
    torchs_own("bfloat16")
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    without = recorded(torch.nn.RNN, "bfloat16")
    assert compare_records(torchs_own("bfloat16"), without).verdict != "worse"
    assert compare_records(without, torchs_own("bfloat16")).verdict != "worse"


def test_the_same_record_has_the_same_bits() -> None:
    """A record compared with itself differs in nothing."""
    found = compare_records(torchs_own("float32"), torchs_own("float32"))
    assert {group.verdict for group in found.groups} == {"same bits"}
    assert found.verdict == "same bits"


def changed(record: Record, line: str, quantity: str, **entries: Any) -> Record:
    """A record in which one quantity of one case, end to end, has other entries."""
    case = record.cases[line]
    other = {**case["end_to_end"], quantity: {**case["end_to_end"][quantity], **entries}}
    bits = {**case["bits"], quantity: "0" * 16}
    return replace(
        record, cases={**record.cases, line: {**case, "bits": bits, "end_to_end": other}}
    )


def test_one_case_over_its_bound_is_worse_and_named() -> None:
    """No test is needed where results are over their bound, or not finite, that were not."""
    old, line = torchs_own("float32"), str(cases("float32")[3])
    for counts in ([1280, 0, 0, 1, 0], [1280, 0, 0, 0, 1]):
        new = changed(old, line, "h_n", counts=counts)
        found = compare_records(old, new)
        (group,) = found.of("worse")
        assert (group.quantity, group.measured, group.newly_invalid) == ("h_n", "end_to_end", 1)
        assert group.worst == line
        told = "\n".join(comparison_lines(found, old.header, new.header))
        assert "newly over the bound or not finite in 1 case\n" in told
        assert f"replay: rnn-ref record - --case '{line}'" in told
        assert compare_records(new, new).verdict == "same bits"


def test_a_new_fault_is_worse_and_told() -> None:
    """A case that raises, and did not, is worse; one that raised before is not."""
    old, line = torchs_own("float32"), str(cases("float32")[0])
    new = replace(old, cases={**old.cases, line: {"fault": "the call raised ValueError: no"}})
    found = compare_records(old, new)
    assert found.verdict == "worse"
    told = "\n".join(comparison_lines(found, old.header, new.header))
    assert "a new fault: the call raised ValueError: no" in told
    assert compare_records(new, old).verdict == "same bits"


def test_cases_of_one_record_alone_are_left_out_and_counted() -> None:
    """What both have is compared; nothing in common, or another corpus, is refused."""
    old = torchs_own("float32")
    few = replace(old, cases=dict(list(old.cases.items())[:5]))
    assert compare_records(old, few).left_out == len(old.cases) - 5
    with pytest.raises(UnusableFile, match="no case in common"):
        compare_records(old, torchs_own("float64"))
    for other in ({"version": 2}, {"sha256": "0" * 64}):
        header = {**old.header, "corpus": {**old.header["corpus"], **other}}
        with pytest.raises(UnusableFile, match="different corpora"):
            compare_records(old, replace(old, header=header))


def test_sign_test_is_that_of_the_binomial() -> None:
    """The probability that k of n fair coins, or more, show heads."""
    old, line = torchs_own("float32"), str(cases("float32")[0])
    quantity = old.cases[line]["end_to_end"]["output"]
    from rnn_ref.recording.compare import Pair

    larger = {**quantity, "norm": [1e6, 1e6]}
    pairs = [Pair(line, quantity, larger, same_bits=False)] * 3
    pairs += [Pair(line, quantity, quantity, same_bits=False)] * 2
    found = sign(pairs, 0, "new", "old")
    assert (found.cases, found.of) == (3, 5)
    assert found.p == (math.comb(5, 3) + math.comb(5, 4) + 1) / 32


def noise(rng: np.random.Generator) -> dict[str, Any]:
    """A quantity whose errors are drawn, old, new and plain alike."""
    error, bias = np.exp(rng.normal(size=2)).tolist()
    plain = np.exp(rng.normal(size=2)).tolist()
    return {"norm": [error, bias], "plain": plain, "counts": [1, 0, 0, 0, 0]}


def drawn(rng: np.random.Generator) -> Regression:
    """A comparison of two records that are equally accurate, to the letter of the hypothesis."""
    records = []
    for bits in ("old", "new"):
        entries = {}
        for line in torchs_own("float32").cases:
            quantities = {name: noise(rng) for name in ("output", "h_n", "gradient of input")}
            named = dict.fromkeys(quantities, bits)
            entries[line] = {"bits": named, "step": quantities, "end_to_end": quantities}
        records.append(Record(HEADER, entries))
    return compare_records(*records)


def test_false_alarms_are_as_rare_as_stated() -> None:
    """Of 300 comparisons of equals none is worse, where fewer than one in 1,000 may be."""
    rng = np.random.default_rng(0)
    assert ALPHA == 1e-3
    found = [drawn(rng) for _ in range(300)]
    assert [f.verdict for f in found] == ["within noise"] * len(found)
    assert found[0].level == ALPHA / (len(found[0].groups) * len(STATISTICS))


def test_table_fits_a_terminal_and_begins_with_the_verdict() -> None:
    """The first line is the verdict; a row is a dtype, a nonlinearity and a way."""
    factory, dtype, _ = DEGRADED["tanh too large"]
    old, new = torchs_own(dtype), recorded(factory, dtype)
    lines = comparison_lines(compare_records(old, new), old.header, new.header)
    assert lines[0].startswith("worse: ")
    assert any(
        line.startswith("float32  tanh          step ") and "WORSE" in line for line in lines
    )
    table = [line for line in lines if "replay" not in line]
    assert max(map(len, table)) <= 120
