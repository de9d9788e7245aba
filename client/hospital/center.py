"""A center and its data: which subjects it has, and which of them train and which test."""

import hmac
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from client.data.inventory import Case
from client.data.layouts import find_cases
from client.data.preprocessing import Volume
from client.data.reading import warning_lines
from client.data.split import split
from client.data.volume_cache import open_volume
from client.governance.pseudonyms import pseudonym, pseudonym_key
from client.governance.withdrawals import Withdrawals
from client.hospital.config import Site
from shared.config.settings import Settings
from shared.errors import DataError
from shared.files import private_folder
from shared.log import say
from shared.wire.headers import CenterCard

REASONS = 5
"""At most so many are told at once."""


@dataclass(frozen=True)
class Hospital:
    """One center's subjects, divided by subject and seed."""

    center: str
    training: tuple[Case, ...]
    test: tuple[Case, ...]
    spacing: float
    keeps_empty: bool
    """Whether a subject without any lesion counts as usable."""
    cache: Path
    state: Path
    """Folder of what must outlast a crash, and cannot be made again."""
    key: bytes = field(repr=False)
    """Secret of the pseudonyms; it never leaves."""
    withdrawn: frozenset[str] = frozenset()
    """Pseudonyms of subjects that are no longer used. The division is as if they were."""

    @property
    def card(self) -> CenterCard:
        """What the center says of itself at the roll call."""
        training, test = self._used(self.training), self._used(self.test)
        divided = [
            [(self.pseudonym(case.subject), case.contrast) for case in part] for part in (self.training, self.test)
        ]
        return CenterCard(
            center=self.center,
            training_subjects=len({case.subject for case in training}),
            test_subjects=len({case.subject for case in test}),
            contrasts=tuple(sorted({case.contrast for case in training + test})),
            fingerprint=hmac.new(self.key, repr(divided).encode(), "sha256").hexdigest()[:16],
            withdrawn=tuple(sorted(self.withdrawn)),
        )

    def pseudonym(self, subject: str) -> str:
        """A keyed hash of a subject's name, which this hospital alone can undo."""
        return pseudonym(self.key, subject)

    def _used(self, cases: tuple[Case, ...]) -> tuple[Case, ...]:
        return tuple(case for case in cases if self.pseudonym(case.subject) not in self.withdrawn)

    def open(self, cases: tuple[Case, ...]) -> tuple[list[tuple[Case, Volume]], dict[str, str]]:
        """The volumes of the cases, and the reason (without a path) for each subject (pseudonym) set aside.

        Subjects that were withdrawn are passed over. Raises `DataError`, with all reasons, where none is left.
        """
        good, problems, reasons = [], {}, []
        for case in self._used(cases):
            try:
                good.append((case, open_volume(case, self.spacing, self.cache, self.keeps_empty)))
            except DataError as error:
                say(f"{self.center}: {case.subject} is set aside: {error}")
                problems[self.pseudonym(case.subject)] = error.public
                reasons.append(error)
        for line in warning_lines([(case, volume.warnings) for case, volume in good]):
            say(f"{self.center}: {line}")
        if cases and not good and not problems:
            raise DataError(problem := f"center {self.center} has no subject left that was not withdrawn", problem)
        if not good:
            raise DataError(
                f"center {self.center} has no usable subject of {len(problems)}: "
                + "; ".join(str(reason) for reason in reasons[:REASONS]),
                f"center {self.center} has no usable subject of {len(problems)}: "
                + "; ".join(f"one {reason.public}" for reason in reasons[:REASONS]),
            )
        return good, problems


def open_hospital(site: Site, prepared: Path, settings: Settings) -> Hospital:
    """The hospital's data; `prepared` is the folder for prepared volumes.

    Raises `DataError`, or `RecordError` where its state folder cannot be used.
    """
    contrasts = tuple(contrast for contrast in settings.data.contrasts if contrast in site.data.contrasts)
    if not contrasts:
        theirs, ours = ", ".join(settings.data.contrasts), ", ".join(site.data.contrasts)
        problem = f"center {site.center} has contrasts {ours}, but the run uses {theirs}"
        raise DataError(problem, problem)
    key = pseudonym_key(private_folder(site.state, "state folder"), site.center)
    withdrawn = Withdrawals(site.state, partial(pseudonym, key)).subjects()
    cases = find_cases(site.data.folder, contrasts, site.data.layout, site.data.choice)
    training, test = split(site.center, cases, settings.data.test_fraction, settings.run.seed)
    return Hospital(
        center=site.center,
        training=training,
        test=test,
        spacing=settings.data.spacing,
        keeps_empty=settings.data.empty_labels == "keep",
        cache=prepared,
        state=site.state,
        key=key,
        withdrawn=withdrawn,
    )
