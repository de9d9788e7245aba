"""Simulated hospitals in a folder of the user's: the same as a run's, never over what is there, never twice."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import pytest

from scenarios.simulation import dataset as module
from scenarios.simulation.bids_writer import LESIONS
from scenarios.simulation.dataset import (
    MANIFEST,
    Simulation,
    check_space,
    cost_of,
    simulating,
)
from scenarios.simulation.hospitals import make_hospital
from scenarios.simulation.summary import PUBLISHED, draw_sheet, row_of, summarise, table, write_summary
from shared.errors import DataError, ResultsError
from shared.phantoms.centers import CENTERS
from shared.phantoms.settings import PhantomSettings
from tests.conftest import ROOT
from tests.support.commands import call

SMALL = PhantomSettings(spacing=4.0, scale=0.02, minimum_subjects=2)
AMU = CENTERS["amu"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def simulation(folder: Path, **changes: object) -> Simulation:
    return replace(Simulation(folder, (AMU,), SMALL), **changes)  # type: ignore[arg-type]


def make(wanted: Simulation) -> None:
    """All of it, in this process."""
    with simulating(wanted):
        for center in wanted.centers:
            for subject in range(1, wanted.subjects(center) + 1):
                wanted.draft(center).write(subject)
            wanted.draft(center).finish(list_lesions=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    wanted = simulation(tmp_path_factory.mktemp("out") / "hospitals")
    make(wanted)
    return wanted


def test_hospitals_are_those_of_a_run_with_these_settings(made: Simulation, tmp_path: Path) -> None:
    run, ours = files(make_hospital("amu", SMALL, tmp_path)), files(made.folder / "amu")
    assert set(ours) - set(run) == {f"derivatives/labels/{LESIONS}"}
    assert all(ours[name] == run[name] for name in run)


def test_every_lesion_is_listed(made: Simulation) -> None:
    labels = made.folder / "amu" / "derivatives" / "labels"
    with (labels / LESIONS).open(newline="") as file:
        lesions = list(csv.DictReader(file, delimiter="\t"))
    for subject in ("sub-001", "sub-002"):
        label = nibabel.load(labels / subject / "anat" / f"{subject}_FLAIR_label-lesion_seg.nii.gz")
        voxels = (label.get_fdata() >= 0.5).sum()
        ours = [float(row["ml"]) for row in lesions if row["participant_id"] == subject]
        assert sum(ours) == pytest.approx(voxels * 0.064, rel=0.03), "the stored label is rounded to 1/128"


def test_the_same_again_makes_nothing(made: Simulation) -> None:
    before = files(made.folder)
    with simulating(made):
        assert cost_of(made).subjects == 0
        module.make_all(made, 1, lambda *said: pytest.fail("made something"))
    assert files(made.folder) == before


def test_what_was_interrupted_goes_on(made: Simulation, tmp_path: Path) -> None:
    wanted = simulation(tmp_path / "again")
    with simulating(wanted):
        wanted.draft(AMU).write(1)
    killed = tmp_path / "again" / ".amu.partial" / "sub-002" / "anat"
    killed.mkdir(parents=True)
    (killed / "sub-002_FLAIR.nii.gz").write_bytes(b"half")
    told: list[tuple[str, int, int]] = []
    with simulating(wanted):
        assert cost_of(wanted).subjects == 1
        module.make_all(wanted, 1, lambda center, done, total: told.append((center.name, done, total)))
    assert told == [("amu", 1, 1)]
    assert files(wanted.folder / "amu") == files(made.folder / "amu")
    assert not (wanted.folder / ".amu.partial").exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("precious")
    with (
        pytest.raises(ResultsError, match=r"holds thesis.doc, which wardround simulate did not make"),
        simulating(simulation(tmp_path)),
    ):
        pytest.fail("claimed")
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.doc"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": replace(SMALL, seed=1)}, "seed is 0 there and 1 here"),
        ({"settings": replace(SMALL, spacing=3.0)}, "spacing is 4.0 there and 3.0 here"),
        ({"centers": (replace(AMU, load=1.0),)}, "other centers"),
    ],
)
def test_another_simulation_is_not_mixed_in(made: Simulation, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ResultsError, match=said), simulating(replace(made, **changes)):  # type: ignore[arg-type]
        pytest.fail("claimed")


def test_two_at_once_do_not_write_one_folder(made: Simulation) -> None:
    with simulating(made), pytest.raises(ResultsError, match="is in use by another simulation"), simulating(made):
        pytest.fail("claimed twice")


def test_a_damaged_record_is_said(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("[1]")
    with pytest.raises(ResultsError, match=r"simulation.json cannot be read"), simulating(simulation(tmp_path)):
        pytest.fail("claimed")


def test_costs_grow_with_voxels_and_a_full_disk_is_said_before_it_begins(made: Simulation) -> None:
    fine = simulation(made.folder, centers=(CENTERS["bwh"],), settings=replace(SMALL, spacing=1.0, scale=100.0))
    coarse = replace(fine, settings=replace(fine.settings, spacing=2.0))
    assert cost_of(fine).subjects == 8000
    assert cost_of(fine).nbytes == pytest.approx(8 * cost_of(coarse).nbytes, rel=0.01)
    with pytest.raises(ResultsError, match=r"GB free, and the images need about .* GB"):
        check_space(made, replace(cost_of(fine), nbytes=10**18))


def test_a_disk_that_refuses_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ResultsError, match="cannot be written"), simulating(simulation(tmp_path / "file" / "below")):
        pytest.fail("claimed")
    with pytest.raises(DataError, match="Not a directory"):
        simulation(tmp_path / "file" / "below").draft(AMU).write(1)


# The table


def test_statistics_by_hand() -> None:
    """Three subjects: one with a large and a small lesion, one with a small, one with none."""
    row = row_of("c", 3, [("a", "deep", 3.0), ("a", "periventricular", 1.0), ("b", "deep", 0.5)])
    assert (row.subjects, row.lesion_free) == (3, 1)
    assert row.lesions == 1.0 and row.ml == pytest.approx(1.5)
    assert row.median_ml == 0.5, "of 0, 0.5 and 4"
    assert row.median_lesion_ml == 1.0 and row.mean_lesion_ml == pytest.approx(1.5)
    assert row.deep == pytest.approx(2 / 3) and row.periventricular == pytest.approx(1 / 3)
    assert row.juxtacortical == 0.0 and row.periventricular_ml == pytest.approx(1 / 3)


def test_a_center_without_any_lesion_has_a_row() -> None:
    row = row_of("c", 2, [])
    assert (row.lesion_free, row.lesions, row.median_ml, row.median_lesion_ml) == (2, 0.0, 0.0, None)


def test_the_summary_ends_with_what_is_published(made: Simulation, tmp_path: Path) -> None:
    rows = summarise(made)
    assert [row.cohort for row in rows] == ["AMU", *(row.cohort for row in PUBLISHED)]
    assert len({len(line) for line in table(rows)}) == 1, "columns are aligned"
    with write_summary(rows, tmp_path).open(newline="") as file:
        first, pongratz, _ = csv.DictReader(file)
    assert float(first["lesions"]) == pytest.approx(rows[0].lesions, abs=1e-4)
    assert pongratz["deep"] == "13.0000" and pongratz["lesions"] == ""


# The command


def test_the_command_writes_hospitals_sheets_and_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "hospitals"
    text = (ROOT / "scenarios" / "centers" / "example.toml").read_text()
    (tmp_path / "two.toml").write_text(text.replace("= 12", "= 1").replace("= 8", "= 2"))
    words = ["simulate", "--output", str(folder), "--centers", str(tmp_path / "two.toml"), "--spacing", "4"]
    assert call(monkeypatch, capsys, *words, "--jobs", "1") == (0, "")
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
        *("riverside", "hillside", "riverside.png", "hillside.png", "summary.csv", MANIFEST),
    }
    images = sorted(path.name for path in folder.glob("*/sub-*/anat/*"))
    assert images == [
        "sub-001_FLAIR.nii.gz",
        *(f"sub-00{number}_{contrast}.nii.gz" for number in (1, 2) for contrast in ("FLAIR", "T2w")),
    ]
    made = json.loads((folder / MANIFEST).read_text())
    assert [center["subjects"] for center in made["centers"]] == [1, 2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--centers", "atlantis"], "there is no center 'atlantis'"),
        (["--centers", "amu,amu"], "names amu twice"),
        (["--centers", ","], "names no center"),
        (["--centers", "none.toml"], "none.toml cannot be read"),
        (["--spacing", "0.1"], "spacing is 0.1"),
        (["--scale", "-1"], "scale is -1"),
    ],
)
def test_a_wrong_request_makes_nothing(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = call(monkeypatch, capsys, "simulate", "--output", str(tmp_path / "out"), *words)
    assert code == 1 and said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_sheet_is_a_picture(made: Simulation, tmp_path: Path) -> None:
    draw_sheet(made.folder / "amu", tmp_path / "amu.png")
    assert (tmp_path / "amu.png").read_bytes().startswith(b"\x89PNG")
