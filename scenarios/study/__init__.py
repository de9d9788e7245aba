"""Studies: methods x orders x seeds, planned, run and collected."""
