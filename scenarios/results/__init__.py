"""Results of runs and studies, read again."""
