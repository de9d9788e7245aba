"""What `wardround realism` prints and writes of an external validation."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scenarios.cli.common import say, write_json
from shared.errors import ResultsError

# What brings in PyTorch or matplotlib takes seconds, which --help need not wait for.
if TYPE_CHECKING:
    import torch

    from scenarios.inference.ensemble import Ensemble
    from scenarios.inference.external_validation import Ask, ExternalValidation, ScoredCase


@dataclass(frozen=True)
class Outputs:
    """The files that are asked for; None: none."""

    json_file: Path | None
    page: Path | None

    def check(self) -> None:
        """Raise `ResultsError` where one could not be written, before any image is segmented."""
        for path in (self.json_file, self.page):
            if path is not None and not path.parent.is_dir():
                raise ResultsError(f"{path} cannot be written (no such folder): make {path.parent} first")

    def write(self, found: "ExternalValidation", model: str) -> None:
        """Write them, of what is called `model`. Raises `ResultsError`."""
        from scenarios.inference.validation_groups import to_json

        if self.json_file is not None:
            write_json(self.json_file, to_json(found))
        if self.page is not None:
            from scenarios.report.validation_page import write_validation

            write_validation(found, model, self.page, datetime.now())
            say(f"page {self.page}: it shows patients' slices, so keep it where their images may be")


def tell_validation(
    ensemble: "Ensemble", hospitals: Mapping[str, Path], device: "torch.device", ask: "Ask"
) -> "ExternalValidation":
    """Validate, and say each image's scores as it is done, then the means. Raises `DataError`."""
    from scenarios.inference.external_validation import validate
    from scenarios.inference.validation_groups import HEADING, footnotes, groups_of, line_of, notes, tables_of

    told: list[str] = []

    def tell(one: "ScoredCase") -> None:
        if len(hospitals) > 1 and one.hospital not in told:
            say(f"{one.hospital}: {hospitals[one.hospital]}")
        told.append(one.hospital)
        say(line_of(one))

    say(HEADING)
    found = validate(ensemble, hospitals, device, tell, ask)
    groups = groups_of(found.averaged)
    say("\n".join(["", *tables_of(groups), "", *footnotes(groups)]))
    for text in notes(found.scored):
        say(f"warning: {text}")
    for reason in found.skipped:
        say(f"skipped: {reason}")
    return found
