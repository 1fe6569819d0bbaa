"""What a subject must satisfy: one claim a test, judged over many cases."""
