"""A hospital as its own `hospital.toml` describes it: what it is, where its data lie, what it allows.

    center = "milan"
    state-dir = "/var/lib/wardround/milan"    # keys, audit log, withdrawals, checkpoints

    [data]
    folder = "/data/milan"
    layout = "bids"                           # or decathlon, nnunet; left out: as the folder shows
    contrasts = ["FLAIR", "T2w"]
    labels = "manual"                         # which labels, where an image has several
    lesion-value = 1                          # which value is lesion, where labels mark other things too

    [coordinator]
    address = "coordinator.example:443"
    root-certificate = "ca.crt"               # or "": what this machine trusts anyway
    enrolled-as = "milan"

    [peers]                                   # client/governance/pinned_keys.py
    bwh = "wardround-key-v1 bwh BASE64"

    [policy]                                  # client/governance/policy.py
    role = "both"

Relative paths are relative to the file. Without `[policy]` the hospital tests models and reports
means, and nothing else leaves.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator

from client.data.filenames import CONTRASTS
from client.data.inventory import LabelChoice
from client.data.layouts import Layout
from client.governance.pinned_keys import Peers
from client.governance.policy import Policy
from shared.config.groups import Group
from shared.config.table import sentence
from shared.errors import SettingsError
from shared.text import quoted
from shared.trust.canonical_json import CenterName

OUTSIDE = "its hospital.toml is wrong; its client's log says where"
"""What may be told of a mistake in the file."""


WRITABLE_BY_ALL = 0o002


class Data(Group):
    """Where the images are, and which of them are used."""

    folder: Annotated[Path, Field(strict=False)]
    layout: Annotated[Layout | None, Field(strict=False)] = None
    """None: as the folder shows."""
    contrasts: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = CONTRASTS
    labels: str = ""
    """Which labels are meant where an image has several, such as a pipeline's name."""
    lesion_value: Annotated[float | None, Field(strict=False, gt=0, allow_inf_nan=False)] = None
    """The value that means lesion, in labels of several structures."""

    @property
    def choice(self) -> LabelChoice:
        """What the hospital says of its labels."""
        return LabelChoice(self.labels, self.lesion_value)

    @field_validator("contrasts")
    @classmethod
    def _known(cls, contrasts: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(contrasts) - set(CONTRASTS):
            raise ValueError(f"no contrast {', '.join(sorted(unknown))} is known: choose from {', '.join(CONTRASTS)}")
        return contrasts


class Coordinator(Group):
    """Whom the SuperNode joins, and as whom."""

    address: str = Field(pattern=r"^[A-Za-z0-9.:\[\]-]+:[0-9]{1,5}$")
    """HOST:PORT."""
    root_certificate: Annotated[Path | None, Field(strict=False), BeforeValidator(lambda text: text or None)]
    """None, written "": what this machine trusts anyway."""
    enrolled_as: CenterName


class _HospitalFile(Group):
    center: CenterName
    state_dir: Annotated[Path, Field(strict=False)]
    data: Data
    coordinator: Coordinator | None = None
    peers: dict[str, Any] = Field(default_factory=dict)
    policy: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """A `hospital.toml`, checked; all paths are absolute."""

    center: str
    state: Path
    data: Data
    coordinator: Coordinator | None
    peers: Peers
    policy: Policy

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check the file. Raises `SettingsError` or, for what stands under `[peers]`, `TrustError`."""
        path = path.expanduser().absolute()
        try:
            with path.open("rb") as file:
                # Who can write it decides who may open this hospital's crops.
                if path.stat().st_mode & WRITABLE_BY_ALL:
                    raise SettingsError(
                        f"{path} can be written by every user, so nothing in it can be relied on: "
                        f"chmod o-w {quoted(path)}",
                        OUTSIDE,
                    )
                table = tomllib.load(file)
        except OSError as error:
            raise SettingsError(
                f"{path} cannot be read ({error.strerror}): make it by 'wardround hospital init'", OUTSIDE
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not TOML ({error}): mend that line", OUTSIDE) from None
        try:
            found = _HospitalFile.model_validate(table)
        except ValidationError as error:
            raise SettingsError(f"{path}: {_mistake(error)}", OUTSIDE) from None
        try:
            policy = Policy.of(found.policy, str(path))
        except SettingsError as error:
            raise SettingsError(str(error), OUTSIDE) from None
        return cls(
            center=found.center,
            state=path.parent / found.state_dir.expanduser(),
            data=found.data.model_copy(update={"folder": path.parent / found.data.folder.expanduser()}),
            coordinator=found.coordinator and _beside(found.coordinator, path.parent),
            peers=Peers.of(found.peers, str(path)),
            policy=policy,
        )

    @property
    def keys(self) -> Path:
        """The folder of this hospital's key files (client/governance/keys.py)."""
        return self.state / "keys"


def _beside(coordinator: Coordinator, folder: Path) -> Coordinator:
    certificate = coordinator.root_certificate
    return coordinator.model_copy(update={"root_certificate": certificate and folder / certificate.expanduser()})


def _mistake(error: ValidationError) -> str:
    """The first mistake as `section.key = value: what is wrong`."""
    first = error.errors()[0]
    allowed = ""
    if first["type"] == "string_pattern_mismatch":
        allowed = "write HOST:PORT" if first["loc"][-1] == "address" else "write a name of letters, digits, - and _"
    return sentence(first, first["loc"], allowed)
