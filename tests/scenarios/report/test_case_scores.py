"""What the runs' own results add: scores of the final models, and what went otherwise than planned."""

from pathlib import Path

from scenarios.report.case_scores import Details, read_details
from scenarios.report.caveats import caveats
from scenarios.results.study import Costs, Study, run_entry
from shared.files import write_document
from shared.paths import LAUNCH
from shared.results import Interruption
from tests.support.results import make_history, make_stage
from tests.support.studies import CENTERS, make_run, make_study, write_run

R = [[0.6, 0.2], [0.5, 0.7]]
INTERRUPTION = Interruption(
    at="stage 1/2: training at here", stopped=None, reason="killed", resumed="2026-11-24T10:00:00+00:00"
)


def study_in(folder: Path, method: str = "replay", **changes: object) -> Study:
    run = run_entry(method, 0, "any" if method == "single" else "descending", CENTERS, R)
    run = run.model_copy(update={"folder": method})
    write_run(folder / method, run, **changes)
    return make_study([run])


def test_the_last_model_s_scores_count_at_every_center(tmp_path: Path) -> None:
    found = read_details(study_in(tmp_path), tmp_path)
    assert [(case.center, case.subject, case.scores["dice"]) for case in found.cases] == [
        ("here", "here-0", 0.5),
        ("here", "here-1", 0.5),
        ("there", "there-0", 0.7),
        ("there", "there-1", 0.7),
    ]
    assert found.cases[0].scores == {"dice": 0.5, "recall": 0.5}


def test_a_single_domain_model_counts_at_its_own_center(tmp_path: Path) -> None:
    found = read_details(study_in(tmp_path, "single"), tmp_path)
    assert {case.center: case.scores["dice"] for case in found.cases} == {"here": 0.6, "there": 0.7}


def test_what_went_otherwise_is_said(tmp_path: Path) -> None:
    study = study_in(
        tmp_path,
        missing=[{"stage": 1, "center": "here", "reason": "did not answer"}],
        stages=[make_stage(0, "here", set_aside={"has a wrong shape": 1}), make_stage(1, "there")],
        withdrawn={"there": 1},
        history=make_history(interruptions=[INTERRUPTION]),
        notes=["per-subject scores not reported by there"],
    )
    assert read_details(study, tmp_path).notes == (
        "replay descending seed 0: here was not tested after stage 2: it did not answer",
        "replay descending seed 0: 1 subject set aside at here: it has a wrong shape",
        "replay descending seed 0: there withdrew subjects after their exemplars had left: 1",
        "replay descending seed 0: interrupted at stage 1/2: training at here and resumed",
        "replay descending seed 0: per-subject scores not reported by there",
    )


def test_results_that_are_gone_become_a_note(tmp_path: Path) -> None:
    study = make_study([make_run("replay", 0, 0.6, folder="gone")])
    found = read_details(study, tmp_path)
    assert found.cases == ()
    assert "gone holds no results.json" in found.notes[0]


def test_only_a_launch_that_says_so_is_a_simulation(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    assert read_details(study, tmp_path).simulated is None
    write_document(tmp_path / "replay" / LAUNCH, {"superlink": None})
    assert read_details(study, tmp_path).simulated is True
    write_document(tmp_path / "replay" / LAUNCH, {"superlink": "coordinator"})
    assert read_details(study, tmp_path).simulated is False


def test_images_of_a_data_folder_are_not_called_simulated(tmp_path: Path) -> None:
    study = study_in(tmp_path, settings={"data-dir": "/data"})
    assert read_details(study, tmp_path).simulated is False


def test_caveats_name_what_is_simulated_and_where_few_patients_test(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    write_document(tmp_path / "replay" / LAUNCH, {"superlink": None})
    said = " ".join(caveats(study, read_details(study, tmp_path)))
    assert "All images are simulated" in said
    assert "hold 2 images a center; fewer than 5 at here (2), there (2)" in said
    assert "This is one run." in said


def test_caveats_claim_nothing_of_what_is_not_known() -> None:
    study = make_study([make_run("replay", seed, 0.6) for seed in (0, 1)])
    assert caveats(study, Details((), (), None)) == ()
    trained = make_study([make_run("replay", seed, 0.6) for seed in (0, 1)], settings={"steps": 3})
    said = " ".join(caveats(trained, Details((), (), None)))
    assert "no early stopping" in said and "not independent samples of patients" in said


def test_a_missing_cell_is_a_caveat() -> None:
    run = run_entry("replay", 0, "descending", CENTERS, [[0.6, None], [0.5, 0.7]])
    assert any("without a score" in one for one in caveats(make_study([run]), Details((), (), None)))


def test_cells_that_were_not_asked_for_are_counted_and_are_no_gaps() -> None:
    run = run_entry("replay", 0, "descending", CENTERS, [[0.6, None], [0.5, 0.7]], Costs(not_asked=1))
    said = caveats(make_study([run]), Details((), (), None))
    assert any("1 of 4 cells of R were not asked for" in one for one in said)
    assert not any("without a score" in one for one in said)
