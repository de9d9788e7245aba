"""What is signed or chained: strict models, and the one way in which each becomes bytes.

A signature or a hash holds for bytes, while what is read and compared are values. So
every value has exactly one spelling here: JSON with sorted keys, no white space and
non-ASCII characters escaped, and no floating-point numbers. For the plain ASCII words that
the types below admit, that is the JSON Canonicalization Scheme (RFC 8785).
"""

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

CENTER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
"""ASCII alone: two spellings of one accented letter would be two centers to a signature."""

CenterName = Annotated[str, Field(pattern=CENTER_PATTERN)]

Pseudonym = Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
"""A keyed hash in hexadecimal; a subject's name, such as `sub-07`, does not pass for one."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$")]

Stage = Annotated[int, Field(ge=0, lt=2**31)]


class Statement(BaseModel):
    """Something that is signed or chained, and therefore never coerced."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


def canonical(statement: Statement) -> bytes:
    """The bytes that stand for a statement, in every process and version."""
    values = statement.model_dump(mode="json")
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")
