"""Writing prepared images as a BIDS data set (Gorgolewski et al. 2016), each with a record of what was done to it."""

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from client.preparation.session import PreparedImage
from client.preparation.sidecar import acquisition
from client.preparation.volume import write_volume
from shared.files import write_whole

BIDS_VERSION = "1.10.0"

LABELS = Path("derivatives") / "labels"

NOT_DEFACED = "shows the whole head, face included: not de-faced"


def write_image(folder: Path, subject: str, session: str | None, one: PreparedImage) -> Path:
    """Write an image, its sidecar and its label below `folder`; returns the image. Raises `OSError`."""
    parts = (subject, session) if session else (subject,)
    anat, name = Path(*parts) / "anat", f"{'_'.join(parts)}_{one.row.contrast}"
    (folder / anat).mkdir(parents=True, exist_ok=True)
    image = folder / anat / f"{name}.nii.gz"
    write_volume(image, one.volume)
    _write_json(folder / anat / f"{name}.json", _sidecar(one))
    if one.label is not None:
        labels = folder / LABELS / anat
        labels.mkdir(parents=True, exist_ok=True)
        write_volume(labels / f"{name}_label-lesion_seg.nii.gz", one.label)
    return image


def _sidecar(one: PreparedImage) -> dict[str, Any]:
    kept = acquisition(one.row.candidate.sidecar)
    prepared: dict[str, Any] = {
        "Source": "a DICOM series" if one.row.candidate.from_dicom else "a NIfTI file",
        "RecognisedBy": "acquisition" if one.row.candidate.sidecar else "name",
        "Steps": list(one.steps),
    }
    if one.whole_head:
        prepared["Warning"] = NOT_DEFACED
    return kept | {"SkullStripped": not one.whole_head, "Defaced": not one.whole_head, "Preparation": prepared}


def write_descriptions(folder: Path, subjects: Sequence[str], tools: Sequence[str]) -> None:
    """Write what BIDS asks for beside the images. Raises `OSError`."""
    version = metadata.version("wardround")
    made = [{"Name": "wardround hospital prepare", "Version": version, "Description": "; ".join(tools)}]
    common = {"BIDSVersion": BIDS_VERSION, "GeneratedBy": made}
    _write_json(folder / "dataset_description.json", {"Name": "Prepared images", "DatasetType": "raw", **common})
    (folder / LABELS).mkdir(parents=True, exist_ok=True)
    labels = {"Name": "Lesion labels of the prepared images", "DatasetType": "derivative", **common}
    _write_json(folder / LABELS / "dataset_description.json", labels)
    write_whole(folder / "participants.tsv", ("participant_id\n" + "".join(f"{one}\n" for one in subjects)).encode())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())
