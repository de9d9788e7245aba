"""One visit of one patient: its FLAIR and T2w read, stripped, registered where they share a label, and labelled."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from client.data.head import find_head
from client.data.reading import read_image
from client.data.skull_stripping import is_whole_head
from client.preparation.dicom_files import is_dicom
from client.preparation.extra import version_of
from client.preparation.labels import LabelReading, read_label, read_mask
from client.preparation.registration import DOUBTFUL, register
from client.preparation.stripping import Mask, brain_ml, check_brain, find_brain, share_cut
from client.preparation.table import Row
from client.preparation.volume import ScanVolume, on_one_grid
from shared.errors import DataError

Step = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What a hospital wants to be done to all its images."""

    source: Path
    labels: LabelReading
    strip: bool = True


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """An image on its way into the data set."""

    row: Row
    volume: ScanVolume
    label: ScanVolume | None = None
    brain: Mask | None = None
    """To be cut out; None: it came without a skull, or keeps it."""
    whole_head: bool = False
    steps: tuple[Step, ...] = field(default_factory=tuple)

    def done(self, **step: Any) -> "PreparedImage":
        """With one more step on record."""
        return replace(self, steps=(*self.steps, step))


def prepare_session(rows: list[Row], wanted: Wanted) -> tuple[list[PreparedImage], list[tuple[Row, DataError]]]:
    """The images of one visit, at most one a contrast; and those that cannot be written, with the reason."""
    images = _Visit()
    for row in sorted(rows, key=lambda row: row.contrast):
        images.attempt(row, partial(_read, row))
    _label(images, wanted)
    flair, t2w = images.good.get("FLAIR"), images.good.get("T2w")
    together = flair is not None and t2w is not None and _share_a_label(flair, t2w)
    if flair is not None:
        images.attempt(flair.row, partial(_with_brain, flair, wanted))
        flair = images.good.get("FLAIR")
    # A T2w that is moved is cut as its FLAIR is.
    if t2w is not None and not (together and flair is not None and flair.brain is not None):
        images.attempt(t2w.row, partial(_with_brain, t2w, wanted))
        t2w = images.good.get("T2w")
    if together and flair is not None and t2w is not None:
        try:
            images.good["FLAIR"], images.good["T2w"] = _onto_flair(flair, t2w)
        except DataError as error:
            # The one that would get the other's label.
            images.refuse(t2w.row if flair.label is not None else flair.row, error)
    for one in list(images.good.values()):
        images.attempt(one.row, partial(_finish, one, wanted))
    return list(images.good.values()), images.refused


@dataclass
class _Visit:
    """The images of a visit by contrast, and those that fell out on the way."""

    good: dict[str, PreparedImage] = field(default_factory=dict)
    refused: list[tuple[Row, DataError]] = field(default_factory=list)

    def attempt(self, row: Row, step: Callable[[], PreparedImage]) -> None:
        """Go a step further with an image, or refuse it."""
        try:
            self.good[row.contrast] = step()
        except DataError as error:
            self.refuse(row, error)

    def refuse(self, row: Row, error: DataError) -> None:
        """Let an image fall out."""
        self.good.pop(row.contrast, None)
        self.refused.append((row, error))


def _read(row: Row) -> PreparedImage:
    """An image on its own grid. Raises `DataError`."""
    image = read_image(row.candidate.image).usable_image()
    volume = ScanVolume(image.array, image.affine)
    one = PreparedImage(row, volume, whole_head=is_whole_head(find_head(volume.array), volume.affine))
    return one.done(step="converted from DICOM", tool=version_of("dcm2niix")) if row.candidate.from_dicom else one


def _label(images: _Visit, wanted: Wanted) -> None:
    """Give each image the label that its row names; one for both goes to those on whose grid it lies."""
    flair, t2w = images.good.get("FLAIR"), images.good.get("T2w")
    if flair is None or t2w is None or flair.row.label != t2w.row.label:
        for one in list(images.good.values()):
            if one.row.label:
                images.attempt(one.row, partial(_labelled, one, wanted))
        return
    errors: list[DataError] = []
    for one in (flair, t2w) if flair.row.label else ():
        try:
            images.good[one.row.contrast] = _labelled(one, wanted)
        except DataError as error:
            errors.append(error)
    if len(errors) == 2:
        images.refuse(flair.row, errors[0])
        images.refuse(t2w.row, errors[1])


def _labelled(one: PreparedImage, wanted: Wanted) -> PreparedImage:
    path = wanted.source / one.row.label
    label = read_label(path, one.volume, wanted.labels)
    value = wanted.labels.lesion_value
    return replace(one, label=label).done(
        step="label taken from a DICOM segmentation" if is_dicom(path) else "label taken from NIfTI",
        **({} if value is None else {"lesion_value": value}),
    )


def _with_brain(one: PreparedImage, wanted: Wanted) -> PreparedImage:
    """An image with the brain that is to be cut out, where there is something to cut."""
    if not wanted.strip:
        return one
    if one.row.mask:
        brain = read_mask(wanted.source / one.row.mask, one.volume, wanted.labels)
        return replace(one, brain=brain).done(step="skull-stripped", tool="the hospital's own mask")
    if not one.whole_head:
        return one
    return replace(one, brain=find_brain(one.volume)).done(step="skull-stripped", tool=version_of("deepbet"))


def _share_a_label(flair: PreparedImage, t2w: PreparedImage) -> bool:
    """Whether one label is to serve both."""
    if flair.label is None and t2w.label is None:
        return False
    return flair.label is None or t2w.label is None or flair.row.label == t2w.row.label


def _onto_flair(flair: PreparedImage, t2w: PreparedImage) -> tuple[PreparedImage, PreparedImage]:
    """Both on the grid of the FLAIR, with the label of one for both."""
    head = flair.brain if flair.brain is not None else flair.volume.array > 0
    found = register(flair.volume, t2w.volume, head)
    still = found.moved_mm < float(flair.volume.spacing.min()) / 2 and on_one_grid(flair.volume, t2w.volume)
    moved = flair.volume.like(t2w.volume.array) if still else found.resample(t2w.volume, flair.volume)
    label = flair.label
    if label is None and t2w.label is not None:
        soft = bool(((t2w.label.array > 0) & (t2w.label.array < 1)).any())
        label = t2w.label if still else found.resample(t2w.label, flair.volume, nearest=not soft)
    brain = flair.brain if t2w.whole_head else None
    if t2w.brain is not None:
        brain = found.resample(t2w.volume.like(t2w.brain), flair.volume, nearest=True).array > 0.5
    t2w = replace(t2w, volume=moved, label=label, brain=brain).done(
        step="registered rigidly to the FLAIR of the same visit" if not still else "lay on its FLAIR already",
        tool=version_of("SimpleITK"),
        mutual_information_before=round(found.before, 4),
        mutual_information_after=round(found.after, 4),
        moved_mm=round(found.moved_mm, 2),
        **({"warning": "look whether both show one patient"} if found.after < DOUBTFUL else {}),
    )
    if flair.label is None:
        flair = replace(flair, label=label).done(step="label taken from the T2w of the same visit")
    elif flair.row.label != t2w.row.label:
        t2w = t2w.done(step="label taken from the FLAIR of the same visit")
    return flair, t2w


def _finish(one: PreparedImage, wanted: Wanted) -> PreparedImage:
    """Cut the brain out, where there is something to cut."""
    if one.brain is None:
        return one if wanted.strip or not one.whole_head else one.done(step="kept with its head: not de-faced")
    check_brain(one.brain, one.volume, one.label)
    cut = share_cut(one.brain, one.label) if one.label is not None else 0.0
    stripped = one.volume.like(np.where(one.brain, one.volume.array, 0))
    measured = {"brain_ml": round(brain_ml(one.brain, one.volume)), "lesion_voxels_cut_off": round(cut, 5)}
    label = None if one.label is None else one.label.like(np.where(one.brain, one.label.array, 0))
    return replace(one, volume=stripped, label=label, whole_head=False).done(step="brain cut out", **measured)
