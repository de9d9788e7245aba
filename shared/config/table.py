"""Tables that people write: kebab-case keys, of the right type, and none that is unknown."""

from pydantic import BaseModel, ConfigDict


class KebabTable(BaseModel):
    """Some keys that belong together; `lesion_ml` is written `lesion-ml`."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        alias_generator=lambda name: name.replace("_", "-"),
    )
