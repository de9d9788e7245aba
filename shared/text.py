"""Words for what is shown to people."""


def counted(number: int, noun: str) -> str:
    """A number of things, such as `1 image` and `2 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
