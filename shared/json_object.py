"""Reading a JSON object from a file, with a clear line about what is wrong with it."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared.errors import ResultsError


def read_object(path: Path, give: str, mend: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises `ResultsError` with advice: `give` where there is no such file, `mend` where it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{path.parent} holds no {path.name}: give {give}") from None
    except OSError as error:
        raise ResultsError(f"{path} cannot be read ({error.strerror}): see to its permissions") from None
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is damaged ({error}): {mend}") from None
    if not isinstance(content, dict):
        raise ResultsError(f"{path} is damaged (it holds no JSON object): {mend}")
    return content


def damaged(path: Path, error: ValidationError, mend: str) -> ResultsError:
    """What is wrong with a file whose content does not fit its schema."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "its content"
    return ResultsError(f"{path} is damaged ({where}: {first['msg']}): {mend}")
