"""A finished model at work: segmenting, validating, exporting."""
