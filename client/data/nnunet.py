"""Finding images and labels in a raw data set of nnU-Net.

`imagesTr/CASE_0000.nii.gz` is a case's first channel, `labelsTr/CASE.nii.gz` its label, and `dataset.json` names the
channels: `channel_names` in version 2, `modality` in version 1 (Isensee et al. 2021). Each channel in a wanted
contrast is a case of its own; the subject is told by the case's name (`client/data/filenames.py`).
"""

import re
from pathlib import Path, PurePath

from client.data.decathlon import read_json
from client.data.filenames import contrast_of, images_in, stem
from client.data.inventory import ANY_LABEL, Case, Inventory, LabelChoice, Remark
from client.data.subjects import subjects_of
from shared.errors import DataError

IMAGES, LABELS, ABOUT = "imagesTr", "labelsTr", "dataset.json"
NAMING = f"images are {IMAGES}/CASE_0000.nii.gz, labels {LABELS}/CASE.nii.gz, and {ABOUT} names the channels"
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


def looks_like(folder: Path) -> bool:
    """Whether a folder is laid out so: an image with a channel's number whose case has a label."""
    labels = {stem(name) for name in images_in(folder / LABELS)}
    return any(
        match["case"] in labels and stem(name) not in labels
        for name in images_in(folder / IMAGES)
        if (match := _CHANNEL.fullmatch(stem(name)))
    )


def take_inventory(folder: Path, contrasts: tuple[str, ...], choice: LabelChoice = ANY_LABEL) -> Inventory:
    """All channels in the given contrasts, with their labels or the reason why one is passed over.

    Raises `DataError` where the folder is no such data set or its channels have no names.
    """
    names = [name for name in images_in(folder / IMAGES) if _CHANNEL.fullmatch(stem(name))]
    if not names:
        raise DataError(f"data folder {folder} has no image {IMAGES}/CASE_0000.nii.gz: give an nnU-Net data set")
    channels = _channels(folder / ABOUT)
    labels = {stem(name): folder / LABELS / name for name in images_in(folder / LABELS)}
    cases: list[Case] = []
    remarks: list[Remark] = []
    parts = [match for name in names if (match := _CHANNEL.fullmatch(stem(name)))]
    subjects = subjects_of([PurePath(match["case"]) for match in parts])
    for name, match, subject in zip(names, parts, subjects, strict=True):
        contrast = channels.get(int(match["channel"]))
        if contrast is None:
            text = f"channel {match['channel']} of {name} is not among the channels of {ABOUT}: name it there"
            remarks.append(Remark(subject, "", text, problem=True))
        elif contrast not in contrasts:
            text = f"{name} is no {' or '.join(contrasts)} image"
            remarks.append(Remark(subject, contrast, text, problem=False))
        elif match["case"] not in labels:
            text = f"{name} has no label {LABELS}/{match['case']}.nii.gz: add it, or leave the case out"
            remarks.append(Remark(subject, contrast, text, problem=True))
        else:
            cases.append(Case(subject, contrast, folder / IMAGES / name, labels[match["case"]], choice.lesion_value))
    return Inventory("nnunet", folder, contrasts, tuple(sorted(cases)), tuple(remarks), NAMING)


def _channels(path: Path) -> dict[int, str]:
    """The contrast of each channel; `other` for what is neither FLAIR nor T2w."""
    about = read_json(path)
    named = about.get("channel_names", about.get("modality")) if isinstance(about, dict) else None
    if not isinstance(named, dict) or not named or not all(str(key).isdecimal() for key in named):
        raise DataError(f'{path} names no channels: add "channel_names": {{"0": "FLAIR"}}')
    return {int(key): contrast_of(str(value)) or "other" for key, value in named.items()}
