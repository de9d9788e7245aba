"""The authors' published matrices come out as the paper's numbers."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scenarios.results.published import read_published
from scenarios.results.study import read_study, write_study
from shared.errors import ResultsError


def now() -> datetime:
    return datetime(2026, 1, 2, tzinfo=UTC)


def small(**changes: Any) -> dict[str, Any]:
    return {
        "order": ["amu", "milan"],
        "replay": [[0.4, 0.1], [0.5, 0.3]],
        "finetune": [[0.4, 0.1], [0.1, 0.5]],
        "multi": [0.6, 0.4],
        "single": [0.4, 0.2],
    } | changes


def file_of(folder: Path, content: Any) -> Path:
    path = folder / "dice_matrices.json"
    path.write_text(json.dumps(content))
    return path


def test_two_centers_by_hand(tmp_path: Path) -> None:
    study = read_published(file_of(tmp_path, {"7": small()}), now)
    assert [(run.method, run.order_name) for run in study.runs] == [
        ("single", "any"),
        ("finetune", "random-7"),
        ("replay", "random-7"),
        ("pooled", "any"),
    ]
    single, finetune, replay, pooled = study.runs
    assert single.R == ((0.4, None), (None, 0.2))
    assert single.acc == pytest.approx(0.3)
    assert (finetune.bwt, replay.bwt) == (pytest.approx(0.1 - 0.4), pytest.approx(0.5 - 0.4))
    assert pooled.acc == pytest.approx(0.5)
    assert (study.seeds, study.orders, study.centers) == ((7,), ("random-7",), ("amu", "milan"))
    write_study(tmp_path, study)
    assert read_study(tmp_path) == study


def test_the_numbers_of_the_authors(published_matrices: Path) -> None:
    """BWT by the paper's formula of replay and fine-tuning, for each of the four published orders."""
    study = read_published(published_matrices, now)
    by_seed = {seed: {run.method: run.bwt for run in study.runs if run.seed == seed} for seed in study.seeds}
    rounded = {seed: (round(bwt["replay"] or 0, 3), round(bwt["finetune"] or 0, 3)) for seed, bwt in by_seed.items()}
    assert rounded == {
        12345: (0.069, -0.146),
        4242: (0.031, -0.117),
        1113: (0.059, -0.104),
        9: (0.087, -0.001),
    }
    assert len(study.centers) == 8
    summary = study.summary
    assert summary["replay"].runs == 4
    bwt = summary["replay"].bwt
    assert bwt is not None and bwt.mean == pytest.approx((0.069 + 0.031 + 0.059 + 0.087) / 4, abs=5e-4)
    assert summary["single"].bwt is None and summary["pooled"].bwt is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "not the authors'"),
        ({}, "not the authors'"),
        ({"7": {"order": ["a", "b"]}}, r"7\.replay: Field required"),
        ({"seven": small()}, "seven"),
        ({"7": small(multi=[0.6])}, "columns"),
        ({"7": small(single=[0.6])}, "columns|not the authors'"),
        ({"7": small(replay=[[0.4, 1.1], [0.5, 0.3]])}, r"7\.replay\.0\.1"),
    ],
)
def test_another_file_is_refused(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=words):
        read_published(file_of(tmp_path, content), now)


def test_a_file_that_is_not_there_or_not_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="cannot be read"):
        read_published(tmp_path / "nowhere.json", now)
    (tmp_path / "half.json").write_text('{"7": ')
    with pytest.raises(ResultsError, match="not the authors'"):
        read_published(tmp_path / "half.json", now)
