"""Telling whoever watches a run how it goes, in plain lines."""

MARK = "[wardround] "
"""Begins each line, so that it is found among those of Flower and Ray."""


def say(text: str) -> None:
    """Print each line of a text at once; Flower streams it to the terminal, or writes its log."""
    for line in text.splitlines():
        print(MARK + line, flush=True)
