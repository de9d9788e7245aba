"""A hospital's card: what the coordinator needs to know of it before it can propose a protocol.

It names no patient. Nobody need trust it: a wrong key is refused by every hospital that pinned the right one, and the
counts decide nothing but the order that a protocol then spells out.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from shared.errors import SettingsError, TrustError
from shared.trust.canonical_json import CenterName, Statement
from shared.trust.identity import Identity


class HospitalCard(Statement):
    """Who a hospital is, what it lets a model do, and how many patients it has."""

    format: Literal[1] = 1
    center: CenterName
    identity: Annotated[str, Field(max_length=256)]
    """Its name and public keys, as one line."""
    role: Literal["train", "evaluate", "both"]
    subjects: Annotated[dict[str, Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=64)]
    """How many labelled subjects have exactly these contrasts, such as `FLAIR,T2w`."""

    @model_validator(mode="after")
    def _its_own_key(self) -> Self:
        try:
            identity = Identity.parse(self.identity)
        except TrustError as error:
            raise ValueError(str(error)) from None
        if identity.center != self.center:
            raise ValueError(f"the key is that of {identity.center}")
        return self

    def count(self, contrasts: Collection[str]) -> int:
        """How many subjects have one of these contrasts."""
        return sum(number for which, number in self.subjects.items() if set(which.split(",")) & set(contrasts))

    @property
    def document(self) -> str:
        """The file."""
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"


def read_card(path: Path) -> HospitalCard:
    """A card's file. Raises `SettingsError`."""
    try:
        return HospitalCard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"card {path} cannot be read ({error.strerror}): give the file's path") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its start"
        raise SettingsError(
            f"{path} is no hospital's card ({place}: {first['msg']}): 'wardround hospital card' makes one"
        ) from None
