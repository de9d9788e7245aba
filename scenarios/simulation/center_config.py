"""Hospitals that a person describes in a TOML file, checked key by key before anything is made."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from shared.config.table import KebabTable, sentence
from shared.errors import SettingsError
from shared.phantoms.centers import CenterProfile
from shared.phantoms.relaxation import Sequence, Strength
from shared.phantoms.scanner import Protocol
from shared.phantoms.signals import Contrast
from shared.trust.canonical_json import CENTER_PATTERN

MOST_SUBJECTS = 100_000
AXES = ("RL", "AP", "SI")
THICKEST = 10.0
"""In-plane voxel sizes that a slice may have."""


def _directions(value: str) -> str:
    """Check the three letters that say where stored voxels run."""
    if len(value) != 3 or any(not set(pair) & set(value) for pair in AXES):
        raise ValueError("should be one letter each of R or L, A or P, S or I, such as LPS")
    return value


def _ratios(value: object) -> tuple[float, ...]:
    """Take one thickness for a list of one."""
    values = value if isinstance(value, list) else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, int | float) or not 1 <= one <= THICKEST:
            values = []
    if not values:
        raise ValueError(f"give a number from 1 to {THICKEST:g}, or a list of them, of which each patient has one")
    return tuple(map(float, values))


class ProtocolTable(KebabTable):
    """How a contrast is made; shared/phantoms/scanner.py says what each key means."""

    field: Strength
    tr: float = Field(ge=500, le=30_000)
    te: float = Field(ge=5, le=500)
    ti: float | None = Field(default=None, ge=500, le=5000)
    prep: float = Field(default=0.0, ge=0, le=500)
    noise: float = Field(ge=0, le=1)
    bias: float = Field(ge=0, le=1)
    blur: float = Field(ge=0, le=5)
    level: float = Field(ge=10, le=5000)
    clip: float = Field(default=10.0, ge=1, le=100)
    flow: float = Field(default=0.0, ge=0, le=3)
    ghosting: float = Field(default=0.1, ge=0, le=1)

    def protocol(self, contrast: Contrast) -> Protocol:
        """Return what the table describes. Raises `ValueError` where the sequence is not one of this contrast."""
        if (self.ti is not None) != (contrast == "FLAIR"):
            raise ValueError("ti is missing: FLAIR has an inversion" if self.ti is None else "ti is for FLAIR alone")
        rest = self.model_dump(exclude={"field", "tr", "te", "ti", "prep"})
        return Protocol(Sequence(self.field, self.tr, self.te, self.ti, self.prep), **rest)


class CenterTable(KebabTable):
    """One hospital; shared/phantoms/centers.py says what each key means."""

    title: str = Field(default="", max_length=60)
    subjects: int = Field(ge=1, le=MOST_SUBJECTS)
    lesion_ml: float = Field(gt=0, le=150)
    lesion_spread: float = Field(ge=0, le=2)
    slice_ratio: Annotated[tuple[float, ...], BeforeValidator(_ratios)] = (1.0,)
    orientation: Annotated[str, AfterValidator(_directions)] = "RAS"
    lesion_free: float = Field(default=0.02, ge=0, le=1)
    rater: float = Field(default=0.0, ge=0, le=3)
    vary: float = Field(default=0.0, ge=0, le=1)
    random_share: float = Field(default=0.0, ge=0, le=1)
    resampled: float = Field(default=0.0, ge=0, le=1)
    flair: ProtocolTable | None = Field(default=None, alias="FLAIR")
    t2w: ProtocolTable | None = Field(default=None, alias="T2w")

    def profile(self, name: str) -> CenterProfile:
        """Return the center that the table describes. Raises `ValueError` where it has no contrast."""
        tables: Mapping[Contrast, ProtocolTable | None] = {"FLAIR": self.flair, "T2w": self.t2w}
        protocols = {}
        for contrast, table in tables.items():
            if table is not None:
                try:
                    protocols[contrast] = table.protocol(contrast)
                except ValueError as error:
                    raise ValueError(f"{contrast}: {error}") from None
        if not protocols:
            raise ValueError(f"has no contrast: add a table [centers.{name}.FLAIR], [centers.{name}.T2w] or both")
        return CenterProfile(
            name=name,
            title=self.title or name,
            subjects=self.subjects,
            protocols=protocols,
            load=self.lesion_ml,
            spread=self.lesion_spread,
            slice_ratios=self.slice_ratio,
            orientation=self.orientation,
            lesion_free=self.lesion_free,
            rater=self.rater,
            vary=self.vary,
            random_share=self.random_share,
            resampled=self.resampled,
        )


class CenterFile(KebabTable):
    """The whole file."""

    centers: dict[str, CenterTable] = Field(min_length=1)


def read_centers(path: Path) -> tuple[CenterProfile, ...]:
    """Return the centers of a TOML file, in its order.

    Raises `SettingsError`, which names the file and each wrong table and key, with what is allowed.
    """
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"centers file {path} cannot be read ({error.strerror}): give a TOML file") from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"centers file {path} is not TOML ({error}): begin a hospital by [centers.name]") from None
    try:
        described = CenterFile.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"centers file {path}: {'; '.join(map(_mistake, error.errors()))}") from None
    profiles = []
    for name, table in described.centers.items():
        if not re.fullmatch(CENTER_PATTERN, name):
            raise SettingsError(f"centers file {path}: [centers.{name}]: name it by letters, digits, - and _")
        try:
            profiles.append(table.profile(name))
        except ValueError as error:
            raise SettingsError(f"centers file {path}: [centers.{name}] {error}") from None
    return tuple(profiles)


def _mistake(entry: Any) -> str:
    """One error as `[table] key = value: what is allowed`."""
    *tables, key = entry["loc"]
    kind = _table_at(tables)
    if entry["type"] == "extra_forbidden":
        allowed = f"known are {', '.join(kind.model_json_schema()['properties'])}"
    else:
        allowed = _allowed(kind, str(key))
    table = f"[{'.'.join(map(str, tables))}] " if tables else ""
    return table + sentence(entry, (key,), allowed)


def _table_at(tables: list[Any]) -> type[KebabTable]:
    """Return what describes the table of these names: the file, a center or one of its contrasts."""
    return (CenterFile, CenterFile, CenterTable, ProtocolTable)[min(len(tables), 3)]


def _allowed(kind: type[KebabTable], key: str) -> str:
    """Return the range of a number's key in words; nothing for other keys."""
    schema = kind.model_json_schema()["properties"].get(key, {})
    if schema.get("type") not in ("number", "integer"):
        return ""
    noun = "a whole number" if schema["type"] == "integer" else "a number"
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    start = f"above {low:g} up to" if "exclusiveMinimum" in schema else f"from {low:g} to"
    return f"give {noun} {start} {schema['maximum']:g}"
