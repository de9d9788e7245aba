"""The roll call: waits for the expected centers, and says who is missing or doubled."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo

from server import exchange as exchanging
from server.roster import Roster, call_roll
from shared.config.groups import RunSettings
from shared.config.settings import Settings
from shared.errors import CenterError
from shared.trust.identity import Keys
from shared.wire.code_fingerprint import code_fingerprint
from shared.wire.headers import CenterCard, Question, RollCall
from shared.wire.records import pack_header, pack_refusal
from tests.support.fakes import FakeGrid

WAIT = 10.0


def reception() -> ClientApp:
    """Answers the roll call with what its node config says: `centers`, `simulated`, `refuses`."""
    app = ClientApp()

    @app.query("roll_call")
    def answer(message: Message, context: Context) -> Message:
        return Message(_answer(dict(context.node_config)), reply_to=message)

    return app


def _answer(config: dict[str, Any]) -> RecordDict:
    if "refuses" in config:
        return pack_refusal(config["refuses"])
    if "garbled" in config:
        return RecordDict()
    cards = tuple(
        CenterCard(
            center=center,
            training_subjects=len(center),
            test_subjects=1,
            contrasts=("FLAIR",),
            fingerprint="f",
            identity=config.get("identity", ""),
        )
        for center in config["centers"].split()
    )
    simulated = bool(config.get("simulated", False))
    return pack_header(RollCall(cards=cards, simulated=simulated, code=config.get("code", code_fingerprint())))


@dataclass
class Clock:
    """Time that passes only in sleep."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Arrivals(FakeGrid):
    """Lists a node only from its hour on."""

    clock: Clock = field(default_factory=Clock)
    after: dict[int, float] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [NodeInfo(node_id=node, name=self.names.get(node, "")) for node in self.get_node_ids()]

    def get_node_ids(self) -> Iterable[int]:
        return [node for node in super().get_node_ids() if self.clock() >= 1000 + self.after.get(node, 0)]


@pytest.fixture
def run(run_config: dict[str, Any]) -> RunSettings:
    return Settings.from_run_config(run_config | {"wait-seconds": WAIT}).run


def hospital(*centers: str, **config: str | bool) -> dict[str, Any]:
    return {"centers": " ".join(centers), **config}


def call(run: RunSettings, nodes: dict[int, dict[str, Any]], **how: Any) -> tuple[Arrivals, Roster]:
    grid = Arrivals(reception(), {}, nodes, **how)
    return grid, call_roll(grid, run, Question(), clock=exchanging.Clock(grid.clock, grid.clock.sleep))


THREE = {103: hospital("milan"), 101: hospital("ucsf"), 102: hospital("amu")}


def test_each_center_is_found_at_its_node(run: RunSettings) -> None:
    grid, roster = call(run, THREE)
    assert roster.nodes == {"milan": 103, "ucsf": 101, "amu": 102}
    assert {center: card.center for center, card in roster.cards.items()} == {c: c for c in roster.nodes}
    assert roster.cards["milan"].training_subjects == 5
    assert not roster.simulated
    assert grid.clock.now == 1000


def test_one_node_may_be_several_centers(run: RunSettings) -> None:
    _, roster = call(run, {101: hospital("milan", "amu", simulated=True), 102: hospital("ucsf", simulated=True)})
    assert roster.nodes == {"milan": 101, "amu": 101, "ucsf": 102}
    assert roster.simulated


def test_centers_that_are_not_expected_are_left_in_peace(run: RunSettings) -> None:
    extra = {104: hospital("bwh"), 105: hospital("bwh"), 106: hospital()}
    _, roster = call(run, THREE | extra)
    assert set(roster.nodes) == set(roster.cards) == {"milan", "ucsf", "amu"}


def test_late_nodes_are_waited_for_and_nobody_is_asked_twice(run: RunSettings) -> None:
    grid, roster = call(run, THREE, after={101: 3.0, 102: 8.0})
    assert set(roster.nodes) == {"milan", "ucsf", "amu"}
    assert sorted(message.metadata.dst_node_id for message in grid.sent) == [101, 102, 103]
    assert grid.clock.now == pytest.approx(1008, abs=1)


def test_every_arrival_renews_the_wait(run: RunSettings) -> None:
    grid, roster = call(run, THREE, after={101: 0.8 * WAIT, 102: 1.6 * WAIT})
    assert set(roster.nodes) == {"milan", "ucsf", "amu"}
    assert grid.clock.now > 1000 + WAIT


def test_missing_centers_are_named_when_the_wait_is_over(run: RunSettings) -> None:
    grid = Arrivals(reception(), {}, THREE, absent={101, 103})
    with pytest.raises(CenterError) as caught:
        call_roll(grid, run, Question(), clock=exchanging.Clock(grid.clock, grid.clock.sleep))
    assert "2 of 3 centers did not come within 10 s: milan, ucsf;" in str(caught.value)
    assert "amu" not in str(caught.value)
    assert WAIT < grid.clock.now - 1000 < WAIT + 2


def test_without_any_node_all_are_missing(run: RunSettings) -> None:
    with pytest.raises(CenterError, match=r"3 of 3 centers .* milan, ucsf, amu"):
        call(run, {})


@pytest.mark.parametrize("after", [0.0, 3.0])
def test_a_center_at_two_nodes_is_refused(run: RunSettings, after: float) -> None:
    with pytest.raises(CenterError, match="two nodes claim to be center milan"):
        call(run, {101: hospital("milan"), 102: hospital("milan")}, after={102: after})


def test_a_node_that_refuses_is_named_with_its_reason(run: RunSettings) -> None:
    with pytest.raises(CenterError, match="this SuperNode does not say whose it is") as caught:
        call(run, {101: hospital("milan"), 102: {"refuses": "this SuperNode does not say whose it is"}})
    assert "node 102" in str(caught.value)


def test_a_node_that_failed_is_named(run: RunSettings) -> None:
    errors = {(102, "query.roll_call", 0): Error(1, "ImportError: no module named torch")}
    with pytest.raises(CenterError, match=r"node 102 failed at query\.roll_call: ImportError"):
        call(run, THREE, errors=errors)


def test_a_node_whose_answer_is_garbled_is_named(run: RunSettings) -> None:
    with pytest.raises(CenterError, match="node 102"):
        call(run, {101: hospital("milan"), 102: {"garbled": True}})


def test_the_roll_call_keeps_to_the_messages_time_to_live(run: RunSettings) -> None:
    grid, _ = call(run, THREE)
    assert {message.metadata.ttl for message in grid.sent} == {run.message_hours * 3600}


# Evaluators


@pytest.fixture
def evaluated(run: RunSettings) -> RunSettings:
    """Two centers, and milan as an evaluator."""
    return run.model_copy(update={"centers": ("ucsf", "amu"), "evaluators": ("milan",)})


NAMED = {103: "milan", 101: "ucsf", 102: "amu"}


def test_evaluators_are_called_as_centers_are(evaluated: RunSettings) -> None:
    _, roster = call(evaluated, THREE)
    assert roster.nodes == {"milan": 103, "ucsf": 101, "amu": 102} == {c: roster.nodes[c] for c in roster.cards}


def test_an_evaluator_that_does_not_come_is_waited_for_and_ends_nothing(
    evaluated: RunSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, roster = call(evaluated, THREE, absent={103})
    assert set(roster.nodes) == {"ucsf", "amu"} and WAIT < grid.clock.now - 1000 < WAIT + 2
    assert "did not come within 10 s: milan; going on without their tests" in capsys.readouterr().out
    grid.absent.clear()
    assert roster.find(grid, evaluated, "milan", 5.0) == 103 and roster.cards["milan"].center == "milan"
    assert grid.sent[-1].metadata.ttl == 5.0


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"refuses": "its data are gone"}, "its data are gone"),
        ({"garbled": True}, "failed at the roll call"),
        (hospital("milan", code="other"), "center milan runs other code"),
        (hospital("nih"), "enrolled as milan says that it is center nih"),
    ],
)
def test_what_is_wrong_with_an_evaluator_ends_nothing(
    evaluated: RunSettings, node: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, roster = call(evaluated, THREE | {103: node}, names=NAMED)
    assert set(roster.nodes) == {"ucsf", "amu"} and grid.clock.now < 1000 + WAIT, "nobody waits for it"
    out = capsys.readouterr().out
    assert "evaluator milan: " in out and said in out and "going on without its tests" in out
    with pytest.raises(CenterError, match=r"node 102|amu"):
        call(evaluated, THREE | {102: node}, names=NAMED)


# Who a node is, and what it runs


def test_a_node_that_was_enrolled_under_another_name_is_refused_with_both(run: RunSettings) -> None:
    _, roster = call(run, THREE, names={103: "milan", 101: "ucsf", 102: "amu"})
    assert roster.nodes["milan"] == 103
    with pytest.raises(CenterError, match=r"enrolled as amu says that it is center milan: .*: refused"):
        call(run, THREE, names={103: "amu"})
    with pytest.raises(CenterError, match="enrolled as amu says that it is center milan and ucsf"):
        call(run, {101: hospital("milan", "ucsf")}, names={101: "amu"})


def test_a_node_that_was_enrolled_under_a_name_that_nobody_waits_for_is_not_asked(run: RunSettings) -> None:
    grid, roster = call(run, THREE | {104: hospital(refuses="it has approved nothing")}, names={104: "karo"})
    assert set(roster.nodes) == {"milan", "ucsf", "amu"}
    assert 104 not in [message.metadata.dst_node_id for message in grid.sent]


def test_a_node_with_other_code_is_refused_by_its_center_s_name(run: RunSettings) -> None:
    with pytest.raises(CenterError, match=r"center ucsf runs other code \(fingerprint 0123456789abcdef\)") as caught:
        call(run, THREE | {101: hospital("ucsf", code="0123456789abcdef" + 48 * "0")})
    assert code_fingerprint()[:16] in str(caught.value)
    simulated = {node: config | {"simulated": True} for node, config in THREE.items()}
    call(run, simulated | {101: hospital("ucsf", code="", simulated=True)})


MILAN = str(Keys.generate("milan").identity)


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        ("hello", "shows a public key that is none"),
        (MILAN[:-4], "was mistyped or cut"),
        (MILAN.replace("v1", "v2"), "shows a public key that is none"),
        (f"{MILAN.rsplit(' ', 1)[0]} {'A' * 86}==", "is no usable key"),
        (MILAN.replace(" milan ", "  milan "), "must show its own, on one line"),
        (str(Keys.generate("ucsf").identity), "shows the public key of ucsf"),
    ],
)
def test_a_malformed_identity_is_refused_by_its_center_s_name(run: RunSettings, identity: str, said: str) -> None:
    with pytest.raises(CenterError, match=f"^center milan .*{said}.*: refused"):
        call(run, THREE | {103: hospital("milan", identity=identity)})


def test_a_whole_identity_is_welcome(run: RunSettings) -> None:
    _, roster = call(run, THREE | {103: hospital("milan", identity=MILAN)})
    assert roster.cards["milan"].identity == MILAN


@pytest.mark.parametrize(
    ("change", "name"), [({"code": "other"}, "milan"), ({}, "karo"), ({"identity": MILAN}, "milan")]
)
def test_a_center_comes_back_only_as_who_it_was(
    run: RunSettings, change: dict[str, str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, roster = call(run, THREE)
    back = hospital("milan") | change
    again = Arrivals(reception(), {}, {101: THREE[101], 102: THREE[102], 104: back}, names={104: name})
    assert roster.find(again, run, "milan") is None
    assert ("not taken back: " in capsys.readouterr().out) == (name == "milan"), "one of another name is not asked"
    again = Arrivals(reception(), {}, {101: THREE[101], 102: THREE[102], 104: hospital("milan")}, names={104: "milan"})
    assert roster.find(again, run, "milan") == 104


def test_centers_are_counted_by_training_subjects_alone() -> None:
    tested = CenterCard(center="ucsf", training_subjects=3, test_subjects=90, contrasts=("FLAIR",), fingerprint="f")
    trained = CenterCard(center="amu", training_subjects=4, test_subjects=1, contrasts=("FLAIR",), fingerprint="f")
    roster = Roster({}, {"ucsf": tested, "amu": trained}, simulated=False)
    assert roster.training_subjects == {"ucsf": 3, "amu": 4}
