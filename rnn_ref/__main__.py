"""`python -m rnn_ref` is `rnn-ref`."""

import sys

from rnn_ref.cli import main

if __name__ == "__main__":
    sys.exit(main())
