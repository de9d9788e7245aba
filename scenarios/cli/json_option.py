"""What `--json FILE` writes."""

import json
from pathlib import Path
from typing import Any

from shared.errors import ResultsError
from shared.files import write_whole


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document where its user wants it. Raises `ResultsError` where the disk refuses."""
    try:
        write_whole(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise ResultsError(f"{path} cannot be written ({error.strerror or error}): give another --json") from None
