"""Ways of running nn.RNN: they conform, and what some of them lose is found by the suite itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnn_ref import cli, parity, ways
from rnn_ref.cases.selection import CAPABILITIES
from rnn_ref.judging.failures import Kind
from rnn_ref.judging.subject import Subject
from rnn_ref.running import matrix
from rnn_ref.running.matrix import GROUPS, Judged
from rnn_ref.ways import WAYS, Way
from tests.support.judging import failure_of, outcomes

NAMES = ("Cells", "functional", "forward_mode", "traced", "scripted", "eager_without_onednn")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_a_way_of_running_it_conforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and gradients are in their bounds, and its dropout has one mask, both ways."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", torch.backends.mkldnn.enabled)
    subject = Subject(f"rnn_ref.ways:{name}", getattr(ways, name))
    for claim in (
        "every_step_obeys_the_recurrence",
        "gradients_are_within_their_bounds",
        "training_goes_forward_and_back_through_one_mask",
    ):
        whole = next(outcomes(subject, claim, examples=4, fullest_first=True))
        assert whole.failure is None
        assert whole.elements


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_a_way_that_changes_a_setting_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each leaves the settings of the process alone, but for one, which is not judged for them."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", torch.backends.mkldnn.enabled)
    subject = Subject(f"rnn_ref.ways:{name}", getattr(ways, name))
    (row,) = (row for row in WAYS.values() if row.subject == subject.name)
    failure = failure_of(subject, ways.SETTINGS.removeprefix("test_"), examples=1)
    assert (failure is not None) == (ways.SETTINGS in row.omitted)


@pytest.mark.filterwarnings("ignore")
def test_a_decomposed_network_is_found_to_lose_its_dropout() -> None:
    """Without the ledger the property fails, and says that nothing was dropped."""
    subject = Subject("rnn_ref.ways:decomposed", ways.decomposed)
    failure = failure_of(subject, "dropout_falls_between_layers_at_its_rate", examples=1)
    assert failure
    assert (failure.kind, failure.variant) == (Kind.FACT, "p0.5")
    assert failure.fact
    assert failure.fact.got == "2048 of 2048"
    assert failure.fact.expected.startswith("about 1024")


@pytest.mark.filterwarnings("ignore")
def test_compiling_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A way that claims to be compiled proves that a graph was."""
    rnn, x = torch.nn.RNN(2, 3), torch.zeros(4, 1, 2)
    call = ways.compiled(rnn, "eager")
    monkeypatch.setattr(torch._dynamo.config, "allow_rnn", False)  # noqa: SLF001 - torch's own switch
    with pytest.raises(RuntimeError, match="compiled no graph"):
        call(x)
    monkeypatch.setattr(torch._dynamo.config, "allow_rnn", True)  # noqa: SLF001
    assert ways.compiled(rnn, "eager")(x)[0].shape == (4, 1, 3)


def test_every_way_of_the_matrix_is_there() -> None:
    """Each names a subject that can be imported."""
    for way in WAYS.values():
        module, _, name = way.subject.partition(":")
        assert module == "torch.nn" or hasattr(ways, name)


def test_ways_name_whole_properties_groups_and_capabilities() -> None:
    """What is not judged of a way is there, by its whole name."""
    properties = parity.properties()
    groups = {declared.group for declared in properties.values()}
    assert set(GROUPS) == groups - {"baseline"}
    for way in WAYS.values():
        assert way.omitted.keys() <= properties.keys()
        assert set(way.groups) <= groups
        assert way.without.keys() <= CAPABILITIES.keys()


def row(group: str, verdict: str, worst: float = 0.5, message: str = "") -> dict[str, Any]:
    return {"group": group, "verdict": verdict, "worst": worst, "message": message}


def test_the_matrix_tells_what_holds_fails_is_known_and_is_not_judged() -> None:
    """A cell is the worst of its group; below the table stand the reasons."""
    rows = [row("setup", "holds"), row("bounds", "holds", 0.25), row("bounds", "FAILS", 3, "off")]
    rows += [row("dropout", "known", 0, "known deviation: lost"), row("packed", "not judged")]
    way = Way("a:b", {"packed": "it takes tensors"})
    head, line, _, *reasons = matrix.lines([Judged("a way", way, {"properties": rows})])
    assert head.split() == list(GROUPS)
    cells = dict.fromkeys(GROUPS, "-") | {"setup": "0.50", "bounds": "FAILS", "dropout": "known"}
    assert line.split()[2:] == list(cells.values())
    assert reasons == [
        "a way: FAILS: off",
        "a way: known deviation: lost",
        "a way: not judged: packed: it takes tensors",
    ]
    crashed = list(matrix.lines([Judged("a way", way, None)]))
    assert "crash" in crashed[1]


def test_an_unknown_way_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and one sentence that names the ways."""
    assert cli.main(["matrix", "--way", "by hand"]) == 2
    assert "way: expected one of eager; " in capsys.readouterr().err
