"""Which label, and which mask, belongs to which image, by the names of files and folders."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from client.data.filenames import contrast_of, stem
from client.data.subjects import subjects_of

_LABEL = re.compile(
    r"(?<![a-z0-9])(lesions?|labels?|seg|segmentation|dseg|probseg|masks?|manual|consensus|gt|ground-?truth|rois?|annotations?"
    r"|rater-?\d*|wmh(?=$|\.))(?![a-z0-9])"
)
_MASK = re.compile(r"(?<![a-z0-9])(brain-?_?masks?|bet|brainmask|bet-?_?mask|skull-?strip\w*-?_?mask)(?![a-z0-9])")
_FOLDERS = {"labels", "label", "masks", "lesions", "segmentations", "annotations", "derivatives", "labelstr", "manual"}

_VISIT = re.compile(
    r"(?<![a-z0-9])((?:ses|session|visit|tp|timepoint|baseline|follow-?up|fu|bl)[-_]?\d*|(?:v|m|scan|study|exam)[-_]?\d+"
    r"|(?:19|20)\d\d-?(?:0[1-9]|1[0-2])-?(?:[0-2]\d|3[01]))(?![a-z0-9])"
)


@dataclass(frozen=True)
class Named:
    """A file, and what its name tells."""

    path: Path
    relative: PurePath
    stem: str
    subject: str
    session: str
    contrast: str | None


def visit_of(relative: PurePath) -> str:
    """The visit that a path tells, as it is written there; empty where it tells none."""
    found = _VISIT.findall("/".join([*relative.parts[:-1], stem(relative.name)]).lower().replace("_", " "))
    return str(found[-1]).replace(" ", "") if found else ""


def is_label(relative: PurePath) -> bool:
    """Whether a path is called as labels and masks are."""
    name = stem(relative.name).lower().replace("_", " ")
    return bool(_LABEL.search(name) or is_mask(relative)) or any(
        part.lower() in _FOLDERS for part in relative.parts[:-1]
    )


def is_mask(relative: PurePath) -> bool:
    """Whether a path is called as a mask of the brain."""
    return bool(_MASK.search(stem(relative.name).lower().replace("_", " ")))


def name_images(files: Sequence[Path], root: Path) -> list[Named]:
    """What the names of images below `root` tell."""
    relatives = [PurePath(path.relative_to(root)) for path in files]
    return _named(files, relatives, subjects_of(relatives))


def name_companions(files: Sequence[Path], root: Path, images: Sequence[Named]) -> list[Named]:
    """What the names of labels or masks below `root` tell: each is whose an image in its place would be."""
    relatives = [PurePath(path.relative_to(root)) for path in files]
    known = [one.relative for one in images]
    return _named(files, relatives, [subjects_of([*known, _as_image(one)])[-1] for one in relatives])


def _named(files: Sequence[Path], relatives: Sequence[PurePath], subjects: Sequence[str]) -> list[Named]:
    return [
        Named(path, one, stem(one.name).lower(), subject, visit_of(one), contrast_of(_bare(stem(one.name))))
        for path, one, subject in zip(files, relatives, subjects, strict=True)
    ]


def _bare(name: str) -> str:
    """A label's name without the words that make it one."""
    parts = re.split(r"[_ .]+", re.sub(r"(?i)label-lesion|lesion-manual|desc-lesion", "", name))
    kept = [part for part in parts if not (_LABEL.fullmatch(part.lower()) or _MASK.fullmatch(part.lower()))]
    return "_".join(part for part in kept if part).strip("-")


def _as_image(relative: PurePath) -> PurePath:
    bare = _bare(stem(relative.name)) if is_label(relative) else stem(relative.name)
    return relative.with_name(f"{bare or 'FLAIR'}.nii.gz")


def companions_of(image: Named, among: Iterable[Named]) -> list[Path]:
    """The files that belong to an image by the best reason there is: several where the names do not decide.

    1. Its own name, or that with something behind it, and the same subject and visit.
    2. The same anywhere, where the image's name says whose it is.
    3. The same subject and visit, and the contrast in its name.
    4. The same subject and visit, and no contrast in its name.
    """
    fit = [one for one in among if one.contrast in (None, image.contrast) and one.path != image.path]
    same = [one for one in fit if one.subject == image.subject and one.session in ("", image.session)]
    tells = image.subject.lower() in image.stem  # `flair.nii.gz` lies in many folders
    tiers = (
        [one for one in same if _begins(one.stem, image.stem)],
        [one for one in fit if tells and _begins(one.stem, image.stem)],
        [one for one in same if one.contrast == image.contrast],
        same,
    )
    best = next((tier for tier in tiers if tier), [])
    beside = [one for one in best if one.path.parent == image.path.parent]
    return sorted(one.path for one in beside or best)


def _begins(name: str, image: str) -> bool:
    return name == image or (name.startswith(image) and not name[len(image)].isalnum())
