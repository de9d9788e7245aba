"""The cache of prepared volumes: prepared once, whole or not at all, anew for a changed file."""

import gzip
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.data.inventory import Case
from client.data.preprocessing import prepare
from client.data.volume_cache import judge, open_volume
from shared.errors import DataError
from tests.support.datasets import grid, patient, write_case, write_image

SHAPE, AFFINE = grid((4.0, 4.0, 4.0))


def kept(cache: Path) -> dict[Path, int]:
    """Each file of the cache and when it was written."""
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}


@pytest.fixture
def small(tmp_path: Path) -> Case:
    """A case that is prepared in no time."""
    return write_case(tmp_path / "data", *patient(SHAPE, AFFINE), AFFINE)


def test_a_kept_volume_is_the_prepared_one(tmp_path: Path, small: Case) -> None:
    fresh, opened = prepare(small, 4.0), open_volume(small, 4.0, tmp_path / "cache")
    for part in ("image", "label", "truth", "affine", "own_affine"):
        np.testing.assert_array_equal(getattr(opened, part), getattr(fresh, part))
        assert getattr(opened, part).dtype == getattr(fresh, part).dtype
    assert opened.air == fresh.air
    assert isinstance(opened.image, np.memmap)


def test_a_volume_is_prepared_once(tmp_path: Path, small: Case) -> None:
    first = open_volume(small, 4.0, tmp_path / "cache")
    written = kept(tmp_path / "cache")
    content, when = small.image.read_bytes(), small.image.stat().st_mtime_ns
    # Unreadable now, but of the same size and time: whoever reads the cache alone does not notice.
    small.image.write_bytes(bytes(len(content)))
    os.utime(small.image, ns=(when, when))
    again = open_volume(small, 4.0, tmp_path / "cache")
    np.testing.assert_array_equal(first.image, again.image)
    assert kept(tmp_path / "cache") == written


def test_nothing_but_the_volume_is_left_in_the_cache(tmp_path: Path, small: Case) -> None:
    open_volume(small, 4.0, tmp_path / "cache")
    (folder,) = (tmp_path / "cache" / "volumes").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "image.npy",
        "label.npy",
        "truth.npy",
        "grid.json",
        "verdict.json",
    }
    assert "sub-01" not in str(folder) + "".join((folder / f"{name}.json").read_text() for name in ("grid", "verdict"))


@pytest.mark.parametrize("which", ["image", "label"])
def test_a_changed_file_is_prepared_anew(tmp_path: Path, small: Case, which: str) -> None:
    before = np.array(open_volume(small, 4.0, tmp_path / "cache").label)
    image, label = patient(SHAPE, AFFINE)
    write_image(getattr(small, which), image[::-1] if which == "image" else label * 0, AFFINE)
    os.utime(getattr(small, which), ns=(1, 1))
    after = open_volume(small, 4.0, tmp_path / "cache", allow_empty=True)
    assert len(list((tmp_path / "cache" / "volumes").iterdir())) == 2
    assert which == "image" or (before.any() and not after.label.any())


def test_another_spacing_is_another_volume(tmp_path: Path, small: Case) -> None:
    coarse, fine = (open_volume(small, spacing, tmp_path / "cache") for spacing in (6.0, 4.0))
    assert coarse.image.shape < fine.image.shape
    assert open_volume(small, 6.0, tmp_path / "cache").image.shape == coarse.image.shape


def test_a_half_written_volume_is_replaced(tmp_path: Path, small: Case) -> None:
    open_volume(small, 4.0, tmp_path / "cache")
    (folder,) = (tmp_path / "cache" / "volumes").iterdir()
    (folder / "grid.json").unlink()
    (folder / "image.npy").write_bytes(b"half")
    again = open_volume(small, 4.0, tmp_path / "cache")
    np.testing.assert_array_equal(again.image, prepare(small, 4.0).image)
    assert json.loads((folder / "grid.json").read_text())["air"] == again.air


def test_several_readers_at_once_all_get_the_volume(tmp_path: Path, small: Case) -> None:
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: np.array(open_volume(small, 4.0, tmp_path / "cache").image), range(6)))
    assert all(np.array_equal(image, opened[0]) for image in opened)


def test_warnings_are_kept_with_the_volume(tmp_path: Path) -> None:
    shape, affine = grid((4.0, 4.0, 6.0))
    case = write_case(tmp_path / "data", *patient(shape, affine), affine)
    (finding,) = open_volume(case, 4.0, tmp_path / "cache").warnings
    assert finding.code == "thick-slices"
    assert open_volume(case, 4.0, tmp_path / "cache").warnings == prepare(case, 4.0).warnings == (finding,)


def test_one_kept_volume_serves_runs_that_let_empty_labels_in_and_runs_that_do_not(tmp_path: Path) -> None:
    image, label = patient(SHAPE, AFFINE)
    case = write_case(tmp_path / "data", image, label * np.float32(0.3), AFFINE)
    for _ in range(2):
        assert open_volume(case, 4.0, tmp_path / "cache", allow_empty=True).label.any()
        with pytest.raises(DataError, match=r"marks no lesion \(it reaches only 0.3, and 0.5 is lesion\)") as caught:
            open_volume(case, 4.0, tmp_path / "cache")
        assert caught.value.public == "has a label that marks no lesion"


def test_another_lesion_value_is_another_volume(tmp_path: Path) -> None:
    image, label = patient(SHAPE, AFFINE)
    classes = np.rint(label)
    classes[2:4, 6, 6] = 2
    case = write_case(tmp_path / "data", image, classes, AFFINE)
    for value in (1, 2, 1):
        truth = open_volume(replace(case, lesion_value=value), 4.0, tmp_path / "cache").truth
        np.testing.assert_array_equal(truth == 255, classes == value)
    with pytest.raises(DataError, match="name the value that means lesion"):
        open_volume(case, 4.0, tmp_path / "cache")


def test_a_label_without_lesion_is_judged_once_and_by_its_file(tmp_path: Path) -> None:
    """Not again by the steps of 1/255 in the cache, nor by the values of a label of several structures."""
    image, label = patient(SHAPE, AFFINE)
    case = replace(write_case(tmp_path / "data", image, np.rint(label), AFFINE), lesion_value=4)
    said = []
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            open_volume(case, 4.0, tmp_path / "cache")
        said.append(str(caught.value))
    assert said[0] == said[1] and "no voxel is 4; its values are 0, 1 (" in said[0]


@pytest.mark.parametrize("blocked", ["cache", "cache/volumes"])
def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, small: Case, blocked: str) -> None:
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"cache folder .*volumes cannot be written .*cache-dir"):
        open_volume(small, 4.0, tmp_path / "cache")


@pytest.mark.parametrize("broken", ["image", "label"])
def test_a_file_that_cannot_be_used_is_read_once_too(tmp_path: Path, small: Case, broken: str) -> None:
    path: Path = getattr(small, broken)
    path.write_bytes(b"neither gzip nor NIfTI")
    refused = judge(small, 4.0, tmp_path / "cache").refused
    assert refused is not None and refused.part == broken
    written = kept(tmp_path / "cache")
    assert written, "the verdict is kept"
    for _ in range(2):
        assert judge(small, 4.0, tmp_path / "cache").refused == refused
        with pytest.raises(DataError, match=rf"{path} {re.escape(refused.text)}: {re.escape(refused.mend)}"):
            open_volume(small, 4.0, tmp_path / "cache")
    assert kept(tmp_path / "cache") == written


def test_a_verdict_is_that_of_the_files_as_they_are(tmp_path: Path, small: Case) -> None:
    good = small.image.read_bytes()
    assert judge(small, 4.0, tmp_path / "cache").refused is None
    small.image.write_bytes(b"")
    refused = judge(small, 4.0, tmp_path / "cache").refused
    assert refused is not None and refused.code == "empty-file"
    small.image.unlink()
    refused = judge(small, 4.0, tmp_path / "cache").refused
    assert refused is not None and refused.code == "missing"
    small.image.write_bytes(good)
    assert judge(small, 4.0, tmp_path / "cache").refused is None


def test_the_same_voxels_have_one_fingerprint_however_they_are_compressed(tmp_path: Path) -> None:
    image, label = patient(SHAPE, AFFINE)
    one, other = (write_case(tmp_path / name, image, label, AFFINE) for name in ("one", "other"))
    changed = write_case(tmp_path / "changed", image * np.float32(1.5), label, AFFINE)
    other.image.write_bytes(gzip.compress(gzip.decompress(one.image.read_bytes()), compresslevel=1))
    found = [judge(case, 4.0, tmp_path / "cache").fingerprint for case in (one, other, changed)]
    assert found[0] == found[1] != found[2] and all(found)
