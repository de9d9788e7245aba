"""A model's signature: who trained it, under which protocol, at which stage, from what.

Signed is `wardround-model-v1`, a zero byte, and the canonical JSON (shared/trust/canonical_json.py) of the claims,
with Ed25519 (RFC 8032). The coordinator carries both, and can make neither: a hospital trains and tests no model but
one that the hospital before it signed. How a model becomes the digest that stands here, shared/model/weights.py says.
"""

from typing import Annotated, Literal, Self

from pydantic import Field

from shared.errors import TrustError
from shared.trust.canonical_json import CenterName, RunId, Sha256, Stage, Statement
from shared.trust.identity import Identity, Keys

DOMAIN = b"wardround-model-v1\0"
"""Before what is signed, so that a signature on anything else is none on a model."""


class ModelClaims(Statement):
    """What a hospital says of a model that it trained."""

    format: Literal[1] = 1
    protocol: Sha256
    """Digest of the protocol under which it was trained."""
    run: RunId
    stage: Stage
    center: CenterName
    model: Sha256
    """Digest of its parameters."""
    state: Sha256
    """Digest of what its method hands on beside it."""
    parent: Sha256 | None
    """Digest of the model that came; None where the stage began with one that was drawn."""


class SignedModel(Statement):
    """Claims with their signature."""

    claims: ModelClaims
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]

    @classmethod
    def sign(cls, claims: ModelClaims, keys: Keys) -> Self:
        """The claims, signed."""
        return cls(claims=claims, signature=keys.sign(DOMAIN, claims))

    def check(self, identity: Identity) -> None:
        """Raise `TrustError` where it was not signed by `identity`."""
        if not identity.signed(DOMAIN, self.claims, self.signature):
            who = self.claims.center
            problem = f"the model that {who} is said to have trained does not bear its signature: refused"
            raise TrustError(problem, problem)
