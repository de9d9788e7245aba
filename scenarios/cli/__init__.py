"""The command line: what `wardround` offers, a module for each group of commands."""
