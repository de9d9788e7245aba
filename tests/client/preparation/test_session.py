"""What the two images of a visit share: a label, a grid and a brain, and what each keeps where they share none."""

from pathlib import Path

import numpy as np
import pytest

from client.preparation.candidates import Candidate
from client.preparation.labels import LabelReading
from client.preparation.session import Wanted, prepare_session
from client.preparation.table import Row
from client.preparation.volume import ScanVolume
from client.preparation.write_bids import NOT_DEFACED, write_image
from tests.support import datasets
from tests.support.datasets import grid, patient
from tests.support.heads import simulated_brains, with_skull


def row(folder: Path, contrast: str, volume: ScanVolume, label: np.ndarray | None = None, name: str = "") -> Row:
    """A line of the table, with its files."""
    path = datasets.write_image(folder / f"{contrast}.nii.gz", volume.array, volume.affine)
    if label is not None:
        name = f"{contrast}_label.nii.gz"
        datasets.write_image(folder / name, label, volume.affine)
    edges = tuple(float(edge) for edge in volume.spacing)
    seen = Candidate(path.name, path, "Jane", "", contrast, "its name", "", volume.array.shape, edges)
    return Row(seen, True, "Jane", "", contrast, name, "")


def wanted(folder: Path, strip: bool = True) -> Wanted:
    return Wanted(folder, LabelReading(), strip)


def shifted(volume: ScanVolume) -> ScanVolume:
    """As the scanner saw it after the patient had moved by 9 mm."""
    affine = volume.affine.copy()
    affine[:3, 3] += [6.0, -4.0, 5.0]
    return ScanVolume(volume.array, affine)


@pytest.mark.parametrize("labelled", ["FLAIR", pytest.param("T2w", marks=pytest.mark.slow)])
def test_the_label_of_one_serves_both_on_the_grid_of_the_flair(tmp_path: Path, labelled: str) -> None:
    brains = simulated_brains((4.0, 4.0, 4.0))
    label = (brains["FLAIR"].label >= 0.5).astype(np.float32)
    rows = [
        row(tmp_path, "FLAIR", brains["FLAIR"].image, label if labelled == "FLAIR" else None),
        row(tmp_path, "T2w", shifted(brains["T2w"].image), label if labelled == "T2w" else None),
    ]
    (flair, t2w), refused = prepare_session(rows, wanted(tmp_path))
    assert not refused
    assert np.array_equal(flair.volume.array, brains["FLAIR"].image.array)
    assert np.allclose(t2w.volume.affine, flair.volume.affine)
    for one in (flair, t2w):
        assert one.label is not None
        assert 2 * (one.label.array * label).sum() / (one.label.array.sum() + label.sum()) > 0.8
    inside = brains["FLAIR"].brain
    assert np.corrcoef(t2w.volume.array[inside], brains["T2w"].image.array[inside])[0, 1] > 0.8
    (step,) = [step for step in t2w.steps if "mutual_information_after" in step]
    assert step["mutual_information_after"] > step["mutual_information_before"] and 7 < step["moved_mm"] < 11


def test_two_labels_are_left_where_they_were_drawn(tmp_path: Path) -> None:
    shape, affine = grid((3.0, 3.0, 3.0))
    image, label = patient(shape, affine)
    thick, thick_affine = grid((3.0, 3.0, 6.0))
    other, other_label = patient(thick, thick_affine)
    rows = [
        row(tmp_path, "FLAIR", ScanVolume(image, affine), label),
        row(tmp_path, "T2w", ScanVolume(other, thick_affine), other_label),
    ]
    (flair, t2w), refused = prepare_session(rows, wanted(tmp_path))
    assert not refused and (flair.volume.array.shape, t2w.volume.array.shape) == (shape, thick)


def test_a_t2w_of_somebody_else_is_refused_and_the_flair_goes_on(tmp_path: Path) -> None:
    brain = simulated_brains((4.0, 4.0, 4.0))["FLAIR"]
    noise = np.random.default_rng(0).normal(100, 10, brain.image.array.shape).astype(np.float32)
    rows = [row(tmp_path, "FLAIR", brain.image, brain.label), row(tmp_path, "T2w", brain.image.like(noise))]
    (flair,), ((other, error),) = prepare_session(rows, wanted(tmp_path))
    assert (flair.row.contrast, other.contrast) == ("FLAIR", "T2w")
    assert "whether both show one patient" in str(error)


def test_one_label_for_both_goes_to_the_image_on_whose_grid_it_lies(tmp_path: Path) -> None:
    shape, affine = grid((3.0, 3.0, 3.0))
    thick, thick_affine = grid((3.0, 3.0, 6.0))
    datasets.write_image(tmp_path / "lesion.nii.gz", patient(thick, thick_affine)[1], thick_affine)
    rows = [
        row(tmp_path, "FLAIR", ScanVolume(patient(shape, affine)[0], affine), name="lesion.nii.gz"),
        row(tmp_path, "T2w", ScanVolume(patient(thick, thick_affine)[0], thick_affine), name="lesion.nii.gz"),
    ]
    finished, refused = prepare_session(rows, wanted(tmp_path))
    # The heads of these patients are too small and plain for a registration, good or refused.
    assert "T2w" in {one.row.contrast for one in finished} and len(finished) + len(refused) == 2
    assert not [error for _, error in refused if "grid" in str(error)]


def test_a_head_that_is_kept_is_marked(tmp_path: Path) -> None:
    head = with_skull(simulated_brains((3.0, 3.0, 3.0))["FLAIR"], "FLAIR")
    (kept,), refused = prepare_session([row(tmp_path, "FLAIR", head.image, head.label)], wanted(tmp_path, strip=False))
    assert not refused and kept.whole_head and np.array_equal(kept.volume.array, head.image.array)
    written = write_image(tmp_path / "bids", "sub-0001", None, kept)
    sidecar = written.with_name("sub-0001_FLAIR.json").read_text()
    assert '"SkullStripped": false' in sidecar and '"Defaced": false' in sidecar and NOT_DEFACED in sidecar
