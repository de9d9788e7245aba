"""Writing simulated patients as a BIDS data set, with soft lesion labels under derivatives."""

import errno
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from shared.errors import DataError
from shared.phantoms.centers import CenterProfile
from shared.phantoms.settings import VERSION, PhantomSettings
from shared.phantoms.subject import Patient

nib: Any = nibabel  # its functions carry no types

BIDS_VERSION = "1.10.0"
LABEL_STEPS = 128
"""A label is stored as uint8 in steps of 1/128: a power of two, so that 0.5 and 1 come back exactly."""
COLUMNS = {
    "participant_id": "The simulated subject",
    "contrast": "The one contrast in which the subject was imaged",
    "lesion_ml": "Simulated lesion volume in ml, counted by fractions of voxels",
    "lesion_count": "Number of separate simulated lesions (label at least 0.5)",
    "brain_ml": "Volume of the simulated brain in ml",
    "atrophy": "How much wider the sulci are than in the MNI152 template, as a fraction",
}
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


def write_patient(folder: Path, name: str, patient: Patient, orientation: str) -> dict[str, str]:
    """Write a subject's image and label; return its row of participants.tsv."""
    stem = f"{name}_{patient.contrast}"
    image = _nifti(patient.image, patient.affine, orientation)
    _save(image, folder / name / "anat" / f"{stem}.nii.gz")

    stored = np.rint(patient.label * LABEL_STEPS).astype(np.uint8)
    label = _nifti(stored, patient.affine, orientation)
    label.header.set_slope_inter(1 / LABEL_STEPS, 0)
    _save(label, folder / "derivatives" / "labels" / name / "anat" / f"{stem}_label-lesion_seg.nii.gz")
    return {
        "participant_id": name,
        "contrast": patient.contrast,
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
    path.parent.mkdir(parents=True)
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
