"""Number systems: arrays that stand in for NumPy's own in the reference's operators."""
