"""Simulated patients: what is drawn, and what may not depend on what."""

import re
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.simulation.hospitals import hospital_folder, subject_count
from shared.errors import SettingsError
from shared.phantoms.anatomy import Anatomy
from shared.phantoms.atlas import load_atlas
from shared.phantoms.centers import CENTERS, profile
from shared.phantoms.grids import Grid, SmoothField
from shared.phantoms.settings import PhantomSettings
from shared.phantoms.subject import Patient, make_patient
from shared.seeds import generator
from tests.support.examples import examples

COARSE = 4.0


@pytest.fixture(scope="module")
def patients() -> dict[str, list[Patient]]:
    """The first patients of every center."""
    return {name: [make_patient(center, k, COARSE, 0) for k in range(1, 3)] for name, center in CENTERS.items()}


def test_the_papers_centers_in_descending_size() -> None:
    assert list(CENTERS) == ["bwh", "karo", "rennes", "milan", "nih", "montp", "ucsf", "amu"]
    assert [center.subjects for center in CENTERS.values()] == [80, 51, 51, 47, 28, 13, 12, 8]
    contrasts = {name: center.contrasts for name, center in CENTERS.items()}
    assert contrasts.pop("karo") == ("FLAIR", "T2w")
    assert contrasts.pop("milan") == ("T2w",)
    assert set(contrasts.values()) == {("FLAIR",)}


def test_subject_counts_are_scaled_and_have_a_floor() -> None:
    paper = PhantomSettings(scale=1.0)
    assert [subject_count(name, paper) for name in CENTERS] == [80, 51, 51, 47, 28, 13, 12, 8]
    small = PhantomSettings(scale=0.2, minimum_subjects=4)
    assert [subject_count(name, small) for name in CENTERS] == [16, 10, 10, 9, 6, 4, 4, 4]


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacing": 0.0},
        {"spacing": float("nan")},
        {"spacing": "2"},
        {"scale": -1.0},
        {"minimum_subjects": 0},
        {"minimum_subjects": 2.5},
        {"seed": -1},
        {"seed": True},
    ],
)
def test_unusable_settings_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        PhantomSettings(**wrong)  # type: ignore[arg-type]


def test_every_setting_makes_another_set(tmp_path) -> None:
    base = PhantomSettings()
    others = [
        replace(base, spacing=1.0),
        replace(base, scale=1.0),
        replace(base, minimum_subjects=5),
        replace(base, seed=1),
    ]
    folders = {hospital_folder("amu", one, tmp_path) for one in [base, *others]}
    assert len(folders) == 5
    assert hospital_folder("amu", PhantomSettings(spacing=2), tmp_path) in folders
    assert hospital_folder("amu", base, tmp_path).parent.parent == tmp_path


def test_a_patient_is_drawn_bit_for_bit_again(patients: dict[str, list[Patient]]) -> None:
    again = make_patient(CENTERS["karo"], 2, COARSE, 0)
    first = patients["karo"][1]
    assert again.images.keys() == first.images.keys() == {"FLAIR", "T2w"}
    assert all(np.array_equal(again.images[contrast], image) for contrast, image in first.images.items())
    assert np.array_equal(again.label, first.label)


def test_subjects_seeds_and_centers_are_different_patients(patients: dict[str, list[Patient]]) -> None:
    labels = [patients["bwh"][0].label, patients["bwh"][1].label, patients["nih"][0].label]
    labels.append(make_patient(CENTERS["bwh"], 1, COARSE, 1).label)
    for i, one in enumerate(labels):
        for other in labels[:i]:
            assert not np.array_equal(one, other)
            assert ((one >= 0.5) & (other >= 0.5)).sum() < 0.5 * (one >= 0.5).sum()


def test_the_same_patient_at_another_voxel_size(patients: dict[str, list[Patient]]) -> None:
    coarse, fine = patients["bwh"][1], make_patient(CENTERS["bwh"], 2, COARSE / 2, 0)
    assert fine.lesion_ml == pytest.approx(coarse.lesion_ml, rel=0.1)
    assert fine.brain_ml == pytest.approx(coarse.brain_ml, rel=0.05)
    nx, ny, nz = coarse.label.shape
    binned = fine.label.reshape(nx, 2, ny, 2, nz, 2).mean(axis=(1, 3, 5))
    assert np.corrcoef(binned.ravel(), coarse.label.ravel())[0, 1] > 0.95


def test_images_and_labels_stay_in_the_brain(patients: dict[str, list[Patient]]) -> None:
    for center in patients.values():
        for patient in center:
            for image in patient.images.values():
                brain = image > 0
                assert image.dtype == np.int16 and image.min() == 0
                assert not patient.label[~brain].any()
            assert patient.label.min() >= 0 and 0.5 < patient.label.max() <= 1
            faces = [np.take(brain, end, axis) for axis in range(3) for end in (0, -1)]
            assert not any(face.any() for face in faces), "the field of view cuts the brain"
            assert 1300 < patient.brain_ml < 2400
            assert 0.5 < patient.lesion_ml < 45
            assert patient.lesion_count >= 1


def test_labels_are_soft(patients: dict[str, list[Patient]]) -> None:
    for center in patients.values():
        touched = np.concatenate([patient.label[patient.label > 0] for patient in center])
        soft = (touched > 0.02) & (touched < 0.98)
        assert soft.mean() > 0.4
        assert len(np.unique(touched[soft].round(2))) > 50


def test_contrasts_look_as_they_should(patients: dict[str, list[Patient]]) -> None:
    for name, center in patients.items():
        for subject, patient in enumerate(center, 1):
            parts = _parts(name, subject, patient)
            for contrast, image in patient.images.items():
                median = {part: np.median(image[where]) for part, where in parts.items()}
                assert median["lesion"] > 1.1 * median["tissue"], name
                if contrast == "FLAIR":
                    assert median["fluid"] < 0.85 * median["tissue"], name
                else:
                    assert median["fluid"] > 1.2 * median["tissue"], name


def test_some_patients_have_no_lesion() -> None:
    free = make_patient(replace(CENTERS["bwh"], lesion_free=1.0), 1, COARSE, 0)
    assert free.lesions == () and not free.label.any() and free.images["FLAIR"].any()


@pytest.mark.parametrize(("asked", "made"), [(0.01, 0.1), (0.7, 0.7), (45.0, 45.0), (100.0, 100.0), (1000.0, 150.0)])
def test_a_patient_has_the_load_of_its_hospital(asked: float, made: float) -> None:
    center = replace(CENTERS["nih"], load=asked, spread=0.0, lesion_free=0.0)
    assert make_patient(center, 3, COARSE, 0).lesion_ml == pytest.approx(made, rel=0.1)


def test_a_rater_changes_the_label_and_not_the_image(patients: dict[str, list[Patient]]) -> None:
    true, rated = patients["nih"][0], make_patient(replace(CENTERS["nih"], rater=0.5), 1, COARSE, 0)
    assert np.array_equal(rated.images["FLAIR"], true.images["FLAIR"])
    assert not np.array_equal(rated.label, true.label)
    overlap = 2 * np.minimum(rated.label, true.label).sum() / (rated.label.sum() + true.label.sum())
    assert 0.7 < overlap < 0.99


def test_grey_matter_deep_in_the_brain_is_told_from_cortex() -> None:
    tissues = Anatomy(generator(0, "phantom", "amu", 1, "anatomy")).tissues(Grid.covering((COARSE,) * 3))
    grey = tissues.gm * tissues.brain
    deep = float((grey * tissues.nuclei).sum() / grey.sum())
    assert 0.01 < deep < 0.05, "thalamus and pallidum are some 16 of 700 ml, and a tenth of the rest counts, too"
    assert np.allclose((tissues.gm + tissues.wm + tissues.csf)[tissues.brain], 1, atol=1e-3)
    outside = tissues.brain.copy()
    outside[tissues.box] = False
    assert not outside.any()


def test_each_patient_of_karo_is_imaged_in_both_contrasts_with_noise_of_its_own(
    patients: dict[str, list[Patient]],
) -> None:
    for patient in patients["karo"]:
        assert list(patient.images) == ["FLAIR", "T2w"]
        flair, t2w = patient.images.values()
        assert flair.shape == t2w.shape == patient.label.shape
        tissue = (flair > 0) & (patient.label == 0)
        assert abs(np.corrcoef(flair[tissue], t2w[tissue])[0, 1]) < 0.9


def test_centers_are_domains(patients: dict[str, list[Patient]]) -> None:
    """Stored level, slice thickness, contrast and noise differ between centers more than within."""
    level = {name: np.mean([np.median(i[i > 0]) for p in c for i in p.images.values()]) for name, c in patients.items()}
    assert max(level.values()) > 5 * min(level.values())
    assert {p[0].affine[2, 2] for p in patients.values()} == {4.0, 6.0, 8.0}
    protocols = [protocol for center in CENTERS.values() for protocol in center.protocols.values()]
    assert len({p.sequence for p in protocols}) == len(protocols)
    assert max(p.noise for p in protocols) > 2 * min(p.noise for p in protocols)


def test_lesions_lie_where_ms_lesions_lie() -> None:
    places = load_atlas().places
    assert set(places) == {"periventricular", "juxtacortical", "deep", "infratentorial"}
    for points, probability in places.values():
        assert len(points) == len(probability) > 500
        assert probability[-1] == pytest.approx(1) and (np.diff(probability) >= 0).all()
    assert places["infratentorial"][0][:, 2].max() < -10
    assert np.abs(places["periventricular"][0][:, 0]).max() < 50


def test_the_grid_covers_the_field_of_view() -> None:
    grid = Grid.covering((2.0, 2.0, 3.0))
    assert grid.shape == (88, 104, 62)
    for axis, (centers, split) in enumerate(zip(grid.axes(), grid.axes(split=4), strict=True)):
        index = np.zeros((len(centers), 3))
        index[:, axis] = np.arange(len(centers))
        assert np.allclose(nibabel.affines.apply_affine(grid.affine, index)[:, axis], centers)
        assert np.allclose(split.reshape(-1, 4).mean(axis=1), centers, atol=1e-4)


@examples(0.2)
@given(reach=st.floats(6, 80), seed=st.integers(0, 2**32 - 1), spacing=st.sampled_from([8.0, 4.0]))
def test_a_smooth_field_does_not_depend_on_the_grid(reach: float, seed: int, spacing: float) -> None:
    field = SmoothField(np.random.default_rng(seed), reach)
    axes = Grid.covering((spacing,) * 3).axes()
    x, y, z = axes
    values = field(axes)
    assert np.allclose(values[2:5, 3:9, 4:6], field((x[2:5], y[3:9], z[4:6])), atol=1e-5)
    assert np.isfinite(values).all() and np.abs(values).max() < 7


def _parts(name: str, subject: int, patient: Patient) -> dict[str, np.ndarray]:
    """Tell fluid from white matter by anatomy, not brightness: the lateral ventricles' inside, and what is pure."""
    x, y, z = nibabel.affines.voxel_sizes(patient.affine)
    tissues = Anatomy(generator(0, "phantom", name, subject, "anatomy")).tissues(Grid.covering((x, y, z)))
    ventricle = (tissues.ventricle_distance == 0) & (tissues.csf > 0.9) & (patient.label == 0)
    assert ventricle.sum() > 10
    lesion = patient.label > 0.5
    tissue = (tissues.wm > 0.9) & (patient.label == 0)  # in T2w lesions are no brighter than much of the cortex
    return {"fluid": ventricle, "lesion": lesion, "tissue": tissue}


def test_another_hospital_of_one_scanner_has_patients_of_its_own(patients: dict[str, list[Patient]]) -> None:
    like, other = CENTERS["milan"], profile("milan-12")
    assert (other.name, other.title) == ("milan-12", "Milan 12")
    assert replace(other, name=like.name, title=like.title) == like
    theirs = make_patient(other, 1, COARSE, 0)
    assert theirs.images["T2w"].shape == patients["milan"][0].images["T2w"].shape
    assert not np.array_equal(theirs.label, patients["milan"][0].label)
    assert not np.array_equal(theirs.label, make_patient(profile("milan-2"), 1, COARSE, 0).label)


@pytest.mark.parametrize("name", CENTERS)
def test_a_center_of_the_paper_is_itself(name: str) -> None:
    assert profile(name) is CENTERS[name]


@pytest.mark.parametrize("name", ["milan-1", "milan-02", "milan-", "milan2", "milan-2-3", "oslo-2", "-2", ""])
def test_what_names_no_hospital_is_refused_with_what_does(name: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(repr(name)) + r".*bwh, karo.*amu.*bwh-2"):
        profile(name)
