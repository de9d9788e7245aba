"""A study of three hospitals that joined over TLS, through nginx: sealed, with policy and audit log, to its end.

Real processes, started by the commands of the guides, and real patients where they are at hand.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from client.governance.audit_log import AuditLog
from client.governance.keys import load_keys
from client.governance.pseudonyms import outside_name, pseudonym, pseudonym_key
from client.hospital.config import Site
from server.journal.journal import Journal
from shared.clock import utc_now
from shared.replay.contribution import PlainContribution
from shared.replay.exemplar import Exemplar
from shared.replay.sealing import unseal
from shared.results import read_results
from tests.conftest import ROOT
from tests.support.deployment import Deployment, data_of_three, policy_of, three_joined
from tests.support.watched import Watched

pytestmark = [pytest.mark.deployed, pytest.mark.timeout(900)]

ROUGH = ("spacing=4", "features=4", "steps=4", "batch-size=4", "patch-size=16", "exemplar-mm=64", "order=given")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Deployment]:
    with three_joined(tmp_path_factory.mktemp("study"), cache) as started:
        yield started


def begin(deployment: Deployment, name: str, *changes: str, method: str = "replay") -> Watched:
    """The coordinator's command for a study over all that joined, into the folder `name`."""
    pairs = [f"method={method}", f"centers={','.join(deployment.joined)}", *ROUGH, *changes]
    protocol = deployment.propose(name, *(word for pair in pairs for word in ("-c", pair)))
    words = ["--protocol", protocol, "--coordinator", deployment.coordinator]
    return deployment.run("run", *words, "--output", deployment.folder / name)


@pytest.fixture(scope="module")
def study(deployment: Deployment) -> Path:
    """The folder of a sealed study that came to its end."""
    run = begin(deployment, "run")
    assert run.end(600) == 0, run.tail()
    return deployment.folder / "run"


def exemplars_in(deployment: Deployment, run: Path) -> list[Exemplar]:
    """What the memory of a run holds: sealed ones are opened by the keys of the hospital that was visited last."""
    last = Site.read(deployment.hospitals[list(deployment.joined)[-1]].toml)
    found: list[Exemplar] = []
    for given in Journal.open(run).memory():
        if isinstance(given, PlainContribution):
            found += given.exemplars
        else:
            found += unseal(given, load_keys(last.keys), last.peers.check, given.visit, utc_now())
    return found


def held_by_the_coordinator(deployment: Deployment, run: Path) -> dict[Path, bytes]:
    """Its database, logs, keys and certificates, and all of the run's files; not its code, with examples of names."""
    found = [path for folder in (deployment.coordinator, run) for path in folder.rglob("*") if path.is_file()]
    paths = [path for path in found if path.suffix not in (".py", ".pyc", ".md")]
    paths += [deployment.folder / "coordinator.out", deployment.folder / "run.out"]
    assert any(path.suffix == ".db" for path in paths) and any(path.name == "results.json" for path in paths)
    return {path: path.read_bytes() for path in paths}


def files_with(held: dict[Path, bytes], secrets: Iterable[bytes]) -> list[str]:
    """The files in which one of the secrets is found."""
    wanted = list(secrets)
    assert wanted
    return sorted({path.name for path, content in held.items() for secret in wanted if secret in content})


def test_it_comes_to_its_end(deployment: Deployment, study: Path) -> None:
    results = read_results(study)
    assert results.order == tuple(deployment.joined)
    assert all(cell is not None for row in results.R for cell in row)
    assert results.stages[-1].memory_exemplars >= 3
    for center, node in deployment.joined.items():
        steps = 8 if center == "ljubljana" else 4  # for each contrast: FLAIR and T2w there
        assert any(line.startswith(f"{center}: step {steps}/{steps}") for line in node.lines), node.tail()
        assert "training: the coordinator sent a model" in node.lines


def test_nothing_that_the_coordinator_holds_tells_of_a_patient(
    deployment: Deployment, study: Path, cache: Path
) -> None:
    data = data_of_three(cache)
    held = held_by_the_coordinator(deployment, study)
    exemplars = exemplars_in(deployment, study)
    assert {e.provenance.center for e in exemplars} == set(list(deployment.joined)[:2])
    assert files_with(held, (e.payload.tobytes() for e in exemplars)) == []
    # Flower keeps the code that it ships, and that speaks of sub-07 where it gives an example.
    packages = ("server", "client", "shared", "scenarios")
    code = b"".join(path.read_bytes() for part in packages for path in (ROOT / part).rglob("*.py"))
    names = {path.name.encode() for folder in data.values() for path in folder.glob("sub-*")}
    assert len(own := [name for name in names if name not in code]) >= len(names) - 1
    assert files_with(held, own) == []
    assert files_with(held, (str(folder).encode() for folder in data.values())) == []
    assert files_with(held, [str(deployment.folder / "hospitals").encode()]) == []


def test_every_hospital_s_audit_log_shows_what_it_sent(deployment: Deployment, study: Path) -> None:
    *givers, last = deployment.joined
    for center in deployment.joined:
        told = deployment.command("hospital", "audit", deployment.hospitals[center].toml)
        assert "whole; head" in told and "sent      roll call" in told and "test scores of each image" in told
        assert ("sent      exemplars; run" in told) == (center in givers)
    assert f"from {', '.join(givers)}" in deployment.command("hospital", "audit", deployment.hospitals[last].toml)


def test_the_coordinator_lists_who_is_there(deployment: Deployment) -> None:
    lines = deployment.listing().splitlines()
    for center in deployment.joined:
        (line,) = [line for line in lines if line.startswith(center)]
        assert "online" in line and "SHA256:" in line


def test_the_same_search_finds_the_exemplars_where_coordinator_and_policies_want_no_sealing(
    deployment: Deployment, study: Path
) -> None:
    for center in deployment.joined:
        policy_of(deployment.hospitals[center], allow_unsealed=True)
    run = begin(deployment, "unsealed", "sealing=off")
    assert run.end(600) == 0, run.tail()
    unsealed = deployment.folder / "unsealed"
    exemplars = exemplars_in(deployment, unsealed)
    assert [e.payload.tobytes() for e in exemplars] == [e.payload.tobytes() for e in exemplars_in(deployment, study)]
    assert files_with(held_by_the_coordinator(deployment, unsealed), (e.payload.tobytes() for e in exemplars))
    assert read_results(unsealed).R == read_results(study).R


def test_one_hospital_that_insists_on_sealing_ends_an_unsealed_study(deployment: Deployment) -> None:
    first, second, *_ = deployment.joined
    policy_of(deployment.hospitals[first], allow_unsealed=True)
    policy_of(deployment.hospitals[second], allow_unsealed=False)
    run = begin(deployment, "insisted", "sealing=off")
    assert run.end(300) == 1
    assert re.search(rf"\b{second}\b.*(seal)", "\n".join(run.lines)), run.tail()


@pytest.mark.parametrize("method", ["fedavg", pytest.param("ewc", marks=pytest.mark.long)])
def test_methods_that_share_no_crop_work_between_real_hospitals_too(deployment: Deployment, method: str) -> None:
    for hospital in deployment.hospitals.values():
        policy_of(hospital, allow_averaged_models=method == "fedavg")
    run = begin(deployment, method, "rounds=2", method=method)
    assert run.end(600) == 0, run.tail()
    results = read_results(deployment.folder / method)
    assert all(cell is not None for row in results.R for cell in row)
    assert len(results.R) == (1 if method == "fedavg" else 3)
    assert not Journal.open(deployment.folder / method).memory()


def test_a_withdrawal_during_the_study_is_heard_and_confirmed_in_both_logs(deployment: Deployment) -> None:
    first, second, _ = deployment.joined
    hospital = deployment.hospitals[first]
    site = Site.read(hospital.toml)
    run = begin(deployment, "withdrawn", "steps=80")
    # While the second hospital trains on it.
    run.hear_of(f"stage 2/3: training at {second}", 300)
    (given,) = Journal.open(deployment.folder / "withdrawn").memory()
    shared = set(given.subjects)
    names = [path.name for path in site.data.folder.glob("sub-*")]
    # Of a subject that trained, whichever that is by the division; those that test stay.
    (sent,) = [e for e in AuditLog(site.state / "audit").entries() if e.facts.message == "exemplars"][-1:]
    key, named = pseudonym_key(site.state, site.center), str(sent.facts.run)
    assert {outside_name(key, named, known) for known in sent.facts.subjects} == shared
    gone = next(name for name in names if pseudonym(key, name) in sent.facts.subjects)
    assert f"{gone} is withdrawn" in deployment.command("hospital", "withdraw", hospital.toml, gone)
    assert run.end(600) == 0, run.tail()
    assert f"{first} withdrew 1 subjects: 1 of their exemplars leave the memory" in "\n".join(run.lines)
    after = {s for c in Journal.open(deployment.folder / "withdrawn").memory() if c.center == first for s in c.subjects}
    assert after == shared - {outside_name(key, named, pseudonym(key, gone))}
    assert read_results(deployment.folder / "withdrawn").withdrawn == {first: 1}
    told = deployment.command("hospital", "audit", hospital.toml)
    assert re.search(rf"withdrawn dropped by the coordinator.*{pseudonym(key, gone)}", told), told
