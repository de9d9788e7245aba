"""Testing a model on a hospital's test subjects."""
