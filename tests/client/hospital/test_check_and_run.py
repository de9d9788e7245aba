"""Whole data sets as hospitals have them: whom the check lets in a run divides, and nobody is left out unnamed."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import pytest

from client.data.inventory import LabelChoice
from client.data.layouts import take_inventory
from client.hospital.center import open_hospital
from client.hospital.config import Data, Site
from client.qc.dataset_check import check_inventory
from scenarios.simulation.sites import simulated_site
from shared.config.settings import Settings
from tests.support.datasets import write_dataset

Spoil = Callable[[Path], object]
"""What becomes of a data set of five subjects, sub-a to sub-e, with FLAIR and T2w each."""

BOTH = ("FLAIR", "T2w")
SUBJECTS = [f"sub-{name}" for name in "abcde"]


def image(folder: Path, subject: str, contrast: str = "FLAIR") -> Path:
    return folder / subject / "anat" / f"{subject}_{contrast}.nii.gz"


def label(folder: Path, subject: str, contrast: str = "FLAIR", pipeline: str = "labels") -> Path:
    return folder / "derivatives" / pipeline / subject / "anat" / f"{subject}_{contrast}_label-lesion_seg.nii.gz"


def second_pipeline(folder: Path) -> None:
    shutil.copytree(folder / "derivatives" / "labels", folder / "derivatives" / "auto")


def listed(folder: Path, names: Callable[[str, str], str], **more: Callable[[str], Any]) -> None:
    """Turn the data set into a Decathlon list, with files named otherwise."""
    entries = []
    for subject in SUBJECTS:
        for contrast in BOTH:
            target = folder / "images" / f"{names(subject.removeprefix('sub-'), contrast)}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            image(folder, subject, contrast).rename(target)
            own = label(folder, subject, contrast)
            moved = folder / "marks" / own.name.replace("sub-", "")
            moved.parent.mkdir(exist_ok=True)
            own.rename(moved)
            entry = {"image": str(target.relative_to(folder)), "label": str(moved.relative_to(folder))}
            entries.append(entry | {key: value(subject) for key, value in more.items()})
        shutil.rmtree(folder / subject)
    shutil.rmtree(folder / "derivatives")
    (folder / "datalist.json").write_text(json.dumps({"training": entries}))


def changed_list(change: Callable[[list[dict[str, Any]]], object]) -> Spoil:
    """A list of which the entries are changed."""

    def spoil(folder: Path) -> None:
        listed(folder, "{}_{}".format)
        content = json.loads((folder / "datalist.json").read_text())
        change(content["training"])
        (folder / "datalist.json").write_text(json.dumps(content))

    return spoil


def other_form(folder: Path) -> None:
    """One label stored with other axes, of the same grid."""
    stored = nibabel.load(label(folder, "sub-a"))
    turned = stored.as_reoriented(nibabel.orientations.axcodes2ornt(tuple("LPS")))
    nibabel.save(turned, label(folder, "sub-a"))


def same_voxels(folder: Path) -> None:
    voxels = gzip.decompress(image(folder, "sub-a").read_bytes())
    image(folder, "sub-b").write_bytes(gzip.compress(voxels, compresslevel=1))


def unlinked(*paths: Callable[[Path], Path]) -> Spoil:
    return lambda folder: [path(folder).unlink() for path in paths]


def renamed(name: str) -> Spoil:
    """An image by another name."""
    return lambda folder: image(folder, "sub-a").rename(image(folder, "sub-a").with_name(name))


TECHNIQUE = {"FLAIR": "3DFLAIR", "T2w": "T2_TSE"}

DATA_SETS: dict[str, tuple[Spoil, int, int]] = {
    # What becomes of it, images that can be used, and subjects of whom they are.
    "as it should be": (lambda folder: None, 10, 5),
    "a label missing": (unlinked(lambda f: label(f, "sub-a")), 9, 5),
    "both labels missing": (unlinked(lambda f: label(f, "sub-a"), lambda f: label(f, "sub-a", "T2w")), 8, 4),
    "an image missing": (unlinked(lambda f: image(f, "sub-a")), 9, 5),
    "a folder without images": (lambda f: shutil.rmtree(f / "sub-a" / "anat"), 8, 4),
    "an empty file": (lambda f: image(f, "sub-a").write_bytes(b""), 9, 5),
    "no gzip": (lambda f: label(f, "sub-a").write_bytes(b"no gzip at all"), 9, 5),
    "two pipelines": (second_pipeline, 0, 0),
    "two endings": (
        lambda f: shutil.copy(label(f, "sub-a"), label(f, "sub-a").with_name("sub-a_FLAIR_desc-lesion_mask.nii.gz")),
        9,
        5,
    ),
    "one image under two subjects": (same_voxels, 7, 4),  # both contrasts of sub-a show it
    "another form of one label": (other_form, 10, 5),
    "suffix in capitals": (renamed("sub-a_FLAIR.NII.GZ"), 10, 5),
    "another format": (renamed("sub-a_FLAIR.mha"), 9, 5),
    "a label of another format": (lambda f: label(f, "sub-a").rename(label(f, "sub-a").with_suffix(".nrrd")), 9, 5),
    "a list by hyphens": (lambda f: listed(f, lambda n, c: f"P{ord(n)}-{c}"), 10, 5),
    "a list by spaces": (lambda f: listed(f, "Patient {} {}".format), 10, 5),
    "a list with technique": (lambda f: listed(f, lambda n, c: f"{n}x_{TECHNIQUE[c]}"), 10, 5),
    "a list of visits": (lambda f: listed(f, lambda n, c: f"{n}z_V{1 + (c == 'T2w')}_{c}"), 10, 5),
    "a list that names subjects": (
        lambda f: listed(f, lambda n, c: f"x{ord(n)}{c}", subject=lambda subject: f"patient {subject}"),
        10,
        5,
    ),
    "a list with an unknown contrast": (
        changed_list(lambda entries: entries[0].update(image="images/nothing.nii.gz")),
        9,
        5,
    ),
    "a list of two raters": (
        changed_list(lambda entries: entries[0].update(label=[entries[0]["label"], entries[1]["label"]])),
        9,
        5,
    ),
    "a list with a label as a list of one": (
        changed_list(lambda entries: entries[0].update(label=[entries[0]["label"]])),
        10,
        5,
    ),
    "a list that shares a label": (
        changed_list(lambda entries: entries[2].update(label=entries[0]["label"])),
        8,  # kinds of image: the two subjects are one, with two of each contrast
        4,
    ),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", SUBJECTS, BOTH, voxel=6.0)


def site_of(folder: Path, settings: Settings, **choice: Any) -> Site:
    return replace(simulated_site("amu", settings), data=Data(folder=folder, **choice))


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_run_divides_whom_the_check_lets_in_and_names_all_others(
    data: Path, tmp_path: Path, run_config: dict[str, Any], name: str
) -> None:
    spoil, images, subjects = DATA_SETS[name]
    spoil(data)
    settings = Settings.from_run_config(
        run_config | {"data-dir": str(data.parent), "cache-dir": str(tmp_path / "cache"), "spacing": 6.0}
    )
    checked = check_inventory(take_inventory(data, BOTH))
    good = {(one.subject, one.contrast) for one in checked.checked if one.ok}
    assert (len(good), len({subject for subject, _ in good})) == (images, subjects)
    record = checked.to_json()
    entries = [*record["subjects"], *record["passed_over"]]
    assert all({"subject", "image", "label"} <= entry.keys() for entry in entries)
    set_aside = {(one.subject, one.contrast) for one in checked.set_aside}
    set_aside |= {(one.subject, one.contrast) for one in checked.passed_over if one.problem}
    if not images:
        with pytest.raises(Exception, match="has no usable subject of 5"):
            open_hospital(site_of(data, settings), tmp_path / "prepared", settings)
        return
    opened = open_hospital(site_of(data, settings), tmp_path / "prepared", settings)
    divided = {(case.subject, case.contrast) for case in (*opened.training, *opened.test)}
    assert divided == good
    assert {(one.subject, one.contrast) for one in opened.passed_over} == set_aside
    assert not {case.subject for case in opened.training} & {case.subject for case in opened.test}
    assert {case.contrast for case in opened.test} == set(BOTH)


def test_the_choice_of_labels_mends_what_two_pipelines_leave_open(
    data: Path, tmp_path: Path, run_config: dict[str, Any]
) -> None:
    second_pipeline(data)
    settings = Settings.from_run_config(
        run_config | {"data-dir": str(data.parent), "cache-dir": str(tmp_path / "cache"), "spacing": 6.0}
    )
    opened = open_hospital(site_of(data, settings, labels="auto"), tmp_path / "prepared", settings)
    cases = (*opened.training, *opened.test)
    assert len(cases) == 10 and all("auto" in case.label.parts for case in cases)
    (name,) = {case.label.parts[-4] for case in take_inventory(data, BOTH, None, LabelChoice("labels")).cases}
    assert name == "labels"
