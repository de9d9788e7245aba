"""What a study or run found, as one page: figures, tables, statistics."""
