"""Finding images and their lesion labels in a BIDS data set.

BIDS (Gorgolewski et al. 2016) keeps images in `sub-*/[ses-*/]anat/` and labels in
`derivatives/<pipeline>/sub-*/[ses-*/]anat/`. Sites name the labels differently; the endings
known here are those of `LABEL_NAMES`, behind the image's whole name or behind its name
without the contrast.
"""

from dataclasses import dataclass
from pathlib import Path

from shared.errors import DataError

LABEL_NAMES = ("label-lesion_seg", "label-lesion_mask", "lesion-manual", "desc-lesion_mask")
SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True, order=True)
class Case:
    """One image with its label; a subject may have several."""

    subject: str
    """The BIDS label, such as `sub-07`. It stays in the hospital."""
    contrast: str
    image: Path
    label: Path


def find_cases(folder: Path, contrasts: tuple[str, ...]) -> list[Case]:
    """Every image of the given contrasts that has a label, in order of its name.

    Raises `DataError` where the folder is missing, is no BIDS data set or has no such image.
    """
    if not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist: give the folder of a BIDS data set")
    subjects = sorted(path for path in folder.glob("sub-*") if path.is_dir())
    if not subjects:
        raise DataError(f"data folder {folder} has no sub-* folder: give the folder of a BIDS data set")
    cases = [
        Case(subject.name, contrast, image, label)
        for subject in subjects
        for anat in sorted([*subject.glob("anat"), *subject.glob("ses-*/anat")])
        for contrast in contrasts
        for image in _files(anat, f"*_{contrast}")
        if (label := _label_of(image, contrast, folder)) is not None
    ]
    if not cases:
        wanted = " or ".join(contrasts)
        raise DataError(
            f"data folder {folder} has {len(subjects)} subjects but no {wanted} image with a lesion label: "
            f"labels lie under derivatives/*/sub-*/anat and end in {', '.join(LABEL_NAMES)}"
        )
    return cases


def _files(folder: Path, pattern: str) -> list[Path]:
    """Images by name; of a name that is there compressed and plain, the compressed one."""
    named = {
        path.name.removesuffix(suffix): path for suffix in SUFFIXES[::-1] for path in folder.glob(pattern + suffix)
    }
    return [named[name] for name in sorted(named)]


def _label_of(image: Path, contrast: str, folder: Path) -> Path | None:
    stem = image.name.removesuffix(".gz").removesuffix(".nii")
    anat = image.parent.relative_to(folder)
    for name in (stem, stem.removesuffix(f"_{contrast}")):
        for ending in LABEL_NAMES:
            for suffix in SUFFIXES:
                found = sorted(folder.glob(f"derivatives/*/{anat}/{name}_{ending}{suffix}"))
                if found:
                    return found[0]
    return None
