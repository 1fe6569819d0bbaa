"""From failures to causes: what a subject lacks, which fields matter, what the fault is."""
