"""A hospital opened: its file, its node, its subjects, and what it trusts."""
