"""Finding images and their lesion labels in a BIDS data set.

BIDS (Gorgolewski et al. 2016) keeps images in `sub-*/[ses-*/]anat/` and labels in
`derivatives/<pipeline>/sub-*/[ses-*/]anat/`. Sites name the labels differently; the endings
known here are those of `LABEL_NAMES`, behind the image's whole name or behind its name
without the contrast.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from client.data.filenames import CONTRASTS, SUFFIXES, images_in, stem
from client.data.inventory import ANY_LABEL, Case, Inventory, LabelChoice, Remark
from shared.errors import DataError

LABEL_NAMES = ("label-lesion_seg", "label-lesion_mask", "lesion-manual", "desc-lesion_mask")
NAMING = f"labels lie under derivatives/*/sub-*/anat and end in {', '.join(LABEL_NAMES)}"


def find_cases(folder: Path, contrasts: tuple[str, ...]) -> list[Case]:
    """Every image of the given contrasts that has a label, in order of its name.

    Raises `DataError` where the folder is missing, is no BIDS data set or has no such image.
    """
    return take_inventory(folder, contrasts).usable()


def take_inventory(folder: Path, contrasts: tuple[str, ...], choice: LabelChoice = ANY_LABEL) -> Inventory:
    """All images of the given contrasts, with their labels or the reason why one is passed over.

    Raises `DataError` where the folder is missing or is no BIDS data set.
    """
    if not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist: give the folder of a BIDS data set")
    subjects = sorted(path for path in folder.glob("sub-*") if path.is_dir() or path.is_symlink())
    if not subjects:
        raise DataError(f"data folder {folder} has no sub-* folder: give the folder of a BIDS data set")
    pipelines = sorted(path for path in folder.glob("derivatives/*") if path.is_dir())
    cases: list[Case] = []
    remarks: list[Remark] = []
    for subject in subjects:
        # Each session is looked through for each contrast, so that one without label hides no other.
        images = [
            (contrast, image) for anat in _anat(subject) for contrast in contrasts for image in _in(anat, contrast)
        ]
        if not images:
            remarks.append(_without_image(subject, contrasts))
        for contrast, image in images:
            labels = _labels_of(image, contrast, folder, pipelines)
            if not labels:
                text = f"{image.name} has no lesion label: add one ({NAMING})"
                remarks.append(Remark(subject.name, contrast, text, problem=True))
                continue
            cases.append(Case(subject.name, contrast, image, labels[0], choice.lesion_value))
            if len(labels) > 1:
                text = f"{image.name} has {len(labels)} labels, of which {labels[0].relative_to(folder)} is taken"
                remarks.append(Remark(subject.name, contrast, text, problem=False))
    return Inventory("bids", folder, contrasts, tuple(cases), tuple(remarks), NAMING)


def _anat(subject: Path) -> list[Path]:
    return sorted([*subject.glob("anat"), *subject.glob("ses-*/anat")])


def _in(anat: Path, contrast: str) -> Iterator[Path]:
    return (anat / name for name in images_in(anat) if stem(name).endswith(f"_{contrast}"))


def _without_image(subject: Path, contrasts: tuple[str, ...]) -> Remark:
    if not subject.is_dir():
        text = f"{subject.name} is a link that leads nowhere: restore its folder"
        return Remark(subject.name, "", text, problem=True)
    # A subject that was imaged otherwise is none of this study's; one without any image is incomplete.
    other = any(True for anat in _anat(subject) for contrast in CONTRASTS for _ in _in(anat, contrast))
    text = f"{subject.name} has no {' or '.join(contrasts)} image in its anat folder: copy it there, or leave it out"
    return Remark(subject.name, "", text, problem=not other)


def _labels_of(image: Path, contrast: str, folder: Path, pipelines: list[Path]) -> list[Path]:
    """The labels of the best name that there is, one a pipeline."""
    anat = image.parent.relative_to(folder)
    name = stem(image.name)
    for known in (name, name.removesuffix(f"_{contrast}")):
        for ending in LABEL_NAMES:
            for suffix in SUFFIXES:
                paths = [pipeline / anat / f"{known}_{ending}{suffix}" for pipeline in pipelines]
                # A link that leads nowhere counts: reading it says so, where "no label" would mislead.
                if found := [path for path in paths if os.path.lexists(path)]:
                    return found
    return []
