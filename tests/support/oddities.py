"""Oddities of labels, grids, intensities and files as hospitals have them, and what is to be said of each."""

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable
from dataclasses import replace

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

from client.data.inventory import Case
from tests.client.data.test_skull_stripping import FLAIR, T2W, head
from tests.support.datasets import grid, patient, write_image
from tests.support.spoiled import AFFINE, IMAGE, LABEL, SHAPE, Accepted, Refused, Spoil, affine, both, damaged, image
from tests.support.spoiled import label as label_of

VOXEL_ML = 0.027
INSIDE = IMAGE > 0
LESIONS = (LABEL >= 0.5).astype(np.float32)
LESION_ML = float(LESIONS.sum()) * VOXEL_ML
CLASSES = LESIONS.copy()
CLASSES[3:5, 8, 8] = 2
"""Lesions, and two voxels of another pathology, as in the WMH challenge."""

MANY = np.where(INSIDE, np.arange(IMAGE.size).reshape(SHAPE) % 40, 0).astype(np.float32)
"""Forty structures by number."""

ANNEX = b"/annex/objects/SHA256E-s1234--0123456789abcdef.nii.gz\n"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 1234\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n"
DICOM = bytes(128) + b"DICM" + bytes(400)


def label(array: NDArray, place: NDArray = AFFINE) -> Spoil:
    """Another label of the good image."""
    return label_of(array.astype(np.float32), place)


def content(raw: bytes, part: str = "image") -> Spoil:
    """A file that holds something else."""
    return damaged(lambda _: raw, part)


def turned(part: str, axcodes: str) -> Spoil:
    """Image or label stored with other axes; the grid of both is taller than wide, and its head is not symmetric."""

    def make(case: Case) -> None:
        shape, place = TALL
        parts = dict(zip(("image", "label"), patient(shape, place), strict=True))
        for name, array in parts.items():
            stored = nibabel.Nifti1Image(array, place)
            if name == part:
                turn = ornt_transform(io_orientation(place), axcodes2ornt(tuple(axcodes)))
                stored = stored.as_reoriented(turn)
            write_image(getattr(case, name), np.asarray(stored.dataobj), stored.affine)

    return make


TALL = grid((3.0, 2.0, 2.5), tilt=8.0)
TALL_ML = float(patient(*TALL)[1].sum()) * 0.015


def without_affine(array: NDArray) -> Callable[[Case], object]:
    """A label whose header gives neither orientation nor position."""
    return lambda case: nibabel.save(nibabel.Nifti1Image(array, None), case.label)


def z_scored(array: NDArray, inside: NDArray) -> NDArray:
    """Mean 0 and standard deviation 1 over some voxels."""
    scored: NDArray = ((array - array[inside].mean()) / array[inside].std()).astype(np.float32)
    return scored


def padded(array: NDArray, value: float) -> NDArray:
    """The corners of the field of view filled, as after a rotation."""
    changed = array.astype(np.float32).copy()
    index = np.stack(np.meshgrid(*(np.linspace(-1, 1, edge) for edge in array.shape), indexing="ij"))
    changed[(index**2).sum(axis=0) > 1.6] = value
    changed[[0, -1]] = changed[:, [0, -1]] = changed[:, :, [0, -1]] = value
    return changed


def spiked(count: int, value: float, array: NDArray = IMAGE) -> NDArray:
    """The image with some voxels of one value, spread over head and air."""
    changed = array.astype(np.float32).copy()
    changed.flat[np.random.default_rng(1).permutation(array.size)[:count]] = value
    return changed


def whole_or_stripped(change: Callable[[NDArray], NDArray], stripped: bool, tissue: dict[str, float] = FLAIR) -> Spoil:
    """A head of a real one's size, with a lesion in its middle."""
    picture, place = head(tissue, (3.0, 3.0, 3.0), stripped)
    mask = np.zeros(picture.shape, np.float32)
    mask[tuple(edge // 2 for edge in picture.shape)] = 1
    return both(change(picture).astype(np.float32), mask, place)


def in_mask(picture: NDArray) -> NDArray:
    """z-scored over the brain, with exactly 0 around."""
    return np.where(picture > 0, z_scored(picture, picture > 0), 0)


REFUSED: dict[str, Refused] = {
    # Values of labels
    "WMH's other pathology": Refused(label(CLASSES), "out-of-range", "label"),
    "only other pathology": Refused(label(LESIONS * 2), "out-of-range", "label"),
    "mask of a picture": Refused(label(LESIONS * 255), "out-of-range", "label"),
    "minus one and one": Refused(label(LESIONS * 2 - 1), "out-of-range", "label"),
    "minus one": Refused(label(-LESIONS), "out-of-range", "label"),
    "whole percent": Refused(label(np.rint(LABEL * 100)), "out-of-range", "label"),
    "soft percent": Refused(label(LABEL * 100), "out-of-range", "label"),
    "eight bits": Refused(label(np.rint(LABEL * 255)), "out-of-range", "label"),
    "structures by number": Refused(label(MANY), "out-of-range", "label"),
    "interpolated classes": Refused(label((CLASSES + np.roll(CLASSES, 1, 0)) / 2), "out-of-range", "label"),
    "a hundredth above one": Refused(label(LABEL * 1.01), "out-of-range", "label"),
    "a lesion value that is not there": Refused(label(CLASSES), "empty", "label", lesion_value=3),
    "255 meant and 1 there": Refused(label(LESIONS), "empty", "label", lesion_value=255),
    "NaN and a lesion value": Refused(label(np.where(INSIDE, CLASSES, np.nan)), "not-finite", "label", lesion_value=1),
    # Grids
    "label of the image's shape at the origin": Refused(label(LABEL, np.eye(4)), "off-grid", "label"),
    "label without affine": Refused(without_affine(LABEL), "affine-missing", "label"),
    "label in metres": Refused(label(LABEL, AFFINE * 1e-3), "spacing", "label"),
    "label of a mirrored header": Refused(label(LABEL, AFFINE @ np.diag([-1, 1, 1, 1])), "off-grid", "label"),
    "label off by a ninth of a voxel": Refused(label(LABEL, affine(_13=AFFINE[1, 3] + 0.33)), "off-grid", "label"),
    "label of longer voxels": Refused(label(LABEL, affine(_00=3.03)), "off-grid", "label"),
    "label turned by 3 degrees": Refused(
        label(LABEL, AFFINE @ affine(_00=1, _11=1, _22=1, _01=-0.05, _10=0.05, _03=0, _13=0, _23=0)),
        "off-grid",
        "label",
    ),
    "label of swapped axes and the image's header": Refused(
        both(patient(*TALL)[0], patient(*TALL)[1].transpose(2, 1, 0), TALL[1]), "off-grid", "label"
    ),
    "label of vectors": Refused(label(np.stack([LABEL] * 3, -1)[:, :, :, None]), "not-3d", "label"),
    "a slice for each time": Refused(image(IMAGE[:, :, None]), "not-3d", "image"),
    "one slice, 4D": Refused(image(IMAGE[:, :, :1, None]), "thin", "image"),
    # Intensities
    "air of NaN": Refused(image(np.where(INSIDE, IMAGE, np.nan)), "not-finite", "image"),
    "one negative value": Refused(image(IMAGE * 0 - 1024), "constant", "image"),
    "an offset that leaves no levels": Refused(image(IMAGE + np.float32(1e9)), "intensity", "image"),
    # Files
    "pointer of git-annex": Refused(content(ANNEX), "annex-pointer", "image"),
    "git-annex's link as text": Refused(content(b"../../.git/annex/objects/1a/2b/K/K"), "annex-pointer", "image"),
    "pointer of git LFS": Refused(content(LFS), "lfs-pointer", "image"),
    "error page": Refused(content(PAGE), "not-nifti", "image"),
    "compressed error page": Refused(content(gzip.compress(PAGE)), "not-nifti", "image"),
    "error in XML": Refused(content(b'<?xml version="1.0"?><Error>AccessDenied</Error>'), "not-nifti", "image"),
    "ZIP archive": Refused(content(b"PK\x03\x04" + bytes(99)), "not-nifti", "image"),
    "DICOM": Refused(content(DICOM), "not-nifti", "image"),
    "compressed DICOM": Refused(content(gzip.compress(DICOM)), "not-nifti", "image"),
    "compressed nothing": Refused(content(gzip.compress(b"")), "not-nifti", "image"),
    "compressed twice": Refused(damaged(gzip.compress), "not-nifti", "image"),
    "bzip2": Refused(content(bz2.compress(bytes(999))), "not-nifti", "image"),
    "xz": Refused(content(lzma.compress(bytes(999))), "not-nifti", "image"),
    "NRRD": Refused(content(b"NRRD0004\ntype: short\n"), "not-nifti", "image"),
    "MetaImage": Refused(content(b"ObjectType = Image\nNDims = 3\n"), "not-nifti", "image"),
    "PNG": Refused(content(b"\x89PNG\r\n\x1a\n" + bytes(99)), "not-nifti", "image"),
    "header of a pair": Refused(
        content(gzip.compress(struct.pack("<i", 348) + bytes(340) + b"ni1\0" + bytes(4))), "not-nifti", "image"
    ),
    "label's pointer of git-annex": Refused(content(ANNEX, "label"), "annex-pointer", "label"),
    "label's pointer of git LFS": Refused(content(LFS, "label"), "lfs-pointer", "label"),
    "label's error page": Refused(content(PAGE, "label"), "not-nifti", "label"),
}

ACCEPTED: dict[str, Accepted] = {
    # Values of labels
    "WMH's lesions by name": Accepted(label(CLASSES), lesion_value=1, ml=LESION_ML),
    "WMH's other pathology by name": Accepted(label(CLASSES), lesion_value=2, ml=2 * VOXEL_ML),
    "a picture's mask by name": Accepted(label(LESIONS * 255), lesion_value=255, ml=LESION_ML),
    "minus one and one by name": Accepted(label(LESIONS * 2 - 1), lesion_value=1, ml=LESION_ML),
    "one structure of many": Accepted(label(MANY), lesion_value=7, ml=float((MANY == 7).sum()) * VOXEL_ML),
    "a name that changes nothing": Accepted(label(LESIONS), lesion_value=1, ml=LESION_ML),
    "classes stored as fractions": Accepted(label(CLASSES * 1.0004), lesion_value=1, ml=LESION_ML),
    "soft label, and a name": Accepted(
        label(LABEL), ("fractions",), lesion_value=1, ml=float((LABEL == 1).sum()) * VOXEL_ML
    ),
    # Grids
    "label mirrored": Accepted(turned("label", "LAS"), ("reoriented",), ml=TALL_ML),
    "label of swapped axes": Accepted(turned("label", "PSR"), ("reoriented",), ml=TALL_ML),
    "image mirrored": Accepted(turned("image", "LPS"), ("reoriented",), ml=TALL_ML),
    "image of swapped axes": Accepted(turned("image", "SLA"), ("reoriented",), ml=TALL_ML),
    "origin rounded": Accepted(label(LABEL, affine(_03=AFFINE[0, 3] + 0.012))),
    "off by a twelfth of a voxel": Accepted(label(LABEL, affine(_13=AFFINE[1, 3] + 0.25))),
    "image of one volume, 4D": Accepted(image(IMAGE[..., None])),
    "label of one volume, 5D": Accepted(label(LABEL[..., None, None])),
    "3.0000012 mm": Accepted(both(IMAGE, LABEL, affine(_22=3.0000012)), ml=float(LABEL.sum()) * VOXEL_ML),
    # Intensities
    "all negative": Accepted(image(IMAGE - 1000)),
    "a constant less": Accepted(image(IMAGE - 200)),
    "air of 200": Accepted(image(IMAGE + 200)),
    "z-scored over all": Accepted(image(z_scored(IMAGE, IMAGE > -1))),
    "z-scored in its mask": Accepted(image(in_mask(IMAGE))),
    "z-scored in its mask, air below": Accepted(image(z_scored(IMAGE, INSIDE))),
    "air amid the brain": Accepted(image(np.where(INSIDE, IMAGE, 105))),
    "air above the brain": Accepted(image(np.where(INSIDE, IMAGE - 1000, 0))),
    "air of -32768": Accepted(image(np.where(INSIDE, IMAGE, -32768))),
    "three hot voxels": Accepted(image(spiked(3, 32767)), ("outliers",)),
    "twenty hot voxels": Accepted(image(spiked(20, 65535)), ("outliers",)),
    "three cold voxels": Accepted(image(spiked(3, -32768)), ("outliers",)),
    "hot voxels, z-scored": Accepted(image(spiked(3, 1e6, in_mask(IMAGE))), ("outliers",)),
    "lesions in the air of a z-scored brain": Accepted(
        both(in_mask(IMAGE), np.roll(LABEL, 8, 0), AFFINE), ("lesion-in-air",)
    ),
    "label of a negative head": Accepted(both(IMAGE - 1000, INSIDE.astype(np.float32), AFFINE), ("much-lesion",)),
    "brain less 200": Accepted(whole_or_stripped(lambda one: one - 200, True), ml=VOXEL_ML),
    "brain z-scored in its mask": Accepted(whole_or_stripped(in_mask, True), ml=VOXEL_ML),
    "T2w brain z-scored in its mask": Accepted(whole_or_stripped(in_mask, True, T2W), ml=VOXEL_ML),
    "head less 200": Accepted(whole_or_stripped(lambda one: one - 200, False), ("whole-head",), ml=VOXEL_ML),
    "head z-scored": Accepted(
        whole_or_stripped(lambda one: z_scored(one, one > -1), False), ("whole-head",), ml=VOXEL_ML
    ),
    "head padded with -32768": Accepted(
        whole_or_stripped(lambda one: padded(one, -32768), False), ("whole-head",), ml=VOXEL_ML
    ),
    "z-scored head padded with 0": Accepted(
        whole_or_stripped(lambda one: padded(z_scored(one, one > -1), 0), False), ("whole-head",), ml=VOXEL_ML
    ),
}


def meant(case: Case, odd: Refused | Accepted) -> Case:
    """The case with what its hospital says of its labels."""
    return replace(case, lesion_value=odd.lesion_value)
