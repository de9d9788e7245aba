"""Timing two things by turns, so that what else the machine does falls on both alike."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Seconds = Callable[[], float]
"""Does something, and says how long it took."""


@dataclass(frozen=True)
class Turns:
    """The seconds that two things took, turn by turn."""

    first: tuple[float, ...]
    second: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median, over the turns, of the first's seconds over the second's."""
        return statistics.median(one / other for one, other in zip(self.first, self.second, strict=True))


def by_turns(first: Seconds, second: Seconds, turns: int) -> Turns:
    """Do both `turns` times: first, second, first, second, ..."""
    taken = [(first(), second()) for _ in range(turns)]
    return Turns(tuple(one for one, _ in taken), tuple(other for _, other in taken))


def timed(work: Callable[[], object], clock: Seconds = time.perf_counter) -> Seconds:
    """`work` as something that says how long it took, by the difference of two looks at the clock."""

    def take() -> float:
        begun = clock()
        work()
        return clock() - begun

    return take
