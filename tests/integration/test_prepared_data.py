"""From DICOM to a model and back to DICOM: two hospitals prepare exports, check them, run over them, and segment."""

import subprocess
import sysconfig
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from client.preparation.convert import convert
from client.preparation.dicom_files import find_series
from client.preparation.volume import ScanVolume
from scenarios.inference.dicom_seg import make_dicom_seg
from shared.results import read_results
from tests.support.datasets import write_image
from tests.support.dicom import Scan, write_series
from tests.support.heads import Head, simulated_brains, with_skull

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(900)]

WARDROUND = Path(sysconfig.get_path("scripts")) / "wardround"
PATIENTS = 3
ROUGH = ("spacing=4", "features=4", "steps=4", "batch-size=4", "patch-size=16", "exemplar-mm=64")


def wardround(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([WARDROUND, *words], capture_output=True, text=True)


def written(folder: Path, head: Head, scan: Scan) -> Path:
    """A head as a scanner writes it: whole numbers, none below 0."""
    image = head.image.array / np.percentile(head.image.array, 99.9) * 2000
    write_series(folder, np.rint(image.clip(0, 4095)), head.image.affine, scan)
    return folder


def export(folder: Path, first: int, skull: int) -> None:
    """FLAIR and T2w of three patients, one of them not stripped, and a scout."""
    for number in range(first, first + PATIENTS):
        brains = simulated_brains((3.0, 3.0, 3.0), number)
        heads = {name: with_skull(brain, name) if number == skull else brain for name, brain in brains.items()}
        scan = Scan(patient=f"Patient {number}", date=f"2024010{number}")
        written(folder / f"p{number}" / "flair", heads["FLAIR"], scan)
        moved = heads["T2w"].image.affine.copy()
        moved[:3, 3] += [4.0, -3.0, 5.0]  # mm; the patient moved between the series
        moved_head = replace(heads["T2w"], image=ScanVolume(heads["T2w"].image.array, moved))
        written(folder / f"p{number}" / "t2", moved_head, scan.as_t2w)
        write_series(folder / f"p{number}" / "scout", np.ones((32, 32, 3)), np.eye(4), replace(scan, series="1.2.3"))
        drawn = (heads["FLAIR"].label >= 0.5).astype(np.float32)
        if first == 1:
            _as_dicom(folder / f"p{number}", drawn, heads["FLAIR"])
        else:
            write_image(folder.parent / "drawn" / f"Patient {number}_FLAIR.nii.gz", drawn, heads["FLAIR"].image.affine)


def _as_dicom(folder: Path, drawn: np.ndarray, head: Head) -> None:
    (series,), _ = find_series(sorted((folder / "flair").iterdir()))
    (folder / "seg.dcm").write_bytes(make_dicom_seg(head.image.like(drawn), series))


def test_from_the_scanner_to_a_model_and_back(tmp_path: Path) -> None:
    for center, first, skull, more in (("a", 1, 2, ()), ("b", 4, 0, ("--labels", str(tmp_path / "drawn")))):
        export(tmp_path / f"export-{center}", first, skull)
        output = tmp_path / "data" / center
        output.parent.mkdir(exist_ok=True)
        made = wardround("hospital", "prepare", tmp_path / f"export-{center}", "--output", output, "--yes", *more)
        assert made.returncode == 0, made.stdout + made.stderr
        assert made.stdout.count("registered rigidly to the FLAIR") == PATIENTS
        assert made.stdout.count("skull-stripped") == (skull > 0)
        checked = wardround("hospital", "check", output)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert f"all {2 * PATIENTS} images of {PATIENTS} subjects can be used" in checked.stdout
        assert "shows skull" not in checked.stdout
    changes = [word for pair in (f"data-dir={tmp_path / 'data'}", "centers=a,b", *ROUGH) for word in ("-c", pair)]
    run = wardround("run", *changes, "--output", tmp_path / "run")
    assert run.returncode == 0, run.stdout + run.stderr
    assert set(read_results(tmp_path / "run").order) == {"a", "b"}

    series, output = tmp_path / "export-a" / "p2" / "flair", tmp_path / "segmented"
    segmented = wardround("segment", series, "--model", tmp_path / "run", "--output", output, "--dicom-seg", "--mask")
    assert segmented.returncode == 0, segmented.stdout + segmented.stderr
    assert "skull-stripped by deepbet" in segmented.stdout
    seg = pydicom.dcmread(output / "flair_lesion-seg.dcm")
    mask = nibabel.load(output / "flair_lesion-mask.nii.gz")
    assert int(seg.pixel_array.sum()) == int(np.asarray(mask.dataobj).sum())
    assert seg.PatientID == "Patient 2" and seg.NumberOfFrames == len(list(series.iterdir()))
    (read,), _ = find_series(sorted(series.iterdir()))
    (back,) = convert(read, tmp_path / "again")
    assert np.allclose(nibabel.load(back.image).affine, mask.affine, atol=1e-3)
