"""Malformed input of every kind ends in one clear message, and costs nothing that was there before.

Configuration, scenario files, results folders, and messages in both directions stand here in
tables; images and labels in those of test_preprocessing.py, data sets in test_bids.py.
"""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from scenarios.run_config import load_settings
from scenarios.runner.resume import HowLaunched
from scenarios.simulation.clientapp import app
from server.course import plan_course
from server.reply_validation import inspect_reply
from server.reply_validation import tests_problem as scores_problem
from server.results import write_results
from shared.config.settings import Settings
from shared.errors import WardroundError
from shared.files import read_document, write_document
from shared.model.network import initial_weights
from shared.model.weights import Weights
from shared.replay.contribution import PlainContribution
from shared.replay.exemplar import Exemplar
from shared.wire.headers import CenterCard, EvaluateTask, RollCall, TestFigures, TrainFigures, TrainTask
from shared.wire.messages import (
    EvaluateRequest,
    TrainReply,
    TrainRequest,
    pack_evaluate_request,
    pack_train_reply,
    pack_train_request,
    unpack_train_reply,
)
from shared.wire.records import Refused, pack_question, unpack_header
from tests.client.data import test_preprocessing
from tests.conftest import ROOT
from tests.scenarios.cli import test_main
from tests.scenarios.cli.test_main import call
from tests.support.fakes import FakeGrid
from tests.support.journals import ORDER, journal_of
from tests.support.scored import case_score

LEAST = 40
"""So many malformed inputs were promised."""

SMOKE = str(ROOT / "scenarios" / "smoke.toml")


def one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str, expected: str = ""
) -> None:
    """`wardround WORDS` ends with exit code 1 and one line that holds what is expected."""
    code, error = call(monkeypatch, capsys, *words)
    assert code == 1
    assert error.startswith("wardround: ")
    assert error.count("\n") == 1, error
    assert expected in error


# Configuration

CHANGES = {
    "method=": "method = ''",
    "=replay": "is not key=value",
    "method": "is not key=value",
    "": "is not key=value",
    "Method=replay": "unknown key 'Method'",
    "seed=one": "seed takes a whole number",
    "seed=1.5": "seed takes a whole number",
    "seed=99999999999999999999": "seed = 99999999999999999999",
    "steps=0": "steps and epochs are both 0",
    "resume=yes": "resume takes true or false",
    "spacing=nan": "spacing = nan",
    "spacing=-1": "spacing = -1.0",
    "learning-rate=1e999": "learning-rate = inf",
    "test-fraction=1": "test-fraction = 1.0",
    "centers=": "centers = ",
    "centers=milan,milan": "named twice",
    "centers=../milan": "is no center name",
    "centers=milan;amu": "is no center name",
    "contrasts=FLAIR,FLAIR": "named twice",
    "patch-size=17": "patch-size = 17",
    "memory-megabytes=1e6": "memory-megabytes = 1000000.0",
    "message-hours=0": "message-hours = 0.0",
    "device=abacus": "device = 'abacus'",
    f"seed={'9' * 5000}": "seed takes a whole number",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change[:30])
def test_a_malformed_key_or_value_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    one_line(monkeypatch, capsys, "run", SMOKE, "-c", change, expected=CHANGES[change])


SCENARIOS: dict[str, tuple[bytes, str]] = {
    "no TOML": (b"seed: 1", "is not TOML"),
    "binary": (bytes(range(256)), "is not TOML"),
    "not UTF-8": (b'centers = "\xff"', "is not TOML"),
    "UTF-16": ("seed = 1\n".encode("utf-16"), "is not TOML"),
    "cut off": (b'centers = "milan', "is not TOML"),
    "a key twice": (b"seed = 1\nseed = 2", "is not TOML"),
    "a table": (b'[run]\nmethod = "replay"', "unknown key 'run'"),
    "a list of numbers": (b"centers = [1, 2]", "centers"),
    "a date": (b"seed = 2020-01-01", "seed = "),
    "text for a number": (b'seed = "1"', "seed = '1'"),
    "a number for text": (b"method = 3", "method = 3"),
    "truth for a number": (b"steps = true", "steps = True"),
    "underscores": (b"batch_size = 4", "did you mean 'batch-size'"),
    "a key with a line break": (b'"se\\ned" = 1', "unknown key 'se\\ned'"),
    "a value with a line break": (b'method = "re\\nplay"', "method = 're\\nplay'"),
    "not a number": (b"learning-rate = nan", "learning-rate = nan"),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_malformed_scenario_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    content, expected = SCENARIOS[name]
    path = tmp_path / "scenario.toml"
    path.write_bytes(content)
    one_line(monkeypatch, capsys, "run", str(path), expected=expected)


@budget(deadline=None, max_examples=60)
@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_noise_is_no_scenario_or_an_empty_one(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.toml"
    path.write_bytes(content)
    try:
        load_settings(path, [], None)
    except WardroundError as error:
        refusal = str(error)
    else:
        refusal = "none"
    assert len(refusal.splitlines()) == 1


# Results folders


@pytest.fixture
def settings(run_config: dict[str, Any], tmp_path: Path) -> Settings:
    return Settings.from_run_config(run_config | {"features": 2, "cache-dir": str(tmp_path / "cache")})


@pytest.fixture
def finished(tmp_path: Path, settings: Settings) -> Path:
    """The folder of a finished run."""
    folder = tmp_path / "run"
    folder.mkdir()
    journal = journal_of(folder, settings)
    write_results(folder, settings, plan_course(ORDER, settings.run), journal)
    HowLaunched(run_config=settings.to_run_config() | {"output-dir": str(folder)}).save(folder)
    return folder


def rewrite(name: str, **changes: Any) -> Callable[[Path], Any]:
    """Change a document, and give it the right checksum."""
    return lambda folder: write_document(folder / name, read_document(folder / name) | changes)


def write(name: str, content: str | bytes) -> Callable[[Path], Any]:
    raw = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(raw)


def unfinished(folder: Path) -> None:
    """Take the last stage and the results away."""
    (folder / "journal" / "stage-002").rename(folder.parent / "elsewhere")
    (folder / "results.json").unlink()


RUN = "journal/run.json"
EXTEND = ("extend", "--center", "rennes", "--output", "{longer}")
EVALUATE = ("evaluate", "--center", "amu")


def nothing(folder: Path) -> None:
    """Leave it as it is."""


FOLDERS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...], str]] = {
    "first page empty": (write(RUN, ""), ("resume",), "is damaged"),
    "first page noise": (write(RUN, bytes(range(200, 256))), ("resume",), "is damaged"),
    "first page a number": (write(RUN, "7"), ("resume",), "is damaged"),
    "first page a list": (write(RUN, "[]"), ("resume",), "is damaged"),
    "first page deep": (write(RUN, "[" * 5000), ("resume",), "is damaged"),
    "first page with a wrong checksum": (write(RUN, '{"sha256": "0", "body": {}}'), EXTEND, "checksum"),
    "first page without settings": (rewrite(RUN, settings={}), ("resume",), "method is missing"),
    "first page with a wrong setting": (
        lambda folder: rewrite(RUN, settings=read_document(folder / RUN)["settings"] | {"seed": -1})(folder),
        EVALUATE,
        "seed = -1",
    ),
    "first page without order": (rewrite(RUN, order=[]), ("resume",), "cannot be used"),
    "first page of another kind": (rewrite(RUN, order=3), EXTEND, "cannot be used"),
    "first page of another format": (rewrite(RUN, format=99), ("resume",), "use the version that wrote it"),
    "launch note damaged": (write("launch.json", "{"), ("resume",), "launch.json cannot be used"),
    "launch note of another kind": (rewrite("launch.json", cpus="many"), ("resume",), "launch.json cannot be used"),
    "results damaged": (write("results.json", "{"), ("resume",), "results.json is damaged"),
    "another science": (nothing, ("resume", "-c", "seed=9"), "seed = 9 here, 0 there"),
    "an unknown key": (nothing, ("resume", "-c", "sead=9"), "unknown key 'sead'"),
    "no key": (nothing, ("resume", "-c", "seed"), "is not key=value"),
    "extended by its own center": (nothing, ("extend", "--center", "amu", "--output", "{longer}"), "already"),
    "extended by no name": (nothing, ("extend", "--center", "new york", "--output", "{longer}"), "no center name"),
    "extended by an unknown hospital": (
        nothing,
        ("extend", "--center", "atlantis", "--output", "{longer}"),
        "there is no center 'atlantis'",
    ),
    "extended into itself": (nothing, ("extend", "--center", "nih", "--output", "{run}"), "is not empty"),
    "extended before its end": (unfinished, EXTEND, "is not finished"),
    "evaluated at nobody": (nothing, ("evaluate", "--center", "atlantis"), "is no center of the run"),
    "evaluated before its end": (unfinished, EVALUATE, "is not finished"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_malformed_results_folder(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    damage, (command, *options), expected = FOLDERS[name]
    damage(finished)
    before = files_in(finished)
    longer = finished.parent / "longer"
    words = [option.format(longer=longer, run=finished) for option in options]
    one_line(monkeypatch, capsys, command, str(finished), *words, expected=expected)
    assert files_in(finished) == before, "nothing is lost, and nothing added"
    assert not longer.exists()


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


NO_RUNS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda folder: None, "is no folder"),
    "a file": (lambda folder: folder.write_text("results"), "is no folder"),
    "empty": (lambda folder: folder.mkdir(), "holds no run"),
    "a link to nothing": (lambda folder: folder.symlink_to("nowhere"), "is no folder"),
    "a link to itself": (lambda folder: folder.symlink_to(folder), "is no folder"),
}


@pytest.mark.parametrize("command", [("resume",), EXTEND, EVALUATE], ids=lambda words: words[0])
@pytest.mark.parametrize("name", NO_RUNS)
def test_a_folder_that_holds_no_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    command: tuple[str, ...],
) -> None:
    make, expected = NO_RUNS[name]
    make(tmp_path / "run")
    words = [option.format(longer=tmp_path / "longer") for option in command[1:]]
    expected = expected.replace("holds no run", "holds no ")
    one_line(monkeypatch, capsys, command[0], str(tmp_path / "run"), *words, expected=expected)
    assert not (tmp_path / "longer").exists()


# Messages

TINY = {"features": 2, "steps": 1, "batch-size": 1, "device": "cpu", "centers": "grace"}
RUN_NAME = "0" * 32


def npy(array: np.ndarray[Any, Any], **how: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


def npz(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, array)
    return file.getvalue()


def raw(data: bytes, stype: str = "numpy.ndarray") -> Array:
    """An array that claims to be the bias of the head."""
    return Array(dtype="float32", shape=(1,), stype=stype, data=data)


BIAS = np.array([-3.0], dtype=np.float32)
WHOLE = npy(BIAS)

ARRAYS: dict[str, Array] = {
    "no bytes": raw(b""),
    "noise": raw(bytes(range(256))),
    "cut off": raw(WHOLE[:-1]),
    "cut off in its head": raw(WHOLE[:20]),
    "a head that is no dictionary": raw(WHOLE.replace(b"{'descr'", b"['descr'")),
    "a boundless shape": raw(WHOLE.replace(b"(1,), }  ", b"(1" + b"0" * 2 + b",), }")),
    "a pickle": raw(npy(np.array([{}], dtype=object), allow_pickle=True)),
    "an archive": raw(npz(BIAS)),
    "no other serialisation": raw(WHOLE, "torch.tensor"),
    "objects": raw(WHOLE.replace(b"<f4", b"|O8")),
    "truths": Array(np.array([True])),
    "texts": Array(np.array(["a"])),
    "complex numbers": Array(BIAS.astype(np.complex64)),
    "times": Array(np.array(["2020-01-01"], dtype="datetime64[D]")),
    "records": Array(np.zeros(1, dtype=[("a", "f4")])),
    "float16": Array(BIAS.astype(np.float16)),
    "float64": Array(BIAS.astype(np.float64)),
    "whole numbers": Array(BIAS.astype(np.int32)),
    "longest numbers": Array(BIAS.astype(np.longdouble)),
    "another shape": Array(BIAS.reshape(1, 1)),
    "nothing in it": Array(BIAS[:0]),
    "a scalar": Array(BIAS.reshape(())),
    "NaN": Array(BIAS * np.nan),
    "infinity": Array(BIAS * np.inf),
}

HEADERS: dict[str, Any] = {
    "no JSON": "stage 2",
    "nothing": "",
    "null": "null",
    "a list": "[]",
    "empty": "{}",
    "deep": "[" * 10000,
    "no text": 7,
    "bytes": b"\xff\xfe",
    "a number without end": "9" * 10000,
    "half a letter": '"\\ud800"',
}

TASKS: dict[str, dict[str, Any]] = {
    "a negative stage": {"stage": -1},
    "a stage of text": {"stage": "first"},
    "a run that leads elsewhere": {"run": "../" * 10 + "00"},
    "a run with a line break": {"run": "0" * 32 + "\n"},
    "a center of another": {"center": "amu"},
    "a center that leads elsewhere": {"center": "../../etc"},
    "a budget below nothing": {"budget": -1},
    "no steps": {"steps_factor": 0},
    "a round beyond the last": {"round": 2, "rounds": 2},
    "an unknown retention": {"retention": "amnesia"},
    "more than was agreed": {"path": "/etc/passwd"},
}

FIGURES: dict[str, dict[str, Any]] = {
    "no step": {"steps": 0},
    "no subject": {"subjects": 0},
    "a loss that is no number": {"final_loss": float("nan")},
    "an infinite loss": {"final_loss": float("inf")},
    "negative time": {"seconds": -1.0},
    "endless time": {"seconds": float("inf")},
    "more than was agreed": {"path": "/etc/passwd"},
    "reasons of another kind": {"set_aside": ["sub-01"]},
}

Change = Callable[[RecordDict], None]


def put(key: str, record: Any) -> Change:
    return lambda records: records.__setitem__(key, record)


def drop(key: str) -> Change:
    return lambda records: records.__delitem__(key)


RECORDS: dict[str, Change] = {
    "no header": drop("header"),
    "no model": drop("model"),
    "no manifest": drop("manifest"),
    "no memory": drop("memory"),
    "a record too many": put("extra", ConfigRecord({})),
    "a header of arrays": put("header", ArrayRecord({"json": Array(BIAS)})),
    "a model of words": put("model", ConfigRecord({"head.bias": "large"})),
    "a model of numbers": put("model", MetricRecord({"head.bias": 1.0})),
    "an empty model": put("model", ArrayRecord({})),
    "a memory of words": put("memory", ConfigRecord({})),
    "a manifest of numbers": put("manifest", MetricRecord({"json": 1.0})),
    "a manifest of nothing": put("manifest", ConfigRecord({"json": "null"})),
    "a manifest without its memory": put("memory", ArrayRecord({})),
    "a memory beyond its manifest": put("manifest", ConfigRecord({"json": "[]"})),
    "a parameter too many": lambda records: records.array_records["model"].__setitem__("extra", Array(BIAS)),
    "a parameter too few": lambda records: records.array_records["model"].__delitem__("head.bias"),
}


IMPORTANCES: dict[str, tuple[Callable[[Weights], Weights | None], str]] = {
    "none": (lambda one: None, "no importance of the parameters, which consolidation needs"),
    "empty": (lambda one: {}, "whose parameters differ"),
    "a parameter too few": (lambda one: {n: v for n, v in one.items() if n != "head.bias"}, "(head.bias)"),
    "a parameter too many": (lambda one: one | {"extra": torch.zeros(1)}, "(extra)"),
    "another shape": (lambda one: one | {"head.bias": torch.zeros(1, 1)}, "head.bias of shape (1, 1)"),
    "another type": (lambda one: one | {"head.bias": torch.zeros(1).double()}, "head.bias of type torch.float64"),
    "NaN": (lambda one: one | {"head.bias": torch.tensor([float("nan")])}, "NaN or infinity in head.bias"),
    "infinity": (lambda one: one | {"head.bias": torch.tensor([float("inf")])}, "NaN or infinity in head.bias"),
    "below nothing": (lambda one: one | {"head.bias": torch.tensor([-1e-30])}, "negative values in head.bias"),
}


def crop(voxels: int = 16, spacing: float = 4.0, contrast: str = "FLAIR") -> Exemplar:
    image = np.zeros((voxels,) * 3, dtype=np.float32)
    return Exemplar.encode(image, image, center="grace", subject="s", contrast=contrast, spacing=spacing)


def with_payload(payload: np.ndarray[Any, Any]) -> Exemplar:
    return Exemplar(crop().provenance, payload)


EXEMPLARS: dict[str, Exemplar] = {
    "other bytes": with_payload(np.zeros(10, dtype=np.uint8)),
    "no bytes": with_payload(np.zeros(0, dtype=np.uint8)),
    "numbers": with_payload(np.zeros(10, dtype=np.float32)),
    "bytes in rows": with_payload(crop().payload.reshape(1, -1)),
    "another size": crop(voxels=8),
    "another spacing": crop(spacing=2.0),
    "another contrast": crop(contrast="PDw"),
}


CONFIG = load_settings(Path(SMOKE), [], None).to_run_config() | TINY | {"sealing": "off"}
SETTINGS = Settings.from_run_config(CONFIG)
WEIGHTS = initial_weights(SETTINGS.network, 0)
TASK = TrainTask(run=RUN_NAME, stage=0, center="grace", contribute=True, budget=10**6)
GOOD_FIGURES = TrainFigures(steps=1, subjects=2, final_loss=0.5, seconds=1.0, compute_seconds=0.5)
CARD = CenterCard(center="grace", training_subjects=2, test_subjects=1, contrasts=("FLAIR",), fingerprint="f")


def request(*exemplars: Exemplar) -> RecordDict:
    """A good train request, as it travels."""
    return pack_train_request(TrainRequest(TASK, dict(WEIGHTS), (PlainContribution(exemplars),) if exemplars else ()))


def reply(*exemplars: Exemplar) -> RecordDict:
    """A good train reply, as it travels."""
    return pack_train_reply(
        TrainReply(dict(WEIGHTS), PlainContribution(exemplars) if exemplars else None, GOOD_FIGURES)
    )


def at_the_hospital(records: RecordDict, kind: str = "train") -> str:
    """The reason with which a hospital (without any data) refuses a message; anything else it raises is a fault."""
    config = CONFIG | {"cache-dir": ""}
    grid = FakeGrid(app, config, {7: {"center": "grace", "data-dir": "/nowhere"}})
    (key,) = grid.push_messages([Message(records, 7, kind)])
    (answer,) = grid.pull_messages([key])
    with pytest.raises(Refused) as caught:
        unpack_header(answer.content, TestFigures)
    return str(caught.value)


def at_the_coordinator(records: RecordDict) -> str:
    """The reason with which the coordinator refuses a train reply; anything else it raises is a fault."""
    with pytest.raises(WardroundError) as caught:
        inspect_reply(unpack_train_reply(records), TASK, WEIGHTS, SETTINGS, CARD, simulated=True)
    return str(caught.value)


def refused(make: Callable[[], RecordDict], side: str) -> None:
    """Whoever receives it refuses it in few words, before anything is done with it."""
    reason = at_the_hospital(make()) if side == "hospital" else at_the_coordinator(make())
    assert reason and len(reason.splitlines()) == 1, reason
    assert "hospital's data" not in reason, "it was let in"
    assert len(reason) < 500


BOTH = pytest.mark.parametrize("side", ["hospital", "coordinator"])


def good(side: str, *exemplars: Exemplar) -> RecordDict:
    return request(*exemplars) if side == "hospital" else reply(*exemplars)


def test_a_good_message_is_let_in() -> None:
    """Or the refusals below would prove nothing."""
    assert "hospital's data" in at_the_hospital(request())
    evaluate = EvaluateRequest(EvaluateTask(run=RUN_NAME, stage=0, center="grace"), WEIGHTS)
    assert "hospital's data" in at_the_hospital(pack_evaluate_request(evaluate), "evaluate")
    assert "hospital's data" in at_the_hospital(pack_question(), "query.roll_call")
    inspect_reply(unpack_train_reply(reply(crop())), TASK, WEIGHTS, SETTINGS, CARD, simulated=True)


@BOTH
@pytest.mark.parametrize("name", ARRAYS)
def test_a_parameter_that_is_none(side: str, name: str) -> None:
    def make() -> RecordDict:
        records = good(side)
        records.array_records["model"]["head.bias"] = ARRAYS[name]
        return records

    refused(make, side)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_model_to_test_whose_parameter_is_none(name: str) -> None:
    evaluate = EvaluateRequest(EvaluateTask(run=RUN_NAME, stage=0, center="grace"), WEIGHTS)
    records = pack_evaluate_request(evaluate)
    records.array_records["model"]["head.bias"] = ARRAYS[name]
    assert "hospital's data" not in at_the_hospital(records, "evaluate")


@BOTH
@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_none(side: str, name: str) -> None:
    refused(lambda: with_header(good(side), HEADERS[name]), side)


@BOTH
@pytest.mark.parametrize("name", [name for name in HEADERS if name != "a list"])
def test_a_manifest_that_is_none(side: str, name: str) -> None:
    def make() -> RecordDict:
        records = good(side)
        records["manifest"] = ConfigRecord({"json": HEADERS[name]})
        return records

    refused(make, side)


def with_header(records: RecordDict, content: Any) -> RecordDict:
    records["header"] = ConfigRecord({"json": content})
    return records


@pytest.mark.parametrize("name", TASKS)
def test_a_task_that_is_none(name: str) -> None:
    header = json.dumps(TASK.model_dump() | TASKS[name])
    refused(lambda: with_header(request(), header), "hospital")


@pytest.mark.parametrize("name", FIGURES)
def test_figures_that_are_none(name: str) -> None:
    header = json.dumps(GOOD_FIGURES.model_dump() | FIGURES[name])
    refused(lambda: with_header(reply(), header), "coordinator")


@BOTH
@pytest.mark.parametrize("name", RECORDS)
def test_records_that_are_not_what_was_agreed(side: str, name: str) -> None:
    def make() -> RecordDict:
        records = good(side, crop())
        RECORDS[name](records)
        return records

    refused(make, side)


HELD = TASK.model_copy(update={"retention": "consolidation", "stage": 1, "contribute": False})
IMPORTANCE = {name: value.abs() for name, value in WEIGHTS.items()}


def held(importance: Weights | None, side: str) -> RecordDict:
    """A good message of a run that consolidates, but for its importance."""
    if side == "hospital":
        return pack_train_request(TrainRequest(HELD, dict(WEIGHTS), (), importance))
    return pack_train_reply(TrainReply(dict(WEIGHTS), None, GOOD_FIGURES, importance))


def why_refused(records: RecordDict, task: TrainTask, side: str) -> str:
    if side == "hospital":
        return at_the_hospital(records)
    with pytest.raises(WardroundError) as caught:
        inspect_reply(unpack_train_reply(records), task, WEIGHTS, SETTINGS, CARD, simulated=True)
    return str(caught.value)


@BOTH
@pytest.mark.parametrize("name", IMPORTANCES)
def test_an_importance_that_is_none(side: str, name: str) -> None:
    change, expected = IMPORTANCES[name]
    reason = why_refused(held(change(IMPORTANCE), side), HELD, side)
    assert expected in reason and "refused" in reason and len(reason.splitlines()) == 1


def test_a_good_importance_is_let_in() -> None:
    assert "hospital's data" in at_the_hospital(held(IMPORTANCE, "hospital"))
    reply = unpack_train_reply(held(IMPORTANCE, "coordinator"))
    inspect_reply(reply, HELD, WEIGHTS, SETTINGS, CARD, simulated=True)


@pytest.mark.parametrize("changes", [{"stage": 0}, {"retention": "none"}, {"retention": "distillation"}])
def test_an_importance_that_is_of_no_use_is_refused(changes: dict[str, Any]) -> None:
    task = HELD.model_copy(update=changes)
    sent = pack_train_request(TrainRequest(task, dict(WEIGHTS), (), IMPORTANCE))
    assert "an importance of the parameters, which is not used here" in why_refused(sent, task, "hospital")
    if task.retention != "consolidation":
        answer = held(IMPORTANCE, "coordinator")
        assert "an importance of the parameters, which is not used here" in why_refused(answer, task, "coordinator")


@BOTH
@pytest.mark.parametrize("name", EXEMPLARS)
def test_an_exemplar_that_is_none(side: str, name: str) -> None:
    refused(lambda: good(side, EXEMPLARS[name]), side)


# Any message at all

words = st.text(max_size=8)
keys = st.one_of(st.sampled_from(["header", "model", "manifest", "memory", "refusal", "question", "json"]), words)
scalars = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=20), st.binary(max_size=20))
dtypes = st.sampled_from(["float32", "float64", "float16", "uint8", "bool", "int64", "complex64", "U3", "S2"])


def _array(dtype: str, shape: tuple[int, ...], noise: bytes) -> Array:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    content = (noise * (size + 1))[:size] if noise else bytes(size)
    return Array(np.frombuffer(content, dtype=np.uint8).view(dtype).reshape(shape))


shapes = st.lists(st.integers(1, 3), max_size=4).map(tuple)
arrays = st.one_of(
    st.builds(_array, dtypes.filter(lambda name: name not in ("U3", "S2")), shapes, st.binary(max_size=9)),
    st.builds(
        Array,
        dtype=words,
        shape=st.lists(st.integers(-3, 2**40), max_size=3).map(tuple),
        stype=st.one_of(st.just("numpy.ndarray"), words),
        data=st.one_of(st.binary(max_size=60), st.binary(max_size=30).map(lambda noise: WHOLE[:64] + noise)),
    ),
)
configs = st.dictionaries(keys, scalars, max_size=3).map(ConfigRecord)
anything = st.one_of(
    configs,
    st.dictionaries(st.one_of(st.sampled_from(sorted(WEIGHTS)), keys), arrays, max_size=3).map(ArrayRecord),
    st.dictionaries(keys, st.one_of(st.integers(-9, 9), st.floats()), max_size=2).map(MetricRecord),
)
records_of_any_kind = st.dictionaries(keys, anything, max_size=4).map(RecordDict)
any_message = budget(deadline=None, max_examples=150)


@any_message
@given(records=records_of_any_kind, kind=st.sampled_from(["train", "evaluate", "query.roll_call"]))
def test_a_hospital_answers_any_message_with_a_reason(records: RecordDict, kind: str) -> None:
    assert at_the_hospital(records, kind) or "refusal" in records


@any_message
@given(records=records_of_any_kind)
def test_the_coordinator_refuses_any_reply_that_is_none(records: RecordDict) -> None:
    at_the_coordinator(records)
    for kind in (RollCall, TestFigures):
        with pytest.raises(WardroundError):
            unpack_header(records, kind)


@any_message
@given(key=st.sampled_from(["header", "model", "manifest", "memory"]), record=anything, side=st.sampled_from("hc"))
def test_one_strange_record_among_good_ones_is_refused(key: str, record: Any, side: str) -> None:
    records = request(crop()) if side == "h" else reply(crop())
    records[key] = record
    if side == "h":
        at_the_hospital(records)
    else:
        at_the_coordinator(records)


@any_message
@given(name=st.sampled_from(sorted(WEIGHTS)), array=arrays, side=st.sampled_from("hc"))
def test_one_strange_parameter_among_good_ones_is_refused(name: str, array: Array, side: str) -> None:
    records = request(crop()) if side == "h" else reply(crop())
    records.array_records["model"][name] = array
    try:
        same = np.array_equal(array.numpy().shape, WEIGHTS[name].shape) and array.numpy().dtype == np.float32
    except Exception:
        same = False
    if same and np.isfinite(array.numpy()).all():
        return  # a parameter like any other
    if side == "h":
        assert "hospital's data" not in at_the_hospital(records)
    else:
        at_the_coordinator(records)


texts = st.text(st.characters(exclude_categories=("C", "Z")), max_size=8)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)


@any_message
@given(field=st.sampled_from([*TestFigures.model_fields, "more"]), value=values)
def test_test_scores_are_what_was_agreed_or_refused(field: str, value: Any) -> None:
    case = case_score().model_dump()
    figures: dict[str, Any] = {"center": "grace", "cases": [case], "seconds": 1.0, "set_aside": {}}
    good = TestFigures.model_validate(figures)
    try:
        came = unpack_header(with_header(RecordDict(), json.dumps(figures | {field: value})), TestFigures)
        said = scores_problem(came, "grace", CARD)
    except WardroundError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1
    if (figures | {field: value}) != figures:
        assert said or field in ("seconds", "set_aside") or came.model_dump() == good.model_dump()


# How many


def rows(test: Callable[..., None]) -> int:
    """Rows of a test's table, or of its tables together."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    return math.prod(len(list(mark.args[1])) for mark in marks)


def test_at_least_forty_malformed_inputs_stand_in_tables() -> None:
    images = (
        test_preprocessing.test_an_unusable_pair_is_named_with_its_reason,
        test_preprocessing.test_an_unreadable_file_is_named,
        test_preprocessing.test_an_image_of_a_wrong_kind_is_named_and_told_without_its_path,
    )
    counted = {
        "configuration": len(CHANGES) + rows(test_main.test_bad_input_ends_with_one_line),
        "scenario files": len(SCENARIOS),
        "results folders": len(FOLDERS) + len(NO_RUNS),
        "messages": len(ARRAYS) + 2 * len(HEADERS) - 1 + len(TASKS) + len(FIGURES) + len(RECORDS) + len(EXEMPLARS),
        "images and labels": sum(map(rows, images)),
    }
    assert all(number >= 5 for number in counted.values())
    assert sum(counted.values()) >= LEAST, counted
