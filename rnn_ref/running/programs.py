"""Write the causes of a run as programs that need torch and the subject only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rnn_ref.arithmetic.dtypes import ROUNDING
from rnn_ref.cases.case import Case
from rnn_ref.diagnosis.causes import Cause
from rnn_ref.diagnosis.reproducer import file_name, reproducer
from rnn_ref.judging.measured import TANH, Measured
from rnn_ref.running.options import RunOptions


def write_programs(
    folder: Path, run: RunOptions, found: Sequence[Cause], measured: Measured
) -> int:
    """Write a program for each cause that a plain call shows; return how many were written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for number, cause in enumerate(found, 1):
        if cause.gradients is None or not cause.case:
            continue
        case = Case.parse(cause.case)
        units = measured.tanh_units(case.dtype, TANH if run.tanh is None else run.tanh)
        rounding = replace(ROUNDING[case.dtype], tanh=units)
        program = reproducer(
            run.subject,
            case,
            rounding.flushing if run.subnormals == "flushed" else rounding,
            sentence=cause.sentence,
            replay=cause.replay,
            gradients=cause.gradients,
            device=run.device,
            function=run.function,
        )
        name = file_name(number, cause.failure["property"].replace(" ", "_"))
        (folder / name).write_text(program, encoding="utf-8")
        written += 1
    return written
