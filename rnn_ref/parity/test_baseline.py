"""Accuracy against a record made before; collected only where --rnn-baseline gives one."""

from rnn_ref.examination import Examination


def test_accuracy_is_no_worse_than_the_baseline(rnn_examination: Examination) -> None:
    """On the corpus, errors are not larger than the baseline's by more than chance explains."""
    rnn_examination.hold_to_baseline()
