"""What a center contributed to the replay memory, as it travels and as it is kept: sealed or plain.

The two kinds answer the same questions: whose it is, what must be written down of it (its
`document`) and which bytes go with that, whom it may reach, what is left of it without some
subjects. So whoever carries or keeps a contribution need not know which kind it has.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.errors import MessageError
from shared.replay.exemplar import Exemplar, Provenance
from shared.replay.manifest import Manifest, Payload, SealedContribution


class PlainManifest(BaseModel):
    """What a contribution that was not sealed says of its exemplars."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exemplars: tuple[Provenance, ...] = Field(min_length=1)


@dataclass(frozen=True, eq=False)
class PlainContribution:
    """Exemplars of one center, for all to see who carry them."""

    exemplars: tuple[Exemplar, ...]

    @property
    def center(self) -> str:
        """Whose it says that it is; nobody's where nothing is left of it."""
        return self.exemplars[0].provenance.center if self.exemplars else ""

    @property
    def document(self) -> PlainManifest:
        """What is written down of it."""
        return PlainManifest(exemplars=tuple(e.provenance for e in self.exemplars))

    @property
    def payloads(self) -> Mapping[str, Payload]:
        """Its exemplars' bytes by their checksum."""
        return {e.provenance.checksum: e.payload for e in self.exemplars}

    @property
    def subjects(self) -> tuple[str, ...]:
        """Pseudonym of each exemplar."""
        return tuple(e.provenance.subject for e in self.exemplars)

    @property
    def nbytes(self) -> int:
        """Bytes that travel."""
        return sum(e.payload.nbytes for e in self.exemplars)

    def without(self, subjects: Collection[str]) -> Self:
        """The contribution without the exemplars of these pseudonyms."""
        return type(self)(tuple(e for e in self.exemplars if e.provenance.subject not in subjects))

    def may_reach(self, center: str, now: datetime) -> bool:
        """Whether `center` can do something with it: nothing keeps anybody from a plain one."""
        return center != self.center


Contribution = PlainContribution | SealedContribution
Document = PlainManifest | Manifest

_documents: TypeAdapter[tuple[Document, ...]] = TypeAdapter(tuple[Document, ...])


def dump_documents(contributions: Collection[Contribution]) -> str:
    """What is written down of contributions, as JSON; their payloads go beside it."""
    return _documents.dump_json(tuple(c.document for c in contributions)).decode()


def load_contributions(documents: str, payloads: Mapping[str, Payload]) -> tuple[Contribution, ...]:
    """The reverse of `dump_documents`. Raises `MessageError` where a document or a payload is wrong.

    A sealed exemplar may be missing, since whoever carries it drops those that were withdrawn.
    """
    try:
        found = _documents.validate_json(documents)
    except ValidationError as error:
        raise MessageError(f"a replay memory's manifest is wrong: {error.errors()[0]['msg']}") from None
    contributions = tuple(assemble(document, payloads) for document in found)
    if surplus := sorted(set(payloads) - {checksum for c in contributions for checksum in c.payloads}):
        raise MessageError(f"a replay memory holds {surplus[0][:12]!r}, which its manifest does not name")
    return contributions


def assemble(document: Document, payloads: Mapping[str, Payload]) -> Contribution:
    """A contribution from its document and the payloads that are there, others among them.

    Raises `MessageError` where a plain one lacks an exemplar.
    """
    if isinstance(document, Manifest):
        named = [entry.checksum for entry in document.claims.entries]
        return SealedContribution(document, {name: payloads[name] for name in named if name in payloads})
    try:
        return PlainContribution(tuple(Exemplar(p, payloads[p.checksum]) for p in document.exemplars))
    except KeyError as error:
        raise MessageError(f"a message lacks {error.args[0]!r} of its replay memory") from None
