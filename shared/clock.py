"""The time of day, as whatever must expire asks for it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Tells the time, with a time zone; a test brings its own."""


def stamp(moment: datetime) -> str:
    """A moment as it is signed and chained: UTC, to the second, such as `2030-05-01T12:00:00Z`."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)
