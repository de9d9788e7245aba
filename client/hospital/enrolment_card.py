"""The card that a hospital sends to the coordinator before a protocol can be proposed."""

from collections import Counter

from client.data.layouts import find_cases
from client.hospital.config import Site
from shared.protocol.card import HospitalCard
from shared.trust.identity import Identity


def card_of(site: Site, identity: Identity) -> HospitalCard:
    """What the data folder has, by contrasts; no image is read. Raises `DataError`."""
    contrasts: dict[str, set[str]] = {}
    for case in find_cases(site.data.folder, site.data.contrasts, site.data.layout, site.data.choice):
        contrasts.setdefault(case.subject, set()).add(case.contrast)
    counts = Counter(",".join(sorted(which)) for which in contrasts.values())
    return HospitalCard(
        center=site.center, identity=str(identity), role=site.policy.role, subjects=dict(sorted(counts.items()))
    )
