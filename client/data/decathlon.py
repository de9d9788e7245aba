"""Finding images and labels by a Medical Segmentation Decathlon list, as MONAI reads it.

`datalist.json` or `dataset.json` holds lists under `training`, `validation` and `test`; an entry is
`{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}` with paths relative to the file's folder (Antonelli et
al. 2022; `monai.data.load_decathlon_datalist`). Its division into lists is not kept: a run divides by subject and
seed. An entry may name its `subject`; else the name tells it (`client/data/filenames.py`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from client.data.filenames import CONTRASTS, contrast_of, stem
from client.data.inventory import ANY_LABEL, Case, Inventory, LabelChoice, Remark
from client.data.subjects import subjects_of
from shared.errors import DataError

LISTS = ("training", "validation", "test")
FILES = ("datalist.json", "dataset.json")
NAMING = f"entries under {', '.join(LISTS)} hold image and label, and a name or the modality tells FLAIR or T2w"


@dataclass(frozen=True)
class _Entry:
    """One image of the list."""

    image: str
    label: object
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
    entries = list(dict.fromkeys(_entries(content, remarks)))
    told = subjects_of([entry.path for entry in entries])
    modality = content.get("modality")
    cases: dict[Path, Case] = {}
    for entry, name in zip(entries, told, strict=True):
        subject, image = entry.subject or name, file.parent / entry.image
        # Its own name says more of a file than what is said of all files.
        contrast = contrast_of(stem(entry.path.name)) or _by_modality(modality, entry.channel)
        if not isinstance(entry.label, str):
            text = f"{entry.image} under '{entry.list}' has no label: add it, or leave the image out"
            # Decathlon keeps the labels of its test images to itself.
            remarks.append(Remark(subject, contrast or "", text, problem=entry.list != "test"))
        elif contrast is None:
            text = (
                f"{entry.image} is of unknown contrast: put {' or '.join(CONTRASTS)} into its name or into 'modality'"
            )
            remarks.append(Remark(subject, "", text, problem=True))
        elif contrast in contrasts:
            cases.setdefault(image, Case(subject, contrast, image, file.parent / entry.label, choice.lesion_value))
        else:
            text = f"{entry.image} is no {' or '.join(contrasts)} image"
            remarks.append(Remark(subject, contrast, text, problem=False))
    return Inventory("decathlon", folder, contrasts, tuple(sorted(cases.values())), tuple(remarks), NAMING)


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
            subject = str(entry.get("subject", ""))
            # A list as label is none, and could not be told from another.
            label = entry.get("label") if isinstance(entry.get("label"), str) else None
            for channel, path in enumerate(paths):
                yield _Entry(path, label, channel if several else None, subject, name)


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
