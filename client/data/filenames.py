"""What a file's name tells: its contrast, and whose it is.

BIDS says both in fixed places. Decathlon and nnU-Net say neither, so that they are read from names as
sites give them; what cannot be told is left to whoever asked, never guessed.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePath

SUFFIXES = (".nii.gz", ".nii")

CONTRASTS = ("FLAIR", "T2w")
"""The contrasts in which MS lesions are segmented here."""

_T2W = re.compile(r"(?<![a-z0-9])t2(-?w(eighted)?|-?tse|-?fse)?(?![a-z0-9*])")
_OTHER = re.compile(r"(?<![a-z0-9])(t1|pd|dwi|adc|swi|t2s|t2star|t2\*)")

_NOT_WHO = re.compile(
    r"(ses(sion)?|visit|tp|time(point)?|run|acq|rec|echo)(-[a-z0-9]+|\d*)|baseline|follow-?up\d*"
    r"|(19|20)\d\d-?(0[1-9]|1[0-2])-?([0-2]\d|3[01])"
    r"|3d|2d|flair|t2|t2-?w|brain|stripped|ss|preprocessed|n4|image|img"
)
"""Parts of a name that tell when or how a subject was imaged, not who it is; dates among them."""


def stem(name: str) -> str:
    """A file's name without `.nii.gz` or `.nii`."""
    return name.removesuffix(".gz").removesuffix(".nii")


def images_in(folder: Path) -> list[str]:
    """Names of the images in a folder, in order; of one that is there compressed and plain, the compressed one.

    A folder that is missing or cannot be listed has none. Links count wherever they lead, for reading one
    that leads nowhere says so.
    """
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:
        return []
    return sorted(
        name
        for name in names
        if name.endswith(SUFFIXES)
        and not name.startswith(".")
        and not (name.endswith(".nii") and f"{name}.gz" in names)
    )


def contrast_of(text: str) -> str | None:
    """The contrast that a file name or a modality tells: `FLAIR`, `T2w`, `other`, or None where it tells none.

    A `T2_FLAIR` is a FLAIR.
    """
    text = text.lower()
    if "flair" in text:
        return "FLAIR"
    if _T2W.search(text):
        return "T2w"
    return "other" if _OTHER.search(text) else None


def subjects_of(images: Sequence[PurePath]) -> list[str]:
    """Whose each image is; paths relative to the data set, one name for each.

    1. A part of the path that begins with `sub-` is the subject, up to the next underscore, as in BIDS.
    2. Else it is the file's name without what tells time or technique (`patient3_ses2_FLAIR` is `patient3`).
    3. Where nothing of it remains, or files of one name lie in several folders, it is the topmost folder in
       which the paths differ, without the same.

    A number at the end stays: `MS_012` is a subject. A time point that is only a number must therefore be
    named `ses2`, `tp2`, `visit2` or the like, or one patient's images may fall into training and test.
    """
    folders: dict[str, set[PurePath]] = {}
    for image in images:
        folders.setdefault(image.name, set()).add(image.parent)
    depth = _common_depth(images)
    return [_subject_of(image, depth, shared=len(folders[image.name]) > 1) for image in images]


def _subject_of(image: PurePath, depth: int, shared: bool) -> str:
    for part in image.parts:
        if match := re.match(r"sub-[^_.]+", part):
            return match.group()
    name = _who(stem(image.name))
    if (shared or not name) and depth < len(image.parts) - 1:
        folder = image.parts[depth]
        return _who(folder) or folder
    return name or stem(image.name)


def _who(name: str) -> str:
    return "_".join(part for part in name.split("_") if part and not _NOT_WHO.fullmatch(part.lower()))


def _common_depth(images: Sequence[PurePath]) -> int:
    parents = [image.parent.parts for image in images]
    depth = 0
    while all(len(parts) > depth for parts in parents) and len({parts[depth] for parts in parents}) == 1:
        depth += 1
    return depth
