"""From a hospital's card to a protocol that was approved, run, extended and revoked: the commands, in this process."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from typer.testing import CliRunner

import server.app
from scenarios.cli.main import _approved_settings, cli
from scenarios.deployment.coordinator import Coordinator
from scenarios.deployment.proposal import keep_card
from scenarios.runner.resume import plan_extension
from shared.clock import utc_now
from shared.config.settings import CIRCUMSTANCES, Settings
from shared.errors import CenterError, SettingsError, WardroundError
from shared.model.model_file import model_bytes
from shared.model.network import initial_weights
from shared.model.weights import model_digest
from shared.protocol.document import StudyProtocol, read_protocol
from shared.results import read_results
from tests.support.joined import CENTERS, Study


@pytest.fixture
def study(tmp_path: Path, run_config: dict[str, Any]) -> Study:
    return Study.made(tmp_path, run_config)


@pytest.fixture
def coordinator(study: Study) -> Coordinator:
    """A coordinator that has every hospital's card."""
    ours = Coordinator(study.root / "coordinator")
    ours.folder.mkdir()
    for center in CENTERS:
        card = study.root / f"{center}.json"
        told = call("hospital", "card", study.toml(center), "--output", card)
        assert f"wrote {card}: {center}, both, patients: 5 with FLAIR" in told
        assert study.keys[center].identity.fingerprint in told
        keep_card(ours, center, card)
    return ours


def call(*words: object, answer: str = "") -> str:
    """What `wardround WORDS` says; raises what it would tell in one line."""
    result = CliRunner().invoke(cli, [str(word) for word in words], input=answer)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def scenario(study: Study, **changes: Any) -> Path:
    config = {key: value for key, value in study.config.items() if key not in CIRCUMSTANCES} | changes
    path = study.root / "scenario.toml"
    path.write_text(tomli_w.dumps(config))
    return path


def proposed(study: Study, ours: Coordinator, name: str, *words: object, **changes: Any) -> tuple[Path, StudyProtocol]:
    path = study.root / f"{name}.json"
    told = call("coordinator", "propose", ours.folder, scenario(study, **changes), *words, "--output", path)
    assert f"hospital approve HOSPITAL_TOML {path}" in told and f"wardround run --protocol {path}" in told
    return path, read_protocol(path)


def test_a_run_by_an_approved_protocol(
    study: Study, coordinator: Coordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    path, protocol = proposed(study, coordinator, "protocol", "--title", "Our study", order="descending")
    assert protocol.settings["order"] == '"given"' and protocol.title == "Our study"
    toml = study.toml("grace")
    with pytest.raises(SettingsError, match="nothing was approved"):
        call("hospital", "approve", toml, path, answer="n\n")
    assert "no protocol was approved" in call("hospital", "protocols", toml)
    config = {**study.config, "order": "given", "protocol": str(path), "output-dir": str(study.root / "early")}
    wire = study.wire()
    wire.run_config = config
    with pytest.raises(CenterError, match=f"has not approved protocol {protocol.digest[:8]}"):
        server.app.main(wire, study.context(config))
    for center in CENTERS:
        told = call("hospital", "approve", study.toml(center), path, answer="y\n")
        assert "trained here: stage" in told and f"approved: {protocol.digest[:8]}" in told
    assert f"{protocol.digest[:16]}  approved {utc_now():%Y-%m-%d}  Our study" in call("hospital", "protocols", toml)
    config["output-dir"] = str(study.root / "run")
    wire = study.wire()
    wire.run_config = config
    server.app.main(wire, study.context(config))
    results = read_results(study.root / "run")
    assert all(cell is not None for row in results.R for cell in row)
    assert f"{protocol.digest[:16]} is revoked" in call("hospital", "revoke", toml, protocol.digest[:8])
    assert "revoked" in call("hospital", "protocols", toml)
    config["output-dir"] = str(study.root / "again")
    with pytest.raises(CenterError, match="has revoked protocol"):
        server.app.main(wire, study.context(config))


def test_a_study_begins_with_the_model_that_its_hospitals_approved(study: Study, coordinator: Coordinator) -> None:
    settings = Settings.from_run_config(study.config)
    given, other = (initial_weights(settings.network, seed) for seed in (11, 12))
    for name, weights in (("given", given), ("other", other)):
        (study.root / f"{name}.safetensors").write_bytes(model_bytes(weights, settings))
    model = study.root / "given.safetensors"
    path, protocol = proposed(study, coordinator, "protocol", "-c", f"start={model}", order="given")
    assert protocol.settings["start-digest"] == f'"{model_digest(given)}"' and "start" not in protocol.settings
    for center in CENTERS:
        told = call("hospital", "approve", study.toml(center), path, "--yes")
        assert f"begins with a model that was trained before, of SHA-256 {model_digest(given)}" in told
    with pytest.raises(SettingsError, match="but the run begins with start-digest"):
        _approved_settings(path, 1, [f"start={study.root / 'other.safetensors'}"], study.root / "run")
    config = {**study.config, "order": "given", "protocol": str(path), "output-dir": str(study.root / "lost")}
    config["start-digest"] = model_digest(given)
    wire = study.wire()
    with pytest.raises(SettingsError, match="start must be the path of the model that start-digest names"):
        server.app.main(wire, study.context(config))
    approved = _approved_settings(path, 1, [f"start={model}"], study.root / "run")
    config |= {"start": approved.run.start, "output-dir": str(study.root / "run")}
    wire.run_config = config
    server.app.main(wire, study.context(config))
    assert all(cell is not None for row in read_results(study.root / "run").R for cell in row)


def test_several_runs_in_one_protocol(study: Study, coordinator: Coordinator) -> None:
    words = ("--methods", "finetune,replay", "--seeds", "2")
    path, protocol = proposed(study, coordinator, "several", *words, order="random")
    runs = [protocol.settings_of(number, study.config).run for number in range(4)]
    assert [(run.method, run.seed) for run in runs] == [("finetune", 0), ("finetune", 1), ("replay", 0), ("replay", 1)]
    assert runs[0].centers == runs[2].centers and all(set(run.centers) == set(CENTERS) for run in runs)
    assert len({protocol.run_name(number) for number in range(4)}) == 4
    assert "run 4 of 4" in call("hospital", "approve", study.toml("grace"), path, "--yes")
    with pytest.raises(SettingsError, match="lists 4 runs, and none is number 5"):
        call("run", "--protocol", path, "--number", 5, "--coordinator", coordinator.folder)


def test_a_finished_run_is_extended_by_a_protocol_of_its_own(study: Study, coordinator: Coordinator) -> None:
    study.config["centers"] = "grace,mercy"
    first = study.run(study.wire(), "first")
    path = study.root / "longer.json"
    words = ("--extends", study.root / "first", "--center", "elsewhere", "--output", path)
    assert "wardround extend" in call("coordinator", "propose", coordinator.folder, *words)
    protocol = read_protocol(path)
    with pytest.raises(SettingsError, match="who must approve the longer one: propose it"):
        plan_extension(study.root / "first", "elsewhere", study.root / "no", lambda *_: None)
    for center in CENTERS:
        told = call("hospital", "approve", study.toml(center), path, "--yes")
        assert "goes on from run" in told
        assert f"names each patient as run {protocol.lineage[0].run[:8]} does" in told
    going = plan_extension(study.root / "first", "elsewhere", study.root / "longer", lambda *_: None, protocol)
    wire = study.wire()
    wire.run_config = config = going.settings.to_run_config()
    server.app.main(wire, study.context(config))
    longer = read_results(study.root / "longer")
    assert longer.order == CENTERS and all(cell is not None for row in longer.R for cell in row)
    assert [row[:2] for row in longer.R[:2]] == [*first.R]
    before = {(one.center, one.subject) for one in first.test_scores}
    last = {(one.center, one.subject) for one in longer.test_scores if one.stage == 2 and one.center in first.order}
    assert last == before, "what goes on from a run keeps its names"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("coordinator propose {coordinator} -c centers=grace,st-elsewhere", "no card of st-elsewhere is in"),
        ("coordinator propose {coordinator} -c centers=grace,mercy -c method=pooled", "trains on all"),
        ("coordinator propose {coordinator} --extends run", "--extends takes --center NAME"),
        ("coordinator propose {coordinator} --output {root}/grace.json", "is there already"),
        ("run --coordinator {coordinator}", "act on what they approved alone"),
        ("run --protocol {root}/grace.json", "act on what they approved alone"),
        ("run --protocol {root}/grace.json --coordinator {coordinator}", "is no protocol of this version"),
    ],
)
def test_what_cannot_be_proposed_or_run_is_said(study: Study, coordinator: Coordinator, words: str, said: str) -> None:
    names = {"coordinator": coordinator.folder, "root": study.root}
    with pytest.raises(WardroundError, match=said):
        call(*(word.format(**names) for word in words.split()))


def test_a_protocol_s_science_is_not_for_the_command_line(study: Study, coordinator: Coordinator) -> None:
    path, _ = proposed(study, coordinator, "protocol")
    with pytest.raises(SettingsError, match="steps = 9 here, 2 there: that is not what the hospitals approved"):
        call("run", "--protocol", path, "--coordinator", coordinator.folder, "-c", "steps=9")
    with pytest.raises(SettingsError, match="a protocol takes the place of a scenario"):
        call("run", scenario(study), "--protocol", path, "--coordinator", coordinator.folder)


def test_who_only_tests_is_no_center(study: Study, coordinator: Coordinator) -> None:
    study.write_site("mercy", role="evaluate")
    card = study.root / "mercy.json"
    call("hospital", "card", study.toml("mercy"), "--output", card)
    keep_card(coordinator, "mercy", card)
    with pytest.raises(SettingsError, match="mercy lets a model only be tested: name it in evaluators"):
        proposed(study, coordinator, "no")
    with pytest.raises(SettingsError, match="is the card of mercy, not of grace"):
        keep_card(coordinator, "grace", card)
    path, protocol = proposed(study, coordinator, "yes", centers="grace,elsewhere", evaluators="mercy")
    assert set(protocol.identities) == {"grace", "elsewhere"}
    assert "trained here: nothing" in call("hospital", "approve", study.toml("mercy"), path, "--yes")
