"""What surrounds a subject: the process that it runs in, its settings, the machine."""
