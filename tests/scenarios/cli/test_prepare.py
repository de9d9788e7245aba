"""`wardround hospital prepare` as its user types it: it asks, stops, goes on with a table, and says what to install."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.commands import call, one_line
from tests.support.datasets import grid, patient, write_image


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """One patient's FLAIR with its label, and a T1."""
    shape, affine = grid((3.0, 3.0, 3.0))
    image, label = patient(shape, affine)
    for name, array in (("flair", image), ("flair_lesion", label), ("t1", image)):
        write_image(tmp_path / "source" / f"Jane_{name}.nii.gz", array, affine)
    return tmp_path / "source"


def words(source: Path, *more: str) -> list[str]:
    return ["hospital", "prepare", str(source), "--output", str(source.parent / "bids"), *more]


def test_without_a_word_it_stops_at_the_table_and_goes_on_with_it(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, capsys, *words(source)) == (1, "")
    table = source.parent / "bids.prepare.tsv"
    assert not (source.parent / "bids").exists()
    lines = table.read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["take", "yes", "no"]
    one_line(monkeypatch, capsys, *words(source), expected=f"--table {table}")
    assert call(monkeypatch, capsys, *words(source, "--table", str(table))) == (0, "")
    assert (source.parent / "bids" / "sub-0001" / "anat" / "sub-0001_FLAIR.nii.gz").is_file()


def test_it_shows_what_it_recognised_and_why(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["wardround", *words(source)])
        from scenarios.cli.main import main

        with pytest.raises(SystemExit):
            main()
    said = capsys.readouterr().out
    assert "Jane_flair_lesion.nii.gz" in said and "its name (t1)" in said
    assert "nothing is made yet" in said and "--table" in said


def test_with_yes_it_makes_all_of_it_and_nothing_twice(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, capsys, *words(source, "--yes")) == (0, "")
    assert {path.name for path in source.parent.iterdir()} >= {"bids", "bids.keys.tsv", "bids.prepare.tsv"}
    one_line(monkeypatch, capsys, *words(source, "--yes"), expected="nothing is overwritten")


def test_what_a_person_must_decide_is_not_decided_by_yes(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(source / "Jane_flair_lesion.nii.gz", source / "Jane_flair_rater2.nii.gz")
    code, error = call(monkeypatch, capsys, *words(source, "--yes"))
    assert code == 1 and not (source.parent / "bids").exists()
    assert "several files could be its label" in error and f"--table {source.parent / 'bids.prepare.tsv'}" in error


def test_an_image_that_is_not_written_is_named(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shape, affine = grid((3.0, 3.0, 3.0))
    write_image(source / "John_flair.nii.gz", patient(shape, affine)[0], affine)
    write_image(source / "John_flair_lesion.nii.gz", 2 * patient(shape, affine)[1], affine)
    code, error = call(monkeypatch, capsys, *words(source, "--yes"))
    assert code == 1
    assert error.startswith("wardround: 1 image not written:\n  John_flair.nii.gz (FLAIR): ")


@pytest.mark.parametrize("package", ["dcm2niix", "pydicom", "SimpleITK", "deepbet", "highdicom"])
def test_without_the_extra_it_says_what_to_install(
    source: Path, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    one_line(monkeypatch, capsys, *words(source), expected="pip install 'wardround[prepare]'")
