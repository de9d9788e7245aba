"""What a study found, as a person reads it: figures, tables, statistics and a page."""
