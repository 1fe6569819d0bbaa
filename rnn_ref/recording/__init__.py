"""Numerics over time: measure a subject's errors, record them, compare two records."""
