"""A simulated hospital on disk: BIDS, whole or absent, written once."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray

from client.data.layouts import find_cases
from client.hospital.config import Data
from scenarios.simulation.hospitals import (
    data_of,
    hospital_folder,
    make_hospital,
    prepare_hospitals,
    subject_count,
)
from scenarios.simulation.sites import simulated_site
from shared.config.settings import Settings
from shared.errors import DataError, SettingsError
from shared.phantoms.centers import CENTERS
from shared.phantoms.settings import PhantomSettings
from shared.phantoms.subject import Patient, make_patient

SMALL = PhantomSettings(spacing=4.0, scale=0.02, minimum_subjects=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All eight hospitals, with two subjects each."""
    root = tmp_path_factory.mktemp("simulated")
    for center in CENTERS:
        make_hospital(center, SMALL, root)
    return root


def test_varied_patients_have_both_contrasts_and_their_labels_on_one_grid(tmp_path: Path) -> None:
    folder = make_hospital("varied-2", PhantomSettings(spacing=4.0, scale=0.02, minimum_subjects=5), tmp_path)
    edges = set()
    for subject in range(1, 6):
        images = sorted(folder.glob(f"**/sub-00{subject}_*.nii.gz"))
        assert [path.name.partition("_")[2] for path in images] == [
            "FLAIR_label-lesion_seg.nii.gz",
            "T2w_label-lesion_seg.nii.gz",
            "FLAIR.nii.gz",
            "T2w.nii.gz",
        ]
        opened = [nibabel.load(path) for path in images]
        assert len({one.shape for one in opened}) == 1
        assert all(np.array_equal(one.affine, opened[0].affine) for one in opened)
        edges.add(float(opened[0].header.get_zooms()[2]))
    assert len(edges) > 1, "slices of several thicknesses"
    assert {case.contrast for case in find_cases(folder, ("FLAIR", "T2w"))} == {"FLAIR", "T2w"}


def test_a_center_of_data_dir_chooses_its_labels_in_its_own_file(tmp_path: Path) -> None:
    assert data_of(tmp_path, ("FLAIR",)) == Data(folder=tmp_path, contrasts=("FLAIR",))
    text = 'center = "a"\nstate-dir = "state"\n[data]\nfolder = "."\nlabels = "rater-1"\nlesion-value = 2\n'
    (tmp_path / "hospital.toml").write_text(text)
    (tmp_path / "hospital.toml").chmod(0o644)
    own = data_of(tmp_path, ("FLAIR",))
    assert own.folder == tmp_path and (own.labels, own.lesion_value) == ("rater-1", 2.0)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


EACH = [(f"sub-00{number}", contrast) for number in (1, 2) for contrast in ("FLAIR", "T2w")]
"""Subjects and contrasts of karo."""


def test_names_are_those_of_bids(root: Path) -> None:
    names = set(files(hospital_folder("karo", SMALL, root)))
    assert names == {
        "README",
        "dataset_description.json",
        "participants.json",
        "participants.tsv",
        "derivatives/labels/dataset_description.json",
        *(f"{sub}/anat/{sub}_{contrast}.nii.gz" for sub, contrast in EACH),
        *(f"derivatives/labels/{sub}/anat/{sub}_{contrast}_label-lesion_seg.nii.gz" for sub, contrast in EACH),
    }


def test_descriptions_say_what_it_is(root: Path) -> None:
    folder = hospital_folder("rennes", SMALL, root)
    for path, kind in ((folder, "raw"), (folder / "derivatives" / "labels", "derivative")):
        description = json.loads((path / "dataset_description.json").read_text())
        assert description["DatasetType"] == kind and description["BIDSVersion"]
        assert "synthetic" in description["Name"]
        assert "Synthetic data" in description["GeneratedBy"][0]["Description"]


def test_participants_tell_what_was_drawn(root: Path) -> None:
    folder = hospital_folder("bwh", SMALL, root)
    header, *rows = [line.split("\t") for line in (folder / "participants.tsv").read_text().splitlines()]
    assert header[0] == "participant_id" and set(header) == set(json.loads((folder / "participants.json").read_text()))
    assert [row[0] for row in rows] == ["sub-001", "sub-002"]
    for row in rows:
        path = folder / f"derivatives/labels/{row[0]}/anat/{row[0]}_FLAIR_label-lesion_seg.nii.gz"
        label = nibabel.load(path)
        counted = label.get_fdata().sum() * abs(np.linalg.det(label.affine[:3, :3])) / 1000
        assert float(row[header.index("lesion_ml")]) == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize("center", CENTERS)
def test_what_is_stored_is_what_was_drawn(center: str, root: Path) -> None:
    """Through reorientation, quantisation and the NIfTI header."""
    folder = hospital_folder(center, SMALL, root)
    drawn = make_patient(CENTERS[center], 1, SMALL.spacing, SMALL.seed)
    for contrast, image in drawn.images.items():
        check_stored(center, folder, f"sub-001_{contrast}", drawn, image)


def check_stored(center: str, folder: Path, stem: str, drawn: Patient, image: NDArray[np.int16]) -> None:
    """Compare an image and its label on disk with what was drawn."""
    stored = nibabel.load(folder / "sub-001" / "anat" / f"{stem}.nii.gz")
    label = nibabel.load(folder / "derivatives/labels/sub-001/anat" / f"{stem}_label-lesion_seg.nii.gz")
    assert np.array_equal(stored.affine, label.affine)
    assert "".join(nibabel.aff2axcodes(stored.affine)) == CENTERS[center].orientation
    assert stored.get_data_dtype() == np.int16 and label.get_data_dtype() == np.uint8
    assert stored.header.get_zooms() == label.header.get_zooms()

    upright = nibabel.as_closest_canonical(stored)
    assert np.allclose(upright.affine, drawn.affine)
    assert np.array_equal(np.asarray(upright.dataobj), image)
    soft = nibabel.as_closest_canonical(label).get_fdata()
    assert soft.min() == 0 and 0.5 < soft.max() <= 1
    assert np.abs(soft - drawn.label).max() <= 0.5 / 128 + 1e-6
    assert not soft[np.asarray(upright.dataobj) == 0].any()


def test_some_centers_store_other_orientations() -> None:
    assert {center.orientation for center in CENTERS.values()} == {"RAS", "LPS", "LAS"}


def test_a_subject_does_not_depend_on_how_many_there_are(root: Path, tmp_path: Path) -> None:
    more = PhantomSettings(spacing=4.0, scale=0.02, minimum_subjects=3)
    assert subject_count("amu", more) == 3
    small, large = files(hospital_folder("amu", SMALL, root)), files(make_hospital("amu", more, tmp_path))
    images = [name for name in small if name.endswith(".nii.gz")]
    assert len(images) == 4
    for name in images:
        assert small[name] == large[name]


def test_the_second_call_writes_nothing(root: Path) -> None:
    folder = hospital_folder("nih", SMALL, root)
    before = {path: path.stat().st_mtime_ns for path in [folder, folder.parent, *folder.rglob("*")]}
    calls: list[tuple[int, int]] = []
    assert make_hospital("nih", SMALL, root, lambda done, total: calls.append((done, total))) == folder
    assert {path: path.stat().st_mtime_ns for path in [folder, folder.parent, *folder.rglob("*")]} == before
    assert calls == []


def test_an_interrupted_run_leaves_nothing_and_the_next_succeeds(root: Path, tmp_path: Path) -> None:
    class Interrupted(BaseException):
        pass

    seen: list[tuple[int, int]] = []

    def stop_after_first(done: int, total: int) -> None:
        seen.append((done, total))
        raise Interrupted

    folder = hospital_folder("ucsf", SMALL, tmp_path)
    with pytest.raises(Interrupted):
        make_hospital("ucsf", SMALL, tmp_path, stop_after_first)
    assert seen == [(1, 2)]
    assert not folder.exists() and not list(tmp_path.rglob("*.nii.gz"))

    (folder.parent / ".ucsf.partial" / "sub-009").mkdir(parents=True)  # what a killed process leaves
    assert make_hospital("ucsf", SMALL, tmp_path) == folder
    assert files(folder) == files(hospital_folder("ucsf", SMALL, root))
    assert not list(folder.parent.glob("*.partial"))


def test_two_at_once_write_it_once(root: Path, tmp_path: Path) -> None:
    written: list[int] = []
    found: list[Path] = []

    def work() -> None:
        found.append(make_hospital("montp", SMALL, tmp_path, lambda done, total: written.append(done)))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [hospital_folder("montp", SMALL, tmp_path)] * 3
    assert written == [1, 2]
    assert files(found[0]) == files(hospital_folder("montp", SMALL, root))


def test_an_unknown_center_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'Milan'.*bwh, karo, rennes, milan, nih, montp, ucsf, amu"):
        make_hospital("Milan", SMALL, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"file.*Not a directory; choose another folder"):
        make_hospital("amu", SMALL, tmp_path / "file" / "below")


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(image: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nibabel, "save", full)
    with pytest.raises(DataError, match=r"No space left on device; free some space"):
        make_hospital("amu", SMALL, tmp_path)
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_an_error_of_the_callers_own_is_not_blamed_on_the_folder(tmp_path: Path) -> None:
    def hang_up(done: int, total: int) -> None:
        raise BrokenPipeError("the terminal is gone")

    with pytest.raises(BrokenPipeError):
        make_hospital("amu", SMALL, tmp_path, hang_up)


def test_evaluators_are_made_too_and_may_only_test(tmp_path: Path, run_config: dict[str, Any]) -> None:
    few = {"centers": "amu", "phantom-minimum": 2, "phantom-scale": 0.02, "cache-dir": str(tmp_path)}
    settings = Settings.from_run_config(run_config | few | {"evaluators": "ucsf-2"})
    prepare_hospitals(settings, lambda line: None)
    assert {path.name for path in (tmp_path / "hospitals").glob("*/[a-z]*")} == {"amu", "ucsf-2"}
    assert [simulated_site(center, settings).policy.role for center in ("amu", "ucsf-2")] == ["both", "evaluate"]


def test_another_hospital_of_one_scanner_has_a_folder_of_its_own(root: Path) -> None:
    folder = make_hospital("karo-2", SMALL, root)
    assert folder == hospital_folder("karo", SMALL, root).with_name("karo-2")
    assert json.loads((folder / "dataset_description.json").read_text())["Name"].startswith("Simulated hospital Karo 2")
    theirs, karo = files(folder), files(hospital_folder("karo", SMALL, root))
    assert theirs.keys() == karo.keys()
    assert not any(theirs[name] == karo[name] for name in theirs if name.endswith(".nii.gz"))


def test_the_hospitals_of_a_run_are_those_that_are_made_one_by_one(
    root: Path, tmp_path: Path, run_config: dict[str, Any]
) -> None:
    small = {"phantom-minimum": 2, "phantom-scale": 0.02, "spacing": 4.0, "cache-dir": str(tmp_path)}
    settings = Settings.from_run_config(run_config | small | {"centers": "nih,amu"})
    said: list[str] = []
    prepare_hospitals(settings, said.append)
    for center in ("amu", "nih"):
        assert files(hospital_folder(center, SMALL, tmp_path / "hospitals")) == files(
            hospital_folder(center, SMALL, root)
        )
    assert [line.partition(",")[0] for line in said[1:]] in (["made amu", "made nih"], ["made nih", "made amu"])
    assert not list(tmp_path.glob("hospitals/*/.*.partial"))
    prepare_hospitals(settings, said.append)
    assert len(said) == 3


def test_a_run_that_waited_for_another_makes_the_rest(tmp_path: Path, run_config: dict[str, Any]) -> None:
    small = {"phantom-minimum": 2, "phantom-scale": 0.02, "spacing": 4.0, "cache-dir": str(tmp_path)}
    settings = Settings.from_run_config(run_config | small | {"centers": "amu,nih"})
    root = tmp_path / "hospitals"
    folder = hospital_folder("amu", SMALL, root)
    folder.parent.mkdir(parents=True)
    said: list[str] = []
    with FileLock(folder.with_name(".amu.lock")):
        waiting = threading.Thread(target=prepare_hospitals, args=(settings, said.append))
        waiting.start()
        time.sleep(0.5)
        assert not hospital_folder("nih", SMALL, root).exists()
        folder.mkdir()
    waiting.join(timeout=120)
    assert [line.partition(",")[0] for line in said[1:]] == ["made nih"]
    assert hospital_folder("nih", SMALL, root).is_dir() and not list(folder.iterdir())
