"""What a hospital's state folder holds of a withdrawn subject is deleted with the withdrawal."""

from pathlib import Path
from typing import Any

import pytest

from client.data.layouts import find_cases
from client.data.volume_cache import open_volume
from shared.errors import DataError
from shared.stage_archive import open_visit
from shared.wire.headers import RollCall
from shared.wire.messages import unpack_train_reply
from shared.wire.records import unpack_header
from tests.support.hospital_messages import ask
from tests.support.joined import NODES, SUBJECTS, Study


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


def called(study: Study, **changes: Any) -> RollCall:
    return unpack_header(ask(study.wire(), "query.roll_call", study.question(**changes), NODES["grace"]), RollCall)


def prepared(study: Study) -> list[Path]:
    return sorted((study.root / "grace" / "state" / "prepared").rglob("image.npy"))


def image_of(study: Study, name: str) -> bytes:
    """The voxels of a subject as they are prepared."""
    (case,) = [
        case for case in find_cases(study.root / "grace" / "images", ("FLAIR",)) if case.subject == f"sub-grace{name}"
    ]
    open_volume(case, 4.0, study.root / name)
    (file,) = (study.root / name).rglob("image.npy")
    return file.read_bytes()


def holds(study: Study, voxels: bytes) -> bool:
    return any(voxels == path.read_bytes() for path in (study.root / "grace" / "state").rglob("*.npy"))


def test_the_prepared_images_of_a_withdrawn_subject_are_deleted_at_every_spacing(study: Study) -> None:
    for spacing in (4.0, 5.0):
        called(study, spacing=spacing)
    voxels = image_of(study, SUBJECTS[0])
    assert len(prepared(study)) == 2 * len(SUBJECTS) and holds(study, voxels)
    study.withdraw("grace", SUBJECTS[0])
    assert len(prepared(study)) == 2 * (len(SUBJECTS) - 1) and not holds(study, voxels)
    assert holds(study, image_of(study, SUBJECTS[1]))


def test_nor_does_a_later_roll_call_leave_them_there(study: Study) -> None:
    study.withdraw("grace", SUBJECTS[0])
    (card,) = called(study).cards
    assert card.training_subjects + card.test_subjects == len(SUBJECTS) - 1
    assert len(prepared(study)) == len(SUBJECTS) - 1 and not holds(study, image_of(study, SUBJECTS[0]))


def test_those_of_images_that_were_deleted_go_too(study: Study) -> None:
    called(study)
    unpack_train_reply(ask(study.wire(), "train", study.training(), NODES["grace"]))
    shared = study.audited("grace", "sent", "exemplars")[-1].facts.subjects
    name = next(name for name in SUBJECTS if study.known("grace", name) <= set(shared))
    voxels = image_of(study, name)
    for image in (study.root / "grace" / "images").rglob(f"*{name}*_FLAIR.nii.gz"):
        image.unlink()
    study.withdraw("grace", name)
    assert not holds(study, voxels)


def test_a_crop_in_replies_that_were_kept_is_deleted_in_each_run(study: Study) -> None:
    replies = {
        title: unpack_train_reply(ask(study.wire(), "train", study.training(title), NODES["grace"]))
        for title in ("one", "another")
    }
    sent = study.audited("grace", "sent", "exemplars")[-1].facts.subjects
    name = next(name for name in SUBJECTS if study.known("grace", name) <= set(sent))
    study.withdraw("grace", name)
    for title, reply in replies.items():
        assert reply.contribution is not None
        run = study.plan(title).run
        (kept,) = (study.root / "grace" / "state" / "visits" / run).glob("*/reply")
        left = open_visit(kept).contribution()
        assert left is not None
        assert set(left.subjects) == set(reply.contribution.subjects) - study.called(
            "grace", run, study.known("grace", name)
        )
        (file,) = kept.glob("*exemplars.safetensors")
        gone = set(reply.contribution.payloads) - set(left.payloads)
        assert len(gone) == 1 and not any(reply.contribution.payloads[n].tobytes() in file.read_bytes() for n in gone)


def test_where_the_disk_refuses_it_is_said(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    called(study)
    unlink = Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".npy":
            raise OSError(30, "Read-only file system")
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refused)
        with pytest.raises(DataError, match=r"prepared images in .* cannot be deleted"):
            study.withdraw("grace", SUBJECTS[0])
    assert len(study.withdrawn("grace")) == 1
    study.withdraw("grace", SUBJECTS[0])
    assert len(prepared(study)) == len(SUBJECTS) - 1


def test_of_all_spacings_that_were_asked_for_two_are_kept(study: Study) -> None:
    for spacing in (4.0, 5.0, 6.0, 7.0):
        called(study, spacing=spacing)
        assert len(prepared(study)) <= 2 * len(SUBJECTS)
    kept = prepared(study)
    called(study, spacing=7.0)
    assert prepared(study) == kept, "the roll calls of one run delete nothing"
    reply = unpack_train_reply(ask(study.wire(), "train", study.training(), NODES["grace"]))
    assert reply.figures.subjects == 3 and len(set(prepared(study)) - set(kept)) >= 3, (
        "what is needed again is made again"
    )
