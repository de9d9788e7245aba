"""What the coordinator does with contributions, sealed ones without any key: check, thin out, pass on."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from shared.errors import SealError
from shared.replay.contribution import Contribution
from shared.replay.manifest import SealedContribution, Visit, verify


def inspect(sealed: SealedContribution, visit: Visit, now: datetime, *, subjects: int, budget: int) -> None:
    """Check a contribution that came in: its visit, signature, payloads, subjects and bytes.

    The signature is checked with the key that the manifest names; only a hospital's pins say
    whose key that is. `budget` counts exemplars' bytes before sealing. Raises `SealError`.
    """
    verify(sealed, visit, now)
    center = visit.center
    sent = len({entry.subject for entry in sealed.present})
    if sent > subjects:
        raise SealError(f"{center} sent exemplars of {sent} subjects where {subjects} are allowed: refused")
    if sealed.exemplar_bytes > budget:
        raise SealError(
            f"{center} sent {sealed.exemplar_bytes} bytes of exemplars where {budget} are allowed: refused; "
            "raise memory-megabytes, or let it send fewer"
        )


def hand_on(
    contributions: Iterable[Contribution], center: str, withdrawn: Mapping[str, Collection[str]], now: datetime
) -> tuple[Contribution, ...]:
    """What `center` gets: what it can use and did not send, without expired and withdrawn exemplars.

    `withdrawn` are pseudonyms by the center that withdrew them; none withdraws another's. A
    contribution of which nothing is left is not handed on.
    """
    left = [c.without(withdrawn.get(c.center, ())) for c in contributions if c.may_reach(center, now)]
    return tuple(c for c in left if c.subjects)
