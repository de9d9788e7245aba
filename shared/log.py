"""Telling whoever watches a run how it goes, in plain lines."""

from shared.text import printable

MARK = "[wardround] "
"""Begins each line, so that it is found among those of Flower and Ray."""

FINISHED = "finished in "
"""Begins the last line of a coordinator whose run is over, and all of it written."""


def say(text: str) -> None:
    """Print each line of a text at once; Flower streams it to the terminal, or writes its log.

    What another party said in it must be made printable before, so that it cannot begin a line of its own.
    """
    for line in text.rstrip("\n").split("\n") if text else []:
        print(MARK + printable(line), flush=True)
