"""A center's data: under which pseudonym, at which node, and what is set aside."""

import hashlib
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from client.data.bids import find_cases
from client.governance.policy import Policy
from client.governance.withdrawals import Withdrawals
from client.hospital.center import Hospital, open_hospital
from client.hospital.config import Data, Site
from client.hospital.node import NO_PINS, is_simulated, prepared_folder, simulated_centers, site_here
from scenarios.simulation.sites import simulated_site
from shared.config.settings import Settings
from shared.errors import DataError, RecordError, SettingsError
from tests.support.datasets import grid, patient, write_dataset, write_image

KEY = bytes(range(32))


def context(run_config: dict[str, Any], **node_config: Any) -> Context:
    """What Flower gives a client of one node."""
    return Context(1, 7, {key.replace("_", "-"): value for key, value in node_config.items()}, RecordDict(), run_config)


def opened(site: Site, settings: Settings) -> Hospital:
    """As the ClientApp opens it."""
    return open_hospital(site, prepared_folder(site, False, settings), settings)


def site_with(center: str, data: Path, state: Path, contrasts: tuple[str, ...] = ("FLAIR", "T2w")) -> Site:
    return Site(center, state, Data(folder=data, contrasts=contrasts), None, NO_PINS, Policy(role="both"))


@pytest.fixture
def deployed(tmp_path: Path, run_config: dict[str, Any]) -> Callable[..., Hospital]:
    """Opens a center with a data set of its own, as a SuperNode would."""
    folder = write_dataset(tmp_path / "data", [f"sub-{name}" for name in ("a", "b", "c", "d")], ("FLAIR", "T2w"))

    def open_it(center: str = "milan", cache: str = "cache", data: Path = folder, **changes: Any) -> Hospital:
        config = run_config | {"cache-dir": str(tmp_path / cache), "order": "given"} | changes
        site = site_with(center, data, tmp_path / cache / "state")
        return opened(site, Settings.from_run_config(config))

    return open_it


# Pseudonyms


def hospital(center: str = "milan", key: bytes = KEY) -> Hospital:
    return Hospital(center, (), (), 2.0, True, Path("nowhere"), Path("nowhere"), key)


def test_a_pseudonym_is_a_keyed_hash() -> None:
    names = [f"sub-{i}" for i in range(200)]
    mine = [hospital().pseudonym(name) for name in names]
    assert mine == [hospital().pseudonym(name) for name in names]
    assert len(set(mine)) == 200
    assert not set(mine) & {hospital(key=bytes(32)).pseudonym(name) for name in names}
    assert all(len(pseudonym) == 16 and int(pseudonym, 16) >= 0 for pseudonym in mine)


def test_the_key_is_not_shown() -> None:
    assert repr(KEY) not in repr(hospital()) and KEY.hex() not in repr(hospital())


def test_pseudonyms_stay_and_differ_between_centers(deployed: Callable[..., Hospital]) -> None:
    first, again, other = deployed("milan"), deployed("milan", seed=3), deployed("ucsf")
    assert first.pseudonym("sub-a") == again.pseudonym("sub-a") != other.pseudonym("sub-a")
    assert deployed("milan", cache="elsewhere").pseudonym("sub-a") != first.pseudonym("sub-a")


def test_the_key_is_readable_by_its_owner_alone(deployed: Callable[..., Hospital], tmp_path: Path) -> None:
    center = deployed("milan")
    (path,) = (tmp_path / "cache" / "state" / "pseudonyms").iterdir()
    assert path.read_bytes() == center.key and len(center.key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_damaged_key_is_not_used_for_other_pseudonyms(deployed: Callable[..., Hospital], tmp_path: Path) -> None:
    deployed("milan")
    (path,) = (tmp_path / "cache" / "state" / "pseudonyms").iterdir()
    path.write_bytes(b"short")
    with pytest.raises(RecordError, match="was damaged: restore it"):
        deployed("milan")


# Who withdrew


def test_who_withdrew_is_used_no_more_and_nobody_else_moves(deployed: Callable[..., Hospital], tmp_path: Path) -> None:
    before = deployed("milan")
    gone = before.training[0].subject
    known = before.pseudonym(gone)
    Withdrawals(before.state, before.pseudonym).add(known, datetime.now(UTC))
    after = deployed("milan")
    assert (after.training, after.test) == (before.training, before.test), "the division is that of before"
    good, problems = after.open(after.training)
    assert {case.subject for case, _ in good} == {case.subject for case in before.training} - {gone}
    assert not problems
    assert (after.card.training_subjects, after.card.test_subjects) == (2, 1)
    assert (after.withdrawn, after.card.fingerprint) == ({known}, before.card.fingerprint)


# Which centers are here


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_in_simulation_the_nodes_share_all_centers(run_config: dict[str, Any], nodes: int) -> None:
    settings = Settings.from_run_config(run_config)
    shares = [simulated_centers(context({}, partition_id=i, num_partitions=nodes), settings) for i in range(nodes)]
    assert sorted(center for share in shares for center in share) == sorted(settings.run.centers)
    assert shares[0][0] == settings.run.centers[0]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_evaluators_have_nodes_of_their_own_in_simulation(run_config: dict[str, Any]) -> None:
    settings = Settings.from_run_config(run_config | {"evaluators": "montp"})
    shares = [simulated_centers(context({}, partition_id=i, num_partitions=4), settings) for i in range(4)]
    assert shares == [*((center,) for center in settings.run.centers), ("montp",)]


@pytest.mark.parametrize("node_config", [{}, {"center": "milan"}, {"center": "milan", "data_dir": "/data"}])
def test_a_node_that_does_not_say_whose_it_is_learns_how(node_config: dict[str, str]) -> None:
    node = context({}, **node_config)
    assert not is_simulated(node) and is_simulated(context({}, partition_id=0, num_partitions=2))
    with pytest.raises(SettingsError, match=r"make a hospital\.toml by 'wardround hospital init', and join with"):
        site_here(node)


def test_a_node_that_names_a_hospital_toml_is_that_center(run_config: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "hospital.toml"
    path.write_text('center = "grace"\nstate-dir = "state"\n[data]\nfolder = "images"\ncontrasts = ["T2w"]\n')
    write_dataset(tmp_path / "images", ["sub-a", "sub-b"], ("FLAIR", "T2w"))
    settings = Settings.from_run_config(run_config)
    node = context({}, hospital=str(path))
    site = site_here(node)
    assert site.center == "grace"
    assert prepared_folder(site, False, settings) == tmp_path / "state" / "prepared"
    center = opened(site, settings)
    assert center.card.contrasts == ("T2w",), "the run uses both contrasts, the hospital gives one"
    assert center.state == tmp_path / "state"
    with pytest.raises(SettingsError, match=r"was started as center mercy, but .* is that of grace"):
        site_here(context({}, hospital=str(path), center="mercy"))
    only = Settings.from_run_config(run_config | {"contrasts": "FLAIR"})
    with pytest.raises(DataError, match="center grace has contrasts T2w, but the run uses FLAIR"):
        opened(site, only)


# Opening


def test_a_center_says_what_it_has(deployed: Callable[..., Hospital]) -> None:
    card = deployed("milan").card
    assert (card.center, card.training_subjects, card.test_subjects) == ("milan", 3, 1)
    assert card.contrasts == ("FLAIR", "T2w")
    assert deployed("milan", contrasts="T2w").card.contrasts == ("T2w",)


def test_simulated_hospitals_are_read_from_a_folder_of_centers(tmp_path: Path, run_config: dict[str, Any]) -> None:
    write_dataset(tmp_path / "ucsf", ["sub-x", "sub-y"])
    config = run_config | {"data-dir": str(tmp_path), "cache-dir": str(tmp_path / "cache")}
    settings = Settings.from_run_config(config)
    center = opened(simulated_site("ucsf", settings), settings)
    assert {case.subject for case in center.training + center.test} == {"sub-x", "sub-y"}


def test_a_broken_subject_is_set_aside_by_pseudonym(deployed: Callable[..., Hospital]) -> None:
    center = deployed("milan", contrasts="FLAIR")
    broken = center.training[1]
    broken.image.write_bytes(b"")
    good, problems = center.open(center.training)
    assert [case for case, _ in good] == [center.training[0], center.training[2]]
    assert list(problems) == [center.pseudonym(broken.subject)]
    assert "cannot be read" in problems[center.pseudonym(broken.subject)]


def test_what_should_be_looked_at_is_said_in_the_hospital_s_log(
    deployed: Callable[..., Hospital], capsys: pytest.CaptureFixture[str]
) -> None:
    center = deployed("milan", contrasts="FLAIR")
    capsys.readouterr()
    center.open(center.training)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("[wardround] milan: warning: image has slices of 4 mm, in which small lesions fade: prefer")
    assert line.endswith(f"({', '.join(f'{case.subject} {case.contrast}' for case in center.training)})")


@pytest.mark.parametrize("empty_labels", ["set-aside", "keep"])
def test_a_label_below_a_half_is_one_without_lesion(
    deployed: Callable[..., Hospital], tmp_path: Path, empty_labels: str
) -> None:
    center = deployed("milan", contrasts="FLAIR", **{"empty-labels": empty_labels})
    shape, affine = grid((4.0,) * 3)
    faint = center.training[0]
    write_image(faint.label, patient(shape, affine)[1] * np.float32(0.3), affine)
    good, problems = center.open(center.training)
    kept = empty_labels == "keep"
    assert (faint in [case for case, _ in good]) == kept
    assert list(problems.values()) == ([] if kept else ["has a label that marks no lesion"])


def test_the_other_contrast_of_a_broken_image_still_serves(deployed: Callable[..., Hospital]) -> None:
    center = deployed("milan")
    center.training[0].image.write_bytes(b"")
    good, problems = center.open(center.training)
    assert [case for case, _ in good] == list(center.training[1:])
    assert len(problems) == 1


def test_a_center_without_any_usable_subject_is_named(deployed: Callable[..., Hospital]) -> None:
    center = deployed("milan")
    for case in center.test:
        case.image.write_bytes(b"")
    with pytest.raises(DataError, match=r"center milan has no usable subject of 1: .*is an empty file: copy") as caught:
        center.open(center.test)
    assert caught.value.public == "center milan has no usable subject of 1: one cannot be read; one cannot be read"


def test_many_cores_open_the_same_in_the_same_order(
    deployed: Callable[..., Hospital], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    center = deployed("milan")
    cases = center.training + center.test
    for case in cases[::2]:
        case.image.write_bytes(b"")
    found = []
    for number in (1, 8):
        monkeypatch.setattr("shared.cores.cores_of_hospital", lambda number=number: number)
        shutil.rmtree(center.cache)
        good, problems = center.open(cases)
        digests = [hashlib.sha256(np.ascontiguousarray(volume.image).tobytes()).hexdigest() for _, volume in good]
        found.append(([case for case, _ in good], digests, list(problems.items()), capfd.readouterr().out))
    assert found[0] == found[1]
    assert len(found[0][0]) == len(cases) // 2


def test_a_missing_data_folder_is_named(deployed: Callable[..., Hospital], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        deployed("milan", data=tmp_path / "nowhere")


def test_the_real_hospitals_open(deployed: Callable[..., Hospital], real_hospitals: Path) -> None:
    center = deployed("ljubljana", data=real_hospitals / "ljubljana")
    assert sorted(center.training + center.test) == find_cases(real_hospitals / "ljubljana", ("FLAIR", "T2w"))
    assert (center.card.training_subjects, center.card.test_subjects) == (1, 1)
