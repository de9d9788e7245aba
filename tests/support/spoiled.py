"""Cases whose files are spoiled in one way each, and what is to be said of them; `oddities.py` has more."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from client.data.inventory import Case
from client.data.lesions import LESION
from tests.client.data.test_skull_stripping import FLAIR, head
from tests.support.datasets import grid, patient, write_image

SHAPE, AFFINE = grid((3.0, 3.0, 3.0))
IMAGE, LABEL = patient(SHAPE, AFFINE)

Spoil = Callable[[Case], object]


@dataclass(frozen=True)
class Refused:
    """A case that nobody uses, by which problem of which file."""

    spoil: Spoil
    code: str
    part: str
    lesion_value: float | None = None


@dataclass(frozen=True)
class Accepted:
    """A case that all use, with which warnings."""

    spoil: Spoil
    codes: tuple[str, ...] = ()
    lesion_value: float | None = None
    ml: float | None = None
    """Of lesion; None: that of the good label where nothing else is said."""


def image(array: NDArray, affine: NDArray = AFFINE) -> Spoil:
    """Another image, with the good label where that fits."""
    return lambda case: write_image(case.image, array, affine)


def label(array: NDArray, affine: NDArray = AFFINE) -> Spoil:
    """Another label of the good image."""
    return lambda case: write_image(case.label, array, affine)


def both(picture: NDArray, mask: NDArray, affine: NDArray) -> Spoil:
    """Another image with another label."""
    return lambda case: (write_image(case.image, picture, affine), write_image(case.label, mask, affine))


def damaged(change: Callable[[bytes], bytes], part: str = "image") -> Spoil:
    """A file of which the bytes are changed."""
    return lambda case: getattr(case, part).write_bytes(change(getattr(case, part).read_bytes()))


def header(place: int, value: bytes) -> Spoil:
    """An image of which some bytes of the header are changed."""

    def change(content: bytes) -> bytes:
        raw = gzip.decompress(content)
        return gzip.compress(raw[:place] + value + raw[place + len(value) :])

    return damaged(change)


def linked(target: str) -> Spoil:
    """An image that is a link."""
    return lambda case: (case.image.unlink(), case.image.symlink_to(target))


def in_image(value: float) -> NDArray:
    """The image with another value in one voxel."""
    changed = IMAGE.copy()
    changed[5, 5, 5] = value
    return changed


def affine(**entries: float) -> NDArray:
    """The affine with other entries."""
    changed = AFFINE.copy()
    for place, value in entries.items():
        changed[int(place[1]), int(place[2])] = value
    return changed


def whole_head() -> Spoil:
    """A head with its skull, and a lesion in it."""
    picture, place = head(FLAIR, (3.0, 3.0, 3.0), False)
    mask = np.zeros(picture.shape, np.float32)
    middle = tuple(edge // 2 for edge in picture.shape)
    mask[middle] = 1
    return both(picture, mask, place)


def mgz(path: Path) -> None:
    """Write FreeSurfer's format in place of NIfTI."""
    other = path.with_suffix(".mgz")
    nibabel.save(nibabel.MGHImage(IMAGE, AFFINE), other)
    other.replace(path)


THICK_SHAPE, THICK = grid((3.0, 3.0, 6.0))

REFUSED: dict[str, Refused] = {
    "missing": Refused(lambda case: case.image.unlink(), "missing", "image"),
    "empty file": Refused(damaged(lambda raw: b""), "empty-file", "image"),
    "not compressed": Refused(damaged(gzip.decompress), "not-gzip", "image"),
    "ends early": Refused(damaged(lambda raw: raw[: len(raw) // 2]), "truncated", "image"),
    "without its checksum": Refused(damaged(lambda raw: raw[:-4]), "truncated", "image"),
    "wrong checksum": Refused(damaged(lambda raw: raw[:-8] + bytes(8)), "garbled", "image"),
    "voxels missing": Refused(damaged(lambda raw: gzip.compress(gzip.decompress(raw)[:-9])), "truncated", "image"),
    "text": Refused(damaged(lambda raw: gzip.compress(b"a dog ate it")), "not-nifti", "image"),
    "another format": Refused(lambda case: mgz(case.image), "not-nifti", "image"),
    "dangling link": Refused(linked("../.git/annex/objects/x"), "dangling-link", "image"),
    "link loop": Refused(linked("sub-1_FLAIR.nii.gz"), "link-loop", "image"),
    "folder": Refused(lambda case: (case.image.unlink(), case.image.mkdir()), "unreadable", "image"),
    "complex": Refused(image(IMAGE.astype(np.complex64)), "dtype", "image"),
    "colour": Refused(image(np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])), "dtype", "image"),
    "4D": Refused(image(np.stack([IMAGE, IMAGE], -1)), "not-3d", "image"),
    "one slice": Refused(image(IMAGE[..., :1]), "thin", "image"),
    "no voxel": Refused(image(IMAGE[:0]), "zero-size", "image"),
    "2^44 voxels": Refused(header(42, (30000).to_bytes(2, "little") * 3), "too-large", "image"),
    "no affine": Refused(header(252, bytes(4)), "affine-missing", "image"),
    "NaN in the affine": Refused(header(280, np.float32("nan").tobytes()), "affine-not-finite", "image"),
    "singular affine": Refused(image(IMAGE, affine(_22=0)), "affine-singular", "image"),
    "metres": Refused(both(IMAGE, LABEL, AFFINE * 1e-3), "spacing", "image"),
    "micrometres": Refused(both(IMAGE, LABEL, AFFINE * 1e3), "spacing", "image"),
    "NaN": Refused(image(in_image(np.nan)), "not-finite", "image"),
    "infinity": Refused(image(in_image(np.inf)), "not-finite", "image"),
    "zeros": Refused(image(IMAGE * 0), "air", "image"),
    "one value": Refused(image(IMAGE * 0 + 7), "constant", "image"),
    "huge values": Refused(image(IMAGE * np.float32(1e18)), "intensity", "image"),
    "tiny values": Refused(image(IMAGE * np.float32(1e-9)), "intensity", "image"),
    "label missing": Refused(lambda case: case.label.unlink(), "missing", "label"),
    "label ends early": Refused(damaged(lambda raw: raw[:-4], "label"), "truncated", "label"),
    "label 4D": Refused(label(np.stack([LABEL, LABEL], -1)), "not-3d", "label"),
    "label with NaN": Refused(label(np.where(LABEL > 0, LABEL, np.nan)), "not-finite", "label"),
    "label to 255": Refused(label(LABEL * 255), "out-of-range", "label"),
    "label of several classes": Refused(label(np.rint(LABEL * 3)), "out-of-range", "label"),
    "label of another shape": Refused(label(LABEL[:-1]), "off-grid", "label"),
    "label elsewhere": Refused(label(LABEL, affine(_03=AFFINE[0, 3] + 2)), "off-grid", "label"),
    "label of zeros": Refused(label(LABEL * 0), "empty", "label"),
    "label up to 0.3": Refused(label(LABEL * np.float32(0.3)), "empty", "label"),
    "label just below a half": Refused(
        label(LABEL * np.nextafter(np.float32(LESION), np.float32(0))), "empty", "label"
    ),
}

ACCEPTED: dict[str, Accepted] = {
    "as it should be": Accepted(lambda case: None, ()),
    "label of a half": Accepted(label(LABEL * np.float32(LESION)), ()),
    "label overshoots a little": Accepted(label(LABEL * np.float32(1.0009)), ()),
    "header rounded": Accepted(label(LABEL, AFFINE + 1e-4), ()),
    "thick slices": Accepted(both(*patient(THICK_SHAPE, THICK), THICK), ("thick-slices",)),
    "skull": Accepted(whole_head(), ("whole-head",)),
    "lesions in air": Accepted(label(np.roll(LABEL, 8, 0)), ("lesion-in-air",)),
    "label of the head": Accepted(label((IMAGE > 0).astype(np.float32)), ("much-lesion",)),
}
