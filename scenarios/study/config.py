"""A study as a file that a person writes and keeps: what `wardround compare FILE` runs."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from scenarios.run_config import Value
from scenarios.study.plan import Wish, read_orders
from shared.config.table import sentence
from shared.errors import SettingsError


def _seeds(value: object) -> object:
    """A number of seeds, or the seeds themselves."""
    return tuple(range(value)) if isinstance(value, int) and not isinstance(value, bool) else _tuple(value)


def _orders(value: object) -> object:
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return read_orders(str(value))
        except SettingsError as error:
            raise ValueError(str(error)) from None
    return _tuple(value)


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Seed = Annotated[int, Field(ge=0, lt=2**31)]
OrderName = Annotated[str, Field(pattern=r"^(descending|random|random-\d{1,4})$")]


class StudyFile(BaseModel):
    """The keys of a study file; each has the default of `wardround compare`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    title: str | None = None
    methods: Annotated[tuple[str, ...], BeforeValidator(_tuple), Field(min_length=1)] | None = None
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(_seeds), Field(min_length=1)] | None = None
    """So many seeds from 0 on, or a list of them."""
    orders: Annotated[tuple[OrderName, ...], BeforeValidator(_orders), Field(min_length=1)] | None = None
    """`descending`, so many random orders, `random` for one a seed, or a list such as `["descending", "random-0"]`."""
    scenario: str | None = None
    """The run-config file of all runs, beside this file or by its whole path."""
    cpus: int | None = Field(default=None, ge=1)
    changes: dict[str, Value] = Field(default_factory=dict)
    """Keys of the run-config that all runs have otherwise."""


def read_study_file(path: Path) -> Wish:
    """What a study file asks for. Raises `SettingsError`: one line that names each bad key."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise SettingsError(
            f"study file {path} cannot be read ({error.strerror}): give a file such as scenarios/studies/four.toml"
        ) from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"study file {path} is not TOML ({error}): write lines such as seeds = 3") from None
    try:
        study = StudyFile.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"study file {path}: {'; '.join(map(_mistake, error.errors()))}") from None
    return Wish(
        methods=study.methods,
        seeds=study.seeds,
        orders=study.orders,
        scenario=path.parent / Path(study.scenario).expanduser() if study.scenario else None,
        changes=tuple(f"{key}={_text(value)}" for key, value in study.changes.items()),
        cpus=study.cpus,
        title=study.title,
    )


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mistake(entry: Any) -> str:
    known = f"known are {', '.join(StudyFile.model_fields)}" if entry["type"] == "extra_forbidden" else ""
    return sentence(entry, entry["loc"], known)
