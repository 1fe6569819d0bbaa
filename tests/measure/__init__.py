"""Measurements that are too long for the tests; each is run by `python -m tests.measure.NAME`."""
