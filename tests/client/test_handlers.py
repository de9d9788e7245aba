"""The hospital's ClientApp from outside: what it answers, and what never leaves it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from client.evaluation.inference import segment
from client.governance.audit_log import AuditLog
from client.hospital.division import kept_division
from client.sharing.lesion_aware import prototypicality, score_crop
from scenarios.simulation.clientapp import app
from shared.config.settings import Settings
from shared.model.network import network_with
from shared.replay.contribution import PlainContribution
from shared.wire.headers import Question, RollCall, TestFigures
from shared.wire.messages import TrainReply, unpack_train_reply
from shared.wire.records import Refused, pack_question, unpack_header
from tests.conftest import ROOT
from tests.support.approved import Deployed
from tests.support.datasets import write_dataset
from tests.support.fakes import FakeGrid
from tests.support.hospital_messages import (
    NAMES,
    SIZES,
    ask,
    evaluate_request,
    everything_in,
    given,
    trained,
    trained_by,
    weights_of,
)
from tests.support.scored import SCORES, SHARES

QUESTION = pack_question(Question(runs=("0" * 32,)))


def test_the_door_opens_without_torch() -> None:
    """Flower's simulation loads the ClientApp before it starts Ray, and would wait for seconds of imports."""
    code = "import scenarios.simulation.clientapp, sys; print(sorted({'torch', 'monai'} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


# Roll call


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_at_the_roll_call_every_center_shows_its_card_once(run_config: dict[str, Any], nodes: int) -> None:
    grid = FakeGrid.simulated(app, run_config, nodes)
    answers = [unpack_header(ask(grid, "query.roll_call", QUESTION, node), RollCall) for node in grid.get_node_ids()]
    cards = {card.center: card for answer in answers for card in answer.cards}
    assert all(answer.simulated for answer in answers)
    assert sum(len(answer.cards) for answer in answers) == 3
    assert {name: (card.training_subjects, card.test_subjects) for name, card in cards.items()} == SIZES
    assert {name: card.contrasts for name, card in cards.items()} == {
        "milan": ("T2w",),
        "ucsf": ("FLAIR",),
        "amu": ("FLAIR",),
    }


def test_a_deployed_node_shows_its_one_center(deployed: Deployed) -> None:
    answer = unpack_header(ask(deployed, "query.roll_call", deployed.question(), 7), RollCall)
    assert not answer.simulated
    assert [(card.center, card.training_subjects, card.test_subjects) for card in answer.cards] == [("grace", 3, 2)]


# Training


def test_a_visit_changes_the_model_and_says_what_it_cost(grid: FakeGrid) -> None:
    reply, sent = trained(grid), weights_of(grid.run_config)
    assert {name: value.shape for name, value in reply.weights.items()} == {n: v.shape for n, v in sent.items()}
    assert not all(torch.equal(reply.weights[name], sent[name]) for name in sent)
    assert (reply.figures.steps, reply.figures.subjects, reply.figures.set_aside) == (8, 2, {})
    assert 0 < reply.figures.compute_seconds <= reply.figures.seconds
    assert 0 <= reply.figures.final_loss <= 1.2, "of Dice at most 1, and the cross-entropy of a prior of 0.05"


def test_the_same_visit_again_gives_the_same_reply(grid: FakeGrid) -> None:
    one, again = trained(grid), trained(grid)
    assert all(torch.equal(one.weights[name], again.weights[name]) for name in one.weights)
    assert [e.provenance for e in given(one)] == [e.provenance for e in given(again)]
    other_stage = trained(grid, stage=1)
    assert not all(torch.equal(one.weights[name], other_stage.weights[name]) for name in one.weights)


def test_a_contribution_is_the_center_s_own(grid: FakeGrid) -> None:
    milan = given(trained(grid))
    memory = (PlainContribution(milan),)
    ucsf = given(trained(grid, 101, center="ucsf", memory=memory))
    assert {exemplar.provenance.center for exemplar in milan} == {"milan"}
    assert {exemplar.provenance.center for exemplar in ucsf} == {"ucsf"}
    assert 1 <= len(milan) <= 2 and 1 <= len(ucsf) <= 2
    for exemplar in (*milan, *ucsf):
        assert exemplar.provenance.shape == (16, 16, 16) and exemplar.provenance.spacing == 4.0
        image, label = exemplar.decode()
        assert image.shape == label.shape and label.any()


def test_the_memory_is_trained_on(grid: FakeGrid) -> None:
    memory = (PlainContribution(given(trained(grid))),)
    without = trained(grid, 101, center="ucsf")
    replaying = trained(grid, 101, center="ucsf", memory=memory)
    assert without.figures.steps == replaying.figures.steps
    assert not all(torch.equal(without.weights[name], replaying.weights[name]) for name in without.weights)


@pytest.mark.parametrize("task", [{"contribute": False}, {"budget": 10}])
def test_nothing_is_contributed_unasked_or_beyond_the_budget(grid: FakeGrid, task: dict[str, Any]) -> None:
    assert trained(grid, **task).contribution is None


def test_the_model_that_was_trained_here_chooses_and_nothing_but_its_choice_leaves(deployed: Deployed) -> None:
    def visit(choice: str, subjects: int) -> TrainReply:
        return trained_by(deployed.changed(exemplar_choice=choice, memory_subjects=subjects))

    everybody = visit("lesion-aware", 20)
    settings = Settings.from_run_config(deployed.run_config)
    network = network_with(everybody.weights, settings.network, torch.device("cpu"))
    crops = [exemplar.decode() for exemplar in given(everybody)]
    soft = [segment(network, torch.from_numpy(image), settings.exemplar_voxels, 0.0).numpy() for image, _ in crops]
    best = prototypicality([score_crop(one, label) for one, (_, label) in zip(soft, crops, strict=True)]).argmax()
    (first,) = given(visit("lesion-aware", 1))
    chosen = given(everybody)[int(best)].provenance
    assert len(crops) == 3 and first.provenance == chosen.model_copy(update={"subject": first.provenance.subject})
    assert first.provenance.subject != chosen.subject, "each protocol names subjects otherwise"
    assert everybody.figures.model_fields_set == visit("random", 20).figures.model_fields_set
    assert {e.provenance.checksum for e in given(everybody)} == {
        e.provenance.checksum for e in given(visit("random", 20))
    }, "with a place for everybody all give one, whoever chooses"


def test_no_name_and_no_path_leaves_a_hospital(deployed: Deployed, tmp_path: Path) -> None:
    requests = {
        "query.roll_call": deployed.question(),
        "train": deployed.training(),
        "evaluate": deployed.test(),
    }
    replies = {kind: everything_in(ask(deployed, kind, content, 7)) for kind, content in requests.items()}
    # The exemplars are there, or their absence of names would prove nothing.
    assert replies["train"].count(b'"contrast":"FLAIR"') == 3
    secrets = [name.removeprefix("sub-") for name in NAMES] + ["sub-", "st-elsewhere", str(tmp_path), ".nii"]
    for kind, answer in replies.items():
        assert not [secret for secret in secrets if secret.encode() in answer], kind


def break_images(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (folder / "st-elsewhere" / name / "anat" / f"{name}_FLAIR.nii.gz").write_bytes(b"")


def test_a_broken_subject_is_passed_over_from_the_roll_call_on_and_counted(deployed: Deployed, tmp_path: Path) -> None:
    break_images(tmp_path, broken := NAMES[:2])
    answer = ask(deployed, "query.roll_call", deployed.question(), 7)
    (card,) = unpack_header(answer, RollCall).cards
    assert [(one.contrast, one.reason, one.count) for one in card.passed_over] == [("FLAIR", "cannot be read", 2)]
    content = ask(deployed, "train", deployed.training(), 7)
    figures = unpack_train_reply(content).figures
    assert (card.training_subjects, card.test_subjects, figures.subjects, figures.set_aside) == (2, 1, 2, {})
    for told in (everything_in(answer), everything_in(content)):
        assert not [name for name in broken if name.removeprefix("sub-").encode() in told] and b"anat" not in told


def test_a_subject_that_breaks_later_is_set_aside_and_counted(deployed: Deployed, tmp_path: Path) -> None:
    ask(deployed, "query.roll_call", deployed.question(), 7)
    break_images(tmp_path, broken := NAMES[:2])
    content = ask(deployed, "train", deployed.training(), 7)
    figures = unpack_train_reply(content).figures
    # Three subjects train, and of the broken ones at least one.
    (number,) = figures.set_aside.values()
    assert set(figures.set_aside) == {"cannot be read"} and number in (1, 2) and figures.subjects + number == 3
    told = everything_in(content)
    assert not [name for name in broken if name.removeprefix("sub-").encode() in told] and b"anat" not in told


def computed(*_: Any, **__: Any) -> Any:
    raise AssertionError("computed")


def test_who_is_set_aside_only_when_opened_counts_against_the_floors(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roll call found enough subjects; of those that broke since, nothing is computed without the others."""
    file = tmp_path / "hospital.toml"
    stricter = {"least-subjects = 1": "least-subjects = 3", "report-subject-scores = true": "least-test-subjects = 2"}
    for lax, strict in stricter.items():
        file.write_text(file.read_text().replace(lax, strict))
    (card,) = unpack_header(ask(deployed, "query.roll_call", deployed.question(), 7), RollCall).cards
    assert (card.untrained, card.withholds) == ("", "")
    site = deployed.site
    division = kept_division(site.state, site.center, deployed.plan().runs, site.data.folder)
    assert division is not None
    whole = {path: path.read_bytes() for path in (tmp_path / "st-elsewhere").rglob("*.nii.gz")}
    with monkeypatch.context() as nothing:
        nothing.setattr("client.training.stage.train", computed)
        nothing.setattr("client.handlers.evaluate", computed)
        break_images(tmp_path, (division.training[0].subject, division.test[0].subject))
        few = r"2 subjects where least-subjects = 3 \(images of 1 subject could not be used\)"
        with pytest.raises(Refused, match=f"lets no model train so: {few}"):
            trained_by(deployed)
        with pytest.raises(Refused, match=r"has 1 subject to test on, .* over 2 or more .*: no score leaves"):
            unpack_header(ask(deployed, "evaluate", deployed.test(), 7), TestFigures)
    reasons = [e.facts.reason for e in AuditLog(tmp_path / "state" / "audit").entries() if e.kind == "refused"]
    assert ["least-subjects" in reasons[0], "least-test-subjects" in reasons[1]] == [True, True]
    for path, content in whole.items():
        path.write_bytes(content)
    assert trained_by(deployed).figures.subjects == 3, "once they are mended"


def test_who_has_nobody_to_test_on_trains_only_where_its_policy_says_so(deployed: Deployed, tmp_path: Path) -> None:
    break_images(tmp_path, NAMES[1:])
    (card,) = unpack_header(ask(deployed, "query.roll_call", deployed.question(), 7), RollCall).cards
    assert (card.training_subjects, card.test_subjects, card.trains_untested) == (1, 0, False)
    assert card.untested == "it has 1 usable subject; 4 were passed over"
    with pytest.raises(Refused, match="this hospital has no subject to test on, and its policy lets no model train"):
        trained_by(deployed)
    file = tmp_path / "hospital.toml"
    file.write_text(file.read_text().replace("[policy]\n", "[policy]\ntrain-untested = true\n"))
    assert trained_by(deployed).figures.subjects == 1


def test_a_training_below_the_policy_s_floors_is_refused_and_audited(deployed: Deployed, tmp_path: Path) -> None:
    file = tmp_path / "hospital.toml"
    file.write_text(file.read_text().replace("least-steps = 1", "least-steps = 9"))
    with pytest.raises(Refused, match="lets no model train so: 8 steps where least-steps = 9"):
        trained_by(deployed)
    (entry,) = [e for e in AuditLog(tmp_path / "state" / "audit").entries() if e.kind == "refused"]
    assert "least-steps = 9" in entry.facts.reason


def test_a_crop_that_is_too_wide_stays_and_the_model_is_trained(deployed: Deployed, tmp_path: Path) -> None:
    file = tmp_path / "hospital.toml"
    file.write_text(file.read_text() + "largest-crop-mm = 63\n")
    reply = trained_by(deployed)
    assert reply.contribution is None and reply.figures.steps == 8


def test_crops_of_a_subject_are_counted_over_all_runs(deployed: Deployed, tmp_path: Path) -> None:
    file = tmp_path / "hospital.toml"
    file.write_text(file.read_text() + "crops-per-subject = 2\n")
    assert [len(given(trained_by(deployed, title))) for title in ("one", "two", "three")] == [3, 3, 0]


def test_a_center_takes_its_steps_for_each_contrast_that_it_has(deployed: Deployed, tmp_path: Path) -> None:
    assert trained_by(deployed).figures.steps == 8
    write_dataset(tmp_path / "st-elsewhere", NAMES, ("T2w",), first=50)
    assert trained_by(deployed, "another run").figures.steps == 16


def test_pooled_training_in_simulation_is_on_all_centers(grid: FakeGrid) -> None:
    reply = trained(grid, pool=tuple(SIZES), contribute=False)
    assert (reply.figures.subjects, reply.figures.steps) == (6, 24)


def test_a_deployed_hospital_is_never_part_of_a_pool(deployed: Deployed) -> None:
    with pytest.raises(Refused, match="the coordinator asked for another pool, which the approved protocol"):
        trained_by(deployed, pool=("grace", "milan"))


# Testing


@pytest.mark.parametrize(("node", "center"), [(100, "milan"), (101, "ucsf"), (102, "amu")])
def test_every_test_subject_is_scored(grid: FakeGrid, node: int, center: str) -> None:
    content = evaluate_request(grid.run_config, center)
    figures = unpack_header(ask(grid, "evaluate", content, node), TestFigures)
    assert (figures.center, len(figures.cases)) == (center, SIZES[center][1])
    for case in figures.cases:
        scores = case.model_dump()
        assert case == case.model_copy(update=case.rounded().model_dump()), "in simulation too"
        assert all(0 <= scores[name] <= 1 for name in SHARES) and all(0 <= scores[name] < 1e4 for name in SCORES)
        assert len(case.subject) == 16 and case.contrast == ("T2w" if center == "milan" else "FLAIR")
    again = unpack_header(ask(grid, "evaluate", content, node), TestFigures)
    assert again.cases == figures.cases


def test_of_few_test_subjects_no_score_leaves_a_hospital_that_reports_means(deployed: Deployed, tmp_path: Path) -> None:
    file = tmp_path / "hospital.toml"
    file.write_text(file.read_text().replace("report-subject-scores = true\n", ""))
    (card,) = unpack_header(ask(deployed, "query.roll_call", deployed.question(), 7), RollCall).cards
    why = "has 2 subjects to test on, and its policy reports means over 5 or more alone (least-test-subjects)"
    assert card.withholds == why
    answer = ask(deployed, "evaluate", deployed.test(), 7)
    with pytest.raises(Refused, match=r"this hospital has 2 subjects to test on, .*: no score leaves"):
        unpack_header(answer, TestFigures)
    assert b"dice" not in everything_in(answer)


def test_a_subject_s_pseudonym_is_the_same_in_every_stage(deployed: Deployed) -> None:
    content = deployed.test()
    first, again = (unpack_header(ask(deployed, "evaluate", content, 7), TestFigures) for _ in range(2))
    contributed = {e.provenance.subject for e in given(trained_by(deployed))}
    tested = {case.subject for case in first.cases}
    assert tested == {case.subject for case in again.cases}
    assert not tested & contributed
