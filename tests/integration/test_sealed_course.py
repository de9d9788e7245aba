"""Whole courses with sealing: what the hospitals learn is the same, and the coordinator sees nothing."""

from pathlib import Path
from typing import Any

import pytest
from flwr.app import Error

from scenarios.simulation.clientapp import app
from server.journal.journal import Journal
from shared.clock import utc_now as now
from shared.errors import CenterError, SettingsError
from shared.replay.contribution import PlainContribution
from shared.replay.exemplar import Exemplar
from shared.replay.manifest import SealedContribution
from shared.replay.sealing import unseal
from shared.wire.messages import TrainRequest, unpack_train_request
from tests.support.joined import CENTERS, NODES, SUBJECTS, Study, Wire, bytes_below


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


def asked(wire: Wire) -> list[TrainRequest]:
    return [unpack_train_request(m.content) for m in wire.sent if m.metadata.message_type == "train"]


def opened(study: Study, folder: Path) -> list[Exemplar]:
    """The exemplars in a journal, by the keys of the last hospital."""
    found: list[Exemplar] = []
    for given in Journal.open(folder).memory():
        if isinstance(given, PlainContribution):
            found += given.exemplars
        else:
            found += unseal(given, study.keys["elsewhere"], study.pin, given.visit, now())
    return found


def secrets_in(haystack: bytes, study: Study, exemplars: list[Exemplar]) -> set[str]:
    """Which kinds of what must stay in the hospitals are found: exemplars' bytes, subjects' names, paths."""
    found = set()
    if any(e.payload.tobytes() in haystack for e in exemplars):
        found.add("exemplar")
    if any(name.encode() in haystack for name in SUBJECTS):
        found.add("name")
    if any(str(study.root / center).encode() in haystack for center in CENTERS) or b".nii" in haystack:
        found.add("path")
    return found


def test_the_coordinator_carries_exemplars_that_it_cannot_see(study: Study) -> None:
    wire = study.wire()
    results = study.run(wire)
    assert all(cell is not None for row in results.R for cell in row)
    exemplars = opened(study, study.root / "run")
    assert [e.provenance.center for e in exemplars] == ["grace"] * 3 + ["mercy"] * 3
    assert [request.task.order for request in asked(wire)] == [CENTERS] * 3
    assert [[c.center for c in request.memory] for request in asked(wire)] == [[], ["grace"], ["grace", "mercy"]]
    assert all(isinstance(c, SealedContribution) for request in asked(wire) for c in request.memory)
    for haystack in (wire.everything, bytes_below(study.root / "run")):
        assert len(haystack) > sum(e.payload.nbytes for e in exemplars)
        assert secrets_in(haystack, study, exemplars) == set()
    # What other hospitals gave is opened in memory alone.
    theirs = bytes_below(study.root / "elsewhere" / "state")
    assert not any(e.payload.tobytes() in theirs for e in exemplars)
    for center in CENTERS:
        sent = study.audited(center, "sent", "exemplars")
        assert [e.facts.centers for e in sent] == ([CENTERS[CENTERS.index(center) + 1 :]] if sent else [])
    (entry,) = study.audited("elsewhere", "received", "train request")
    assert entry.facts.centers == ("grace", "mercy")


def test_the_same_search_finds_them_where_sealing_is_off(study: Study) -> None:
    for center in CENTERS:
        study.write_site(center, allow_unsealed=True)
    wire = study.wire(sealing="off")
    study.run(wire)
    exemplars = opened(study, study.root / "run")
    for haystack in (wire.everything, bytes_below(study.root / "run")):
        assert secrets_in(haystack, study, exemplars) == {"exemplar"}
    assert [e.facts.reason for e in study.audited("grace", "sent", "exemplars")] == [
        "not sealed: the coordinator sees them"
    ]


def test_in_simulation_r_is_the_same_sealed_and_unsealed(tmp_path: Path, run_config: dict[str, Any]) -> None:
    study = Study(tmp_path, run_config | {"cache-dir": str(tmp_path / "cache"), "steps": 4})
    results = {}
    for sealing in ("auto", "off", "on"):
        wire = Wire.simulated(app, study.config | {"sealing": sealing}, nodes=2)
        assert isinstance(wire, Wire)
        results[sealing] = study.run(wire, sealing)
        kinds = {type(given) for request in asked(wire) for given in request.memory}
        assert kinds == {SealedContribution if sealing == "on" else PlainContribution}
    assert results["on"].R == results["off"].R == results["auto"].R
    assert results["on"].stages[1].memory_bytes > results["off"].stages[1].memory_bytes, "keys and tags"


def test_a_run_goes_on_with_the_sealed_memory_that_its_journal_kept(study: Study) -> None:
    whole = study.run(study.wire(), "whole")
    broken = study.wire()
    broken.errors = {(NODES["elsewhere"], "train", 0): Error(2, "killed")}
    with pytest.raises(CenterError, match="elsewhere failed at train: killed"):
        study.run(broken, "resumed")
    before = {n: p.tobytes() for c in Journal.open(study.root / "resumed").memory() for n, p in c.payloads.items()}
    wire = study.wire()
    resumed = study.run(wire, "resumed", resume=True)
    assert resumed.R == whole.R
    (request,) = asked(wire)
    assert {n: p.tobytes() for c in request.memory for n, p in c.payloads.items()} == before
    with pytest.raises(SettingsError, match="sealing = 'off' here, 'auto' there"):
        study.run(study.wire(sealing="off"), "resumed", resume=True)


def test_a_center_that_the_policy_does_not_name_gets_what_the_others_gave(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    study.write_site("grace", centers=["mercy"])
    wire = study.wire()
    study.run(wire)
    assert [[c.center for c in request.memory] for request in asked(wire)] == [[], ["grace"], ["mercy"]]
    told = capsys.readouterr().out
    assert "grace: nothing goes to elsewhere: not among the policy's centers" in told
    assert "not for elsewhere to open, expired or withdrawn: what grace gave" in told


def test_hospitals_that_share_nothing_train_and_test_and_sign_their_models(study: Study) -> None:
    for center in CENTERS:
        study.write_site(center, share_exemplars=False, report_subject_scores=False, least_test_subjects=2)
    wire = study.wire()
    results = study.run(wire)
    assert not any(request.memory for request in asked(wire))
    signers = [request.origin and request.origin.claims.center for request in asked(wire)]
    assert signers == [None, *CENTERS[:-1]]
    assert results.test_scores == ()
    notes = [note for note in results.notes if not note.startswith("COLLAPSED")]  # as it may after two steps
    assert notes == [f"per-subject scores not reported by {center}" for center in CENTERS]
    assert len(results.mean_scores) == 9
    for cell in results.mean_scores:
        assert cell.dice == results.R[cell.stage][CENTERS.index(cell.center)]
        assert (cell.subjects, cell.images) == (2, 2)
