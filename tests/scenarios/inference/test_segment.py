"""Segmenting images: on each image's own grid whatever it is, and never over what is there."""

import csv
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from torch import Tensor

from client.data.lesions import find_lesions
from scenarios.inference.ensemble import Ensemble
from scenarios.inference.segment import SUMMARY, Job, Segmented, add_to_summary, plan_jobs, segment_image
from shared.errors import DataError, SettingsError
from shared.model.model_file import Model
from shared.model.network import Inference
from tests.client.data.test_skull_stripping import FLAIR, head
from tests.support.commands import call
from tests.support.datasets import grid, patient, write_image

CPU = torch.device("cpu")


class Bright(torch.nn.Module):
    """A network whose score is how much brighter than most of the head a voxel is."""

    settings: Any = SimpleNamespace(activation="sigmoid", norm="instance", features=2)

    def forward(self, image: Tensor) -> Tensor:
        return 4 * (image - 2)


def bright(
    spacing: float = 2.0,
    contrasts: tuple[str, ...] = ("FLAIR", "T2w"),
    dice_by_contrast: dict[str, float] | None = None,
) -> Model:
    inference = Inference(
        spacing=spacing,
        patch_size=16,
        window_overlap=0.25,
        contrasts=contrasts,
        dice_by_contrast=dice_by_contrast or {},
    )
    return Model(Bright(), inference)  # type: ignore[arg-type]


def segmented(image: Path, output: Path, model: Model | None = None) -> Segmented:
    output.mkdir(exist_ok=True)
    (job,) = plan_jobs([image], output, mask=True)
    return segment_image(Ensemble((model or bright(),)), job, CPU)


def voxels(path: Path | None) -> NDArray[np.float32]:
    assert path is not None
    return np.asarray(nibabel.load(path).get_fdata(), dtype=np.float32)


# The image's own grid


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "PSR", "SLA"])
@pytest.mark.parametrize(("voxel", "tilt"), [((1.0, 1.0, 1.0), 0.0), ((0.8, 1.2, 4.0), 12.0)])
def test_an_image_stored_otherwise_has_the_same_segmentation_stored_otherwise(
    tmp_path: Path, axcodes: str, voxel: tuple[float, float, float], tilt: float
) -> None:
    shape, affine = grid(voxel, tilt)
    image, _ = patient(shape, affine)
    upright = segmented(write_image(tmp_path / "up_FLAIR.nii.gz", image, affine), tmp_path / "one")
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axcodes)))
    turned = nibabel.Nifti1Image(image, affine).as_reoriented(turn)
    stored = segmented(write_image(tmp_path / "T2w.nii", turned.get_fdata(), turned.affine), tmp_path / "two")
    expected = apply_orientation(voxels(upright.job.soft), turn)
    assert expected.max() > 0.9, "or equality proves little"
    np.testing.assert_allclose(voxels(stored.job.soft), expected, atol=0.02)
    assert stored.ml == pytest.approx(upright.ml, rel=0.05)
    np.testing.assert_allclose(stored.lesions[0].centroid, upright.lesions[0].centroid, atol=0.5)


@pytest.mark.parametrize("codes", [(1, 1), (0, 2), (4, 0)], ids=["both", "sform", "qform"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_the_segmentation_lies_where_its_image_lies_to_the_bit(
    tmp_path: Path, codes: tuple[int, int], kind: type
) -> None:
    shape, affine = grid((1.0, 1.2, 2.0), 7.0)
    image = kind(patient(shape, affine)[0], affine)
    image.set_qform(affine, code=codes[0])
    image.set_sform(affine, code=codes[1])
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "image.nii.gz")
    made = segmented(tmp_path / "image.nii.gz", tmp_path / "out")
    original = nibabel.load(tmp_path / "image.nii.gz")
    for path in (made.job.soft, made.job.mask):
        written = nibabel.load(path)
        assert type(written) is kind and written.shape == original.shape
        np.testing.assert_array_equal(written.affine, original.affine)
        for field in ("qform_code", "sform_code", "pixdim", "srow_x", "quatern_b", "qoffset_z", "xyzt_units"):
            np.testing.assert_array_equal(written.header[field], original.header[field])


def test_soft_values_lie_in_0_to_1_and_the_mask_is_what_reaches_a_half(tmp_path: Path) -> None:
    shape, affine = grid((1.0, 1.0, 2.0))
    made = segmented(write_image(tmp_path / "a.nii.gz", patient(shape, affine)[0], affine), tmp_path / "out")
    soft, mask = voxels(made.job.soft), voxels(made.job.mask)
    assert soft.min() == 0 and 0.9 < soft.max() <= 1 and ((soft > 0.1) & (soft < 0.9)).any()
    np.testing.assert_array_equal(mask, soft >= 0.5)
    assert nibabel.load(made.job.soft).get_data_dtype() == np.float32
    assert nibabel.load(made.job.mask).get_data_dtype() == np.uint8


def test_nothing_of_the_image_s_header_but_its_grid_is_carried_over(tmp_path: Path) -> None:
    shape, affine = grid((2.0, 2.0, 2.0))
    image = nibabel.Nifti1Image(patient(shape, affine)[0], affine)
    image.header["descrip"] = b"Doe^Jane 1970-01-01"
    image.header["aux_file"] = image.header["db_name"] = b"Doe^Jane"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Doe^Jane"))
    nibabel.save(image, tmp_path / "image.nii")
    made = segmented(tmp_path / "image.nii", tmp_path / "out")
    for path in made.job.outputs:
        if path.name.endswith(".nii.gz"):
            content = nibabel.load(path).to_bytes()
            assert b"Doe" not in content and b"not for clinical use" in content


# Tables


def test_the_lesion_table_says_volume_and_place_of_each(tmp_path: Path) -> None:
    shape, affine = grid((1.0, 1.0, 2.0), 5.0)
    made = segmented(write_image(tmp_path / "a.nii.gz", patient(shape, affine)[0], affine), tmp_path / "out")
    with made.job.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = find_lesions(voxels(made.job.soft), affine)
    assert len(rows) == len(found) > 0
    for row, lesion in zip(rows, found, strict=True):
        assert int(row["voxels"]) == lesion.voxels
        assert float(row["volume_ml"]) == pytest.approx(lesion.voxels * 2 / 1000)
        assert [float(row[f"{axis}_mm"]) for axis in "xyz"] == pytest.approx(lesion.centroid, abs=0.051)


def test_the_summary_grows_by_a_line_an_image(tmp_path: Path) -> None:
    shape, affine = grid((2.0, 2.0, 2.0))
    made = []
    for seed, name in enumerate(["a, b.nii", "c.nii.gz"]):
        made.append(segmented(write_image(tmp_path / name, patient(shape, affine, seed)[0], affine), tmp_path / "out"))
        add_to_summary(tmp_path / "out", made[-1])
    with (tmp_path / "out" / SUMMARY).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [str(one.job.image) for one in made]
    assert [int(row["lesions"]) for row in rows] == [len(one.lesions) for one in made]
    for row, one in zip(rows, made, strict=True):
        soft = voxels(one.job.soft)
        assert float(row["volume_ml"]) == pytest.approx((soft >= 0.5).sum() * 8 / 1000)
        assert float(row["soft_volume_ml"]) == pytest.approx(soft.sum() * 8 / 1000, abs=1e-3)


# Warnings


def test_an_image_with_skull_is_warned_of(tmp_path: Path) -> None:
    said = []
    for stripped in (False, True):
        image, affine = head(FLAIR, (3.0, 3.0, 3.0), stripped)
        path = write_image(tmp_path / f"{stripped}_FLAIR.nii.gz", image, affine)
        said.append(segmented(path, tmp_path / str(stripped), bright(spacing=4.0)).warnings)
    assert len(said[0]) == 1 and "skull" in said[0][0] and said[1] == ()


@pytest.mark.parametrize(("name", "said"), [("sub-1_T1w", "neither FLAIR nor T2w"), ("sub-1_T2w", "is T2w"), ("x", "")])
def test_a_contrast_that_the_model_does_not_know_is_warned_of(tmp_path: Path, name: str, said: str) -> None:
    shape, affine = grid((3.0, 3.0, 3.0))
    path = write_image(tmp_path / f"{name}.nii.gz", patient(shape, affine)[0], affine)
    made = segmented(path, tmp_path / "out", bright(contrasts=("FLAIR",)))
    assert [said in warning for warning in made.warnings] == ([True] if said else [])


@pytest.mark.parametrize(
    ("name", "scores", "said"),
    [
        ("sub-1_T2w", {"FLAIR": 0.7, "T2w": 0.02}, "scored near nothing on T2w in its own tests (Dice 0.02)"),
        ("sub-1_FLAIR", {"FLAIR": 0.7, "T2w": 0.02}, ""),
        ("scan", {"FLAIR": 0.7, "T2w": 0.02}, "does not tell its contrast, and the model scored near nothing on T2w"),
        ("scan", {"FLAIR": 0.7, "T2w": 0.5}, ""),
        ("sub-1_T2w", {"FLAIR": 0.7}, "no test score of T2w is known from the run that trained the model"),
        ("sub-1_T2w", {}, ""),
        ("sub-1_T1w", {"FLAIR": 0.7}, "neither FLAIR nor T2w"),
    ],
)
def test_a_contrast_on_which_the_model_scored_near_nothing_is_warned_of(
    tmp_path: Path, name: str, scores: dict[str, float], said: str
) -> None:
    shape, affine = grid((3.0, 3.0, 3.0))
    path = write_image(tmp_path / f"{name}.nii.gz", patient(shape, affine)[0], affine)
    made = segmented(path, tmp_path / "out", bright(dice_by_contrast=scores))
    assert [said in warning for warning in made.warnings] == ([True] if said else [])


# What is refused before anything starts


def refused(images: list[Path], output: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        plan_jobs(images, output, mask=True)
    return str(caught.value)


def test_two_images_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    for one, other in (("a/x.nii.gz", "b/x.nii.gz"), ("x.nii", "x.nii.gz")):
        said = refused([tmp_path / one, tmp_path / other], tmp_path)
        assert one in said and other in said and "would both become" in said


def test_neither_an_input_nor_an_earlier_output_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "x_lesion.nii.gz").touch()
    images = [tmp_path / "x.nii.gz", tmp_path / "x_lesion.nii.gz"]
    assert "x_lesion.nii.gz exists, and nothing is overwritten" in refused(images, tmp_path)


def test_a_file_that_is_no_nifti_by_its_name_is_refused(tmp_path: Path) -> None:
    assert "image.mgz is no NIfTI file by its name" in refused([tmp_path / "image.mgz"], tmp_path)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones((8, 8, 8, 2), np.float32), "must be one 3D volume"),
        (np.full((8, 8, 8), np.nan, np.float32), "NaN or infinity"),
        (np.zeros((8, 8, 8), np.float32), "nothing but air"),
        (np.zeros((8, 8, 8), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "one number a voxel"),
    ],
    ids=["4D", "NaN", "air", "colour"],
)
def test_an_image_that_cannot_be_segmented_is_named(tmp_path: Path, array: NDArray, said: str) -> None:
    path = write_image(tmp_path / "bad.nii.gz", array, np.eye(4))
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}.*{said}"):
        segmented(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


# The command


def test_a_bad_image_is_named_and_the_others_go_on(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shape, affine = grid((3.0, 3.0, 3.0))
    good = [write_image(tmp_path / f"{n}.nii.gz", patient(shape, affine, n)[0], affine) for n in range(2)]
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"not an image")
    words = [str(path) for path in (good[0], bad, tmp_path / "none.nii", good[1])]
    code, said = call(
        monkeypatch, capsys, "segment", *words, "--model", str(untrained), "--output", str(tmp_path / "out")
    )
    assert code == 1
    assert "2 of 4 images could not be segmented" in said and str(bad) in said and "none.nii" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"{n}_{what}" for n in range(2) for what in ("lesion.nii.gz", "lesions.csv", "lesion.png")),
        SUMMARY,
    }
    assert call(
        monkeypatch, capsys, "segment", words[0], "--model", str(untrained), "--output", str(tmp_path / "2")
    ) == (0, "")


def test_files_of_other_formats_are_named_by_what_they_are_and_the_others_go_on(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shape, affine = grid((3.0, 3.0, 3.0))
    array = patient(shape, affine)[0]
    good = write_image(tmp_path / "a.nii.gz", array, affine).rename(tmp_path / "A.NII.GZ")
    plain = write_image(tmp_path / "b.nii.gz", array, affine).rename(tmp_path / "b.nii")
    nibabel.save(nibabel.MGHImage(array, affine), tmp_path / "c.mgz")
    nibabel.save(nibabel.Nifti1Pair(array, affine), tmp_path / "d.img")
    (tmp_path / "A.mha").write_bytes(b"ObjectType = Image\nNDims = 3\n")
    (tmp_path / "f.nrrd").write_bytes(b"NRRD0004\n")
    (tmp_path / "g").mkdir()
    write_image(tmp_path / "h.nii", array, affine).rename(tmp_path / "h.nifti")
    others = ["c.mgz", "d.img", "d.hdr", "A.mha", "f.nrrd", "g", "h.nifti", "none.mnc"]
    words = [str(tmp_path / name) for name in others[:4]] + [str(good), str(plain)]
    words += [str(tmp_path / name) for name in others[4:]]
    code, said = call(
        monkeypatch, capsys, "segment", *words, "--model", str(untrained), "--output", str(tmp_path / "out")
    )
    assert code == 1 and "8 of 10 images could not be segmented" in said
    for name, what in zip(
        others,
        (
            "FreeSurfer",
            "voxels of a pair",
            "header of a pair",
            "MetaImage",
            "NRRD",
            "no MR series in DICOM",
            "by what it holds",
            "does not exist",
        ),
        strict=True,
    ):
        (line,) = [line for line in said.splitlines() if f"{tmp_path / name} " in line]
        assert what in line, line
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"A_lesion.nii.gz", "b_lesion.nii.gz"} <= written and len(written) == 7
    np.testing.assert_array_equal(voxels(tmp_path / "out/A_lesion.nii.gz"), voxels(tmp_path / "out/b_lesion.nii.gz"))
    code, said = call(
        monkeypatch, capsys, "segment", words[0], "--model", str(untrained), "--output", str(tmp_path / "no")
    )
    assert code == 1 and "1 of 1 image could not be segmented" in said and not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "nowhere"}, "nowhere"),
        ({"--device": "tpu"}, "--device tpu: choose auto, cpu, cuda"),
        ({"--device": "cuda:99"}, "--device cuda:99: "),
    ],
)
def test_a_wrong_request_ends_before_anything_is_made(
    untrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, str],
    said: str,
) -> None:
    shape, affine = grid((3.0, 3.0, 3.0))
    image = write_image(tmp_path / "a.nii.gz", patient(shape, affine)[0], affine)
    model = changed.pop("model", str(untrained))
    words = ["segment", str(image), "--model", model, "--output", str(tmp_path / "out")]
    code, told = call(monkeypatch, capsys, *words, *(word for pair in changed.items() for word in pair))
    assert code == 1 and said in told and len(told.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_real_patients_are_segmented_on_their_grids(
    real_hospitals: Path,
    untrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = sorted(real_hospitals.glob("*/sub-*/anat/*_FLAIR.nii.gz"))
    assert len(images) == 5
    words = ["segment", *map(str, images), "--model", str(untrained), "--mask", "--output", str(tmp_path / "out")]
    assert call(monkeypatch, capsys, *words) == (0, "")
    for job in (Job(i, *[tmp_path / "out" / i.name.replace(".nii", "_lesion.nii")] * 4) for i in images):
        original, soft = nibabel.load(job.image), nibabel.load(job.soft)
        assert soft.shape == original.shape
        np.testing.assert_array_equal(soft.affine, original.affine)
        values = soft.get_fdata()
        assert values.min() >= 0 and 0 < values.max() <= 1
