"""What the coordinator does with sealed contributions, without any key: check, thin out, pass on."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from shared.errors import SealError
from shared.manifest import SealedContribution, Visit, verify


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
    contributions: Iterable[SealedContribution], center: str, withdrawn: Mapping[str, Collection[str]], now: datetime
) -> tuple[SealedContribution, ...]:
    """What `center` gets: what it can open and did not send, without expired and withdrawn exemplars.

    `withdrawn` are pseudonyms by the center that withdrew them; none withdraws another's.
    """
    return tuple(
        sealed.without(withdrawn.get(sealed.visit.center, ()))
        for sealed in contributions
        if center in sealed.recipients and center != sealed.visit.center and now < sealed.manifest.claims.expiry
    )
