"""Segmenting images with one or several models: what is written for each, and for which images at all."""

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.data.filenames import SUFFIXES, contrast_of, is_nifti, stem
from client.data.lesions import LESION, Lesion, find_lesions, lesion_ml
from client.data.nifti import Nifti, quiet, read_nifti
from client.data.preprocessing import prepare_image
from client.data.reading import Reading, read_image
from client.data.rules import Finding, contrast_findings
from client.qc.slices import View, slices_of
from scenarios.inference.ensemble import Ensemble
from shared.errors import DataError, ResultsError, SettingsError
from shared.files import write_whole
from shared.metrics.transfer import NOT_LEARNT
from shared.model.network import Inference

STEP = 1 / 1024
"""Of the soft values on disk, which are rounded down: they compress well, and what was below a half stays below it."""

NOT_CLINICAL = "not for clinical use"

SUMMARY = "segmentations.csv"

SUMMARY_COLUMNS = ("image", "lesions", "volume_ml", "soft_volume_ml", "warnings")
LESION_COLUMNS = ("lesion", "voxels", "volume_ml", "x_mm", "y_mm", "z_mm")

GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
"""Of a NIfTI header, what says where voxels lie. The rest may hold names and dates, and is not carried over."""


@dataclass(frozen=True)
class Job:
    """One image, and the files that become of it."""

    image: Path
    soft: Path
    mask: Path | None
    table: Path
    picture: Path

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files that it writes."""
        return tuple(path for path in (self.soft, self.mask, self.table, self.picture) if path is not None)


@dataclass(frozen=True, eq=False)
class Segmented:
    """What was found in one image."""

    job: Job
    lesions: tuple[Lesion, ...]
    soft_ml: float
    """Counted by fractions of voxels."""
    warnings: tuple[str, ...]
    view: View

    @property
    def ml(self) -> float:
        """The volume of the lesions, which are 0.5 or more."""
        return sum(lesion.ml for lesion in self.lesions)


def not_by_name(image: Path) -> str:
    """Why a file that is not named as a NIfTI file is left out, by what it holds where that tells."""
    found = read_nifti(image, "image")
    if isinstance(found, Finding):
        return f"{image} {found.text}: {found.mend}"
    return f"{image} is no NIfTI file by its name, but by what it holds: give it a name in {' or '.join(SUFFIXES)}"


def plan_jobs(images: Sequence[Path], output: Path, mask: bool) -> tuple[Job, ...]:
    """The files to be written for each image.

    Raises `SettingsError` where an image is no NIfTI file by its name, two would write one file, or a file exists.
    """
    jobs = tuple(_job(image, output, mask) for image in images)
    writers: dict[Path, Path] = {}
    for job in jobs:
        for path in job.outputs:
            if path in writers:
                raise SettingsError(
                    f"{writers[path]} and {job.image} would both become {path}: rename one, or segment them into "
                    "different folders"
                )
            writers[path] = job.image
    if there := [path for path in writers if path.exists() or path.is_symlink()]:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise SettingsError(
            f"{there[0]}{more} exists, and nothing is overwritten: choose another --output, or leave out "
            f"{writers[there[0]]}"
        )
    return jobs


def _job(image: Path, output: Path, mask: bool) -> Job:
    if not is_nifti(image.name):
        raise SettingsError(f"{image} is no NIfTI file by its name: give a {' or '.join(SUFFIXES)} file")
    name = stem(image.name)
    return Job(
        image=image,
        soft=output / f"{name}_lesion.nii.gz",
        mask=output / f"{name}_lesion-mask.nii.gz" if mask else None,
        table=output / f"{name}_lesions.csv",
        picture=output / f"{name}_lesion.png",
    )


def segment_image(ensemble: Ensemble, job: Job, device: torch.device) -> Segmented:
    """Segment one image in its own grid, and write the soft segmentation, the mask and the table.

    The networks are on `device` already. Raises `DataError` for an image that cannot be segmented, and
    `ResultsError` where the disk refuses.
    """
    reading = read_image(job.image)
    image = reading.usable_image()
    prepared = prepare_image(reading, ensemble.inference.spacing)
    tensor = torch.from_numpy(prepared.image.astype(np.float32)).to(device)
    try:
        made = ensemble.soft(tensor)
    except torch.OutOfMemoryError:
        raise DataError(f"{job.image} needs more memory than {device} has: use --device cpu") from None
    soft = (np.floor(prepared.to_own_grid(made).clip(0, 1) / STEP) * STEP).astype(np.float32)
    lesions = find_lesions(soft, image.affine)
    try:
        _write_nifti(job.soft, soft, image)
        if job.mask is not None:
            _write_nifti(job.mask, (soft >= LESION).astype(np.uint8), image)
        write_whole(job.table, _csv(LESION_COLUMNS, _lesion_rows(lesions)))
    except OSError as error:
        raise unwritable(job.soft.parent, error) from None
    warnings = _warnings(reading, ensemble.inference)
    view = slices_of(image.array, image.affine, soft)
    return Segmented(job, lesions, lesion_ml(soft, image.affine), warnings, view)


def _warnings(reading: Reading, inference: Inference) -> tuple[str, ...]:
    contrast = contrast_of(reading.image_path.name)
    unknown = () if contrast is None else tuple(contrast_findings(contrast, inference.contrasts))
    scored = () if unknown else score_warnings(contrast, inference)
    return (*(str(finding) for finding in (*reading.warnings, *unknown)), *scored)


def score_warnings(contrast: str | None, inference: Inference) -> tuple[str, ...]:
    """What the tests of the run that trained a model say against segmenting an image of this contrast with it.

    `contrast`: None where the image's name does not tell it, so that it may be any.
    """
    scores = inference.dice_by_contrast
    if contrast is None:
        low = [f"{name} ({dice:.2f})" for name, dice in scores.items() if dice < NOT_LEARNT]
        if not low:
            return ()
        return (
            f"its name does not tell its contrast, and the model scored near nothing on {', '.join(low)}: check it",
        )
    if contrast in scores:
        dice = scores[contrast]
        if dice >= NOT_LEARNT:
            return ()
        return (f"the model scored near nothing on {contrast} in its own tests (Dice {dice:.2f}): do not rely on this",)
    if not scores:  # a file of an earlier version, or centers that gave no score by contrast
        return ()
    return (f"no test score of {contrast} is known from the run that trained the model: check it",)


def _write_nifti(path: Path, array: NDArray[Any], like: Nifti) -> None:
    """Write voxels on the grid of the image `like`, to the bit of its qform and sform."""
    with quiet():
        header = type(like.header)()
        header.set_data_shape(array.shape)
        header.set_data_dtype(array.dtype)
        for field in GEOMETRY:
            header[field] = like.header[field]
        header["cal_max"] = 1
        header["descrip"] = f"Wardround MS lesion segmentation, {NOT_CLINICAL}".encode()
        content = like.kind(array, like.affine, header).to_bytes()
    # Without a time stamp, so that the same segmentation is the same file.
    write_whole(path, gzip.compress(content, compresslevel=6, mtime=0))


def _lesion_rows(lesions: Sequence[Lesion]) -> list[list[object]]:
    return [
        [number, lesion.voxels, f"{lesion.ml:.4f}", *(f"{mm:.1f}" for mm in lesion.centroid)]
        for number, lesion in enumerate(lesions, 1)
    ]


def add_to_summary(output: Path, one: Segmented) -> None:
    """Add an image's line to the folder's table. Raises `ResultsError` where the disk refuses."""
    path = output / SUMMARY
    row = [one.job.image, len(one.lesions), f"{one.ml:.4f}", f"{one.soft_ml:.4f}", "; ".join(one.warnings)]
    try:
        before = path.read_bytes() if path.exists() else _csv(SUMMARY_COLUMNS, [])
        write_whole(path, before + _csv(row, []))
    except OSError as error:
        raise unwritable(output, error) from None


def _csv(first: Sequence[object], rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([first, *rows])
    return text.getvalue().encode()


def unwritable(folder: Path, error: OSError) -> ResultsError:
    """What to say where an output cannot be written."""
    return ResultsError(f"{folder} cannot be written ({error.strerror or error}): free or choose another disk")
