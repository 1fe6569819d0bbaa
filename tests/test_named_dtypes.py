"""The dtypes that are named bind everywhere: no property computes in another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnn_ref.judging.subject import Subject
from tests.subjects.plain_rnn import PlainRNN
from tests.support.judging import PROPERTIES, failure_of, outcomes

GROUPS = ("gradients", "histories", "packed", "state")
NAMES = [name for name, declared in PROPERTIES.items() if declared.group in GROUPS]
WIDE = {name for name in NAMES if "float64" in PROPERTIES[name].needs_dtypes}


class Float32Only(PlainRNN):
    """Computes in float32 alone, as many a device does."""

    def run_layers(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if x.dtype != torch.float32:
            raise NotImplementedError(f"no {x.dtype}")
        return super().run_layers(x, h_0)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_judged_in_float32_needs_no_other_dtype(name: str) -> None:
    """A subject without float64 conforms in float32; what needs it is not judged, and says so."""
    examples = 40 if PROPERTIES[name].group == "histories" else 5
    for outcome in outcomes(Subject("narrow", Float32Only), name, examples, ("float32",)):
        assert outcome.failure is None, str(outcome.failure)
        assert outcome.not_judged == ("needs float64, which is not judged" if name in WIDE else "")


@pytest.mark.parametrize("name", sorted(WIDE))
def test_what_needs_float64_fails_where_it_is_judged(name: str) -> None:
    """The subject without float64 is blamed as soon as that is a dtype of the run."""
    assert failure_of(Subject("narrow", Float32Only), name, 5, ("float32", "float64")) is not None
