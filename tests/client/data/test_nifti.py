"""Reading a file: a good one is as nibabel reads it, and a bad one is named by what happened to it."""

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.nifti import Nifti, read_nifti
from client.data.rules import Finding
from tests.support.datasets import grid, patient, write_image
from tests.support.examples import examples

SHAPE, AFFINE = grid((4.0, 4.0, 4.0))
IMAGE, _ = patient(SHAPE, AFFINE)


def code_of(path: Path) -> str:
    found = read_nifti(path, "image")
    assert isinstance(found, Finding), "it was read"
    assert found.problem and found.text and found.mend
    return found.code


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_a_good_image_is_as_nibabel_reads_it(tmp_path: Path, name: str, dtype: type) -> None:
    path = write_image(tmp_path / name, IMAGE.astype(dtype), AFFINE)
    read = read_nifti(path, "image")
    assert isinstance(read, Nifti) and read.oriented
    np.testing.assert_array_equal(read.array, nibabel.load(path).get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(read.affine, nibabel.load(path).affine)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_scaled_integers_in_either_version_and_byte_order_come_out_as_values(tmp_path: Path, kind: type) -> None:
    header = kind.header_class(endianness=">")
    image = kind(IMAGE, AFFINE, header)
    image.set_data_dtype(np.int16)
    image.header.set_slope_inter(0.01, 3)
    nibabel.save(image, tmp_path / "a.nii.gz")
    read = read_nifti(tmp_path / "a.nii.gz", "image")
    assert isinstance(read, Nifti)
    np.testing.assert_array_equal(read.array, nibabel.load(tmp_path / "a.nii.gz").get_fdata(dtype=np.float32))
    assert read.kind is kind
    assert read.array.min() == 3


def test_a_header_without_orientation_is_told(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(IMAGE, None), tmp_path / "a.nii")
    read = read_nifti(tmp_path / "a.nii", "image")
    assert isinstance(read, Nifti) and not read.oriented


def damage(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def replace_by_link(target: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return make


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (Path.unlink, "missing"),
        (damage(lambda raw: b""), "empty-file"),
        (damage(lambda raw: raw[: len(raw) // 2]), "truncated"),
        (damage(lambda raw: raw[:-4]), "truncated"),
        (damage(lambda raw: raw[:-8] + bytes(8)), "garbled"),
        (damage(lambda raw: raw[:500] + bytes(99) + raw[599:]), "garbled"),
        (damage(gzip.decompress), "not-gzip"),
        (damage(lambda raw: b"a dog ate it"), "garbled"),
        (damage(lambda raw: gzip.compress(b"a dog ate it")), "not-nifti"),
        (damage(lambda raw: gzip.compress(b"")), "not-nifti"),
        (damage(lambda raw: gzip.compress(gzip.decompress(raw)[:-9])), "truncated"),
        (damage(lambda raw: gzip.compress(gzip.decompress(raw)[:200])), "not-nifti"),
        (replace_by_link("a.nii.gz"), "link-loop"),
        (replace_by_link("../.git/annex/objects/x"), "dangling-link"),
        (replace_by_link("."), "unreadable"),
    ],
)
def test_what_happened_to_a_file_is_named(tmp_path: Path, spoil: Callable[[Path], object], code: str) -> None:
    path = write_image(tmp_path / "a.nii.gz", IMAGE, AFFINE)
    spoil(path)
    assert code_of(path) == code


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.nii", IMAGE, AFFINE)
    path.chmod(0)
    assert code_of(path) == "unreadable"


@pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_voxels_that_are_no_plain_numbers_are_named(tmp_path: Path, dtype: object) -> None:
    path = write_image(tmp_path / "a.nii.gz", np.zeros(SHAPE, dtype), AFFINE)
    assert code_of(path) == "dtype"


def test_an_image_without_voxels_and_one_that_promises_too_many_are_named(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.nii", IMAGE, AFFINE)
    raw = bytearray(path.read_bytes())
    for size, code in ((0, "zero-size"), (30_000, "truncated")):
        raw[44:46] = struct.pack("<h", size)
        path.write_bytes(raw)
        assert code_of(path) == code


def test_more_voxels_than_memory_holds_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.nii", IMAGE, AFFINE)
    raw = bytearray(path.read_bytes())
    raw[42:48] = struct.pack("<3h", 30_000, 30_000, 30_000)
    path.write_bytes(raw)
    assert code_of(path) == "too-large"


def test_a_name_in_capitals_is_read_too(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.nii.gz", IMAGE, AFFINE)
    read = read_nifti(path.rename(tmp_path / "A.NII.GZ"), "image")
    assert isinstance(read, Nifti)
    np.testing.assert_array_equal(read.array, IMAGE)


def test_a_compressed_image_that_is_not_named_so_is_read(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.nii.gz", IMAGE, AFFINE)
    read = read_nifti(path.rename(tmp_path / "a.nii"), "image")
    assert isinstance(read, Nifti)
    np.testing.assert_array_equal(read.array, IMAGE)


@pytest.mark.parametrize("axes", [1, 2, 4])
def test_axes_of_length_1_behind_the_third_are_dropped(tmp_path: Path, axes: int) -> None:
    path = write_image(tmp_path / "a.nii", IMAGE.reshape(*SHAPE, *[1] * axes), AFFINE)
    read = read_nifti(path, "image")
    assert isinstance(read, Nifti)
    np.testing.assert_array_equal(read.array, IMAGE)


@pytest.mark.parametrize("shape", [(6, 6, 1, 6), (6, 6, 6, 2), (6, 6, 6, 1, 3), (6, 1, 6)])
def test_other_axes_stay(tmp_path: Path, shape: tuple[int, ...]) -> None:
    read = read_nifti(write_image(tmp_path / "a.nii", np.ones(shape, np.float32), AFFINE), "image")
    assert isinstance(read, Nifti) and read.array.shape == shape


POINTER = "/annex/objects/SHA256E-s99--0123.nii.gz"


@pytest.mark.parametrize(
    ("raw", "code", "said"),
    [
        (POINTER.encode(), "annex-pointer", "git annex get"),
        (f"{POINTER}\n".encode(), "annex-pointer", "git annex get"),
        (b"../../.git/annex/objects/1a/2b/K.nii.gz/K.nii.gz", "annex-pointer", "git annex get"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "lfs-pointer", "git lfs pull"),
        (b"\n  <!DOCTYPE HTML><html></html>", "not-nifti", "is a web page"),
        (b'<?xml version="1.0"?><Error/>', "not-nifti", "is a web page"),
        (b"PK\x03\x04" + bytes(50), "not-nifti", "a ZIP archive"),
        (bytes(128) + b"DICM" + bytes(50), "not-nifti", "a DICOM file"),
        (bytes(257) + b"ustar" + bytes(50), "not-nifti", "a TAR archive"),
        (b"NRRD0005\n", "not-nifti", "an NRRD image"),
        (b"ObjectType = Image\n", "not-nifti", "a MetaImage"),
        (b"\x89HDF\r\n\x1a\n", "not-nifti", "an HDF5 file"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "compressed.nii.gz"])
def test_a_file_of_another_kind_says_what_it_is(tmp_path: Path, raw: bytes, code: str, said: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(raw) if name.startswith("compressed") else raw)
    found = read_nifti(path, "image")
    assert isinstance(found, Finding) and found.code == code and said in str(found)
    assert name in found.mend or code == "not-nifti"


def test_halves_of_a_pair_are_named(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(IMAGE, AFFINE), tmp_path / "pair.img")
    nibabel.save(nibabel.AnalyzeImage(IMAGE, AFFINE), tmp_path / "old.img")
    for name, said in [
        ("pair.hdr", "is the header of a pair of files (.hdr and .img)"),
        ("pair.img", "is the voxels of a pair of files"),
        ("old.hdr", "is an Analyze header (.hdr)"),
        ("old.img", "is the voxels of a pair of files"),
    ]:
        found = read_nifti(tmp_path / name, "image")
        assert isinstance(found, Finding) and found.code == "not-nifti" and said in found.text


@pytest.mark.parametrize("place", [40, 76, 252, 344])
def test_nibabel_s_own_log_is_not_heard(tmp_path: Path, place: int, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_image(tmp_path / "a.nii", IMAGE, AFFINE)
    raw = bytearray(path.read_bytes())
    for value in (0, 5, 200, 255):
        raw[place : place + 4] = bytes([value]) * 4
        path.write_bytes(raw)
        read_nifti(path, "image")
    # The size of voxels negative, which nibabel mends aloud.
    raw = bytearray(write_image(path, IMAGE, AFFINE).read_bytes())
    raw[80:84] = struct.pack("<f", -3)
    path.write_bytes(raw)
    assert isinstance(read_nifti(path, "image"), Nifti)
    assert capfd.readouterr() == ("", "")


@examples(0.6, fixture=True)
@given(st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=12))
def test_no_header_whatsoever_raises(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    path = write_image(tmp_path / "a.nii", np.ones((3, 3, 3), np.int16), AFFINE)
    raw = bytearray(path.read_bytes())
    for place, value in changes:
        raw[place] = value
    path.write_bytes(raw)
    assert isinstance(read_nifti(path, "image"), Nifti | Finding)
