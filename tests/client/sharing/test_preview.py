"""What a hospital is shown before it joins: the very exemplars, or all among which the model will choose."""

from pathlib import Path
from typing import Any

import pytest

from client.hospital.config import Site
from client.sharing.preview import Preview, preview
from shared.clock import utc_now
from shared.config.settings import Settings
from tests.support.datasets import write_dataset
from tests.support.joined import Study


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


def shown(study: Study, **changes: Any) -> Preview:
    config = study.config | {key.replace("_", "-"): value for key, value in changes.items()}
    return preview(Site.read(study.toml("grace")), Settings.from_run_config(config), utc_now)


def subjects(found: Preview) -> set[str]:
    return {exemplar.provenance.subject for exemplar in found.released.exemplars}


def test_a_random_choice_is_shown_as_it_would_leave(study: Study) -> None:
    study.write_site("grace", subjects=2)
    found = shown(study, exemplar_choice="random")
    assert found.at_most is None and len(found.released.exemplars) == 2
    assert "- 2 exemplars of 2 subjects, " in found.text and "among these" not in found.text


def test_where_the_model_chooses_all_are_shown_among_which_it_does(study: Study) -> None:
    study.write_site("grace", subjects=2)
    found = shown(study, exemplar_choice="lesion-aware")
    everybody = subjects(shown(study, exemplar_choice="lesion-aware", memory_subjects=1))
    assert len(subjects(found)) == 3 and subjects(found) == everybody > subjects(shown(study))
    assert found.at_most is not None and found.at_most.exemplars == 2
    sizes = sorted(exemplar.payload.nbytes for exemplar in found.released.exemplars)
    assert found.at_most.nbytes == sum(sizes[-2:])
    assert "- at most 2 exemplars, one a subject, and 0.0 MB, among these 3 of 3 subjects (the model" in found.text
    assert found.released.withheld == {}


def test_the_policy_s_limits_hold_for_what_is_chosen_and_its_bars_for_all(study: Study) -> None:
    study.write_site("grace", subjects=3, megabytes=0.001, never=["sub-graceabernathy"])
    found = shown(study, exemplar_choice="lesion-aware")
    assert len(subjects(found)) == 2
    assert found.at_most is not None and (found.at_most.exemplars, found.at_most.nbytes) == (2, 1000)
    study.write_site("grace", share_exemplars=False)
    found = shown(study, exemplar_choice="lesion-aware")
    assert found.released.exemplars == () and "- no exemplars" in found.text
    assert "share-exemplars is false" in found.text


def test_either_contrast_of_a_subject_may_be_chosen(study: Study) -> None:
    images = study.root / "grace" / "images"
    names = sorted(path.name for path in images.glob("sub-*"))
    write_dataset(images, names, ("FLAIR", "T2w"))
    found = shown(study, exemplar_choice="lesion-aware", contrasts="FLAIR,T2w", memory_subjects=2)
    given = [(one.provenance.subject, one.provenance.contrast) for one in found.released.exemplars]
    assert len(given) == len(set(given)) == 2 * len(subjects(found))
    assert found.at_most is not None and found.at_most.exemplars == 2


@pytest.mark.parametrize(("role", "tested"), [("both", 2), ("evaluate", 5), ("train", 2)])
def test_a_hospital_is_told_that_its_test_subjects_are_too_few_for_a_mean(study: Study, role: str, tested: int) -> None:
    study.write_site("grace", role=role, report_subject_scores=False, least_test_subjects=6)
    said = (
        f"- no test score: the hospital has {tested} subjects to test on, and its policy reports means over 6 or more"
    )
    assert (said in shown(study).text) == (role != "train")
    study.write_site("grace", role=role, report_subject_scores=False, least_test_subjects=2)
    assert "- the mean of the test scores" in shown(study).text
    study.write_site("grace", role=role, least_test_subjects=6)
    assert "- each test image's scores" in shown(study).text
