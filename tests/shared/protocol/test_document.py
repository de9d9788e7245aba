"""Protocols: one digest, whole settings, and nothing in them that is each side's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.config.settings import CIRCUMSTANCES, Settings
from shared.errors import SettingsError
from shared.protocol.card import HospitalCard, read_card
from shared.protocol.document import Ancestor, StudyProtocol, parse_protocol, read_protocol
from shared.trust.identity import Keys
from tests.support.approved import protocol_of

KEYS = {center: Keys.generate(center) for center in ("milan", "ucsf", "amu")}
ANCESTOR = Ancestor(protocol="a" * 64, run="b" * 32, stages=2)


@pytest.fixture
def protocol(run_config: dict[str, Any]) -> StudyProtocol:
    return protocol_of(run_config, KEYS, title="a study")


def test_a_file_is_read_as_the_protocol_that_was_written(protocol: StudyProtocol, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(protocol.document)
    again = read_protocol(tmp_path / "p.json")
    assert again == protocol and again.digest == protocol.digest
    dense = json.dumps(json.loads(protocol.document), separators=(",", ":"), sort_keys=True)
    assert parse_protocol(dense.encode(), "dense").digest == protocol.digest


@pytest.mark.parametrize("field", sorted(StudyProtocol.model_fields.keys() - {"format"}))
def test_whatever_is_changed_makes_another_protocol(protocol: StudyProtocol, field: str) -> None:
    changed: dict[str, object] = {
        "title": "another",
        "created": "2031-05-01T12:00:00Z",
        "code": "c" * 64,
        "settings": protocol.settings | {"steps": "9"},
        "runs": ({}, {"seed": "1"}),
        "identities": dict(list(protocol.identities.items())[:2]),
        "lineage": (ANCESTOR,),
    }
    other = protocol.model_copy(update={field: changed[field]})
    assert other.digest != protocol.digest and other.run_name(0) != protocol.run_name(0)


def test_the_settings_are_those_that_were_proposed_and_circumstances_are_one_s_own(
    protocol: StudyProtocol, run_config: dict[str, Any]
) -> None:
    theirs = run_config | {"steps": 999, "learning-rate": 1.0, "patience-minutes": 7.0, "device": "cpu"}
    settings = protocol.settings_of(0, theirs)
    assert settings.changes_of_science(Settings.from_run_config(run_config | {"order": "given"})) == []
    assert (settings.run.patience_minutes, settings.training.device) == (7.0, "cpu")
    assert not protocol.settings.keys() & CIRCUMSTANCES


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": {"device": '"cuda"'}}, "says nothing of device, which is each side's own"),
        ({"settings": {"steps": "8, 9"}}, "not spelled as JSON"),
        ({"settings": {"stepz": "8"}}, "unknown key 'stepz'"),
        ({"settings": {"order": '"descending"'}}, "names its centers in their order, but has order = 'descending'"),
        ({"settings": {"method": '"pooled"'}}, "would have patients' images leave"),
        ({"settings": {"centers": '"milan,ucsf,bwh"'}}, "lacks the identities of bwh"),
        ({"lineage": (Ancestor(protocol="a" * 64, run="b" * 32, stages=3),)}, "adds a stage to it"),
        ({"settings": {"method": '"fedavg"'}, "lineage": (ANCESTOR,)}, "fedavg run cannot go on"),
    ],
)
def test_what_cannot_be_worked_off_is_refused(
    protocol: StudyProtocol, run_config: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    if "settings" in changes:
        changes = changes | {"settings": protocol.settings | changes["settings"]}
    with pytest.raises(SettingsError, match=said):
        protocol.model_copy(update=changes).check(run_config)
    protocol.check(run_config)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda page: page | {"format": 2}, "format"),
        (lambda page: page | {"title": "two\nlines"}, "title"),
        (lambda page: page | {"surplus": 1}, "surplus"),
        (lambda page: page | {"runs": []}, "runs"),
        (lambda page: page | {"runs": [{}, {}]}, "a run is listed twice"),
        (lambda page: page | {"identities": {"milan": page["identities"]["ucsf"]}}, "is that of ucsf"),
        (lambda page: page | {"identities": {"milan": page["identities"]["milan"][:-4]}}, "mistyped or cut"),
        (lambda page: page | {"runs": [{}, {"seed": "1"}], "lineage": [ANCESTOR.model_dump()]}, "has one run"),
        (lambda page: page | {"lineage": [ANCESTOR.model_dump()] * 2}, "must have more stages"),
        (lambda page: [page], "its start"),
    ],
)
def test_what_is_no_protocol_is_refused_by_its_file(
    protocol: StudyProtocol, change: Any, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(change(json.loads(protocol.document))))
    with pytest.raises(SettingsError, match=said) as caught:
        read_protocol(path)
    assert str(path) in str(caught.value) and "wardround coordinator propose" in str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"protocol .*none\.json cannot be read"):
        read_protocol(tmp_path / "none.json")
    with pytest.raises(SettingsError, match=r"card .*none\.json cannot be read"):
        read_card(tmp_path / "none.json")


def test_a_card_counts_each_subject_once_by_the_contrasts_of_a_run(tmp_path: Path) -> None:
    card = HospitalCard(
        center="milan",
        identity=str(KEYS["milan"].identity),
        role="both",
        subjects={"FLAIR": 3, "FLAIR,T2w": 4, "T2w": 5},
    )
    (tmp_path / "card.json").write_text(card.document)
    assert read_card(tmp_path / "card.json") == card
    assert (card.count(("FLAIR", "T2w")), card.count(("FLAIR",)), card.count(("T2w",))) == (12, 7, 9)
    for change in ({"center": "ucsf"}, {"identity": "none"}, {"subjects": {"FLAIR": -1}}):
        (tmp_path / "card.json").write_text(json.dumps(card.model_dump(mode="json") | change))
        with pytest.raises(SettingsError, match="is no hospital's card"):
            read_card(tmp_path / "card.json")
