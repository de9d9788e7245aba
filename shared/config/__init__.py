"""The settings of a run, and the tables of settings that people write."""
