"""Tables that people write: kebab-case keys, of the right type, and none that is unknown."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class KebabTable(BaseModel):
    """Some keys that belong together; `lesion_ml` is written `lesion-ml`."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        alias_generator=lambda name: name.replace("_", "-"),
        defer_build=True,  # until first used: --help need not wait for it
    )


def sentence(entry: Any, where: tuple[int | str, ...], allowed: str = "") -> str:
    """One error of pydantic's as `key = value: what is wrong`.

    `where` is the key with the tables around it that are worth naming, and `allowed` says in words what may
    stand there, in place of pydantic's own words.
    """
    message = allowed or entry["msg"].removeprefix("Value error, ")
    place = ".".join(map(str, where))
    if not place:
        return str(message)
    if entry["type"] == "missing":
        return f"{place} is missing" + (f": {allowed}" if allowed else "")
    if entry["type"] == "extra_forbidden":
        return f"unknown key {place}: {allowed or 'see its spelling, or remove it'}"
    value = "" if isinstance(entry["input"], dict) else f" = {entry['input']!r}"
    return f"{place}{value}: {message[0].lower()}{message[1:]}"
