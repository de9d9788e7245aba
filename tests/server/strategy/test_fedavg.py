"""Rounds: federated averaging over hospitals that are written down, without data or training."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Error, Message, RecordDict

from server.journal.journal import Journal
from server.strategy.fedavg import figures_together
from shared.errors import CenterError
from shared.model.weights import Weights
from shared.wire.headers import TrainFigures
from shared.wire.messages import TrainRequest
from shared.wire.records import pack_refusal
from tests.support.fakes import FakeGrid
from tests.support.journeys import (
    AVERAGE,
    CENTERS,
    DICE,
    LOSSES,
    NODES,
    SUBJECTS,
    Journey,
    Setup,
    Train,
    moved,
    same,
)


def near(weights: Weights, expected: Weights) -> bool:
    return all(torch.allclose(weights[name], value, atol=1e-5) for name, value in expected.items())


def plus(weights: Weights, number: float) -> Weights:
    return {name: value + number for name, value in weights.items()}


def test_every_round_asks_all_centers_at_once_and_the_last_average_is_tested_at_all(rounds: Setup) -> None:
    course = rounds()
    course.start()
    one_round = [("train", node) for node in NODES.values()]
    assert course.visits == [*one_round * 3, *[("evaluate", node) for node in NODES.values()]]
    tasks = [request.task for request in course.asked]
    assert [(task.stage, task.round, task.rounds, task.center) for task in tasks] == [
        (round_, round_, 3, center) for round_ in range(3) for center in CENTERS
    ]
    assert not any(request.memory or request.task.contribute or request.task.order for request in course.asked)


def test_the_messages_of_a_round_hold_one_model_together(rounds: Setup) -> None:
    course = rounds()
    course.start()
    models = [m.content["model"] for m in course.grid.sent if m.metadata.message_type == "train"]
    assert [len({id(model) for model in models[3 * i : 3 * i + 3]}) for i in range(3)] == [1, 1, 1]


def test_the_models_are_averaged_by_their_centers_subjects(rounds: Setup) -> None:
    course = rounds()
    result = course.start()
    first = course.asked[0].weights
    for index in range(3):
        assert near(course.weights(index), plus(first, AVERAGE * (index + 1)))
        assert result.train_metrics_clientapp[index + 1]["loss"] == pytest.approx((2 * 0.5 + 0.25 + 0.75) / 4)
    assert result.arrays is not None
    assert same(dict(result.arrays.to_torch_state_dict()), course.weights(2))


def test_all_centers_start_a_round_from_the_same_average(rounds: Setup) -> None:
    course = rounds()
    course.start()
    for index in (1, 2):
        starts = [request.weights for request in course.asked if request.task.round == index]
        assert len(starts) == 3
        assert all(same(start, course.weights(index - 1)) for start in starts)


def test_the_one_row_of_r_is_that_of_the_last_round(rounds: Setup) -> None:
    course = rounds()
    result = course.start()
    (record,) = course.records
    assert np.allclose(list(record.row.values()), DICE[2])
    assert set(result.evaluate_metrics_clientapp) == {3}


def test_a_round_is_kept_with_what_each_center_did(rounds: Setup) -> None:
    course = rounds()
    course.start()
    journal = Journal.open(course.folder)
    assert journal.trained == 3
    for record in journal.records(course.course):
        assert {center: part.subjects for center, part in record.parts.items()} == SUBJECTS
        assert {center: part.final_loss for center, part in record.parts.items()} == LOSSES
        assert (record.figures.steps, record.figures.subjects, record.figures.seconds) == (24, 4, 3.0)
    assert not list((course.folder / "journal").glob("round-*")), "only the averages stay"


def test_what_a_round_cost_is_the_sum_over_its_centers() -> None:
    one = TrainFigures(steps=3, subjects=2, final_loss=9, seconds=1.5, compute_seconds=1.0, set_aside={"torn": 1})
    other = TrainFigures(
        steps=4, subjects=1, final_loss=9, seconds=2.5, compute_seconds=2.0, set_aside={"torn": 1, "gone": 1}
    )
    assert figures_together({"amu": one, "nih": other}, 0.25) == TrainFigures(
        steps=7, subjects=3, final_loss=0.25, seconds=4.0, compute_seconds=3.0, set_aside={"torn": 2, "gone": 1}
    )


def test_one_center_alone_is_its_own_average(rounds: Setup) -> None:
    course = rounds(rounds=1)
    course.start()
    assert near(course.weights(0), plus(course.asked[0].weights, AVERAGE))


class Backwards(FakeGrid):
    """Hands the replies over in the other order."""

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return reversed(list(super().pull_messages(message_ids)))


def test_the_order_of_the_answers_changes_no_bit(rounds: Setup) -> None:
    """A sum of floats depends on its order."""

    def fraction(request: TrainRequest) -> RecordDict:
        noise = torch.Generator().manual_seed(CENTERS.index(request.task.center))
        drawn = {name: torch.randn(value.shape, generator=noise) for name, value in request.weights.items()}
        return moved(replace(request, weights=drawn))

    course, other = rounds(fraction), rounds(fraction)
    other.grid.__class__ = Backwards
    course.start()
    other.start()
    assert same(course.weights(2), other.weights(2))


# What goes wrong


def ended(course: Journey) -> str:
    with pytest.raises(CenterError) as caught:
        course.start()
    return str(caught.value)


def at_round(index: int, center: str, instead: Train) -> Train:
    def answer(request: TrainRequest) -> RecordDict:
        here = (request.task.round, request.task.center) == (index, center)
        return instead(request) if here else moved(request)

    return answer


def test_a_center_that_fails_ends_the_run_by_its_name_when_the_others_have_answered(rounds: Setup) -> None:
    course = rounds(errors={(NODES["ucsf"], "train", 1): Error(2, "Traceback\nOSError: disk full")})
    assert "center ucsf failed at train: OSError: disk full" in ended(course)
    assert course.visits[-1] == ("train", NODES["milan"]), "no further round"
    assert {path.name for path in (course.folder / "journal").glob("round-*")} == {"round-001-amu", "round-001-milan"}


def test_the_run_goes_on_with_the_center_that_failed_and_ends_as_if_nothing_had_been(rounds: Setup) -> None:
    whole = rounds()
    whole.start()
    course = rounds(errors={(NODES["ucsf"], "train", 1): Error(2, "killed")})
    ended(course)
    sent = len(course.grid.sent)
    course.start()
    again = course.visits[sent:]
    assert again[0] == ("train", NODES["ucsf"])
    assert [kind for kind, _ in again].count("train") == 1 + 3
    assert all(same(course.weights(index), whole.weights(index)) for index in range(3))


def test_all_that_failed_are_named(rounds: Setup) -> None:
    course = rounds(errors={(NODES[c], "train", 0): Error(2, f"{c} burns") for c in ("ucsf", "milan")})
    said = ended(course)
    assert "center ucsf failed at train: ucsf burns" in said and "center milan failed at train: milan burns" in said
    assert "amu" not in said


def diverged(request: TrainRequest) -> RecordDict:
    return moved(replace(request, weights={name: value * float("nan") for name, value in request.weights.items()}))


ANSWERS: dict[str, tuple[Train, str]] = {
    "refusal": (lambda request: pack_refusal("no consent"), "center amu did not train: no consent"),
    "garbled": (lambda request: RecordDict(), "center amu did not train: a message lacks"),
    "too heavy": (
        lambda request: moved(request, subjects=3),
        "center amu sent a model of 3 subjects, but it has 2 to train on: refused",
    ),
    "diverged": (diverged, "center amu sent a model with NaN or infinity"),
    "no model": (
        lambda request: moved(replace(request, weights={})),
        "center amu sent a model whose parameters differ",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_cannot_be_averaged_is_refused_by_its_center_s_name(rounds: Setup, name: str) -> None:
    instead, said = ANSWERS[name]
    course = rounds(at_round(1, "amu", instead))
    assert said in ended(course)
    assert Journal.open(course.folder).trained == 1
    assert {path.name for path in (course.folder / "journal").glob("round-*")} == {"round-001-ucsf", "round-001-milan"}


def interrupted(rounds: Setup) -> Journey:
    """Two of three centers have answered in the second round."""
    course = rounds(errors={(NODES["ucsf"], "train", 1): Error(2, "killed")})
    ended(course)
    return course


def test_a_part_that_is_damaged_is_named_set_aside_and_trained_again(rounds: Setup) -> None:
    course = interrupted(rounds)
    model = course.folder / "journal" / "round-001-milan" / "model.safetensors"
    raw = bytearray(model.read_bytes())
    raw[-1] ^= 1
    model.write_bytes(raw)
    journal = Journal.open(course.folder)
    (said,) = journal.damaged
    assert str(model) in said and "its center trains this round again" in said
    assert len(list((course.folder / "journal").glob("damaged-*-round-001-milan"))) == 1
    sent = len(course.grid.sent)
    course.start()
    assert course.visits[sent : sent + 2] == [("train", NODES["ucsf"]), ("train", NODES["milan"])]


def test_a_part_of_a_round_whose_start_was_lost_is_not_used(rounds: Setup) -> None:
    course = interrupted(rounds)
    (course.folder / "journal" / "stage-000" / "model.safetensors").unlink()
    journal = Journal.open(course.folder)
    assert journal.trained == 0
    assert len(journal.damaged) == 3
    assert not list((course.folder / "journal").glob("round-*"))
    course.start()
    assert near(course.weights(2), plus(course.asked[0].weights, 3 * AVERAGE))


def test_parts_whose_average_was_kept_are_deleted_on_opening(rounds: Setup, tmp_path: Path) -> None:
    """The coordinator may end between the two."""
    course = interrupted(rounds)
    part = course.folder / "journal" / "round-001-milan"
    part.rename(tmp_path / "part")
    course.start()
    (tmp_path / "part").rename(part)
    journal = Journal.open(course.folder)
    assert journal.damaged == [] and not part.exists()


def test_a_part_that_answers_another_request_is_not_used(rounds: Setup) -> None:
    course = interrupted(rounds)
    request = next(r for r in course.asked if (r.task.round, r.task.center) == (1, "amu"))
    journal = Journal.open(course.folder)
    assert journal.part(request) is not None
    assert journal.part(replace(request, weights=plus(request.weights, 1))) is None
    told = replace(request, task=request.task.model_copy(update={"dropped": ("0123456789abcdef",)}))
    assert journal.part(told) is not None, "a withdrawal that was heard asks for nothing else"
