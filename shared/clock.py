"""The time of day, as whatever must expire asks for it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Tells the time, with a time zone; a test brings its own."""


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)
