"""The replay memory: the exemplars of the centers that were visited, and what each may contribute."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from shared.errors import MessageError
from shared.replay.exemplar import Exemplar


@dataclass(frozen=True)
class ReplayMemory:
    """The exemplars that are handed on, in the order in which their centers were visited."""

    exemplars: tuple[Exemplar, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of all payloads."""
        return sum(exemplar.payload.nbytes for exemplar in self.exemplars)

    @property
    def centers(self) -> tuple[str, ...]:
        """The centers that contributed, in order."""
        return tuple(dict.fromkeys(exemplar.provenance.center for exemplar in self.exemplars))

    def of(self, center: str) -> tuple[Exemplar, ...]:
        """What one center contributed."""
        return tuple(e for e in self.exemplars if e.provenance.center == center)

    def with_contribution(self, center: str, exemplars: Iterable[Exemplar]) -> Self:
        """The memory with what `center` sent, in place of what it may have sent before.

        Raises `MessageError` where an exemplar is not that center's own.
        """
        new = tuple(exemplars)
        foreign = {e.provenance.center for e in new} - {center}
        if foreign:
            raise MessageError(f"center {center} sent exemplars of {', '.join(sorted(foreign))}: refused")
        kept = tuple(e for e in self.exemplars if e.provenance.center != center)
        return replace(self, exemplars=kept + new)


def center_budget(megabytes: float, centers: int) -> int:
    """Bytes that one of so many centers may contribute to a memory of `megabytes` (10^6 bytes)."""
    return int(megabytes * 1e6 / centers)
