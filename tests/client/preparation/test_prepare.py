"""A scanner's export becomes a data set that passes the check, says nothing of who is in it, and overwrites nothing."""

import gzip
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR

from client.data.layouts import take_inventory
from client.preparation.candidates import find_candidates
from client.preparation.convert import convert
from client.preparation.dicom_files import find_series
from client.preparation.labels import LabelReading
from client.preparation.prepare import Outcome, beside, check_output, write_dataset
from client.preparation.session import Wanted
from client.preparation.table import Row, rows_of
from client.preparation.volume import ScanVolume
from client.qc.dataset_check import check_inventory
from scenarios.inference.dicom_seg import make_dicom_seg
from shared.errors import DataError, SettingsError
from tests.support.datasets import grid, patient, write_image
from tests.support.dicom import Scan, write_multiframe, write_series

SHAPE, AFFINE = grid((3.0, 3.0, 4.0))
SECRET = "Geheim^Nis"

Change = Callable[[Row], Row]


def prepared(source: Path, output: Path, change: Change = lambda row: row, **options: object) -> Outcome:
    """Prepare all that was recognised, with what a test changes in the table."""
    work = output.parent / "work"
    reading = LabelReading(**{k: v for k, v in options.items() if k in ("lesion_value", "copy_header")})  # type: ignore[arg-type]
    found = find_candidates(source, work, str(options.get("labels", "")), str(options.get("masks", "")), lambda _: None)
    rows = [change(row) for row in rows_of(found, source)]
    wanted = Wanted(source, reading, strip=bool(options.get("strip", True)))
    return write_dataset(rows, output, beside(output, "keys.tsv"), wanted, lambda _: None)


def dicom_source(folder: Path, patients: int = 2) -> None:
    """FLAIR, T2w, localizer and T1 of each patient, and a DICOM segmentation of the FLAIR."""
    for number in range(patients):
        image, _ = patient(SHAPE, AFFINE, number)
        scan = Scan(patient=f"PID-{number}", texts={"PatientComments": SECRET})
        place = folder / f"export {number}" / "a" / "b"
        write_series(place / "3", image, AFFINE, scan, backwards=bool(number))
        write_series(place / "4", image, AFFINE, scan.as_t2w)
        write_series(place / "1", image[:, :, :3], AFFINE, replace(scan.as_t2w, description="localizer", number=1))
        write_multiframe(place / "5" / "x", image, AFFINE, replace(scan.as_t2w, description="t1_se", te=12.0, tr=500.0))
        (series,), _ = find_series(sorted((place / "3").iterdir()))
        (made,) = convert(series, folder.parent / f"seg {number}")
        drawn = nibabel.load(made.image)
        lesion = ScanVolume((np.asarray(drawn.dataobj) > 170).astype(np.float32), drawn.affine)
        (place / "seg").write_bytes(make_dicom_seg(lesion, series))


def test_an_export_of_dicom_becomes_a_data_set_that_passes_the_check(tmp_path: Path) -> None:
    dicom_source(tmp_path / "export")
    # The head of these patients is 18 mm wide, which no registration is made for.
    outcome = prepared(tmp_path / "export", tmp_path / "bids", lambda row: replace(row, take=row.contrast == "FLAIR"))
    assert (outcome.written, outcome.subjects, outcome.refused) == (2, 2, ())
    inventory = take_inventory(tmp_path / "bids", ("FLAIR", "T2w"))
    assert [(case.subject, case.contrast) for case in inventory.cases] == [("sub-0001", "FLAIR"), ("sub-0002", "FLAIR")]
    assert check_inventory(inventory).verdict.value == "good"
    sidecar = json.loads((tmp_path / "bids" / "sub-0001" / "anat" / "sub-0001_FLAIR.json").read_text())
    assert (sidecar["EchoTime"], sidecar["InversionTime"], sidecar["ManufacturersModelName"]) == (0.12, 2.4, "Skyra")
    steps = [step["step"] for step in sidecar["Preparation"]["Steps"]]
    assert steps == ["converted from DICOM", "label taken from a DICOM segmentation"]
    description = json.loads((tmp_path / "bids" / "dataset_description.json").read_text())
    assert "dcm2niix" in description["GeneratedBy"][0]["Description"]


def test_no_word_of_the_source_is_in_the_data_set(tmp_path: Path) -> None:
    image, _ = patient(SHAPE, AFFINE)
    scan = Scan(patient=SECRET, date="19991231")
    files = write_series(tmp_path / SECRET / "s", image, AFFINE, scan)
    texts = ("LO", "SH", "LT", "ST", "PN", "UT", "AE")
    names = [element.keyword for element in pydicom.dcmread(files[0]) if element.VR in texts]
    names += ["InstitutionName", "InstitutionAddress", "StationName", "OperatorsName", "DeviceSerialNumber"]
    names += ["ImageComments", "PatientAddress", "SequenceName", "AcquisitionComments", "OtherPatientNames"]
    names += ["RequestedProcedureDescription"]
    for path in files:
        one = pydicom.dcmread(path)
        for name in names:
            setattr(one, name, SECRET[: 16 if dictionary_VR(name) in ("SH", "AE") else None])
        one.SeriesDescription = f"FLAIR {SECRET}"
        one.save_as(path)
    named = nibabel.Nifti1Image(image, AFFINE)
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        named.header[field] = SECRET.encode()
    named.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", SECRET.encode()))
    nibabel.save(named, tmp_path / SECRET / f"{SECRET} FLAIR.nii")
    assert prepared(tmp_path / SECRET, tmp_path / "bids").written == 2
    assert SECRET in (tmp_path / "bids.keys.tsv").read_text()
    files = [path for path in (tmp_path / "bids").rglob("*") if path.is_file()]
    assert len(files) >= 7
    dicom = pydicom.dcmread(next((tmp_path / SECRET / "s").iterdir()))
    for path in files:
        content = path.read_bytes()
        content += gzip.decompress(content) if path.suffix == ".gz" else b""
        for word in ("Geheim", "19991231", "1999-12-31", "1980", dicom.StudyInstanceUID, dicom.SeriesInstanceUID):
            assert word.encode() not in content, path
            assert word not in str(path.relative_to(tmp_path))


def nifti_source(folder: Path, label: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    image, own = patient(SHAPE, AFFINE)
    write_image(folder / "Jane_FLAIR.nii.gz", image, AFFINE)
    write_image(folder / "Jane_FLAIR_lesion.nii.gz", own if label is None else label, AFFINE)
    return image, own


def test_nifti_comes_through_voxel_by_voxel(tmp_path: Path) -> None:
    image, label = nifti_source(tmp_path / "source")
    prepared(tmp_path / "source", tmp_path / "bids")
    (case,) = take_inventory(tmp_path / "bids", ("FLAIR",)).cases
    assert np.array_equal(nibabel.load(case.image).get_fdata(dtype=np.float32), image)
    assert np.array_equal(nibabel.load(case.label).get_fdata(dtype=np.float32), label)
    assert np.allclose(nibabel.load(case.image).affine, AFFINE)
    assert stat.S_IMODE((tmp_path / "bids.keys.tsv").stat().st_mode) == 0o600


def test_visits_become_sessions_without_their_dates(tmp_path: Path) -> None:
    image, label = patient(SHAPE, AFFINE)
    for visit in ("20210304", "20200101"):
        for name in ("FLAIR", "FLAIR_lesion"):
            write_image(tmp_path / "source" / f"Jane_{visit}_{name}.nii.gz", label if "les" in name else image, AFFINE)
    prepared(tmp_path / "source", tmp_path / "bids", lambda row: replace(row, patient="Jane"))
    names = sorted(path.name for path in (tmp_path / "bids").rglob("*_FLAIR.nii.gz"))
    assert names == ["sub-0001_ses-1_FLAIR.nii.gz", "sub-0001_ses-2_FLAIR.nii.gz"]
    assert "20200101\tses-1" in (tmp_path / "bids.keys.tsv").read_text()


def test_an_image_whose_label_cannot_be_used_is_named_and_not_written(tmp_path: Path) -> None:
    image, label = nifti_source(tmp_path / "source")
    write_image(tmp_path / "source" / "John_FLAIR.nii.gz", image, AFFINE)
    write_image(tmp_path / "source" / "John_FLAIR_lesion.nii.gz", 2 * (label > 0.5).astype(np.float32), AFFINE)
    outcome = prepared(tmp_path / "source", tmp_path / "bids")
    assert outcome.written == 1
    assert "John_FLAIR.nii.gz (FLAIR): " in outcome.refused[0] and "--lesion-value" in outcome.refused[0]
    assert prepared(tmp_path / "source", tmp_path / "b", lesion_value=2.0).written == 2


def test_the_hospitals_own_mask_cuts_the_brain_out(tmp_path: Path) -> None:
    shape, affine = grid((3.0, 3.0, 3.0))
    affine[:3, :3] *= 4  # 192 mm
    image, label = np.full(shape, 100, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    label[8, 8, 8] = 1
    mask = np.zeros(shape, dtype=np.float32)
    mask[4:13, 4:13, 4:13] = 1  # 1260 ml
    image += np.eye(shape[0], dtype=np.float32)
    for name, array in (("FLAIR", image), ("FLAIR_seg", label), ("FLAIR_brainmask", mask)):
        write_image(tmp_path / "source" / f"P1_{name}.nii.gz", array, affine)
    assert prepared(tmp_path / "source", tmp_path / "bids").written == 1
    written = nibabel.load(tmp_path / "bids" / "sub-0001" / "anat" / "sub-0001_FLAIR.nii.gz").get_fdata()
    assert np.array_equal(written > 0, mask > 0)
    write_image(tmp_path / "source" / "P1_FLAIR_seg.nii.gz", 1 - mask, affine)
    with pytest.raises(DataError, match=r"loses 100\.0% of its lesion voxels"):
        prepared(tmp_path / "source", tmp_path / "b2")
    write_image(tmp_path / "source" / "P1_FLAIR_seg.nii.gz", label, affine)
    write_image(tmp_path / "source" / "P1_FLAIR_brainmask.nii.gz", label, affine)
    with pytest.raises(DataError, match="has a brain of 2 ml"):
        prepared(tmp_path / "source", tmp_path / "b3")
    assert not (tmp_path / "b3").exists() and not (tmp_path / "b3.keys.tsv").exists()


def test_of_several_series_the_finest_is_taken(tmp_path: Path) -> None:
    for number, voxel in enumerate([(3.0, 3.0, 6.0), (2.0, 2.0, 2.0), (1.5, 1.5, 6.0)]):
        shape, affine = grid(voxel)
        write_series(tmp_path / "x" / str(number), patient(shape, affine)[0], affine, Scan(number=number))
    found = find_candidates(tmp_path / "x", tmp_path / "work", "", "", lambda _: None)
    assert len(found.candidates) == 3
    (taken,) = found.taken
    assert taken.startswith("1#")


def test_nothing_is_overwritten_and_keys_stay_outside(tmp_path: Path) -> None:
    (tmp_path / "bids").mkdir()
    check_output(tmp_path / "bids", tmp_path / "keys.tsv")
    with pytest.raises(SettingsError, match="may not lie in"):
        check_output(tmp_path / "bids", tmp_path / "bids" / "keys.tsv")
    (tmp_path / "bids" / "x").touch()
    with pytest.raises(SettingsError, match="nothing is overwritten"):
        check_output(tmp_path / "bids", tmp_path / "keys.tsv")


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    nifti_source(tmp_path / "source")

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    rows = rows_of(find_candidates(tmp_path / "source", tmp_path / "work", "", "", lambda _: None), tmp_path / "source")
    with pytest.raises(KeyboardInterrupt):
        write_dataset(rows, tmp_path / "bids", tmp_path / "keys.tsv", Wanted(tmp_path / "source", LabelReading()), stop)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_source_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        find_candidates(tmp_path / "nothing", tmp_path, "", "", lambda _: None)
    (tmp_path / "letter.txt").write_text("Dear Jane")
    with pytest.raises(DataError, match="no image in DICOM or NIfTI"):
        find_candidates(tmp_path, tmp_path / "work", "", "", lambda _: None)
