"""The other hospitals' keys as this hospital has pinned them, after a telephone call.

A section of the hospital's own TOML file, with the fingerprint or the whole public key of each:

    [peers]
    milan = "ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ23-4567"
    karo = "wardround-key-v1 karo BASE64"

Identities arrive through the coordinator. Only those that agree with the file are used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from shared.errors import TrustError
from shared.trust.identity import LABEL, Identity, parse_fingerprint


@dataclass(frozen=True)
class Peers:
    """Pinned fingerprints by center; a whole public key is kept as well."""

    fingerprints: Mapping[str, str]
    identities: Mapping[str, Identity]
    source: str
    """Where the pins stand, for messages."""

    @classmethod
    def of(cls, table: Mapping[str, object], source: str) -> Self:
        """Pins from a table of center to fingerprint or public key. Raises `TrustError`."""
        fingerprints: dict[str, str] = {}
        identities: dict[str, Identity] = {}
        for center, pinned in table.items():
            where = f"the pin of {center} in {source}"
            if not isinstance(pinned, str):
                raise TrustError(f'{where} is not text: write {center} = "FINGERPRINT"')
            try:
                if pinned.strip().startswith(LABEL):
                    identities[center] = Identity.parse(pinned)
                    fingerprints[center] = identities[center].fingerprint
                else:
                    fingerprints[center] = parse_fingerprint(pinned)
            except TrustError as error:
                raise TrustError(f"{where} is wrong: {error}") from None
            if center in identities and identities[center].center != center:
                raise TrustError(f"{where} is the key of {identities[center].center}: put it under that name")
        return cls(fingerprints, identities, source)

    def check(self, identity: Identity) -> None:
        """Raise `TrustError` where the identity is not the pinned one; a `shared.trust.identity.Pin`."""
        center, shown = identity.center, identity.fingerprint
        pinned = self.fingerprints.get(center)
        if pinned is None:
            raise TrustError(
                f"no key of {center} is pinned in {self.source}, and it shows {shown}: call {center}, have its "
                f'fingerprint read out, and where it is this one add {center} = "{shown}" under [peers]',
                f"no key of {center} is pinned here, and it shows {shown}: the two hospitals must compare by telephone",
            )
        if pinned != shown:
            raise TrustError(
                f"the key of {center} was swapped: it shows {shown}, but {self.source} pins {pinned}: call {center} "
                "on a known number, and change the pin only where it says that it made new keys",
                f"the key of {center} was swapped: it shows {shown}, but {pinned} is pinned here: refused",
            )

    def identity(self, center: str) -> Identity:
        """The whole public key that is pinned for `center`.

        Raises `TrustError` where only its fingerprint is, or nothing.
        """
        if center in self.identities:
            return self.identities[center]
        raise TrustError(
            f"{self.source} holds no whole public key of {center}: ask for its line `{LABEL} {center} ...` and pin that"
        )
