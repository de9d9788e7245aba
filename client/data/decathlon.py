"""Finding images and labels by a Medical Segmentation Decathlon list, as MONAI reads it.

`datalist.json` or `dataset.json` holds lists under `training`, `validation`, `test` and `testing`; an entry is
`{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}` with paths relative to the file's folder (Antonelli et
al. 2022; `monai.data.load_decathlon_datalist`). Its division into lists is not kept: a run divides by subject and
seed. An entry may name its `subject`; else `participants.tsv` or the path tells it (`client/data/subjects.py`).
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from client.data.filenames import CONTRASTS, contrast_of, other_format, stem
from client.data.inventory import ANY_LABEL, Case, Inventory, LabelChoice, Remark
from client.data.label_choice import HOW, chosen, listed
from client.data.subjects import read_participants, whose
from shared.errors import DataError

TESTS = ("test", "testing")
"""Lists whose labels Decathlon keeps to itself."""

LISTS = ("training", "validation", *TESTS)
FILES = ("datalist.json", "dataset.json")
NAMING = f"entries under {', '.join(LISTS)} hold image and label, and a name or the modality tells FLAIR or T2w"


@dataclass(frozen=True)
class _Entry:
    """One image of the list."""

    image: str
    labels: tuple[str, ...]
    """Several where several raters labelled it."""
    channel: int | None
    """Its place where the entry lists several images, one a contrast."""
    subject: str
    """Empty where the entry does not name it."""
    list: str

    @property
    def path(self) -> PurePath:
        return PurePath(self.image)


def find_list(folder: Path) -> Path | None:
    """The Decathlon list in a folder, by its usual names or as the only JSON file that is one."""
    for name in FILES:
        if _is_list(folder / name):
            return folder / name
    others = [path for path in sorted(folder.glob("*.json")) if _is_list(path)]
    if len(others) > 1:
        names = ", ".join(path.name for path in others)
        raise DataError(
            f"data folder {folder} has several Decathlon lists ({names}): give the file instead of the folder"
        )
    return others[0] if others else None


def take_inventory(folder: Path, contrasts: tuple[str, ...], choice: LabelChoice = ANY_LABEL) -> Inventory:
    """All images of the given contrasts in a list; `folder` may be the JSON file itself.

    Raises `DataError` where there is no list or it cannot be read.
    """
    file = folder if folder.is_file() else find_list(folder)
    if file is None:
        raise DataError(f"data folder {folder} has no Decathlon list: give a folder with {' or '.join(FILES)}")
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("training"), list):
        raise DataError(f"{file} has no list under 'training': give a Decathlon list")
    remarks: list[Remark] = []
    entries = _once(_entries(content, remarks))
    found = whose(
        [entry.path for entry in entries],
        [[os.path.normpath(label) for label in entry.labels] for entry in entries],
        [entry.subject for entry in entries],
        read_participants(file.parent),
    )
    labels = chosen({entry: entry.labels for entry in entries}, _kind, choice.labels, folder)
    cases: list[Case] = []
    for entry, subject in zip(entries, found.subjects, strict=True):
        contrast = _contrast(entry, content.get("modality"))
        own = [file.parent / label for label in labels[entry]]
        image = file.parent / entry.image
        if remark := _remark(entry, subject, contrast, image, own, contrasts):
            remarks.append(remark)
        else:
            cases.append(Case(subject, contrast or "", image, own[0], choice.lesion_value))
    return Inventory("decathlon", folder, contrasts, tuple(sorted(cases)), tuple(remarks), NAMING, found.doubts)


def _remark(
    entry: _Entry, subject: str, contrast: str | None, image: Path, labels: list[Path], contrasts: tuple[str, ...]
) -> Remark | None:
    """Why an entry is no case, or None."""
    wanted = " or ".join(contrasts)
    near = labels[0] if labels else None
    unread = next((path for path in (image, *labels) if other_format(path.name)), None)
    if contrast is not None and contrast not in contrasts:
        return Remark(subject, contrast, f"{entry.image} is no {wanted} image", False, image, near, "other-contrast")
    if not entry.labels:
        text = f"{entry.image} under '{entry.list}' has no label: add it, or leave the image out"
        return Remark(subject, contrast or "", text, entry.list not in TESTS, image)
    if not labels:
        text = f"{entry.image} has no label of the kind that is chosen, but {listed(entry.labels)}: {HOW}"
        return Remark(subject, contrast or "", text, True, image)
    if contrast is None:
        known = " or ".join(CONTRASTS)
        text = f"{entry.image} is of unknown contrast: put {known} into its name or into 'modality'"
        return Remark(subject, "", text, True, image, near, "contrast-unknown")
    if len(labels) > 1:
        names = listed([label.name for label in labels])
        text = f"{entry.image} has {len(labels)} labels ({names}): {HOW}, such as a rater's part of the names"
        return Remark(subject, contrast, text, True, image, near, "several-labels")
    if unread is not None:
        text = f"{unread.name} is no NIfTI file: convert it to .nii.gz, and name that in the list"
        return Remark(subject, contrast, text, True, image, near, "format")
    return None


def _contrast(entry: _Entry, modality: object) -> str | None:
    """Its own name says more of a file than what is said of all files, and that more than a folder's name."""
    told = contrast_of(stem(entry.path.name)) or _by_modality(modality, entry.channel)
    folders = [part for part in entry.path.parts[:-1] if "flair" in part.lower() or "t2w" in part.lower()]
    return told or (contrast_of(folders[-1]) if folders else None)


def _kind(label: str) -> PurePath:
    """The folders and the name by which a label can be chosen."""
    path = PurePath(label)
    return path.parent / stem(path.name)


def _once(entries: Iterator[_Entry]) -> list[_Entry]:
    """Each image once, with all labels that it is listed with."""
    found: dict[str, _Entry] = {}
    for entry in entries:
        key = os.path.normpath(entry.image)
        if before := found.get(key):
            labels = tuple(dict.fromkeys((*before.labels, *entry.labels)))
            entry = replace(before, labels=labels, subject=before.subject or entry.subject)
        found[key] = entry
    return list(found.values())


def read_json(path: Path) -> Any:
    """A JSON file's content. Raises `DataError` where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}): mend or replace it") from None


def _is_list(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        content = read_json(path)
    except DataError:
        # A file of that name that is damaged is meant to be the list; of another name it is not ours to judge.
        return path.name in FILES
    return isinstance(content, dict) and isinstance(content.get("training"), list)


def _entries(content: dict[str, Any], remarks: list[Remark]) -> Iterator[_Entry]:
    for name in LISTS:
        listed = content.get(name, [])
        for place, entry in enumerate(listed if isinstance(listed, list) else []):
            if isinstance(entry, str):
                entry = {"image": entry}
            images = entry.get("image") if isinstance(entry, dict) else None
            several = isinstance(images, list)
            paths = images if several else [images]
            if not paths or not all(isinstance(path, str) and path for path in paths):
                text = f'entry {place + 1} under \'{name}\' names no image: write {{"image": ..., "label": ...}}'
                remarks.append(Remark(f"{name}-{place + 1}", "", text, problem=True))
                continue
            given = entry.get("label")
            labels = [label for label in (given if isinstance(given, list) else [given]) if isinstance(label, str)]
            for channel, path in enumerate(paths):
                subject = str("" if entry.get("subject") is None else entry["subject"])
                yield _Entry(path, tuple(filter(None, labels)), channel if several else None, subject, name)


def _by_modality(modality: object, channel: int | None) -> str | None:
    """The contrast that the list gives for all its images, or for one channel of them."""
    if isinstance(modality, str):
        return contrast_of(modality)
    if isinstance(modality, dict):
        if channel is not None:
            return contrast_of(str(modality.get(str(channel), "")))
        if len(modality) == 1:
            return contrast_of(str(next(iter(modality.values()))))
    return None
