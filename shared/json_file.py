"""Results as JSON files: read with a word on what is wrong, written whole or not at all."""

import json
from pathlib import Path
from typing import Any

from shared.errors import ResultsError
from shared.files import write_whole


def read_results_file(path: Path, whose: str, needed: set[str], give: str, mend: str) -> dict[str, Any]:
    """The object in a file, which has the keys `needed` where it is what `whose` writes.

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
    if not isinstance(content, dict) or not content.keys() >= needed:
        raise ResultsError(f"{path} is damaged (it is not what {whose} writes): {mend}")
    return content


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document where its user wants it. Raises `ResultsError` where the disk refuses."""
    try:
        write_whole(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise ResultsError(f"{path} cannot be written ({error.strerror or error}): give another --json") from None
