"""Accuracy against a record made before; collected only where --rnn-baseline gives one."""

from rnn_ref.judging.properties import no_worse_than_the_baseline


@no_worse_than_the_baseline(group="baseline")
def test_accuracy_is_no_worse_than_the_baseline() -> None:
    """On the corpus, errors are no larger than the baseline's, except as far as chance explains."""
