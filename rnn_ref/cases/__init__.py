"""What is tried: a case is a line of text, a problem the arrays that follow from it."""
