"""Quality control before a run: the check of a data set, its pictures and its page."""
