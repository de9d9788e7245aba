"""Augmentation: what is drawn anew for each patch of each step, so that a network sees more than its images show.

The numbers are drawn on the host, one row of a table for each patch, by the stage's seed and the number of the step
alone; what follows from them is computed for the whole batch on the training's device. Nothing is decided there by a
value, so that a captured step does it, too.
"""
