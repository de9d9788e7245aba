"""How good a segmentation is, and what a course of stages keeps and forgets."""
