"""The other hospitals' keys as this hospital has pinned them, after a telephone call.

A TOML file, the hospital's own, with the fingerprint or the whole public key of each:

    [peers]
    milan = "ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ23-4567"
    karo = "wardround-key-v1 karo BASE64"

Identities arrive through the coordinator. Only those that agree with the file are used.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from shared.errors import TrustError
from shared.identity import LABEL, Identity, parse_fingerprint

WRITABLE_BY_ALL = 0o002


@dataclass(frozen=True)
class Peers:
    """Pinned fingerprints by center; a whole public key is kept as well."""

    fingerprints: Mapping[str, str]
    identities: Mapping[str, Identity]
    source: str
    """Where the pins stand, for messages."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """The `[peers]` of a TOML file. Raises `TrustError`."""
        try:
            with path.open("rb") as file:
                if path.stat().st_mode & WRITABLE_BY_ALL:
                    raise TrustError(
                        f"{path} can be written by every user, so its pins prove nothing: chmod o-w {path}"
                    )
                table = tomllib.load(file).get("peers")
        except OSError as error:
            raise TrustError(
                f"pinned keys {path} cannot be read ({error.strerror}): make the file with a [peers] section"
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise TrustError(f"pinned keys {path} are not TOML ({error}): mend that line") from None
        if not isinstance(table, dict):
            raise TrustError(f'{path} has no [peers] section: add one, with a line NAME = "FINGERPRINT" a hospital')
        return cls.of(table, str(path))

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
        """Raise `TrustError` where the identity is not the pinned one; a `shared.identity.Pin`."""
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
