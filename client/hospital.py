"""A center and its data: which subjects it has, and which of them train and which test."""

import contextlib
import hmac
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from flwr.app import Context

from client.bids import Case, find_cases
from client.volumes import Volume, open_volume
from phantoms import PhantomSettings, make_hospital
from shared.errors import DataError, SettingsError
from shared.messages import CenterCard
from shared.places import cache_folder, writable_folder
from shared.progress import say
from shared.seeds import generator
from shared.settings import DataSettings, RunSettings, Settings

LEAST_SUBJECTS = 2
"""One to train on, one to test on."""

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

    @property
    def card(self) -> CenterCard:
        """What the center says of itself at the roll call."""
        cases = self.training + self.test
        divided = [
            [(self.pseudonym(case.subject), case.contrast) for case in part] for part in (self.training, self.test)
        ]
        return CenterCard(
            center=self.center,
            training_subjects=len({case.subject for case in self.training}),
            test_subjects=len({case.subject for case in self.test}),
            contrasts=tuple(sorted({case.contrast for case in cases})),
            fingerprint=hmac.new(self.key, repr(divided).encode(), "sha256").hexdigest()[:16],
        )

    def pseudonym(self, subject: str) -> str:
        """A keyed hash of a subject's name, which this hospital alone can undo."""
        return hmac.new(self.key, subject.encode(), "sha256").hexdigest()[:16]

    def open(self, cases: tuple[Case, ...]) -> tuple[list[tuple[Case, Volume]], dict[str, str]]:
        """The volumes of the cases, and the reason (without a path) for each subject (pseudonym) set aside.

        Raises `DataError`, with all reasons, where none is left.
        """
        good, problems, reasons = [], {}, []
        for case in cases:
            try:
                volume = open_volume(case, self.spacing, self.cache)
                if not self.keeps_empty and not volume.truth.any():
                    raise DataError(
                        f"{case.label} marks no lesion: label it, or set empty-labels = 'keep'",
                        "has a label that marks no lesion",
                    )
                good.append((case, volume))
            except DataError as error:
                say(f"{self.center}: {case.subject} is set aside: {error}")
                problems[self.pseudonym(case.subject)] = error.public
                reasons.append(error)
        if not good:
            raise DataError(
                f"center {self.center} has no usable subject of {len(problems)}: "
                + "; ".join(str(reason) for reason in reasons[:REASONS]),
                f"center {self.center} has no usable subject of {len(problems)}: "
                + "; ".join(f"one {reason.public}" for reason in reasons[:REASONS]),
            )
        return good, problems


def open_hospital(center: str, context: Context, settings: Settings) -> Hospital:
    """The center's data, as this node reaches it. Raises `DataError` or `SettingsError`."""
    cache = writable_folder(cache_folder(settings.data.cache_dir), "cache folder")
    cases = find_cases(_data_folder(center, context, settings.data, cache), settings.data.contrasts)
    training, test = split(center, cases, settings.data.test_fraction, settings.run.seed)
    keeps_empty = settings.data.empty_labels == "keep"
    return Hospital(
        center=center,
        training=training,
        test=test,
        spacing=settings.data.spacing,
        keeps_empty=keeps_empty,
        cache=cache,
        state=writable_folder(_state_folder(context, cache), "state folder"),
        key=_key(cache, center),
    )


def centers_here(context: Context, run: RunSettings) -> tuple[str, ...]:
    """The centers of this node: its own when deployed, every n-th one in simulation."""
    config = context.node_config
    if is_simulated(context):
        return run.centers[int(config["partition-id"]) :: int(config["num-partitions"])]
    if "center" not in config or "data-dir" not in config:
        raise SettingsError(
            "this SuperNode does not say whose it is: start it with --node-config \"center='NAME' data-dir='/FOLDER'\""
        )
    return (str(config["center"]),)


def is_simulated(context: Context) -> bool:
    """Whether Flower's simulation gave this node its partition."""
    return "partition-id" in context.node_config


def split(center: str, cases: list[Case], test_fraction: float, seed: int) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Divide cases into training and test, whole subjects at a time.

    Raises `DataError` where there are too few subjects for one of each.
    """
    subjects = sorted({case.subject for case in cases})
    if len(subjects) < LEAST_SUBJECTS:
        raise DataError(f"center {center} has {len(subjects)} subject, but needs {LEAST_SUBJECTS}: one to test on")
    held_out = min(max(1, round(len(subjects) * test_fraction)), len(subjects) - 1)
    order = generator(seed, "split", center).permutation(len(subjects))
    tested = {subjects[i] for i in order[:held_out]}
    return (
        tuple(case for case in cases if case.subject not in tested),
        tuple(case for case in cases if case.subject in tested),
    )


def phantom_settings(data: DataSettings) -> PhantomSettings:
    """How the simulated hospitals of a run are made."""
    return PhantomSettings(
        spacing=data.spacing, scale=data.phantom_scale, minimum_subjects=data.phantom_minimum, seed=data.phantom_seed
    )


def _data_folder(center: str, context: Context, data: DataSettings, cache: Path) -> Path:
    if not is_simulated(context):
        return Path(str(context.node_config["data-dir"]))
    if not data.data_dir:
        return make_hospital(center, phantom_settings(data), cache / "hospitals")
    return Path(data.data_dir).expanduser() / center


def _state_folder(context: Context, cache: Path) -> Path:
    configured = context.node_config.get("state-dir")
    return Path(str(configured)).expanduser() if configured else cache / "state"


def _key(cache: Path, center: str) -> bytes:
    """The center's secret key, made at its first use and readable by its owner alone."""
    path = cache / "keys" / f"{center}.key"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-") as new:
            new.write(secrets.token_bytes(32))
            new.flush()
            # A link fails where another process was first; its key is then the one.
            with contextlib.suppress(FileExistsError):
                os.link(new.name, path)
    return path.read_bytes()
