"""`wardround hospital check` as a person and as a script calls it."""

import json
import shutil
import stat
from pathlib import Path

import pytest

from scenarios.cli.main import main
from tests.support.datasets import grid, patient, write_dataset, write_image


def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and error of `wardround hospital check WORDS`, in this process."""
    monkeypatch.setattr("sys.argv", ["wardround", "hospital", "check", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    out, error = capsys.readouterr()
    return int(end.value.code or 0), out, error


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", ["sub-1", "sub-2"], voxel=3.0)


def spoil(folder: Path, subject: str) -> None:
    (folder / subject / "anat" / f"{subject}_FLAIR.nii.gz").write_bytes(b"")


def test_the_exit_code_tells_good_some_and_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, error = check(monkeypatch, capsys, folder)
    assert (code, error) == (0, "") and "verdict: good: all 2 images of 2 subjects can be used" in out
    spoil(folder, "sub-1")
    code, out, _ = check(monkeypatch, capsys, folder)
    assert code == 1 and "problem: image is an empty file: copy it again from its source" in out
    spoil(folder, "sub-2")
    code, out, _ = check(monkeypatch, capsys, folder)
    assert code == 2 and "verdict: none usable" in out


def test_away_from_a_terminal_each_case_has_a_plain_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = check(monkeypatch, capsys, folder)
    assert "1/2 sub-1 FLAIR: good, 1.4" in out and "ml in 1 lesion\n2/2 sub-2" in out
    assert "\x1b" not in out and "\r" not in out


def test_json_page_and_montage_are_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    output = tmp_path / "deep" / "output"
    code, out, _ = check(monkeypatch, capsys, folder, "--json", tmp_path / "a.json", "--output", output)
    assert code == 0 and f"see {output / 'check.html'}" in out
    assert json.loads((tmp_path / "a.json").read_text())["verdict"] == "good"
    assert {path.name for path in output.iterdir()} == {"check.html", "check.json", "montage.png"}
    assert stat.S_IMODE(output.stat().st_mode) == 0o700, "it holds patients' images"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before, "the data is as it was"


def test_layout_and_contrasts_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_dataset(tmp_path, ["sub-1", "sub-2"], contrasts=("FLAIR", "T2w"))
    entries = [
        {
            "image": f"{subject}/anat/{subject}_T2w.nii.gz",
            "label": f"derivatives/labels/{subject}/anat/{subject}_T2w_label-lesion_seg.nii.gz",
        }
        for subject in ("sub-1", "sub-2")
    ]
    (folder / "datalist.json").write_text(json.dumps({"training": entries}))
    code, out, _ = check(monkeypatch, capsys, folder, "--layout", "decathlon")
    assert code == 0 and "decathlon, 2 images" in out
    code, out, _ = check(monkeypatch, capsys, folder, "--contrasts", "FLAIR")
    assert code == 0 and "bids, 2 images" in out and "T2w:" not in out


def test_an_empty_label_can_be_let_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shape, affine = grid((3.0,) * 3)
    for label in folder.glob("derivatives/*/*/*/*.nii.gz"):
        write_image(label, patient(shape, affine)[1] * 0, affine)
    code, out, _ = check(monkeypatch, capsys, folder)
    assert code == 2 and "--allow-empty" in out
    assert check(monkeypatch, capsys, folder, "--allow-empty")[0] == 0


def test_whose_each_image_is_and_what_is_doubted_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_dataset(tmp_path / "data", ["sub-1", "sub-01", "sub-3"])
    code, out, _ = check(monkeypatch, capsys, folder, "--output", tmp_path / "page")
    shown = [line.split() for line in out.splitlines()]
    image, label = "sub-3/anat/sub-3_FLAIR.nii.gz", "derivatives/labels/sub-3/anat/sub-3_FLAIR_label-lesion_seg.nii.gz"
    assert code == 0 and ["subject", "image", "label"] in shown and ["sub-3", image, label] in shown
    assert "warning: sub-01 is written nearly as sub-1" in out and out.count("is written nearly as sub-1:") == 1
    page = (tmp_path / "page" / "check.html").read_text()
    assert "Doubtful subjects" in page and f"<td>sub-3</td><td><code>{image}</code></td><td><code>{label}" in page


def test_several_labels_are_chosen_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "derivatives" / "labels", folder / "derivatives" / "auto")
    code, out, _ = check(monkeypatch, capsys, folder)
    assert code == 2 and "choose by --labels NAME, or labels = NAME in hospital.toml, such as auto or labels" in out
    code, out, _ = check(monkeypatch, capsys, folder, "--labels", "auto")
    assert code == 0 and "derivatives/auto/sub-1/anat/sub-1_FLAIR_label-lesion_seg.nii.gz" in out
    code, _, error = check(monkeypatch, capsys, folder, "--labels", "hand")
    assert code == 2 and "choose from auto/label-lesion_seg, labels/label-lesion_seg" in error
    (folder / "hospital.toml").touch()
    code, _, error = check(monkeypatch, capsys, folder / "hospital.toml", "--labels", "auto")
    assert code == 2 and "change labels and lesion-value there" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "data folder nowhere does not exist"),
        (["."], "is laid out in no known way"),
        ([".", "--contrasts", "T1w"], "contrasts = T1w: choose from FLAIR, T2w"),
        ([".", "--contrasts", ","], "contrasts = nothing"),
        ([".", "--output", "file/below"], "output folder file/below is not writable"),
    ],
)
def test_what_cannot_be_done_ends_with_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    code, _, error = check(monkeypatch, capsys, *words)
    assert code == 2, "1 is for data of which some can be used"
    assert error.startswith("wardround: ") and said in error and error.count("\n") == 1


def test_help_names_the_exit_codes_and_the_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, shown, _ = check(monkeypatch, capsys, "--help")
    assert code == 0
    for word in (
        "--layout",
        "--contrasts",
        "--json",
        "--output",
        "--allow-empty",
        "--labels",
        "--lesion-value",
        "bids",
        "Exit code 0",
    ):
        assert word in shown
