"""The wire format: what is packed comes back, through Flower's own serialisation too."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.errors import MessageError
from shared.metrics.scores import MeanScores, mean_scores
from shared.model.weights import State, Weights
from shared.replay.contribution import Contribution, PlainContribution
from shared.replay.exemplar import Exemplar
from shared.replay.manifest import SealedContribution
from shared.replay.sealing import unseal
from shared.text import printable
from shared.wire.headers import (
    CaseScore,
    CenterCard,
    EvaluateTask,
    Header,
    Question,
    RollCall,
    TestFigures,
    TrainFigures,
    TrainTask,
)
from shared.wire.messages import (
    EvaluateRequest,
    TrainReply,
    TrainRequest,
    pack_evaluate_request,
    pack_train_reply,
    pack_train_request,
    unpack_evaluate_request,
    unpack_train_reply,
    unpack_train_request,
)
from shared.wire.records import Refused, pack_header, pack_question, pack_refusal, unpack_header
from tests.support import sealed
from tests.support.scored import SCORES, SHARES, case_score

Travel = Callable[[RecordDict], RecordDict]


def by_proto(records: RecordDict) -> RecordDict:
    return recorddict_from_proto(recorddict_to_proto(records))


def by_objects(records: RecordDict) -> RecordDict:
    """As Flower 1.41 sends it: an object for each record and array, named by its hash."""
    objects = {key: value.deflate() for key, value in get_all_nested_objects(records).items()}
    arrived = inflate_object_from_contents(records.object_id, objects)
    assert isinstance(arrived, RecordDict)
    return arrived


@pytest.fixture(params=[lambda records: records, by_proto, by_objects], ids=["at hand", "proto", "objects"])
def travel(request: pytest.FixtureRequest) -> Travel:
    way: Travel = request.param
    return way


def exemplar(center: str, subject: str, seed: int = 0) -> Exemplar:
    image = np.random.default_rng(seed).random((4, 4, 4), dtype=np.float32)
    return Exemplar.encode(image, image, center=center, subject=subject, contrast="FLAIR", spacing=2.0)


def plain(contributions: tuple[Contribution, ...]) -> tuple[Exemplar, ...]:
    return tuple(e for given in contributions if isinstance(given, PlainContribution) for e in given.exemplars)


def same(a: tuple[Exemplar, ...], b: tuple[Exemplar, ...]) -> bool:
    return [e.provenance for e in a] == [e.provenance for e in b] and all(
        np.array_equal(x.payload, y.payload) for x, y in zip(a, b, strict=True)
    )


WEIGHTS: Weights = {
    "unet.weight": torch.arange(6, dtype=torch.float32).reshape(1, 2, 3),
    "unet.half": torch.tensor([0.5, -1.5], dtype=torch.float16),
    "unet.steps": torch.tensor(7),
}
TASK = TrainTask(run="0" * 32, stage=2, center="ucsf", pool=("ucsf", "amu"), contribute=True, budget=1000)
FIGURES = TrainFigures(
    steps=8,
    subjects=3,
    final_loss=0.25,
    seconds=2.0,
    compute_seconds=1.5,
    set_aside={"cannot be read": 1},
)
CASE = case_score("s1", soft_dice=0.4, precision=1.0, recall=0.0, hd95_mm=12.5)
MEANS = dict.fromkeys(SCORES, 0.5)
HEADERS: list[Header] = [
    CenterCard(center="amu", training_subjects=6, test_subjects=2, contrasts=("FLAIR", "T2w"), fingerprint="f"),
    RollCall(
        cards=(CenterCard(center="amu", training_subjects=6, test_subjects=2, contrasts=("FLAIR",), fingerprint="f"),),
        simulated=True,
        code="c",
    ),
    TASK,
    FIGURES,
    CASE,
    EvaluateTask(run="0" * 32, stage=0, center="milan"),
    TestFigures(center="milan", cases=(CASE, CASE), seconds=0.5),
    TestFigures(center="milan", mean=mean_scores((CASE, CASE), least=1), seconds=0.5, withdrawn=("0123456789abcdef",)),
]
MILAN = PlainContribution((exemplar("milan", "a"), exemplar("milan", "b", 1)))
MEMORY = (MILAN, PlainContribution((exemplar("amu", "a", 2),)))


def assert_weights(arrived: Weights) -> None:
    assert list(arrived) == list(WEIGHTS)
    for name, value in WEIGHTS.items():
        assert arrived[name].dtype == value.dtype
        assert torch.equal(arrived[name], value)


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: type(header).__name__)
def test_a_header_comes_back(travel: Travel, header: Header) -> None:
    assert unpack_header(travel(pack_header(header)), type(header)) == header


def test_a_train_request_comes_back(travel: Travel) -> None:
    arrived = unpack_train_request(travel(pack_train_request(TrainRequest(TASK, WEIGHTS, MEMORY))))
    assert arrived.task == TASK
    assert_weights(arrived.weights)
    assert same(plain(arrived.memory), plain(MEMORY))
    assert np.array_equal(plain(arrived.memory)[1].decode()[0], MILAN.exemplars[1].decode()[0])


def test_a_train_reply_comes_back(travel: Travel) -> None:
    arrived = unpack_train_reply(travel(pack_train_reply(TrainReply(WEIGHTS, MILAN, FIGURES))))
    assert arrived.figures == FIGURES
    assert_weights(arrived.weights)
    assert isinstance(arrived.contribution, PlainContribution)
    assert same(arrived.contribution.exemplars, MILAN.exemplars)
    silent = unpack_train_reply(travel(pack_train_reply(TrainReply(WEIGHTS, None, FIGURES))))
    assert silent.contribution is None


def test_a_method_s_state_comes_back_bit_by_bit_or_not_at_all(travel: Travel) -> None:
    importance: Weights = {"unet.weight": torch.tensor([1e-45, 0.0, 3e38]), "unet.bias": torch.tensor(0.5)}
    states: tuple[State, ...] = ({"importance": importance}, {})
    for sent in states:
        request = unpack_train_request(travel(pack_train_request(TrainRequest(TASK, WEIGHTS, MEMORY, sent))))
        reply = unpack_train_reply(travel(pack_train_reply(TrainReply(WEIGHTS, MILAN, FIGURES, sent))))
        for arrived in (request.state, reply.state):
            assert list(arrived) == list(sent)
            for part, arrays in sent.items():
                assert list(arrived[part]) == list(arrays)
                assert all(torch.equal(arrived[part][name], value) for name, value in arrays.items())
        assert_weights(request.weights)


def test_a_state_that_is_not_made_of_arrays_is_refused() -> None:
    records = pack_train_request(TrainRequest(TASK, WEIGHTS, MEMORY))
    records["state-importance"] = ConfigRecord({"unet.weight": 1.0})
    with pytest.raises(MessageError, match="'state-importance' in a message is not made of arrays"):
        unpack_train_request(records)


@pytest.mark.parametrize(("round_", "rounds"), [(1, 1), (3, 3), (0, 0), (-1, 2)])
def test_a_round_is_one_of_the_rounds(round_: int, rounds: int) -> None:
    json = TASK.model_dump_json().replace('"round":0,"rounds":1', f'"round":{round_},"rounds":{rounds}')
    with pytest.raises(MessageError, match="a TrainTask header is wrong"):
        unpack_header(RecordDict({"header": ConfigRecord({"json": json})}), TrainTask)


def test_a_sealed_contribution_comes_back_bit_by_bit(travel: Travel) -> None:
    given = sealed.contribution()
    memory = (given.without(sealed.PSEUDONYMS[1:2]), *MEMORY)
    arrived = unpack_train_request(travel(pack_train_request(TrainRequest(TASK, WEIGHTS, memory)))).memory
    first, *others = arrived
    assert isinstance(first, SealedContribution)
    assert first.manifest == given.manifest
    assert sealed.dropped(first) == sealed.PSEUDONYMS[1:2]
    assert {n: p.tobytes() for n, p in first.payloads.items()} == {
        n: p.tobytes() for n, p in memory[0].payloads.items()
    }
    opened = unseal(first, sealed.KARO, sealed.PIN, sealed.VISIT, sealed.NOW)
    assert same(opened, (sealed.EXEMPLARS[0], sealed.EXEMPLARS[2]))
    assert same(plain(tuple(others)), plain(MEMORY))


def test_a_reply_with_two_contributions_is_refused() -> None:
    records = pack_train_request(TrainRequest(TASK, WEIGHTS, MEMORY))
    records["header"] = pack_header(FIGURES)["header"]
    with pytest.raises(MessageError, match="holds 2 contributions, but a center makes one"):
        unpack_train_reply(records)


def test_an_evaluate_request_comes_back(travel: Travel) -> None:
    task = EvaluateTask(run="0" * 32, stage=1, center="amu")
    arrived = unpack_evaluate_request(travel(pack_evaluate_request(EvaluateRequest(task, WEIGHTS))))
    assert arrived.task == task
    assert_weights(arrived.weights)


def test_an_empty_memory_comes_back_empty(travel: Travel) -> None:
    arrived = unpack_train_request(travel(pack_train_request(TrainRequest(TASK, WEIGHTS, ()))))
    assert arrived.memory == ()


def test_a_refusal_comes_back_as_its_reason(travel: Travel) -> None:
    refusal = travel(pack_refusal("center amu has no consent of anybody"))
    for unpack in (unpack_train_request, unpack_train_reply, unpack_evaluate_request):
        with pytest.raises(Refused, match="no consent of anybody"):
            unpack(refusal)
    assert issubclass(Refused, MessageError)


def test_a_question_travels(travel: Travel) -> None:
    assert "question" in travel(pack_question(Question())).config_records


def test_weights_that_came_can_be_trained_in_place() -> None:
    records = pack_evaluate_request(EvaluateRequest(EvaluateTask(run="0" * 32, stage=0, center="amu"), WEIGHTS))
    arrived = unpack_evaluate_request(records).weights
    arrived["unet.weight"] += 1
    assert_weights(unpack_evaluate_request(records).weights)


@given(
    st.builds(
        TrainTask,
        run=st.just("0" * 32),
        stage=st.integers(0, 99),
        center=st.text(),
        pool=st.lists(st.text()).map(tuple),
    )
)
def test_a_header_may_hold_any_text(task: TrainTask) -> None:
    """It comes as it was sent, with signs written out that a terminal obeys."""
    shown = {"center": printable(task.center), "pool": tuple(printable(name) for name in task.pool)}
    assert unpack_header(by_proto(pack_header(task)), TrainTask) == task.model_copy(update=shown)


def test_an_exemplar_is_one_array_and_only_one() -> None:
    records = pack_train_request(TrainRequest(TASK, WEIGHTS, MEMORY))
    arrays = records.array_records["memory"]
    assert [array.numpy().tobytes() for array in arrays.values()] == [e.payload.tobytes() for e in plain(MEMORY)]


def test_an_exemplar_that_did_not_change_is_the_same_object_to_flower() -> None:
    grown = (*MEMORY, PlainContribution((exemplar("ucsf", "c", 3),)))
    before = pack_train_request(TrainRequest(TASK, WEIGHTS, MEMORY)).array_records["memory"]
    after = pack_train_request(TrainRequest(TASK, WEIGHTS, grown)).array_records["memory"]
    assert [after[key].data for key in before] == [array.data for array in before.values()]
    ids = {array.object_id for array in before.values()}
    assert ids < {array.object_id for array in after.values()}
    assert len(ids) == len(plain(MEMORY))


def test_two_subjects_with_the_same_crop_stay_two_exemplars() -> None:
    twins = PlainContribution((exemplar("milan", "a"), exemplar("milan", "b")))
    arrived = unpack_train_request(by_objects(pack_train_request(TrainRequest(TASK, WEIGHTS, (twins,))))).memory
    assert same(plain(arrived), twins.exemplars)


def test_large_things_are_arrays_and_headers_stay_small() -> None:
    heavy = (PlainContribution(tuple(exemplar("milan", str(i), i) for i in range(20))),)
    records = pack_train_request(TrainRequest(TASK, WEIGHTS, heavy))
    assert set(records.config_records) == {"header", "manifest"}
    for record in records.config_records.values():
        assert not any(isinstance(value, bytes) for value in record.values())


REQUEST = pack_train_request(TrainRequest(TASK, WEIGHTS, MEMORY))


def without(name: str) -> RecordDict:
    return RecordDict({key: record for key, record in REQUEST.items() if key != name})


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("header", "lacks its TrainTask header"),
        ("model", "lacks its model"),
        ("manifest", "manifest"),
        ("memory", "memory"),
    ],
)
def test_a_message_that_lacks_a_part_is_refused(missing: str, said: str) -> None:
    with pytest.raises(MessageError, match=said):
        unpack_train_request(without(missing))


def test_a_memory_that_lacks_an_exemplar_of_its_manifest_is_refused() -> None:
    records = without("memory")
    payloads = dict(REQUEST.array_records["memory"])
    lost, _ = payloads.popitem()
    records["memory"] = ArrayRecord(payloads)
    with pytest.raises(MessageError, match=lost):
        unpack_train_request(records)


@pytest.mark.parametrize(
    "json", ["", "stage 2", "[]", "{}", '{"stage": 2}', '{"stage": -1, "center": "amu", "contribute": true}']
)
def test_a_header_that_is_wrong_is_refused_by_its_kind(json: str) -> None:
    with pytest.raises(MessageError, match="a TrainTask header is wrong at") as caught:
        unpack_header(RecordDict({"header": ConfigRecord({"json": json})}), TrainTask)
    assert not isinstance(caught.value, Refused)


def test_a_header_that_says_more_than_was_agreed_is_refused() -> None:
    json = TASK.model_dump_json()[:-1] + ', "path": "/data"}'
    with pytest.raises(MessageError, match="wrong at path"):
        unpack_header(RecordDict({"header": ConfigRecord({"json": json})}), TrainTask)


def test_a_header_of_another_kind_is_refused() -> None:
    with pytest.raises(MessageError, match="a TrainTask header is wrong"):
        unpack_header(pack_header(FIGURES), TrainTask)


def test_a_header_without_its_json_is_refused() -> None:
    with pytest.raises(MessageError, match="lacks its TrainTask header"):
        unpack_header(RecordDict({"header": ConfigRecord({"xml": ""})}), TrainTask)


@pytest.mark.parametrize("json", ["", "{}", '[{"center": "amu"}]'])
def test_a_manifest_that_is_wrong_is_refused(json: str) -> None:
    records = without("manifest")
    records["manifest"] = ConfigRecord({"json": json})
    with pytest.raises(MessageError, match="manifest is wrong"):
        unpack_train_request(records)


def test_a_payload_swapped_on_its_way_is_refused_at_decoding() -> None:
    records = without("memory")
    keys = list(REQUEST.array_records["memory"])
    swapped = {key: Array(plain(MEMORY)[-1 - i].payload) for i, key in enumerate(keys)}
    records["memory"] = ArrayRecord(swapped)
    first, *_ = plain(unpack_train_request(records).memory)
    with pytest.raises(MessageError, match="changed on its way"):
        first.decode()


def test_a_test_without_a_single_case_is_no_test() -> None:
    with pytest.raises(ValidationError, match="cases"):
        TestFigures(center="amu", cases=(), seconds=1.0)


@pytest.mark.parametrize(
    ("means", "wrong"),
    [
        ({}, "dice"),
        ({"dice": 0.5}, "soft_dice"),
        (MEANS | {"recall": 1.5}, "recall"),
        (MEANS | {"hd95_mm": -1.0}, "hd95_mm"),
        (MEANS | {"guess": 0.5}, "guess"),
    ],
)
def test_means_say_all_scores_and_lie_where_those_lie(means: dict[str, float], wrong: str) -> None:
    with pytest.raises(ValidationError, match=f"the mean of {wrong} is wrong"):
        TestFigures(center="amu", mean=MeanScores(subjects=2, images=2, means=means), seconds=1.0)


def test_scores_are_each_image_s_or_their_mean_but_not_both() -> None:
    with pytest.raises(ValidationError, match="either cases or their mean"):
        TestFigures(center="amu", cases=(CASE,), mean=mean_scores((CASE,), least=1), seconds=1.0)


@pytest.mark.parametrize("score", [-0.01, 1.01, float("nan")])
@pytest.mark.parametrize("metric", SHARES)
def test_a_share_lies_between_0_and_1(metric: str, score: float) -> None:
    with pytest.raises(ValidationError, match=metric):
        CaseScore.model_validate(CASE.model_dump() | {metric: score})


@pytest.mark.parametrize("score", [-0.01, 1e300, float("inf"), float("nan")])
@pytest.mark.parametrize("metric", sorted(set(SCORES) - set(SHARES)))
def test_a_volume_or_a_distance_is_finite_and_not_below_0(metric: str, score: float) -> None:
    assert CaseScore.model_validate(CASE.model_dump() | {metric: 400.0})
    with pytest.raises(ValidationError, match=metric):
        CaseScore.model_validate(CASE.model_dump() | {metric: score})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_figures_that_are_no_numbers_are_refused(number: float) -> None:
    for name in ("final_loss", "seconds", "compute_seconds"):
        diverged = FIGURES.model_copy(update={name: number})
        with pytest.raises(MessageError, match=f"TrainFigures header is wrong at {name}"):
            unpack_header(pack_header(diverged), TrainFigures)
