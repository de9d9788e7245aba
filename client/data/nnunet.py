"""Finding images and labels in a raw data set of nnU-Net.

`imagesTr/CASE_0000.nii.gz` is a case's first channel, `labelsTr/CASE.nii.gz` its label, and `dataset.json` names the
channels: `channel_names` in version 2, `modality` in version 1 (Isensee et al. 2021). Each channel in a wanted
contrast is a case of its own; the subject is told by `participants.tsv` or the case's name (`client/data/subjects.py`).
`imagesTs` is read likewise where `labelsTs` is there, for a run divides by subject and seed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from client.data.decathlon import read_json
from client.data.filenames import contrast_of, files_in, images_in, is_nifti, other_format, stem
from client.data.inventory import ANY_LABEL, Case, Inventory, LabelChoice, Remark
from client.data.label_choice import chosen
from client.data.subjects import read_participants, whose
from shared.errors import DataError

IMAGES, LABELS, ABOUT = "imagesTr", "labelsTr", "dataset.json"
TESTS = ("imagesTs", "labelsTs")
NAMING = f"images are {IMAGES}/CASE_0000.nii.gz, labels {LABELS}/CASE.nii.gz, and {ABOUT} names the channels"
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
_PICTURES = (".png", ".tif", ".tiff", ".bmp", ".npy", ".npz", ".b2nd")
"""What nnU-Net reads, or writes itself, beside other formats of medical images."""


@dataclass(frozen=True)
class _Channel:
    """One image file."""

    path: Path
    labels: Path
    """The folder of its label."""

    @property
    def stem(self) -> str:
        return _stem(self.path.name)

    @property
    def case(self) -> str:
        match = _CHANNEL.fullmatch(self.stem)
        return match["case"] if match else self.stem

    @property
    def channel(self) -> str:
        match = _CHANNEL.fullmatch(self.stem)
        return match["channel"] if match else ""


def looks_like(folder: Path) -> bool:
    """Whether a folder is laid out so: an image with a channel's number whose case has a label."""
    labels = {_stem(name) for name in _files(folder / LABELS)}
    return any(
        match["case"] in labels and _stem(name) not in labels
        for name in _files(folder / IMAGES)
        if (match := _CHANNEL.fullmatch(_stem(name)))
    )


def take_inventory(folder: Path, contrasts: tuple[str, ...], choice: LabelChoice = ANY_LABEL) -> Inventory:
    """All channels in the given contrasts, with their labels or the reason why one is passed over.

    Raises `DataError` where the folder is no such data set or its channels have no names.
    """
    images = list(_images(folder))
    if not any(image.channel for image in images):
        raise DataError(f"data folder {folder} has no image {IMAGES}/CASE_0000.nii.gz: give an nnU-Net data set")
    channels = _channels(folder / ABOUT)
    found = whose([PurePath(image.case) for image in images], participants=read_participants(folder))
    places = [folder / LABELS, folder / TESTS[1]]
    # What can be read goes before what must be converted.
    files = {
        place.name: {_stem(name): place / name for name in sorted(_files(place), key=is_nifti)} for place in places
    }
    wanted = chosen({image: [image.labels.name] for image in images}, PurePath, choice.labels, folder)
    cases: list[Case] = []
    remarks: list[Remark] = []
    for image, subject in zip(images, found.subjects, strict=True):
        label = files[image.labels.name].get(image.case) if wanted[image] else None
        contrast = channels.get(int(image.channel)) if image.channel else None
        if remark := _remark(image, subject, contrast, label, contrasts):
            remarks.append(remark)
        elif label is not None:
            cases.append(Case(subject, contrast or "", image.path, label, choice.lesion_value))
    return Inventory("nnunet", folder, contrasts, tuple(sorted(cases)), tuple(remarks), NAMING, found.doubts)


def _remark(
    image: _Channel, subject: str, contrast: str | None, label: Path | None, contrasts: tuple[str, ...]
) -> Remark | None:
    """Why an image is no case, or None."""
    name = image.path.name
    if not image.channel:
        text = f"{name} has no channel's number: name it {image.case}_0000.nii.gz"
        return Remark(subject, "", text, True, image.path, label, "contrast-unknown")
    if contrast is None:
        text = f"channel {image.channel} of {name} is not among the channels of {ABOUT}: name it there"
        return Remark(subject, "", text, True, image.path, label, "contrast-unknown")
    if contrast not in contrasts:
        text = f"{name} is no {' or '.join(contrasts)} image"
        return Remark(subject, contrast, text, False, image.path, label, "other-contrast")
    if label is None:
        text = f"{name} has no label {image.labels.name}/{image.case}.nii.gz: add it, or leave the case out"
        # The labels of test images are often kept back.
        return Remark(subject, contrast, text, image.labels.name == LABELS, image.path)
    for path in (image.path, label):
        if not is_nifti(path.name):
            text = f"{path.name} is no NIfTI file: convert it to .nii.gz"
            return Remark(subject, contrast, text, True, image.path, label, "format")
    return None


def _images(folder: Path) -> Iterator[_Channel]:
    for images, labels in ((IMAGES, LABELS), TESTS):
        if images == IMAGES or (folder / labels).is_dir():
            for name in _files(folder / images):
                yield _Channel(folder / images / name, folder / labels)


def _files(folder: Path) -> list[str]:
    """Images in whichever format, in order."""
    others = [name for name in files_in(folder) if other_format(name) or name.lower().endswith(_PICTURES)]
    return sorted([*images_in(folder), *(name for name in others if not name.lower().endswith(".img"))])


def _stem(name: str) -> str:
    suffix = other_format(name) or next((one for one in _PICTURES if name.lower().endswith(one)), "")
    return name[: -len(suffix)] if suffix else stem(name)


def _channels(path: Path) -> dict[int, str]:
    """The contrast of each channel; `other` for what is neither FLAIR nor T2w."""
    about = read_json(path)
    named = about.get("channel_names", about.get("modality")) if isinstance(about, dict) else None
    if not isinstance(named, dict) or not named or not all(str(key).isdecimal() for key in named):
        raise DataError(f'{path} names no channels: add "channel_names": {{"0": "FLAIR"}}')
    return {int(key): contrast_of(str(value)) or "other" for key, value in named.items()}
