"""A center and its data: which subjects it has, and which of them train and which test."""

import hmac
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from client.data.inventory import Case, Inventory
from client.data.layouts import take_inventory
from client.data.preprocessing import Volume
from client.data.reading import warning_lines
from client.data.split import split
from client.data.usable import PassedOver, Usable, find_usable
from client.data.volume_cache import forget_images, forget_spacings, open_volume
from client.governance.audit_log import AuditLog
from client.governance.pseudonyms import image_word, outside_name, pseudonym, pseudonym_key
from client.governance.records import AUDIT
from client.governance.withdrawals import Withdrawals
from client.hospital.config import Site
from client.hospital.division import Division, inside, keep_division, kept_division, kept_runs
from shared.config.settings import Settings
from shared.cores import spread
from shared.errors import DataError
from shared.files import private_folder
from shared.log import say
from shared.text import counted
from shared.wire.headers import CenterCard, PassedOverCard

REASONS = 5
"""At most so many are told at once."""

PROGRESS_SECONDS = 20.0

LATE = "can be used now, but could not when the run began: it takes no part in this run"


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
    runs: tuple[str, ...] = ()
    """The run's name, and those of the runs that it goes on from, as the roll call gave them."""
    outside: Mapping[str, str] = field(default_factory=dict)
    """What leaves in this run calls each subject, by its pseudonym."""
    passed_over: tuple[PassedOver, ...] = ()
    """What takes no part though it should, where the files were looked over."""
    tested: bool = True
    """Whether a subject is left to test on."""
    training_subjects: int = 0
    """That are left to train on, and this and the next are of their images."""
    training_images: int = 0
    training_contrasts: int = 0

    @property
    def card(self) -> CenterCard:
        """What the center says of itself at the roll call."""
        training, test = self._used(self.training), self._used(self.test)
        divided = [
            [(self.outside[self.pseudonym(case.subject)], case.contrast) for case in part]
            for part in (self.training, self.test)
        ]
        over = Counter((one.contrast, one.public) for one in self.passed_over)
        return CenterCard(
            center=self.center,
            training_subjects=len({case.subject for case in training}),
            test_subjects=len({case.subject for case in test}),
            contrasts=tuple(sorted({case.contrast for case in training + test})),
            fingerprint=hmac.new(self.key, repr(divided).encode(), "sha256").hexdigest()[:16],
            test_contrasts=tuple(sorted({case.contrast for case in test})),
            untested="" if test else self._why_untested(),
            passed_over=tuple(
                PassedOverCard(contrast=contrast, reason=reason, count=count)
                for (contrast, reason), count in sorted(over.items())
            ),
        )

    def _why_untested(self) -> str:
        """Why nobody is left to test on."""
        if self.test:
            return f"all of its {counted(len({case.subject for case in self.test}), 'test subject')} were withdrawn"
        usable = counted(len({case.subject for case in self.training}), "usable subject")
        others = len({one.subject for one in self.passed_over} - {case.subject for case in self.training})
        return f"it has {usable}" + (f"; {others} {'was' if others == 1 else 'were'} passed over" if others else "")

    def pseudonym(self, subject: str) -> str:
        """A keyed hash of a subject's name, which this hospital alone can undo; it does not leave."""
        return pseudonym(self.key, subject)

    def counting(self, cases: Collection[Case]) -> "Hospital":
        """The same, where these are the cases that are left to train on."""
        return replace(self, **_counts(cases))

    def _used(self, cases: tuple[Case, ...]) -> tuple[Case, ...]:
        return tuple(case for case in cases if self.pseudonym(case.subject) not in self.withdrawn)

    def _opened(self, case: Case) -> Volume | DataError:
        """The volume of a case, or why it cannot be used."""
        try:
            return open_volume(case, self.spacing, self.cache, self.keeps_empty)
        except DataError as error:
            return error

    def open(self, cases: tuple[Case, ...]) -> tuple[list[tuple[Case, Volume]], dict[str, str]]:
        """The volumes of the cases, and the reason (without a path) for each subject (pseudonym) set aside.

        Subjects that were withdrawn are passed over. Raises `DataError`, with all reasons, where none is left.
        """
        good, problems, reasons = [], {}, []
        used = self._used(cases)
        for case, opened in zip(used, spread(self._opened, used), strict=True):
            if isinstance(opened, Volume):
                good.append((case, opened))
            else:
                say(f"{self.center}: {case.subject} is set aside: {opened}")
                problems[self.pseudonym(case.subject)] = opened.public
                reasons.append(opened)
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


def open_hospital(
    site: Site, prepared: Path, settings: Settings, runs: Sequence[str] = (), look_over: bool = False, root: str = ""
) -> Hospital:
    """The hospital's data, divided as the run has begun; `prepared` is the folder for prepared volumes.

    `runs` are the run's name and those of the runs that it goes on from; the division is drawn where none of them
    has one yet, and kept for the first. What leaves names subjects by the run `root`; without one, as in simulation, by
    their pseudonyms. All files are looked over then, and when `look_over` asks for it, so that
    `passed_over` says what takes no part. Raises `DataError`, or `RecordError` where its state folder cannot be used.
    """
    contrasts = tuple(contrast for contrast in settings.data.contrasts if contrast in site.data.contrasts)
    if not contrasts:
        theirs, ours = ", ".join(settings.data.contrasts), ", ".join(site.data.contrasts)
        problem = f"center {site.center} has contrasts {ours}, but the run uses {theirs}"
        raise DataError(problem, problem)
    key = pseudonym_key(private_folder(site.state, "state folder"), site.center)
    hidden = partial(pseudonym, key)
    withdrawals = Withdrawals(site.state, hidden)
    division = kept_division(site.state, site.center, runs, site.data.folder)
    lineage = kept_runs(site.state, site.center, runs)
    passed: tuple[PassedOver, ...] = ()
    if looked_over := division is None or look_over:
        inventory = take_inventory(site.data.folder, contrasts, site.data.layout, site.data.choice)
        usable = _look_over(site, inventory, prepared, settings)
        passed = usable.passed_over
        if division is None:
            division = _divide(site, usable, settings)
        else:
            passed = _with_changes(passed, division, usable, site)
            division = division.as_found(inventory.cases, site.data.folder)
        if runs:
            keep_division(site.state, site.center, runs, division, site.data.folder)
    seen = withdrawals.images()
    withdrawn = (
        withdrawals.subjects()
        | _logged(site.state)
        | {
            hidden(case.subject)
            for case in (*division.training, *division.test)
            if seen and hidden(image_word(inside(case.image, site.data.folder))) in seen
        }
    )
    if looked_over and prepared == site.state / "prepared":
        forget_spacings(prepared, settings.data.spacing)
    if looked_over and withdrawn:
        # To divide the others as before, all files were looked over, theirs too.
        cases = (*division.training, *division.test)
        forget_images(prepared, {case.image for case in cases if hidden(case.subject) in withdrawn})
    subjects = {hidden(case.subject) for case in (*division.training, *division.test)} | withdrawn
    return Hospital(
        center=site.center,
        training=division.training,
        test=division.test,
        spacing=settings.data.spacing,
        keeps_empty=settings.data.empty_labels == "keep",
        cache=prepared,
        state=site.state,
        key=key,
        withdrawn=withdrawn,
        runs=lineage,
        outside={known: outside_name(key, root, known) if root else known for known in subjects},
        passed_over=passed,
        tested=any(hidden(case.subject) not in withdrawn for case in division.test),
        **_counts([case for case in division.training if hidden(case.subject) not in withdrawn]),
    )


def _counts(cases: Collection[Case]) -> dict[str, Any]:
    """What a `Hospital` says of the cases that are left to train on."""
    return {
        "training_subjects": len({case.subject for case in cases}),
        "training_images": len(cases),
        "training_contrasts": len({case.contrast for case in cases}),
    }


def _logged(state: Path) -> frozenset[str]:
    """Pseudonyms of those withdrawn by the audit log; a simulated hospital has none. Raises `RecordError`."""
    folder = state / AUDIT
    return AuditLog(folder).subjects("withdrawn") if folder.is_dir() else frozenset()


def _look_over(site: Site, inventory: Inventory, prepared: Path, settings: Settings) -> Usable:
    """What can be used, in the log and as a result. Raises `DataError` where nothing can."""
    last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > PROGRESS_SECONDS:
            last = time.monotonic()
            say(f"{site.center}: read {done} of {total} images")

    keeps_empty = settings.data.empty_labels == "keep"
    usable = find_usable(inventory, settings.data.spacing, prepared, keeps_empty, progress)
    for one in usable.passed_over:
        say(f"{site.center}: {' '.join(filter(None, (one.subject, one.contrast)))} is passed over: {one.reason}")
    if not usable.cases:
        subjects = {case.subject for case in inventory.cases} | {remark.subject for remark in inventory.remarks}
        told = [*dict.fromkeys((one.reason, one.public) for one in usable.passed_over)]
        whole, public = (
            f"center {site.center} has no usable subject of {len(subjects)}: " + "; ".join(reasons)
            for reasons in (
                [reason for reason, _ in told[:REASONS]] or [inventory.naming],
                [f"one {public}" for _, public in told[:REASONS]] or ["none has a lesion label"],
            )
        )
        raise DataError(whole, public)
    return usable


def _divide(site: Site, usable: Usable, settings: Settings) -> Division:
    if site.policy.role == "evaluate" or site.center in settings.run.evaluators:
        return Division((), usable.cases)  # nothing is trained here, and a score stands on all subjects
    return Division(*split(site.center, usable.cases, settings.data.test_fraction, settings.run.seed))


def _with_changes(
    passed: tuple[PassedOver, ...], division: Division, usable: Usable, site: Site
) -> tuple[PassedOver, ...]:
    """What is passed over, and what has come since the division was drawn."""
    known = {(case.subject, case.contrast) for case in (*division.training, *division.test)}
    new = [
        PassedOver(case.subject, case.contrast, LATE, LATE)
        for case in usable.cases
        if (case.subject, case.contrast) not in known
    ]
    for one in new:
        say(f"{site.center}: {one.subject} {one.contrast} {LATE}")
    return tuple(sorted((*passed, *new)))
