"""A whole run: from the options to the table, the exit status and the JSON file."""
