"""How fast the reference and the suite are: `rnn-ref bench`."""
