"""What is left on the trail of a process, and what is made of it."""

from pathlib import Path

import pytest

import rnn_ref
from rnn_ref.process.guard import END, Trail, is_out_of_memory, last_words

OURS = Path(rnn_ref.__file__).parent / "subject.py"
THREADS = f"""Timeout (0:00:02)!
Thread 0x00007f2fd3fbb6c0 (most recent call first):
  File "/usr/lib/python3/threading.py", line 982 in run

Thread 0x00007f2fd4a25b80 (most recent call first):
  File "/home/a/site-packages/torch/nn/modules/module.py", line 1789 in _call_impl
  File "/home/a/mine.py", line 15 in forward
  File "{OURS}", line 96 in forward
  File "/home/a/rnn_ref/examination.py", line 250 in hold
"""
KERNEL = f"""Fatal Python error: Segmentation fault

Stack (most recent call first):
  File "/home/a/site-packages/torch/nn/modules/rnn.py", line 500 in forward
  File "{OURS}", line 96 in forward
"""


def test_last_words_name_the_subjects_own_line() -> None:
    """Of all threads and frames, the one that a person can mend; else where it happened."""
    assert last_words(THREADS) == "did not come back within 2 s (mine.py:15)"
    assert last_words(KERNEL) == "ended the process: Segmentation fault (rnn.py:500)"
    assert last_words("").startswith("ended the process without a word")


def test_the_first_word_stays(tmp_path: Path) -> None:
    """Of two processes that have something to say, the first is heard."""
    trail = Trail(tmp_path)
    trail.say("stop", "one")
    trail.say("stop", "two")
    assert trail.said("stop") == "one"
    assert trail.said("go") == ""


def test_a_process_that_was_done_left_nothing(tmp_path: Path) -> None:
    """Only what was not come back from is told."""
    (tmp_path / "gw0.notes").write_text(f"here\ncase: x\n{END}", encoding="utf-8")
    (tmp_path / "gw1.notes").write_text("", encoding="utf-8")
    trail = Trail(tmp_path)
    place, said = trail.ended("gw0") or ("", "")
    assert place == "here"
    assert said.endswith("\ncase: x")
    assert trail.ended("gw1") is None
    assert trail.ended("gw2") is None


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory")])
def test_out_of_memory_is_known_by_type_or_word(error: Exception) -> None:
    """In an exception, and in what it got of."""
    outer = ValueError("no result")
    outer.__cause__ = error
    assert is_out_of_memory(error)
    assert is_out_of_memory(outer)
    assert not is_out_of_memory(ValueError("no result"))
