"""The commands of trust, as a hospital's IT person calls them."""

import json
from pathlib import Path
from typing import Any

import pytest

from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Facts
from client.governance.keys import load_keys
from client.governance.records import Records
from client.hospital.config import Site
from scenarios.cli.main import main
from scenarios.run_config import toml_lines
from shared.config.settings import Settings
from shared.methods import METHODS
from shared.model.model_file import model_bytes
from shared.model.network import initial_weights
from shared.paths import MODEL
from tests.support.joined import Study, bytes_below

Call = Any


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Exit code, standard output and error of `wardround hospital WORDS`, in this process."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["wardround", "hospital", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        out, error = capsys.readouterr()
        return int(end.value.code or 0), out, error

    return run


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


def test_keys_are_made_once_and_shown_again(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "hospital.toml"
    path.write_text('center = "grace"\nstate-dir = "state"\n[data]\nfolder = "images"\n')
    code, out, _ = call("keys", path)
    identity = load_keys(tmp_path / "state" / "keys").identity
    assert code == 0 and "made the keys of grace" in out
    assert f"\n{identity}\n" in out and f"\n{identity.fingerprint}\n" in out
    code, out, _ = call("keys", path)
    assert code == 0 and "found the keys of grace" in out and str(identity) in out


def test_the_audit_log_is_shown_and_a_change_is_found(call: Call, study: Study) -> None:
    study.withdraw("grace", "abernathy")
    code, out, _ = call("audit", study.toml("grace"))
    assert code == 0 and "withdrawn withdraw; 1 subjects: " in out and "1 entries, whole; head " in out
    log = study.root / "grace" / "state" / "audit" / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b'withdraw"', b'withdrew"'))
    code, _, error = call("audit", study.toml("grace"))
    assert code == 1 and "the audit log was changed: line 1" in error


def test_a_subject_is_withdrawn(call: Call, study: Study) -> None:
    code, out, _ = call("withdraw", study.toml("grace"), "sub-graceabernathy")
    assert code == 0 and "sub-graceabernathy is withdrawn\n" in out
    assert len(study.withdrawn("grace")) == 1
    assert "was withdrawn already" in call("withdraw", study.toml("grace"), "graceabernathy")[1]
    code, _, error = call("withdraw", study.toml("grace"), "sub-nobody")
    assert code == 1 and "has no subject 'sub-nobody'" in error


def test_no_refusal_that_another_party_worded_forges_a_line_of_the_audit(call: Call, study: Study) -> None:
    forged = "refused\r\n    9 2030-05-01T12:00:00Z sent      nothing\x1b[2K\x1b]8;;http://evil\x07\u202e"
    Records(study.root / "grace" / "state", "grace")
    AuditLog(study.root / "grace" / "state" / "audit").append("refused", Facts(message="train request", reason=forged))
    code, out, _ = call("audit", study.toml("grace"))
    assert code == 0
    lines = out.rstrip("\n").split("\n")
    assert len(lines) == 2 and lines[0].isprintable() and "\\x1b[2K" in lines[0]
    assert lines[1].startswith("1 entries, whole")


def test_the_check_of_a_hospital_toml_ends_with_what_would_leave(call: Call, study: Study, tmp_path: Path) -> None:
    study.write_site("grace", subjects=2, never=["sub-nobody"], pins={"mercy": ""})
    code, out, _ = call("check", study.toml("grace"), "--output", tmp_path / "out")
    assert code == 0
    assert "- the model, after training" in out and "- each test image's scores" in out
    assert "- 2 exemplars of 2 subjects, " in out and "sealed for mercy, elsewhere, until 20" in out
    assert "NOTE no key is pinned of mercy" in out and "NOTE never lists sub-nobody" in out
    assert (tmp_path / "out" / "would-leave.png").stat().st_size > 10_000
    study.write_site("grace", share_exemplars=False)
    code, out, _ = call("check", study.toml("grace"))
    assert code == 0 and "- no exemplars" in out and "share-exemplars is false" in out
    assert AuditLog(Site.read(study.toml("grace")).state / "audit").entries() == ()


def test_a_dry_run_writes_what_would_be_sent_and_leaves_no_trace(call: Call, study: Study, tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in study.config.items()))
    output = tmp_path / "out"
    study.write_site("grace", least_steps=20)
    code, out, error = call("join", study.toml("grace"), "--dry-run", output, "--scenario", scenario)
    assert (code, error) == (0, "")
    assert "2-train: " in out and ", 3 exemplars" in out
    assert {path.name for path in output.iterdir()} == {
        f"{name}.{kind}" for name in ("1-roll-call", "2-train", "3-evaluate") for kind in ("bin", "txt")
    }
    assert '"recipients":[{"center":"mercy"' in (output / "2-train.txt").read_text()
    assert b"abernathy" not in bytes_below(output)
    state = study.root / "grace" / "state"
    assert not (state / "visits").exists() and AuditLog(state / "audit").entries() == ()
    study.write_site("grace", role="evaluate")
    code, out, error = call("join", study.toml("grace"), "--dry-run", output, "--scenario", scenario)
    assert (code, error) == (0, "") and "2-train" not in out and "3-evaluate: " in out


def test_a_dry_run_begins_with_the_model_that_its_scenario_names(call: Call, study: Study, tmp_path: Path) -> None:
    settings = Settings.from_run_config(study.config)
    model, scenario = tmp_path / MODEL, tmp_path / "scenario.toml"
    model.write_bytes(model_bytes(initial_weights(settings.network, 11), settings))
    scenario.write_text(toml_lines(study.config | {"start": str(model)}))
    code, out, error = call("join", study.toml("grace"), "--dry-run", tmp_path / "out", "--scenario", scenario)
    assert (code, error) == (0, "") and "refused" not in out


def test_a_dry_run_says_that_a_run_s_model_may_choose_others(call: Call, study: Study, tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.toml"
    config = study.config | {"exemplar-choice": "lesion-aware"}
    scenario.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in config.items()))
    _, out, _ = call("join", study.toml("grace"), "--dry-run", tmp_path / "out", "--scenario", scenario)
    assert ", 3 exemplars that the model of this dry run chose: a run's may choose others\n" in out


@pytest.mark.parametrize("method", ["lwf", "ewc", "mas", "derpp", "fedavg"])
def test_a_dry_run_of_a_method_shows_all_that_it_would_send(
    call: Call, study: Study, tmp_path: Path, method: str
) -> None:
    scenario = tmp_path / "scenario.toml"
    config = study.config | {"method": method}
    study.write_site("grace", allow_averaged_models=method == "fedavg")
    scenario.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in config.items()))
    code, _, error = call("join", study.toml("grace"), "--dry-run", tmp_path / "out", "--scenario", scenario)
    assert (code, error) == (0, "")
    sent = (tmp_path / "out" / "2-train.txt").read_text()
    assert "model.head.bias: float32 (1,)" in sent
    assert ("state-importance.head.bias: float32 (1,)" in sent) == bool(METHODS[method].state)
