"""Finding images and their lesion labels in a BIDS data set.

BIDS (Gorgolewski et al. 2016) keeps images in `sub-*/[ses-*/]anat/` and labels in
`derivatives/<pipeline>/sub-*/[ses-*/]anat/`; some sites keep labels beside the images. Which label is an image's, their
names tell (`client/data/bids_names.py`); where several are, the hospital chooses (`client/data/label_choice.py`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

from client.data.bids_names import LABEL_NAMES, BidsName, agreement, misfit
from client.data.filenames import CONTRASTS, files_in, images_in, is_nifti, other_format, others_in, stem
from client.data.inventory import ANY_LABEL, Case, Inventory, LabelChoice, Remark
from client.data.label_choice import HOW, chosen, listed, rank
from client.data.subjects import Doubt, spelt_alike
from shared.errors import DataError

NAMING = f"labels lie under derivatives/*/sub-*/anat and end in {', '.join(LABEL_NAMES)}"

BESIDE = "raw"
"""Stands for a pipeline where labels lie beside the images."""

_UNCLEAR = "is not understood as a lesion label"


@dataclass(frozen=True)
class _Label:
    """A file that is a lesion label, or that somebody may have meant as one."""

    path: Path
    pipeline: str
    name: BidsName

    @property
    def readable(self) -> bool:
        return is_nifti(self.path.name)

    @property
    def kind(self) -> PurePath:
        """Its pipeline and what its name ends in, without what tells whose it is."""
        return PurePath(self.pipeline, self.name.ending())


@dataclass(frozen=True)
class _Image:
    """An image of a wanted contrast, with the files that may be its label."""

    subject: str
    contrast: str
    path: Path
    name: BidsName
    labels: tuple[_Label, ...]
    near: tuple[tuple[_Label, str], ...]
    """Files that are none of its labels, and why."""


def find_cases(folder: Path, contrasts: tuple[str, ...]) -> list[Case]:
    """Every image of the given contrasts that has a label, in order of its name.

    Raises `DataError` where the folder is missing, is no BIDS data set or has no such image.
    """
    return take_inventory(folder, contrasts).usable()


def take_inventory(folder: Path, contrasts: tuple[str, ...], choice: LabelChoice = ANY_LABEL) -> Inventory:
    """All images of the given contrasts, with their labels or the reason why one is passed over.

    Raises `DataError` where the folder is missing or is no BIDS data set, or where no label is of the chosen kind.
    """
    if not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist: give the folder of a BIDS data set")
    subjects = sorted(path for path in folder.glob("sub-*") if path.is_dir() or path.is_symlink())
    if not subjects:
        raise DataError(f"data folder {folder} has no sub-* folder: give the folder of a BIDS data set")
    pipelines = _pipelines(folder)
    images: list[_Image] = []
    remarks: list[Remark] = []
    doubts: list[Doubt] = spelt_alike(subject.name for subject in subjects)
    for subject in subjects:
        found = _Subject(folder, subject, pipelines)
        # Each session is looked through for each contrast, so that one without label hides no other.
        own = [image for contrast in contrasts for image in found.of(contrast)]
        images += own
        doubts += found.doubts(own)
        other = list(found.other_formats(contrasts))
        remarks += other
        if not own and not other:
            remarks.append(found.without_image(contrasts))
    cases, about = _choose(images, choice, folder)
    return Inventory("bids", folder, contrasts, tuple(cases), tuple(remarks + about), NAMING, tuple(doubts))


def _pipelines(folder: Path) -> list[tuple[str, Path]]:
    derivatives = folder / "derivatives"
    found = [(path.name, path) for path in sorted(derivatives.glob("*")) if path.is_dir()]
    # Some sites have no folder between derivatives and subjects.
    own = [(derivatives.name, derivatives)] if any(name.startswith("sub-") for name, _ in found) else []
    return own + [(name, path) for name, path in found if not name.startswith("sub-")]


class _Subject:
    """A subject's files."""

    def __init__(self, folder: Path, subject: Path, pipelines: Sequence[tuple[str, Path]]) -> None:
        self._folder = folder
        self._path = subject
        self._pipelines = pipelines

    def of(self, contrast: str) -> Iterator[_Image]:
        """Its images of a contrast."""
        sessions = {name.entities.get("ses") for _, name in self._images}
        others = [name for _, name in self._images]
        for path, name in self._images:
            if name.contrast != contrast:
                continue
            fitting: list[_Label] = []
            near: list[tuple[_Label, str]] = []
            for label in self._labels:
                why = misfit(label.name, name, contrast, others)
                if not why and len(sessions) > 1 and "ses" not in label.name.entities and "ses" in name.entities:
                    why = "names no session"
                if not why and not label.readable:
                    why = f"is no NIfTI ({other_format(label.path.name)})"
                if not why and not label.name.is_lesion_label():
                    why = _UNCLEAR
                if why:
                    near.append((label, why))
                else:
                    fitting.append(label)
            yield _Image(self._path.name, contrast, path, name, tuple(_most_alike(fitting, name)), tuple(near))

    def other_formats(self, contrasts: tuple[str, ...]) -> Iterator[Remark]:
        """A remark on each image that must be converted."""
        for anat in self._anat:
            for file in others_in(anat):
                name = BidsName(file[: -len(other_format(file))])
                if name.contrast in contrasts and not name.is_lesion_label():
                    text = f"{file} is no NIfTI image: convert it to .nii.gz (dcm2niix, or nibabel's nib-convert)"
                    yield Remark(self._path.name, name.contrast or "", text, True, anat / file, None, "format")

    def without_image(self, contrasts: tuple[str, ...]) -> Remark:
        """The remark on a subject that has none of the images."""
        subject = self._path
        if not subject.is_dir():
            text = f"{subject.name} is a link that leads nowhere: restore its folder"
            return Remark(subject.name, "", text, problem=True)
        # A subject that was imaged otherwise is none of this study's; one without any image is incomplete.
        other = any(name.contrast in CONTRASTS for _, name in self._images)
        wanted = " or ".join(contrasts)
        text = f"{subject.name} has no {wanted} image in its anat folder: copy it there, or leave it out"
        return Remark(subject.name, "", text, problem=not other)

    def doubts(self, images: Sequence[_Image]) -> Iterator[Doubt]:
        """A doubt for each image whose name is another subject's."""
        own = self._path.name.removeprefix("sub-").lower()
        for image in images:
            if (named := image.name.entities.get("sub", own)) != own:
                text = f"holds {image.path.name}, which names sub-{named}: find out whose it is, and rename it"
                yield Doubt(self._path.name, text)

    @cached_property
    def _anat(self) -> list[Path]:
        return sorted([*self._path.glob("anat"), *self._path.glob("ses-*/anat")])

    @cached_property
    def _images(self) -> list[tuple[Path, BidsName]]:
        found = [(anat / name, _named(anat / name)) for anat in self._anat for name in images_in(anat)]
        return [(path, name) for path, name in found if name.contrast and not name.is_lesion_label()]

    @cached_property
    def _labels(self) -> list[_Label]:
        """All files of the subject that are labels or may be meant so."""
        images = {path for path, _ in self._images}
        folders = [(BESIDE, folder) for folder in self._anat]
        for pipeline, root in self._pipelines:
            subject = root / self._path.name
            places = [subject, *sorted(subject.glob("ses-*"))]
            folders += [(pipeline, folder) for place in places for folder in (place, place / "anat")]
        labels = [
            _Label(folder / name, pipeline, _named(folder / name))
            for pipeline, folder in folders
            for name in [*images_in(folder), *others_in(folder)]
            if folder / name not in images
        ]
        for pipeline, root in self._pipelines:
            flat = [name for name in files_in(root) if name.startswith(f"{self._path.name}_") and is_nifti(name)]
            labels += [_Label(root / name, pipeline, _named(root / name)) for name in flat]
        return [label for label in labels if label.name.is_lesion_label() or label.name.seems_a_label()]


def _named(path: Path) -> BidsName:
    """A file's name, with the session that its folder tells."""
    suffix = other_format(path.name)
    name = path.name[: -len(suffix)] if suffix else stem(path.name)
    session = next((part for part in path.parts[-3:-1] if part.startswith("ses-")), "")
    return BidsName(f"{session}_{name}" if session and "ses-" not in name else name)


def _most_alike(labels: Sequence[_Label], image: BidsName) -> Iterator[_Label]:
    """Of each pipeline, the labels that repeat most of the image's name."""
    best: dict[str, int] = {}
    for label in labels:
        best[label.pipeline] = max(best.get(label.pipeline, 0), agreement(label.name, image))
    return (label for label in labels if agreement(label.name, image) == best[label.pipeline])


def _choose(images: Sequence[_Image], choice: LabelChoice, folder: Path) -> tuple[list[Case], list[Remark]]:
    """A case of each image with one label of the chosen kind, and remarks on the others."""
    offered = {place: _offered(image, choice.labels) for place, image in enumerate(images)}
    wanted = chosen(offered, lambda label: label.kind, choice.labels, folder)
    taken = {label.path for image in images for label in image.labels}
    cases: list[Case] = []
    kinds: list[PurePath] = []
    remarks: list[Remark] = []
    for place, image in enumerate(images):
        labels = wanted[place]
        if len(labels) == 1:
            cases.append(Case(image.subject, image.contrast, image.path, labels[0].path, choice.lesion_value))
            kinds.append(labels[0].kind)
        elif labels:
            remarks.append(_several(image, labels, folder))
        else:
            remarks.append(_none(image, choice, taken, folder))
    return cases, remarks + _mixed(cases, kinds)


def _offered(image: _Image, choice: str) -> list[_Label]:
    """Its labels, and with them the files that no rule takes for labels but whose ending the hospital chooses."""
    unclear = [label for label, why in image.near if why == _UNCLEAR]
    return [*image.labels, *(label for label in unclear if choice and rank(label.kind, choice) == 2)]


def _several(image: _Image, labels: Sequence[_Label], folder: Path) -> Remark:
    pipelines = list(dict.fromkeys(label.pipeline for label in labels))
    names = pipelines if len(pipelines) == len(labels) else [label.name.ending() for label in labels]
    paths = listed([label.path.relative_to(folder) for label in labels])
    text = f"{image.path.name} has {len(labels)} labels ({paths}): {HOW}, such as {' or '.join(names)}"
    return Remark(image.subject, image.contrast, text, True, image.path, labels[0].path, "several-labels")


def _none(image: _Image, choice: LabelChoice, taken: set[Path], folder: Path) -> Remark:
    near = [(label, why) for label, why in image.near if label.path not in taken]
    if choice.labels and image.labels:
        near = [(label, "is of another kind") for label in image.labels]
    kind = f" of the kind {choice.labels!r}" if choice.labels else ""
    text = f"{image.path.name} has no lesion label{kind}: add one ({NAMING})"
    if near:
        said = listed([f"{label.path.relative_to(folder)} {why}" for label, why in near])
        text = f"{image.path.name} has no lesion label{kind}, but {said}: rename, convert or choose it ({NAMING})"
    return Remark(image.subject, image.contrast, text, True, image.path, near[0][0].path if near else None)


def _mixed(cases: Sequence[Case], kinds: Sequence[PurePath]) -> list[Remark]:
    """A remark on each label that was made otherwise than most."""
    usual = Counter(kinds).most_common(1)
    remarks = []
    for case, kind in zip(cases, kinds, strict=True):
        if kind != usual[0][0]:
            text = f"{case.label.name} is of the kind {kind}, while most labels are {usual[0][0]}: {HOW}, to mix none"
            remarks.append(Remark(case.subject, case.contrast, text, False, case.image, case.label, "mixed-labels"))
    return remarks
