"""Writing a simulated hospital as a BIDS data set, with soft lesion labels under derivatives.

A hospital is a hidden folder until it is whole; a subject in it is done when its note is there, so that nothing is
made twice.
"""

import errno
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from shared.errors import DataError
from shared.files import write_whole
from shared.phantoms.centers import CenterProfile
from shared.phantoms.settings import VERSION, PhantomSettings
from shared.phantoms.subject import Patient, make_patient

nib: Any = nibabel  # its functions carry no types

BIDS_VERSION = "1.10.0"
LABEL_STEPS = 128
"""A label is stored as uint8 in steps of 1/128: a power of two, so that 0.5 and 1 come back exactly."""
COLUMNS = {
    "participant_id": "The simulated subject",
    "contrasts": "The contrasts in which the subject was imaged",
    "lesion_ml": "Simulated lesion volume in ml, counted by fractions of voxels",
    "lesion_count": "Number of separate simulated lesions (label at least 0.5)",
    "brain_ml": "Volume of the simulated brain in ml",
    "atrophy": "How much wider the sulci are than in the MNI152 template, as a fraction",
}
LESIONS = "lesions.tsv"
"""In `derivatives/labels`, where it is asked for: every lesion, with its place and volume."""
LESION_COLUMNS = ("participant_id", "place", "ml")
NOTES = ".made"
"""In a hospital that is being made: a note for each subject that is whole."""
SYNTHETIC = (
    "Synthetic data: digital phantoms, no patient's images. Anatomy is deformed from the MNI152 tissue maps; "
    "lesions, contrast, noise and resolution are simulated. It says nothing about any real hospital."
)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into a message that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        advice = "choose another folder, or allow writing there"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "free some space, choose a folder on another disk, or make fewer or coarser images"
        raise DataError(f"cannot write the simulated hospital {folder}: {reason}; {advice}") from error


@dataclass(frozen=True)
class HospitalDraft:
    """A simulated hospital on its way to the disk, which may be gone on with by another process."""

    folder: Path
    """Where it will be once it is whole."""
    center: CenterProfile
    settings: PhantomSettings

    @property
    def hidden(self) -> Path:
        """Where it is until then."""
        return self.folder.with_name(f".{self.center.name}.partial")

    @property
    def subjects(self) -> range:
        """The numbers of all its subjects."""
        return range(1, self.settings.subjects(self.center.subjects) + 1)

    def missing(self) -> list[int]:
        """The subjects that are not there yet."""
        if self.folder.is_dir():
            return []
        return [subject for subject in self.subjects if not self._note(subject).is_file()]

    def write(self, subject: int) -> None:
        """Make a subject, write it, and last the note that says so. Raises `DataError`."""
        hidden, name = self.hidden, _name(subject)
        patient = make_patient(self.center, subject, self.settings.spacing, self.settings.seed)
        with writing(self.folder):
            for half in (hidden / name, hidden / "derivatives" / "labels" / name):
                shutil.rmtree(half, ignore_errors=True)  # left by a process that was killed
            (hidden / NOTES).mkdir(parents=True, exist_ok=True)
            row = write_patient(hidden, name, patient, self.center.orientation)
            lesions = [[name, one.place, f"{one.ml:.4f}"] for one in patient.lesions]
            write_whole(self._note(subject), json.dumps({"row": row, "lesions": lesions}).encode())

    def finish(self, *, list_lesions: bool = False) -> None:
        """Write what belongs to the whole hospital, and give its folder its name. Raises `DataError`."""
        with writing(self.folder):
            notes = [json.loads(self._note(subject).read_text()) for subject in self.subjects]
            write_descriptions(self.hidden, self.center, self.settings, [note["row"] for note in notes])
            if list_lesions:
                rows = [LESION_COLUMNS, *(lesion for note in notes for lesion in note["lesions"])]
                text = "".join("\t".join(row) + "\n" for row in rows)
                (self.hidden / "derivatives" / "labels" / LESIONS).write_text(text)
            shutil.rmtree(self.hidden / NOTES)
            self.hidden.rename(self.folder)

    def discard(self) -> None:
        """Delete what there is of it."""
        shutil.rmtree(self.hidden, ignore_errors=True)

    def _note(self, subject: int) -> Path:
        return self.hidden / NOTES / f"{_name(subject)}.json"


def _name(subject: int) -> str:
    return f"sub-{subject:03d}"


def write_patient(folder: Path, name: str, patient: Patient, orientation: str) -> dict[str, str]:
    """Write a subject's images, each with its label; return its row of participants.tsv."""
    stored = np.rint(patient.label * LABEL_STEPS).astype(np.uint8)
    label = _nifti(stored, patient.affine, orientation)
    label.header.set_slope_inter(1 / LABEL_STEPS, 0)
    for contrast, voxels in patient.images.items():
        stem = f"{name}_{contrast}"
        _save(_nifti(voxels, patient.affine, orientation), folder / name / "anat" / f"{stem}.nii.gz")
        _save(label, folder / "derivatives" / "labels" / name / "anat" / f"{stem}_label-lesion_seg.nii.gz")
    return {
        "participant_id": name,
        "contrasts": ",".join(patient.images),
        "lesion_ml": f"{patient.lesion_ml:.2f}",
        "lesion_count": str(patient.lesion_count),
        "brain_ml": f"{patient.brain_ml:.0f}",
        "atrophy": f"{patient.atrophy:.2f}",
    }


def _nifti(values: NDArray[Any], affine: NDArray[np.float64], orientation: str) -> Any:
    """Return an image whose stored axes run in the directions that the center's scanner uses."""
    image = nib.Nifti1Image(values, affine)
    target = nib.orientations.axcodes2ornt(tuple(orientation))
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), target))
    turned.header.set_xyzt_units("mm")
    return turned


def _save(image: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def write_descriptions(
    folder: Path, profile: CenterProfile, settings: PhantomSettings, rows: Sequence[dict[str, str]]
) -> None:
    """Write what BIDS asks for beside the images, and say that all of it is synthetic."""
    common = {
        "BIDSVersion": BIDS_VERSION,
        "GeneratedBy": [{"Name": "wardround phantoms", "Version": str(VERSION), "Description": SYNTHETIC}],
        "SimulationSettings": {"Spacing": settings.spacing, "Seed": settings.seed, "Scale": settings.scale},
    }
    name = f"Simulated hospital {profile.title} (synthetic)"
    _write_json(folder / "dataset_description.json", {"Name": name, "DatasetType": "raw", **common})
    labels = {"Name": f"Lesion labels of {name}", "DatasetType": "derivative", **common}
    _write_json(folder / "derivatives" / "labels" / "dataset_description.json", labels)
    _write_json(folder / "participants.json", {key: {"Description": text} for key, text in COLUMNS.items()})
    lines = ["\t".join(COLUMNS), *("\t".join(row[key] for key in COLUMNS) for row in rows)]
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    (folder / "README").write_text(f"{name}\n\n{SYNTHETIC}\n")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
