"""Judge a subject: run it, compare with the reference on bounds, and keep each failure as data."""
