"""Where each part of a journal lies in a run's results folder.

journal/run.json              settings, order, what the centers said of themselves
journal/attempts.json         when the run was started, interrupted and resumed
journal/withdrawn.json        the subjects (pseudonyms) whose exemplars their hospitals withdrew
journal/heads.json            where each hospital's audit log ended when the run last heard of it
journal/stage-000/            a finished training: model, exemplars, state, figures (shared/stage_archive.py)
journal/stage-000/row.json    the test scores that have come so far, and what is missing for good
journal/round-000-ucsf/       a center's part of a round of federated averaging (server/journal/partial_round.py)
"""

from pathlib import Path

from shared.errors import ResultsError
from shared.paths import JOURNAL

RUN, ATTEMPTS, ROW, WITHDRAWN, HEADS = "run.json", "attempts.json", "row.json", "withdrawn.json", "heads.json"


def journal_folder(results: Path) -> Path:
    """The journal of a run, by its results folder."""
    return results / JOURNAL


def stage_folder(journal: Path, index: int) -> Path:
    """All of a stage, by the journal's folder."""
    return journal / f"stage-{index:03d}"


def unwritable(journal: Path, error: OSError) -> ResultsError:
    """What to say where the disk refuses."""
    return ResultsError(
        f"the journal in {journal} cannot be written ({error.strerror or error}): "
        "free the disk or mend its rights; what was finished before is safe"
    )
