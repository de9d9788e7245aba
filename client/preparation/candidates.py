"""All images of a source that could be taken, with what is known of each, and which of several is the best."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from client.data.filenames import CONTRASTS, contrast_of, is_nifti, stem
from client.data.nifti import read_nifti
from client.data.rules import Finding
from client.preparation.companions import Named, companions_of, is_label, is_mask, name_companions, name_images
from client.preparation.convert import convert
from client.preparation.dicom_files import DicomSeries, find_series, is_dicom
from client.preparation.recognise import recognise
from shared.errors import DataError

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """One image of the source."""

    source: str
    """What names it in the table: a path below the source, or a DICOM folder and its series."""
    image: Path
    """NIfTI: the source's own, or what was converted from DICOM."""
    patient: str
    session: str
    contrast: str
    """`FLAIR`, `T2w` or `other`."""
    why: str
    description: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    labels: tuple[Path, ...] = ()
    """All that its name or its references lead to; more than one must be decided by a person."""
    masks: tuple[Path, ...] = ()
    sidecar: dict[str, Any] = field(default_factory=dict)
    from_dicom: bool = False

    @property
    def _rank(self) -> tuple[Any, ...]:
        """The less the better: with a label, as measured, thin, fine, of many voxels."""
        derived = "DERIVED" in self.sidecar.get("ImageType", ())
        edges = [round(edge, 2) for edge in self.spacing]
        return not self.labels, derived, max(edges), float(np.prod(edges)), -int(np.prod(self.shape)), self.source


@dataclass(frozen=True)
class Found:
    """What a source holds."""

    candidates: tuple[Candidate, ...]
    taken: frozenset[str]
    """The sources of those that would be taken if nobody objected."""
    notes: tuple[str, ...]
    """What was passed over, and why."""


def find_candidates(source: Path, work: Path, labels: str, masks: str, say: Progress) -> Found:
    """Look through a source folder. DICOM is converted into `work`.

    `labels` and `masks` are a folder or how their names end; empty: by names alone. Raises `DataError` where the
    source is missing or has no image at all.
    """
    if not source.is_dir():
        raise DataError(f"{source} is no folder: give the folder of a DICOM export, or of NIfTI files")
    files = sorted(path for path in source.rglob("*") if path.is_file() and not path.name.startswith("."))
    nifti = [path for path in files if is_nifti(path.name)]
    mask_files = _companions(nifti, source, masks, is_mask)
    label_files = _companions(nifti, source, labels, lambda one: is_label(one) and not is_mask(one))
    label_files = [path for path in label_files if path not in mask_files]
    aside = {*label_files, *mask_files, *(path for path in nifti if is_label(_below(path, source)))}
    series, damaged = find_series([path for path in files if not is_nifti(path.name)])
    notes = [f"{path} is a DICOM file that cannot be read: export it again" for path in damaged]
    found = _from_dicom(source, series, work, notes, say)
    found += _from_nifti([path for path in nifti if path not in aside], source, notes)
    if not found:
        why = "; ".join(notes[:3])
        raise DataError(f"{source} holds no image in DICOM or NIfTI{f' ({why})' if why else ''}: give another folder")
    segmentations = [one for one in series if one.is_segmentation]
    segmentations += [one for one in find_series(_in_folder(labels))[0] if one.is_segmentation]
    images = [named for _, named in found]
    label_names = name_companions(label_files, _root(labels, source), images)
    mask_names = name_companions(mask_files, _root(masks, source), images)
    known = [_with_companions(one, named, segmentations, label_names, mask_names) for one, named in found]
    candidates = sorted(known, key=lambda one: (one.patient, one.session, one.source))
    return Found(tuple(candidates), frozenset(one.source for one in _best(candidates)), tuple(notes))


def _in_folder(where: str) -> list[Path]:
    folder = Path(where) if where else None
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder and folder.is_dir() else []


def _companions(nifti: Sequence[Path], source: Path, where: str, by_word: Callable[[PurePath], bool]) -> list[Path]:
    """Labels or masks: those of the folder that is named, those whose names end so, or those that are called so."""
    if where and Path(where).is_dir():
        return [path for path in _in_folder(where) if is_nifti(path.name)]
    ending = stem(where)
    return [path for path in nifti if (stem(path.name).endswith(ending) if where else by_word(_below(path, source)))]


def _root(where: str, source: Path) -> Path:
    return Path(where) if where and Path(where).is_dir() else source


def _below(path: Path, root: Path) -> PurePath:
    return PurePath(path.relative_to(root))


def _from_dicom(
    source: Path, series: Iterable[DicomSeries], work: Path, notes: list[str], say: Progress
) -> list[tuple[Candidate, Named]]:
    found: list[tuple[Candidate, Named]] = []
    for number, one in enumerate(series):
        if one.is_segmentation:
            continue
        if one.modality != "MR":
            notes.append(f"{one.folder}: series {one.number} is no MR image ({one.modality or 'no modality'})")
            continue
        say(f"converting {one.folder.relative_to(source)}: series {one.number} {one.description}".rstrip())
        try:
            made = convert(one, work / f"series-{number}")
        except DataError as error:
            notes.append(str(error))
            continue
        for part, image in enumerate(made, 1):
            place = _below(one.folder, source).as_posix()
            name = f"{place}#{one.uid}" + (f"#{part}" if len(made) > 1 else "")
            candidate = _candidate(name, image.image, one.patient, one.date, one.description, image.sidecar, notes)
            if candidate is not None:
                named = Named(
                    one.files[0], _below(one.files[0], source), one.patient.lower(), one.patient, one.date, None
                )
                found.append((candidate, replace(named, contrast=candidate.contrast)))
    return found


def _from_nifti(files: Sequence[Path], source: Path, notes: list[str]) -> list[tuple[Candidate, Named]]:
    found: list[tuple[Candidate, Named]] = []
    for named in name_images(files, source):
        name = named.relative.as_posix()
        made = _candidate(name, named.path, named.subject, named.session, "", {}, notes)
        if made is not None:
            found.append((made, replace(named, contrast=made.contrast)))
    return found


def _candidate(
    source: str, image: Path, patient: str, session: str, description: str, sidecar: dict[str, Any], notes: list[str]
) -> Candidate | None:
    read = read_nifti(image, "image")
    if isinstance(read, Finding):
        notes.append(f"{source} {read.text}: {read.mend}")
        return None
    spacing = np.linalg.norm(read.affine[:3, :3], axis=0)
    # Slices lie where voxels are longest, or are of another number than rows and columns.
    slices = min(read.array.shape[:3])
    # A folder may tell the contrast (FLAIR/P01.nii.gz), but only where the file does not.
    own = PurePath(source.partition("#")[0])
    text = description if sidecar else own.name if contrast_of(own.name) else own.as_posix().replace("/", " ")
    seen = recognise(sidecar, text.replace("_", " "), slices)
    return Candidate(
        source=source,
        image=image,
        patient=patient,
        session=session,
        contrast=seen.contrast,
        why=seen.why,
        description=description,
        shape=tuple(read.array.shape),
        spacing=tuple(float(edge) for edge in spacing),
        sidecar=sidecar,
        from_dicom="#" in source,
    )


def _with_companions(
    one: Candidate, named: Named, segmentations: Sequence[DicomSeries], labels: list[Named], masks: list[Named]
) -> Candidate:
    if one.contrast not in CONTRASTS:
        return one
    uid = one.source.split("#")[1] if one.from_dicom else ""
    drawn = [path for seg in segmentations if seg.refers_to == uid != "" for path in seg.files]
    # A label of what is stored compressed and plain is one label.
    by_name = [path for path in companions_of(named, labels) if not is_dicom(path)]
    return replace(one, labels=tuple(drawn or by_name), masks=tuple(companions_of(named, masks)))


def _best(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Of each patient, visit and contrast the best."""
    groups: dict[tuple[str, str, str], list[Candidate]] = {}
    for one in candidates:
        if one.contrast in CONTRASTS:
            groups.setdefault((one.patient, one.session, one.contrast), []).append(one)
    return [min(group, key=lambda one: one._rank) for group in groups.values()]
