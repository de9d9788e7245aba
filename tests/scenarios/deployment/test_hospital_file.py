"""hospital.toml: what init writes, join and the node's apps read; and a slip of the pen is named."""

import tomllib
from pathlib import Path

import pytest
from flwr.common.config import parse_config_args

from client.data.inventory import ANY_LABEL, LabelChoice
from client.data.layouts import Layout
from client.governance.policy import Policy
from scenarios.deployment.hospital_file import Answers, Membership
from scenarios.deployment.supernode import command
from scenarios.deployment.systemd import unit_text
from shared.errors import SettingsError


def answers(folder: Path, **changes: object) -> Answers:
    given = {"center": "milan", "role": "both", "address": "coordinator.example:443", "root_certificate": "ca.crt"}
    return Answers(
        state=folder / "state",
        folder=folder / "data",
        layout=Layout.bids,
        contrasts=("FLAIR", "T2w"),
        **{**given, **changes},  # type: ignore[arg-type]
    )


def written(folder: Path, **changes: object) -> Path:
    path = folder / "hospital.toml"
    path.write_text(answers(folder, **changes).document(), encoding="utf-8")
    return path


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    membership = Membership.read(written(tmp_path))
    assert (membership.site.center, membership.coordinator.address) == ("milan", "coordinator.example:443")
    assert membership.coordinator.root_certificate == tmp_path / "ca.crt"
    assert membership.site.data.contrasts == ("FLAIR", "T2w")
    assert Membership.read(written(tmp_path, root_certificate="")).coordinator.root_certificate is None


def test_the_choice_of_labels_is_written_and_may_be_left_out(tmp_path: Path) -> None:
    data = Membership.read(written(tmp_path)).site.data
    assert LabelChoice(data.labels, data.lesion_value) == ANY_LABEL
    chosen = LabelChoice("rater-1", 2.0)
    data = Membership.read(written(tmp_path, labels=chosen)).site.data
    assert LabelChoice(data.labels, data.lesion_value) == chosen


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace(str(tmp_path / "state"), "here/state"))
    assert Membership.read(path).site.state == tmp_path / "here" / "state"


def test_at_first_nothing_leaves_but_the_model_and_means(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert str(Membership.read(path).site.policy) == "trains and tests, mean scores, no exemplars"
    assert Membership.read(written(tmp_path, role="evaluate")).site.policy == Policy()
    assert not Membership.read(path).site.peers.fingerprints


def test_every_key_of_the_policy_stands_there_with_a_comment(tmp_path: Path) -> None:
    text = written(tmp_path).read_text()
    keys = {name.replace("_", "-") for name in Policy.model_fields}
    assert set(tomllib.loads(text)["policy"]) == keys
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if " = " in line and not line.startswith("#"):
            assert lines[number - 1].startswith("#"), line


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('center = "milan"', 'center = "bwh"', "refuses a hospital that answers by another name"),
        ('center = "milan"', 'centre = "milan"', "center is missing"),
        ('layout = "bids"', 'layout = "dicom"', r"data\.layout = 'dicom'"),
        ('["FLAIR", "T2w"]', '["T1w"]', r"no contrast T1w is known: choose from FLAIR, T2w"),
        ("example:443", "example", r"coordinator\.address = 'coordinator\.example'"),
        ("megabytes = 0", 'megabytes = "all"', "the policy in .* is wrong at megabytes"),
        ("[data]", "[data", "is not TOML"),
    ],
)
def test_a_slip_of_the_pen_is_named(tmp_path: Path, old: str, new: str, reason: str) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SettingsError, match=reason):
        Membership.read(path)


def test_a_file_that_names_no_coordinator_cannot_be_joined_by(tmp_path: Path) -> None:
    path = written(tmp_path)
    text = path.read_text()
    path.write_text(text[: text.index("[coordinator]")] + text[text.index("[peers]") :])
    with pytest.raises(SettingsError, match=r"has no \[coordinator\] to join"):
        Membership.read(path)


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="make it by 'wardround hospital init'"):
        Membership.read(tmp_path / "hospital.toml")


def test_flower_reads_the_node_config_whatever_signs_the_paths_hold(tmp_path: Path) -> None:
    folder = tmp_path / "a 'b' \"c\" = ü"
    folder.mkdir()
    membership = Membership.read(written(folder))
    words = command(membership)
    config = parse_config_args([words[words.index("--node-config") + 1]])
    assert config == {"hospital": str(folder / "hospital.toml")}


def test_the_node_is_never_started_without_tls(tmp_path: Path) -> None:
    words = command(Membership.read(written(tmp_path, root_certificate="")))
    assert "--insecure" not in words and "--auth-supernode-private-key" in words


def test_the_unit_names_what_may_be_read_and_written(tmp_path: Path) -> None:
    text = unit_text(Membership.read(written(tmp_path)))
    assert f"hospital join {tmp_path / 'hospital.toml'}\n" in text
    assert f"ReadWritePaths={tmp_path / 'state'}\n" in text
    folder = tmp_path / "a b"
    folder.mkdir()
    text = unit_text(Membership.read(written(folder)))
    assert f'hospital join "{folder / "hospital.toml"}"\n' in text
    assert f'ReadWritePaths="{folder / "state"}"\n' in text
    assert f'Environment="WARDROUND_CACHE={folder / "state" / "cache"}"\n' in text
    folder = tmp_path / 'a "b"'
    folder.mkdir()
    with pytest.raises(SettingsError, match="systemd reads otherwise"):
        unit_text(Membership.read(written(folder)))


def test_the_unit_leaves_nothing_of_a_patient_to_others_in_core_dumps_or_in_swap(tmp_path: Path) -> None:
    lines = unit_text(Membership.read(written(tmp_path))).splitlines()
    assert {"UMask=0077", "LimitCORE=0", "MemorySwapMax=0"} <= set(lines[lines.index("[Service]") :])
