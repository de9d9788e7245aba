"""One file, one verdict: the check, a run, segmenting and external validation refuse and warn in the same words."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.data.inventory import Case
from client.data.layouts import find_cases
from client.data.preprocessing import prepare
from client.data.rules import LESION, PUBLIC, Finding, refusal
from client.data.volume_cache import open_volume
from client.qc.case_check import check_case
from scenarios.inference.external_validation import validate
from scenarios.inference.segment import plan_jobs, segment_image
from shared.errors import DataError
from tests.client.data.test_skull_stripping import FLAIR, head
from tests.scenarios.inference.test_segment import bright
from tests.support.datasets import grid, patient, write_dataset, write_image
from tests.support.examples import examples

SHAPE, AFFINE = grid((3.0, 3.0, 3.0))
IMAGE, LABEL = patient(SHAPE, AFFINE)
MODEL = bright(spacing=4.0)

Spoil = Callable[[Case], object]


def image(array: NDArray, affine: NDArray = AFFINE) -> Spoil:
    """Another image, with the good label where that fits."""
    return lambda case: write_image(case.image, array, affine)


def label(array: NDArray, affine: NDArray = AFFINE) -> Spoil:
    """Another label of the good image."""
    return lambda case: write_image(case.label, array, affine)


def both(picture: NDArray, mask: NDArray, affine: NDArray) -> Spoil:
    """Another image with another label."""
    return lambda case: (write_image(case.image, picture, affine), write_image(case.label, mask, affine))


def damaged(change: Callable[[bytes], bytes], part: str = "image") -> Spoil:
    """A file of which the bytes are changed."""
    return lambda case: getattr(case, part).write_bytes(change(getattr(case, part).read_bytes()))


def header(place: int, value: bytes) -> Spoil:
    """An image of which some bytes of the header are changed."""

    def change(content: bytes) -> bytes:
        raw = gzip.decompress(content)
        return gzip.compress(raw[:place] + value + raw[place + len(value) :])

    return damaged(change)


def linked(target: str) -> Spoil:
    """An image that is a link."""
    return lambda case: (case.image.unlink(), case.image.symlink_to(target))


def in_image(value: float) -> NDArray:
    """The image with another value in one voxel."""
    changed = IMAGE.copy()
    changed[5, 5, 5] = value
    return changed


def affine(**entries: float) -> NDArray:
    """The affine with other entries."""
    changed = AFFINE.copy()
    for place, value in entries.items():
        changed[int(place[1]), int(place[2])] = value
    return changed


def whole_head() -> Spoil:
    """A head with its skull, and a lesion in it."""
    picture, place = head(FLAIR, (3.0, 3.0, 3.0), False)
    mask = np.zeros(picture.shape, np.float32)
    middle = tuple(edge // 2 for edge in picture.shape)
    mask[middle] = 1
    return both(picture, mask, place)


THICK_SHAPE, THICK = grid((3.0, 3.0, 6.0))

PROBLEMS: dict[str, tuple[Spoil, str, str]] = {
    "missing": (lambda case: case.image.unlink(), "missing", "image"),
    "empty file": (damaged(lambda raw: b""), "empty-file", "image"),
    "not compressed": (damaged(gzip.decompress), "not-gzip", "image"),
    "ends early": (damaged(lambda raw: raw[: len(raw) // 2]), "truncated", "image"),
    "without its checksum": (damaged(lambda raw: raw[:-4]), "truncated", "image"),
    "wrong checksum": (damaged(lambda raw: raw[:-8] + bytes(8)), "garbled", "image"),
    "voxels missing": (damaged(lambda raw: gzip.compress(gzip.decompress(raw)[:-9])), "truncated", "image"),
    "text": (damaged(lambda raw: gzip.compress(b"a dog ate it")), "not-nifti", "image"),
    "another format": (lambda case: mgz(case.image), "not-nifti", "image"),
    "dangling link": (linked("../.git/annex/objects/x"), "dangling-link", "image"),
    "link loop": (linked("sub-1_FLAIR.nii.gz"), "link-loop", "image"),
    "folder": (lambda case: (case.image.unlink(), case.image.mkdir()), "unreadable", "image"),
    "complex": (image(IMAGE.astype(np.complex64)), "dtype", "image"),
    "colour": (image(np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])), "dtype", "image"),
    "4D": (image(np.stack([IMAGE, IMAGE], -1)), "not-3d", "image"),
    "one slice": (image(IMAGE[..., :1]), "thin", "image"),
    "no voxel": (image(IMAGE[:0]), "zero-size", "image"),
    "2^44 voxels": (header(42, (30000).to_bytes(2, "little") * 3), "too-large", "image"),
    "no affine": (header(252, bytes(4)), "affine-missing", "image"),
    "NaN in the affine": (header(280, np.float32("nan").tobytes()), "affine-not-finite", "image"),
    "singular affine": (image(IMAGE, affine(_22=0)), "affine-singular", "image"),
    "metres": (both(IMAGE, LABEL, AFFINE * 1e-3), "spacing", "image"),
    "micrometres": (both(IMAGE, LABEL, AFFINE * 1e3), "spacing", "image"),
    "NaN": (image(in_image(np.nan)), "not-finite", "image"),
    "infinity": (image(in_image(np.inf)), "not-finite", "image"),
    "zeros": (image(IMAGE * 0), "air", "image"),
    "negative": (image(IMAGE - 1000), "air", "image"),
    "one value": (image(IMAGE * 0 + 7), "constant", "image"),
    "huge values": (image(IMAGE * np.float32(1e18)), "intensity", "image"),
    "tiny values": (image(IMAGE * np.float32(1e-9)), "intensity", "image"),
    "label missing": (lambda case: case.label.unlink(), "missing", "label"),
    "label ends early": (damaged(lambda raw: raw[:-4], "label"), "truncated", "label"),
    "label 4D": (label(np.stack([LABEL, LABEL], -1)), "not-3d", "label"),
    "label with NaN": (label(np.where(LABEL > 0, LABEL, np.nan)), "not-finite", "label"),
    "label to 255": (label(LABEL * 255), "out-of-range", "label"),
    "label of several classes": (label(np.rint(LABEL * 3)), "out-of-range", "label"),
    "label of another shape": (label(LABEL[:-1]), "off-grid", "label"),
    "label elsewhere": (label(LABEL, affine(_03=AFFINE[0, 3] + 2)), "off-grid", "label"),
    "label of zeros": (label(LABEL * 0), "empty", "label"),
    "label up to 0.3": (label(LABEL * np.float32(0.3)), "empty", "label"),
    "label just below a half": (label(LABEL * np.nextafter(np.float32(LESION), np.float32(0))), "empty", "label"),
}

WARNINGS: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "as it should be": (lambda case: None, ()),
    "label of a half": (label(LABEL * np.float32(LESION)), ()),
    "label overshoots a little": (label(LABEL * np.float32(1.0009)), ()),
    "header rounded": (label(LABEL, AFFINE + 1e-4), ()),
    "thick slices": (both(*patient(THICK_SHAPE, THICK), THICK), ("thick-slices",)),
    "skull": (whole_head(), ("whole-head",)),
    "lesions in air": (label(np.roll(LABEL, 8, 0)), ("lesion-in-air",)),
    "label of the head": (label((IMAGE > 0).astype(np.float32)), ("much-lesion",)),
}


def mgz(path: Path) -> None:
    """Write FreeSurfer's format in place of NIfTI."""
    other = path.with_suffix(".mgz")
    nibabel.save(nibabel.MGHImage(IMAGE, AFFINE), other)
    other.replace(path)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A good case in a BIDS data set."""
    write_dataset(tmp_path / "data", ["sub-1"], voxel=3.0)
    (found,) = find_cases(tmp_path / "data", ("FLAIR",))
    return found


def said_by_run(case: Case, folder: Path, allow_empty: bool = False) -> list[str]:
    """The refusal of a run, whether it prepares the case or finds it in the cache, or its warnings."""
    answers = []
    for _ in range(2):
        try:
            answers.append([str(one) for one in open_volume(case, 4.0, folder / "cache", allow_empty).warnings])
        except DataError as error:
            answers.append([str(error), error.public])
    assert answers[0] == answers[1]
    return answers[0]


def said_by_segment(case: Case, folder: Path) -> list[str]:
    """The refusal of `wardround segment`, or its warnings."""
    folder = folder / "segmented"
    folder.mkdir()
    (job,) = plan_jobs([case.image], folder, mask=False)
    try:
        return [*segment_image(MODEL, job, torch.device("cpu")).warnings]
    except DataError as error:
        assert not list(folder.iterdir()), "nothing is written of an image that is refused"
        return [str(error), error.public]


def said_by_realism(case: Case, folder: Path, allow_empty: bool = False) -> list[str]:
    """Why `wardround realism` skips the only case, or its warnings."""
    try:
        (scored,) = validate(MODEL, folder / "data", torch.device("cpu"), lambda one: None, allow_empty).scored
    except DataError as error:
        return [str(error).partition("that could be scored: ")[2]]
    return [*scored.warnings]


def refused(case: Case, finding: Finding) -> str:
    return str(refusal(case.label if finding.part == "label" else case.image, finding))


@pytest.mark.parametrize(("spoil", "code", "part"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_one_refuses_all_refuse_in_the_same_words(
    case: Case, tmp_path: Path, spoil: Spoil, code: str, part: str
) -> None:
    spoil(case)
    checked = check_case(case)
    first = checked.problems[0]
    assert (first.code, first.part) == (code, part)
    why = refused(case, first)
    assert first.text in why and first.mend in why
    assert said_by_run(case, tmp_path) == [why, PUBLIC[code]]
    if code != "missing":  # which leaves no case to judge
        assert said_by_realism(case, tmp_path) == [why]
    # Segmenting has no label to refuse.
    assert said_by_segment(case, tmp_path) == ([why, PUBLIC[code]] if part == "image" else [])
    if code == "empty":
        assert check_case(case, allow_empty=True).ok
        assert said_by_run(case, tmp_path, allow_empty=True) == []
        assert said_by_realism(case, tmp_path, allow_empty=True) == []


@pytest.mark.parametrize(("spoil", "codes"), WARNINGS.values(), ids=WARNINGS)
def test_what_one_warns_of_all_warn_of_in_the_same_words(
    case: Case, tmp_path: Path, spoil: Spoil, codes: tuple[str, ...]
) -> None:
    spoil(case)
    checked = check_case(case)
    assert checked.ok and tuple(finding.code for finding in checked.warnings) == codes
    said = [str(finding) for finding in checked.warnings]
    assert said_by_run(case, tmp_path) == said
    assert said_by_realism(case, tmp_path) == said
    assert said_by_segment(case, tmp_path) == [str(one) for one in checked.warnings if one.part == "image"]


@examples(0.4, fixture=True)
@given(
    st.sampled_from(["image", "label"]),
    st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_whatever_a_header_says_check_and_run_agree(tmp_path: Path, part: str, changes: list[tuple[int, int]]) -> None:
    paths = {"image": tmp_path / "a_FLAIR.nii", "label": tmp_path / "a_label.nii"}
    write_image(paths["image"], IMAGE.astype(np.float32), AFFINE)
    write_image(paths["label"], LABEL, AFFINE)
    raw = bytearray(paths[part].read_bytes())
    for place, value in changes:
        raw[place] = value
    paths[part].write_bytes(raw)
    case = Case("a", "FLAIR", paths["image"], paths["label"])
    problems = check_case(case).problems
    assert "unexpected" not in [problem.code for problem in problems]
    try:
        prepare(case, 4.0)
        said = ""
    except DataError as error:
        said = str(error)
    assert said == (refused(case, problems[0]) if problems else "")
