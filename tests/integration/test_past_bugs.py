"""Inputs that once ended in a traceback, a stuck folder or a wrong answer, across modules."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import zstandard
from flwr.app import Array

from scenarios.runner.resume import plan_resume
from scenarios.runner.summary import describe
from scenarios.simulation.hospitals import prepare_hospitals
from server.journal.journal import Journal
from server.results import write_results
from shared.config.settings import Settings
from shared.course import plan_course
from shared.errors import DamagedError, SettingsError, WardroundError
from shared.files import read_document, write_document
from shared.paths import check_fresh
from shared.replay.exemplar import PACKED, Exemplar
from shared.results import read_results
from shared.wire.messages import unpack_train_reply
from tests.scenarios.runner import test_resume
from tests.scenarios.runner.test_resume import extension
from tests.support.commands import SMOKE, one_line
from tests.support.journals import ORDER
from tests.support.strange import (
    BIAS,
    at_the_coordinator,
    crop,
    inspected,
    npy,
    raw,
    reply,
)

folder, settings = test_resume.folder, test_resume.settings


@pytest.mark.parametrize(
    "array",
    [
        Array(BIAS.astype(">f4")),
        raw(b"PK\x03\x04" + bytes(60)),
        raw(npy(BIAS).replace(b"(1,), }" + b" " * 18, b"(1" + b"0" * 15 + b",), }   ")),
    ],
    ids=["big-endian", "broken zip", "endless shape"],
)
def test_array(array):
    records = reply()
    records.array_records["model"]["head.bias"] = array
    at_the_coordinator(records)


def test_exemplar_that_cannot_be_decoded_poisons_the_memory():
    packed = np.frombuffer(PACKED + zstandard.compress(b"short"), dtype=np.uint8)
    about = crop().provenance.model_copy(update={"checksum": hashlib.sha256(packed.tobytes()).hexdigest()})
    with pytest.raises(WardroundError):
        inspected(unpack_train_reply(reply(Exemplar(about, packed))))


@pytest.mark.parametrize("center", ["", "nih,bwh", "nih\n", " nih"])
def test_extend_by_what_is_no_name(folder, center):
    with pytest.raises(SettingsError):
        extension(folder, center, folder.parent / "longer")


def test_surrogate_in_document(tmp_path):
    p = tmp_path / "d"
    write_document(p, "\ud7ff")
    p.write_bytes(p.read_bytes().replace(b"\xed\x9f", b"\xed\xa0"))
    with pytest.raises(DamagedError):
        read_document(p)


def test_journal_of_a_later_format_with_more_in_it(folder):
    p = folder / "journal" / "run.json"
    write_document(p, read_document(p) | {"format": 99, "more": 1})
    with pytest.raises(WardroundError, match="use the version that wrote it"):
        Journal.open(folder)


@pytest.mark.parametrize("left", [(), (".new-abc",)])
def test_a_run_killed_before_its_journal_s_first_page_begins_anew(folder, left):
    shutil.rmtree(folder / "journal")
    (folder / "journal").mkdir()
    for name in left:
        (folder / "journal" / name).write_bytes(b"half")
    for name in ("results.json", "matrix.csv", "model.safetensors"):
        (folder / name).unlink()
    assert "roll call" in plan_resume(folder, []).remains
    check_fresh(folder)


@pytest.mark.parametrize("raw_", [b"[]", b"{}", b"\xff", b"3", b"[" * 5000])
def test_results_that_are_none(tmp_path, raw_):
    (tmp_path / "results.json").write_bytes(raw_)
    with pytest.raises(WardroundError):
        describe(read_results(tmp_path), tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ["run", SMOKE, "-c", "output-dir=~nosuchuser/x"],
        ["run", SMOKE, "-c", "data-dir=~nosuchuser/x"],
        ["run", SMOKE, "-c", "cache-dir=~nosuchuser/x"],
        ["resume", "~nosuchuser/x"],
        ["resume", "a" * 300],
        ["run", SMOKE, "-c", "data-dir=/tmp", "-c", "centers=" + "a" * 300],
    ],
    ids=str,
)
def test_cli(monkeypatch, capsys, words):
    one_line(monkeypatch, capsys, *words)


@pytest.mark.parametrize("content", [b"seed = " + b"9" * 5000, b"seed = " + b"[" * 3000, b'cache-dir = "a\\u0000b"'])
def test_scenario(tmp_path, monkeypatch, capsys, content):
    (tmp_path / "s.toml").write_bytes(content)
    one_line(monkeypatch, capsys, "run", str(tmp_path / "s.toml"))


def test_hospitals_are_made_in_the_cache_also_where_none_is_configured(tmp_path, run_config, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare_hospitals(Settings.from_run_config(run_config | {"centers": "amu"}), lambda line: None)
    assert not list(tmp_path.iterdir())


def test_settings_of_a_resumed_run_run_again(folder):
    s = plan_resume(folder, []).settings
    write_results(folder, s, plan_course(ORDER, s.run), Journal.open(folder))
    assert json.loads((folder / "results.json").read_text())["settings"]["resume"] is False


def test_checkpoint_of_another_version(tmp_path, run_config):
    from client.sharing.kept_replies import keeping_visit
    from client.training.trainer import train
    from shared.config.settings import Settings
    from tests.support.training import CPU, plan_of, request_of

    s = Settings.from_run_config(run_config | {"features": 2, "batch-size": 2, "steps": 3})
    with keeping_visit(tmp_path, request_of(s), 0.0) as visit:
        visit.checkpoints.save({"losses": [0.5]})
    with keeping_visit(tmp_path, request_of(s), 0.0) as visit:
        train(request_of(s).weights, plan_of(s, 0), s, 0, CPU, checkpoints=visit.checkpoints)
