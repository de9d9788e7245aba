"""Visits: whole courses over hospitals that are written down here, without data or training."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import Result

from server.app import STRATEGIES
from server.course import Stage, plan_course
from server.journal.journal import Journal
from server.journal.records import StageRecord
from server.roster import Roster
from server.strategy.sequential import Visits
from server.tracking import OFF, Tracking
from shared.config.settings import Method, Settings
from shared.errors import CenterError
from shared.model.network import initial_weights, is_encoder
from shared.model.weights import Weights
from shared.replay.contribution import PlainContribution
from shared.replay.exemplar import Exemplar
from shared.replay.memory import center_budget
from shared.wire.headers import CenterCard, TestFigures, TrainFigures
from shared.wire.messages import (
    EvaluateRequest,
    TrainReply,
    TrainRequest,
    pack_train_reply,
    unpack_evaluate_request,
    unpack_train_request,
)
from shared.wire.records import content_bytes, pack_header, pack_refusal
from tests.support.fakes import FakeGrid
from tests.support.scored import case_score

CENTERS = ("ucsf", "amu", "milan")
NODES = {center: 101 + i for i, center in enumerate(CENTERS)}

DICE = [[0.6, 0.2, 0.1], [0.5, 0.7, 0.3], [0.4, 0.65, 0.8]]
"""What the hospitals report: by stage, then by center in the order of the visits."""

Train = Callable[[TrainRequest], RecordDict]
Test = Callable[[EvaluateRequest], RecordDict]


def exemplars(center: str) -> tuple[Exemplar, ...]:
    """The two crops that a center contributes."""
    made = []
    for k in range(2):
        image = np.full((16, 16, 16), CENTERS.index(center) + k / 2, dtype=np.float32)
        made.append(
            Exemplar.encode(image, image.clip(0, 1), center=center, subject=f"s{k}", contrast="FLAIR", spacing=4.0)
        )
    return tuple(made)


def trained(request: TrainRequest, **changes: Any) -> RecordDict:
    """Add one to every weight, and contribute where that is asked."""
    figures = {"steps": 8, "subjects": 2, "final_loss": 0.25, "seconds": 1.0, "compute_seconds": 0.5}
    return pack_train_reply(
        TrainReply(
            weights={name: value + 1 for name, value in request.weights.items()},
            contribution=PlainContribution(exemplars(request.task.center)) if request.task.contribute else None,
            figures=TrainFigures.model_validate(figures | changes),
            importance=importance_after(request) if request.task.retention == "consolidation" else None,
        )
    )


def importance_after(request: TrainRequest) -> Weights:
    """One more for every parameter with every center."""
    before = request.importance or {name: torch.zeros_like(value) for name, value in request.weights.items()}
    return {name: value + 1 for name, value in before.items()}


def scored(request: EvaluateRequest) -> RecordDict:
    """Two cases whose mean Dice is the one in `DICE`."""
    dice = DICE[request.task.stage][CENTERS.index(request.task.center)]
    cases = tuple(case_score(subject=f"t{k}", dice=dice + part) for k, part in enumerate((-0.1, 0.1)))
    return pack_header(TestFigures(center=request.task.center, cases=cases, seconds=0.5))


def hospitals(train: Train = trained, test: Test = scored) -> ClientApp:
    app = ClientApp()

    @app.train()
    def _(message: Message, context: Context) -> Message:
        return Message(train(unpack_train_request(message.content)), reply_to=message)

    @app.evaluate()
    def _(message: Message, context: Context) -> Message:
        return Message(test(unpack_evaluate_request(message.content)), reply_to=message)

    return app


@dataclass
class Journey:
    """A course, the messages that it sent, and the stages that it finished."""

    settings: Settings
    grid: FakeGrid
    folder: Path
    journals: list[Journal] = field(default_factory=list)

    def start(self, initial: ArrayRecord | None = None, tracking: Tracking = OFF) -> Result:
        """From the start, or from where the journal is."""
        cards = {
            c: CenterCard(center=c, training_subjects=2, test_subjects=2, contrasts=("FLAIR",), fingerprint="f")
            for c in CENTERS
        }
        roster = Roster(dict(NODES), cards, simulated=True)
        if self.journals:
            self.journals.append(Journal.open(self.folder))
        else:
            self.journals.append(Journal.create(self.folder, self.settings, CENTERS, cards))
        strategy = STRATEGIES.get(self.settings.run.method, Visits)
        return strategy(self.settings, roster, self.course, self.journals[-1], tracking).start(self.grid, initial)

    @property
    def course(self) -> tuple[Stage, ...]:
        return plan_course(CENTERS, self.settings.run)

    @property
    def records(self) -> list[StageRecord]:
        """The stages that were tested to their end, as the journal on disk has them."""
        journal = Journal.open(self.folder)
        records = journal.records(self.course)
        return [record for record in records if record.stage.tested and not journal.untested(record.stage)]

    def weights(self, index: int) -> Weights:
        return Journal.open(self.folder).weights(index)

    @property
    def asked(self) -> list[TrainRequest]:
        """The train requests, as sent."""
        return [unpack_train_request(m.content) for m in self.grid.sent if m.metadata.message_type == "train"]

    @property
    def visits(self) -> list[tuple[str, int]]:
        """Kind and node of every message, as sent."""
        return [(m.metadata.message_type, m.metadata.dst_node_id) for m in self.grid.sent]


Setup = Callable[..., Journey]


@pytest.fixture
def journey(run_config: dict[str, Any], tmp_path: Path) -> Setup:
    """A journey over three hospitals; keywords are keys of the run-config with _ for -."""

    def setup(
        client: ClientApp | None = None, errors: dict[tuple[int, str, int], Error] | None = None, **changes: object
    ) -> Journey:
        changed = {key.replace("_", "-"): value for key, value in changes.items()}
        config = (
            run_config
            | {"features": 2, "centers": ",".join(CENTERS), "order": "given", "patience-minutes": 0.0}
            | changed
        )
        nodes: dict[int, dict[str, Any]] = {node: {} for node in NODES.values()}
        grid = FakeGrid(client or hospitals(), config, nodes, errors=errors or {})
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Journey(Settings.from_run_config(config), grid, folder)

    return setup


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


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
    first, *others = (first_weights(journey(method=m)) for m in get_args(Method))
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


def test_an_encoder_is_carried_over_and_every_stage_has_a_fresh_decoder(journey: Setup) -> None:
    course = journey(method="finetune", carry="encoder")
    course.start()
    starts = [request.weights for request in course.asked]
    for index, start in enumerate(starts[1:]):
        before = course.weights(index)
        for name, value in start.items():
            assert torch.equal(value, before[name]) is is_encoder(name)
    decoders = [{name: value for name, value in start.items() if not is_encoder(name)} for start in starts]
    assert not same(decoders[0], decoders[1])
    assert not same(decoders[1], decoders[2])
    again = journey(method="finetune", carry="encoder")
    again.start()
    assert all(same(request.weights, start) for request, start in zip(again.asked, starts, strict=True))


def test_lwf_holds_every_stage_but_the_first_to_the_answers_of_the_model_that_came(journey: Setup) -> None:
    course = journey(method="lwf")
    course.start()
    assert [request.task.retention for request in course.asked] == ["none", "distillation", "distillation"]
    assert not any(request.importance or request.memory or request.task.contribute for request in course.asked)


def test_ewc_hands_the_importance_of_the_parameters_on_from_stage_to_stage(journey: Setup) -> None:
    course = journey(method="ewc")
    course.start()
    first, *later = course.asked
    assert first.importance is None
    for centers, request in enumerate(later, start=1):
        assert request.importance is not None and request.importance.keys() == request.weights.keys()
        assert all(bool((value == centers).all()) for value in request.importance.values())
    assert {request.task.retention for request in course.asked} == {"consolidation"}
    assert not any(request.memory or request.task.contribute for request in course.asked)
    parameters = sum(value.numel() for value in first.weights.values())
    assert [record.importance_bytes for record in course.records] == [4 * parameters] * 3


@pytest.mark.parametrize("method", ["single", "finetune", "replay", "pooled", "lwf", "fedavg"])
def test_importance_is_ewc_s_alone(journey: Setup, method: str) -> None:
    course = journey(method=method, rounds=2)
    course.start()
    assert all(request.importance is None for request in course.asked)
    assert not any(record.importance_bytes for record in course.records)


def test_an_importance_that_nobody_can_have_ends_the_course(journey: Setup) -> None:
    def negative(request: TrainRequest) -> RecordDict:
        return trained(replace(request, importance={name: value * 0 - 2 for name, value in request.weights.items()}))

    course = journey(hospitals(train=at(1, "amu", negative, trained)), method="ewc")
    assert "center amu sent an importance with negative values" in failure(course, 1, ("train", NODES["amu"]))


def test_pooled_is_one_visit_on_the_data_of_all(journey: Setup) -> None:
    course = journey(method="pooled")
    course.start()
    (request,) = course.asked
    assert (request.task.pool, request.task.steps_factor) == (CENTERS, 3)
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


def failure(course: Journey, finished: int, last: tuple[str, int]) -> str:
    """How a course ends that may not go on: nothing is sent after what failed."""
    with pytest.raises(CenterError) as caught:
        course.start()
    assert len(course.records) == finished
    assert course.visits[-1] == last
    assert len(course.visits) == 4 * finished + (1 if last[0] == "train" else 4)
    return str(caught.value)


@pytest.mark.parametrize("code", [0, 2, 5, 8])
def test_a_center_that_fails_in_training_ends_the_course(journey: Setup, code: int) -> None:
    course = journey(errors={(NODES["amu"], "train", 0): Error(code, "Traceback\nOSError: disk full")})
    assert "center amu failed at train: OSError: disk full" in failure(course, 1, ("train", NODES["amu"]))


def test_a_center_that_fails_in_testing_leaves_its_cell_empty(journey: Setup) -> None:
    course = journey(errors={(NODES["amu"], "evaluate", 1): Error(8, "killed")})
    course.start()
    assert [set(record.row) for record in course.records] == [set(CENTERS), set(CENTERS) - {"amu"}, set(CENTERS)]
    assert "killed" in course.records[1].missing["amu"]
    assert not course.records[2].missing


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


def test_a_sampled_test_that_fails_is_missing_and_the_rest_is_not_asked_for(journey: Setup) -> None:
    course = journey(tested_others=0, errors={(NODES["amu"], "evaluate", 0): Error(2, "the images have gone")})
    with pytest.raises(CenterError, match="no center could test the model"):
        course.start()
    course = journey(tested_others=1, errors={(NODES["amu"], "evaluate", 0): Error(2, "the images have gone")})
    course.start()
    failed = [record for record in course.records if record.missing]
    assert [set(record.missing) for record in failed] == [{"amu"}]
    assert [len(record.asked) for record in course.records] == [2, 2, 3]


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


def test_a_model_that_nobody_could_test_ends_the_course(journey: Setup) -> None:
    course = journey(errors={(node, "evaluate", 1): Error(8, "killed") for node in NODES.values()})
    said = failure(course, 1, ("evaluate", NODES["milan"]))
    assert all(f"center {center}" in said for center in CENTERS)


def at(stage: int, center: str, instead: Callable[[Any], RecordDict], otherwise: Callable[[Any], RecordDict]) -> Any:
    """A handler that answers otherwise than its peers at one stage and center."""

    def answer(request: TrainRequest | EvaluateRequest) -> RecordDict:
        here = request.task.stage == stage and request.task.center == center
        return instead(request) if here else otherwise(request)

    return answer


def test_a_center_that_refuses_to_train_ends_the_course_with_its_reason(journey: Setup) -> None:
    refuses = at(1, "amu", lambda request: pack_refusal("no subject has consented"), trained)
    said = failure(journey(hospitals(train=refuses)), 1, ("train", NODES["amu"]))
    assert "center amu did not train: no subject has consented" in said


def test_a_center_that_refuses_to_test_is_missing_with_its_reason(journey: Setup) -> None:
    course = journey(hospitals(test=at(1, "ucsf", lambda request: pack_refusal("the images have gone"), scored)))
    course.start()
    assert "the images have gone" in course.records[1].missing["ucsf"]
    assert set(course.records[1].row) == set(CENTERS) - {"ucsf"}


def test_a_test_that_answers_for_another_center_is_missing(journey: Setup) -> None:
    def as_milan(request: EvaluateRequest) -> RecordDict:
        other = request.task.model_copy(update={"center": "milan"})
        return scored(EvaluateRequest(other, request.weights))

    course = journey(hospitals(test=at(0, "amu", as_milan, scored)))
    course.start()
    assert set(course.records[0].missing) == {"amu"}


ANOTHER_HEADER = pack_header(case_score())


@pytest.mark.parametrize("garbled", [RecordDict(), ANOTHER_HEADER], ids=["empty", "another header"])
def test_an_answer_that_cannot_be_read_is_named_by_its_center(journey: Setup, garbled: RecordDict) -> None:
    train = at(1, "amu", lambda request: garbled, trained)
    assert "center amu" in failure(journey(hospitals(train=train)), 1, ("train", NODES["amu"]))
    course = journey(hospitals(test=at(1, "amu", lambda request: garbled, scored)))
    course.start()
    assert set(course.records[1].missing) == {"amu"}


def test_a_model_that_diverged_is_refused_by_its_center_s_name(journey: Setup) -> None:
    def diverged(request: TrainRequest) -> RecordDict:
        broken = {name: value * float("nan") for name, value in request.weights.items()}
        return trained(TrainRequest(request.task, broken, request.memory))

    said = failure(journey(hospitals(train=at(2, "milan", diverged, trained))), 2, ("train", NODES["milan"]))
    assert "center milan" in said


def test_exemplars_of_another_center_are_refused(journey: Setup) -> None:
    def foreign(request: TrainRequest) -> RecordDict:
        other = request.task.model_copy(update={"center": "ucsf"})
        return trained(TrainRequest(other, request.weights, request.memory))

    said = failure(journey(hospitals(train=at(1, "amu", foreign, trained))), 1, ("train", NODES["amu"]))
    assert "center amu sent exemplars of ucsf: refused" in said


def test_more_exemplars_than_subjects_were_asked_for_are_refused(journey: Setup) -> None:
    said = failure(journey(memory_subjects=1), 0, ("train", NODES["ucsf"]))
    assert "center ucsf sent 2 exemplars" in said
