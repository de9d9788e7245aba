"""What a finished run wrote, read again."""

import json
from pathlib import Path
from typing import Any

from shared.errors import ResultsError
from shared.places import RESULTS

MEND = "delete it, and 'wardround resume' writes it again"

NEEDED = {"method", "seed", "order", "R", "acc", "bwt", "missing", "stages"}


def read_results(folder: Path) -> dict[str, Any]:
    """`results.json` of a run's folder. Raises `ResultsError` where it is missing or damaged."""
    path = folder / RESULTS
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{folder} holds no {RESULTS}: give the folder of a run that has finished") from None
    except OSError as error:
        raise ResultsError(f"{path} cannot be read ({error.strerror}): let this user read it") from None
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is damaged ({error}): {MEND}") from None
    if not isinstance(results, dict) or not results.keys() >= NEEDED or not results["order"]:
        raise ResultsError(f"{path} is damaged (it is not what a run writes): {MEND}")
    return results
