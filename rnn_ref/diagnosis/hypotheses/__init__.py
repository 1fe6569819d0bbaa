"""What may be wrong: changes of the reference, each with a sentence, by what they change."""
