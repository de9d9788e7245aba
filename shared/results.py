"""What a finished run wrote, read again."""

from pathlib import Path
from typing import Any

from shared.errors import ResultsError
from shared.json_file import read_results_file
from shared.paths import RESULTS

MEND = "delete it, and 'wardround resume' writes it again"

NEEDED = {"method", "seed", "order", "R", "acc", "bwt", "missing", "stages"}


def read_results(folder: Path) -> dict[str, Any]:
    """`results.json` of a run's folder. Raises `ResultsError` where it is missing or damaged."""
    path = folder / RESULTS
    results = read_results_file(path, "a run", NEEDED, "the folder of a run that has finished", MEND)
    if not results["order"]:
        raise ResultsError(f"{path} is damaged (it is not what a run writes): {MEND}")
    return results
