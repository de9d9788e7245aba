"""Visits: whole courses over hospitals that are written down, without data or training."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, RecordDict

from shared.methods import METHODS
from shared.model.model_file import model_bytes
from shared.model.network import initial_weights
from shared.model.weights import Weights, model_digest
from shared.paths import MODEL
from shared.replay.contribution import PlainContribution
from shared.replay.memory import center_budget
from shared.wire.messages import (
    EvaluateRequest,
)
from shared.wire.records import content_bytes
from tests.support.journeys import CENTERS, DICE, NODES, Journey, Setup, exemplars, hospitals, same, scored, trained


def plus(weights: Weights, steps: int) -> Weights:
    for _ in range(steps):
        weights = {name: value + 1 for name, value in weights.items()}
    return weights


@pytest.mark.parametrize("method", ["single", "finetune", "replay", "lwf", "ewc"])
def test_a_stage_trains_at_its_center_and_then_tests_at_all(journey: Setup, method: str) -> None:
    course = journey(method=method)
    course.start()
    tests = [("evaluate", node) for node in NODES.values()]
    assert course.visits == [visit for node in NODES.values() for visit in [("train", node), *tests]]


@pytest.mark.parametrize("method", ["single", "finetune", "replay", "lwf", "ewc"])
def test_the_rows_of_r_are_what_the_hospitals_measured(journey: Setup, method: str) -> None:
    course = journey(method=method)
    result = course.start()
    assert [list(record.row) for record in course.records] == [list(CENTERS)] * 3
    assert np.allclose([list(record.row.values()) for record in course.records], DICE)
    for i, row in enumerate(DICE):
        assert dict(result.evaluate_metrics_clientapp[i + 1]) == pytest.approx(dict(zip(CENTERS, row, strict=True)))
        assert result.train_metrics_clientapp[i + 1]["loss"] == 0.25


def test_the_model_is_handed_on_from_stage_to_stage(journey: Setup) -> None:
    course = journey(method="finetune")
    result = course.start()
    first, *_ = course.asked
    for i, request in enumerate(course.asked):
        assert same(request.weights, plus(first.weights, i))
        assert same(course.weights(i), plus(first.weights, i + 1))
    assert result.arrays is not None
    assert same(dict(result.arrays.to_torch_state_dict()), course.weights(2))


def test_the_model_that_was_trained_is_the_one_that_is_tested(journey: Setup) -> None:
    tests: list[EvaluateRequest] = []

    def watching(request: EvaluateRequest) -> RecordDict:
        tests.append(request)
        return scored(request)

    course = journey(hospitals(test=watching), method="finetune")
    course.start()
    assert [(test.task.stage, test.task.center) for test in tests] == [(i, c) for i in range(3) for c in CENTERS]
    assert all(same(test.weights, course.weights(test.task.stage)) for test in tests)


def test_a_center_gets_exactly_the_exemplars_of_those_before_it(journey: Setup) -> None:
    course = journey(method="replay")
    course.start()
    for i, request in enumerate(course.asked):
        expected = [e for center in CENTERS[:i] for e in exemplars(center)]
        got = [e for given in request.memory if isinstance(given, PlainContribution) for e in given.exemplars]
        assert [e.provenance for e in got] == [e.provenance for e in expected]
        assert all(np.array_equal(a.payload, b.payload) for a, b in zip(got, expected, strict=True))
        assert course.records[i].memory_exemplars == 2 * (i + 1)
    assert tuple(given.center for given in course.journals[-1].memory()) == CENTERS


def test_replay_asks_for_exemplars_within_a_center_s_share_of_the_budget(journey: Setup) -> None:
    course = journey(method="replay", memory_megabytes=3.0)
    course.start()
    assert {request.task.budget for request in course.asked} == {center_budget(3.0, 3)}
    assert all(request.task.contribute for request in course.asked)
    assert [(request.task.stage, request.task.center) for request in course.asked] == list(enumerate(CENTERS))


@pytest.mark.parametrize("method", ["single", "finetune", "pooled"])
def test_without_replay_no_exemplar_is_asked_for_or_sent(journey: Setup, method: str) -> None:
    course = journey(method=method)
    course.start()
    assert not any(request.task.contribute or request.memory for request in course.asked)
    assert not any(record.memory_exemplars for record in course.records)


def test_single_starts_every_stage_from_the_same_fresh_network(journey: Setup) -> None:
    course = journey(method="single")
    course.start()
    first, second, third = (request.weights for request in course.asked)
    assert same(first, second)
    assert same(first, third)


def first_weights(course: Journey) -> Weights:
    course.start()
    return course.asked[0].weights


def test_every_method_starts_from_the_same_network(journey: Setup) -> None:
    first, *others = (first_weights(journey(method=m)) for m in METHODS)
    assert all(same(first, other) for other in others)


def test_the_first_network_is_the_seed_s(journey: Setup) -> None:
    first, again, other = (first_weights(journey(method="pooled", seed=seed)) for seed in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)


def test_a_given_network_takes_the_place_of_the_seeded_one(journey: Setup) -> None:
    course = journey(method="finetune")
    mine = initial_weights(course.settings.network, 12345)
    course.start(ArrayRecord(mine))
    assert same(course.asked[0].weights, mine)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_begins_with_the_model_that_start_names(journey: Setup, tmp_path: Path, method: str) -> None:
    network = journey(method=method).settings.network
    given = initial_weights(network, 12345)
    path = tmp_path / MODEL
    path.write_bytes(model_bytes(given, journey(method=method).settings))
    course = journey(method=method, start=str(path), start_digest=model_digest(given))
    assert same(first_weights(course), given)
    if METHODS[method].fresh:
        assert all(same(request.weights, given) for request in course.asked)


def test_a_run_that_goes_on_needs_the_start_no_more_where_no_stage_begins_with_it(
    journey: Setup, tmp_path: Path
) -> None:
    given = initial_weights(journey(method="finetune").settings.network, 12345)
    path = tmp_path / MODEL
    path.write_bytes(model_bytes(given, journey(method="finetune").settings))
    course = journey(method="finetune", start=str(path), start_digest=model_digest(given))
    course.start()
    path.unlink()
    result = course.start()
    assert result.arrays is not None
    assert same(dict(result.arrays.to_torch_state_dict()), plus(given, 3))


@pytest.mark.parametrize("carry", ["model", "encoder"])
def test_a_model_goes_on_as_it_came(journey: Setup, carry: str) -> None:
    """What a hospital signed must reach the next one unchanged: that draws the decoder anew itself."""
    course = journey(method="finetune", carry=carry)
    course.start()
    for index, request in enumerate(course.asked[1:]):
        assert same(request.weights, course.weights(index))


def test_ewc_hands_the_importance_of_the_parameters_on_from_stage_to_stage(journey: Setup) -> None:
    course = journey(method="ewc")
    course.start()
    first, *later = course.asked
    assert first.state == {}
    for centers, request in enumerate(later, start=1):
        assert request.state["importance"].keys() == request.weights.keys()
        assert all(bool((value == centers).all()) for value in request.state["importance"].values())
    assert not any(request.memory or request.task.contribute for request in course.asked)
    parameters = sum(value.numel() for value in first.weights.values())
    assert [record.state_bytes for record in course.records] == [4 * parameters] * 3


@pytest.mark.parametrize("method", [name for name, spec in METHODS.items() if not spec.state])
def test_a_state_is_handed_on_only_by_methods_that_have_one(journey: Setup, method: str) -> None:
    course = journey(method=method, rounds=2)
    course.start()
    assert all(request.state == {} for request in course.asked)
    assert not any(record.state_bytes for record in course.records)


def test_pooled_is_one_visit_on_the_data_of_all(journey: Setup) -> None:
    course = journey(method="pooled")
    course.start()
    (request,) = course.asked
    assert request.task.pool == CENTERS
    (record,) = course.records
    assert list(record.row.values()) == pytest.approx(DICE[0])


def test_a_stage_is_recorded_with_all_that_is_known_of_it(journey: Setup) -> None:
    course = journey(method="replay")
    course.start()
    record = course.records[1]
    assert (record.stage.index, record.stage.center) == (1, "amu")
    assert record.figures.steps == 8
    assert [case.subject for case in record.tests["milan"].cases] == ["t0", "t1"]
    assert record.evaluating_seconds >= 0
    assert record.transit.seconds >= 0


def test_messages_live_as_long_as_was_set(journey: Setup) -> None:
    course = journey(message_hours=2.0)
    course.start()
    assert {message.metadata.ttl for message in course.grid.sent} == {7200.0}


def test_a_stage_that_took_no_time_is_a_stage_too(journey: Setup) -> None:
    course = journey(hospitals(train=lambda request: trained(request, seconds=0.0, compute_seconds=0.0)))
    course.start()
    assert len(course.records) == 3


@pytest.mark.parametrize("others", [0, 1, 2, 7])
def test_a_sample_of_the_centers_tests_each_model_but_the_last(journey: Setup, others: int) -> None:
    course = journey(tested_others=others)
    course.start()
    per_stage = min(1 + others, 3)
    assert [len(record.row) for record in course.records] == [per_stage, per_stage, 3]
    assert all(record.stage.center in record.row and not record.missing for record in course.records)
    for record in course.records:
        expected = dict(zip(CENTERS, DICE[record.stage.index], strict=True))
        assert record.row == pytest.approx({center: expected[center] for center in record.row})
    asked = [kind for kind, _ in course.visits].count("evaluate")
    assert asked == 2 * per_stage + 3


def test_the_messages_of_a_stage_s_tests_hold_one_model_together(journey: Setup) -> None:
    course = journey()
    course.start()
    models = [m.content["model"] for m in course.grid.sent if m.metadata.message_type == "evaluate"]
    assert [len({id(model) for model in models[3 * i : 3 * i + 3]}) for i in range(3)] == [1, 1, 1]
    assert same(models[-1].to_torch_state_dict(), course.weights(2))


def test_what_each_stage_sent_and_received_is_in_the_journal(journey: Setup) -> None:
    course = journey(method="replay")
    course.start()
    train = [content_bytes(m.content) for m in course.grid.sent if m.metadata.message_type == "train"]
    tests = [content_bytes(m.content) for m in course.grid.sent if m.metadata.message_type == "evaluate"]
    assert [record.transit.sent_bytes for record in course.records] == train
    assert [record.tests_moved.sent_bytes for record in course.records] == [
        sum(tests[3 * i : 3 * i + 3]) for i in range(3)
    ]
    model = sum(value.nbytes for value in course.weights(0).values())
    for record in course.records:
        assert record.transit.received_bytes > model
        assert 0 < record.tests_moved.received_bytes < model
