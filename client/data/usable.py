"""Which cases of an inventory can be used, and why the others are passed over.

Every file is read before anything is divided or trained, so that the division into training and test knows whom
it can count on. What a file's reading has shown is kept with its prepared volume (`client/data/volume_cache.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from client.data.duplicates import duplicate, twins
from client.data.inventory import Case, Inventory
from client.data.rules import PUBLIC
from client.data.volume_cache import CaseVerdict, judge, refusal_of
from shared.cores import spread

NO_PAIR = "has no image with a label"
"""What is told of a subject of whom one of the two is missing."""

AfterEach = Callable[[int, int], None]
"""Called after each case with how many are done and how many there are."""


@dataclass(frozen=True, order=True)
class PassedOver:
    """An image, or a subject without one, that takes no part though its hospital would expect it to."""

    subject: str
    contrast: str
    """Empty where it concerns no image in particular."""
    reason: str
    """What is wrong, where, and what to do."""
    public: str
    """The same without names, numbers or contents."""


@dataclass(frozen=True)
class Usable:
    """What an inventory comes down to."""

    cases: tuple[Case, ...]
    """In order of subject."""
    passed_over: tuple[PassedOver, ...]
    """In order of subject."""


def find_usable(
    inventory: Inventory, spacing: float, cache: Path, allow_empty: bool = False, progress: AfterEach | None = None
) -> Usable:
    """The cases that can be used at `spacing` mm, as far as the cache does not know them by reading each once.

    One image under two subjects is used for neither. Raises `DataError` where the cache cannot be written.
    """
    verdicts: list[CaseVerdict] = []
    for verdict in spread(lambda case: judge(case, spacing, cache, allow_empty), inventory.cases):
        verdicts.append(verdict)
        if progress is not None:
            progress(len(verdicts), len(inventory.cases))
    good: list[Case] = []
    passed = [
        PassedOver(one.subject, one.contrast, one.text, NO_PAIR if one.code == "missing" else PUBLIC[one.code])
        for one in inventory.remarks
        if one.problem
    ]
    alike = twins([verdict.fingerprint for verdict in verdicts])
    for case, verdict, places in zip(inventory.cases, verdicts, alike, strict=True):
        strangers = {inventory.cases[place].subject for place in places} - {case.subject}
        refused = verdict.refused or (duplicate(strangers) if strangers else None)
        if refused is None:
            good.append(case)
        else:
            error = refusal_of(case, refused)
            passed.append(PassedOver(case.subject, case.contrast, str(error), error.public))
    return Usable(tuple(good), tuple(sorted(passed)))
