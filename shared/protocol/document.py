"""The protocol: the file that says all of what is to be computed, and that each hospital approves.

The coordinator proposes it (`wardround coordinator propose`), a hospital keeps what it approved, and acts on nothing
else: stages, steps, batches, seeds, budgets and sizes follow from this file, not from any message. Its digest is that
of its canonical JSON (shared/trust/canonical_json.py), so the same protocol may be spelled with other white space.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from shared.clock import stamp
from shared.config.settings import CIRCUMSTANCES, Settings
from shared.errors import SettingsError, TrustError
from shared.methods import METHODS
from shared.trust.canonical_json import CenterName, RunId, Sha256, Statement, canonical
from shared.trust.identity import Identity
from shared.wire.code_fingerprint import code_fingerprint

Spelled = Annotated[dict[str, str], Field(max_length=200)]
"""Keys of the run-config with their values as JSON spells them: what is signed or hashed holds no float."""

Value = str | int | float | bool


def spell(values: Mapping[str, Value]) -> dict[str, str]:
    """Values as a protocol holds them."""
    return {key: json.dumps(value) for key, value in values.items()}


class Ancestor(Statement):
    """A protocol whose first stages this one goes on from."""

    protocol: Sha256
    run: Annotated[RunId, Field(pattern=r"^[0-9a-f]{32}$")]
    stages: int = Field(ge=1, lt=2**31)
    """So many stages, from the first, were trained under it or under one that it goes on from."""


class StudyProtocol(Statement):
    """A protocol, whole and consistent; `read` makes sure of the settings, too."""

    format: Literal[1] = 1
    title: Annotated[str, Field(max_length=200, pattern=r"^[\x20-\x7e]*$")]
    created: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    """When it was proposed, UTC: the same study proposed again is another protocol."""
    code: Sha256
    """Fingerprint of the code that computes (shared/wire/code_fingerprint.py)."""
    settings: Spelled
    """What all runs have in common: all keys of the run-config but the circumstances (shared/config/settings.py)."""
    runs: Annotated[tuple[Spelled, ...], Field(min_length=1, max_length=200)]
    """One or several runs, each by the keys in which it differs from `settings`."""
    identities: Annotated[dict[CenterName, str], Field(max_length=256)]
    """The public identity (shared/trust/identity.py) of each center that trains."""
    lineage: Annotated[tuple[Ancestor, ...], Field(max_length=200)] = ()
    """The protocols that the only run goes on from, the oldest first."""

    @classmethod
    def of_run(
        cls,
        settings: Settings,
        identities: Mapping[str, str],
        created: datetime,
        title: str = "",
        lineage: tuple[Ancestor, ...] = (),
    ) -> Self:
        """The protocol of one run with these settings, for the code that runs here."""
        return cls(
            title=title,
            created=stamp(created),
            code=code_fingerprint(),
            settings=spell(settings.science),
            runs=({},),
            identities=dict(identities),
            lineage=lineage,
        )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for center, line in self.identities.items():
            try:
                identity = Identity.parse(line)
            except TrustError as error:
                raise ValueError(f"the identity of {center}: {error}") from None
            if str(identity) != line or identity.center != center:
                raise ValueError(f"the identity of {center} is that of {identity.center}")
        if self.lineage and len(self.runs) > 1:
            raise ValueError("a protocol that goes on from another one has one run")
        stages = [ancestor.stages for ancestor in self.lineage]
        if stages != sorted(set(stages)):
            raise ValueError("a later protocol of the lineage must have more stages than an earlier one")
        if len(set(map(str, self.runs))) < len(self.runs):
            raise ValueError("a run is listed twice")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of its canonical JSON: by it the protocol is known."""
        return hashlib.sha256(canonical(self)).hexdigest()

    @property
    def document(self) -> str:
        """The file: JSON that people can read."""
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"

    def run_name(self, number: int) -> str:
        """What run `number`, from 0, is called: it follows from the protocol, so that nobody runs it twice."""
        return hashlib.sha256(f"wardround-run-v1\0{self.digest}\0{number}".encode()).hexdigest()[:32]

    def settings_of(self, number: int, circumstances: Mapping[str, Value]) -> Settings:
        """The settings of run `number`; only the keys `CIRCUMSTANCES` are taken from `circumstances`.

        Raises `SettingsError`.
        """
        science = {**self.settings, **self.runs[number]}
        if named := sorted(science.keys() & CIRCUMSTANCES):
            raise SettingsError(f"a protocol says nothing of {named[0]}, which is each side's own")
        try:
            config: dict[str, Value] = {key: json.loads(text) for key, text in science.items()}
        except (ValueError, RecursionError):
            raise SettingsError("a protocol holds a setting that is not spelled as JSON: propose it anew") from None
        return Settings.from_run_config(config | {k: v for k, v in circumstances.items() if k in CIRCUMSTANCES})

    def check(self, circumstances: Mapping[str, Value]) -> None:
        """See that every run can be worked off. Raises `SettingsError`."""
        for number in range(len(self.runs)):
            run = self.settings_of(number, circumstances).run
            if run.order != "given":
                raise SettingsError(f"a protocol names its centers in their order, but has order = {run.order!r}")
            if run.spec.course == "pooled":
                raise SettingsError(f"method = {run.method!r} would have patients' images leave: no protocol may")
            if missing := [center for center in run.centers if center not in self.identities]:
                raise SettingsError(f"the protocol lacks the identities of {', '.join(missing)}")
            if self.lineage and METHODS[run.method].not_extendable:
                raise SettingsError(f"a {run.method} run cannot go on from another one")
            if self.lineage and not self.lineage[-1].stages < len(run.centers):
                raise SettingsError("a protocol that goes on from another one adds a stage to it")


def parse_protocol(text: bytes, source: str) -> StudyProtocol:
    """Read a protocol. Raises `SettingsError`."""
    try:
        return StudyProtocol.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise SettingsError(
            f"{source} is no protocol of this version of Wardround ({place or 'its start'}: {first['msg']}): make it "
            "by 'wardround coordinator propose'"
        ) from None


def read_protocol(path: Path) -> StudyProtocol:
    """A protocol's file. Raises `SettingsError`."""
    try:
        return parse_protocol(path.read_bytes(), str(path))
    except OSError as error:
        raise SettingsError(f"protocol {path} cannot be read ({error.strerror}): give the file's path") from None
