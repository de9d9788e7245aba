"""hospital.toml: read once, checked, and one line for what is wrong."""

from pathlib import Path

import pytest

from client.data.layouts import Layout
from client.hospital.config import Site
from shared.errors import SettingsError, TrustError, WardroundError
from shared.trust.identity import Keys

BWH = Keys.generate("bwh").identity

TEXT = f"""
center = "milan"
state-dir = "state"

[data]
folder = "images"
layout = "bids"
contrasts = ["FLAIR"]

[coordinator]
address = "coordinator.example:443"
root-certificate = "ca.crt"
enrolled-as = "milan"

[peers]
bwh = "{BWH}"

[policy]
role = "both"
never = ["sub-07"]
"""


def written(folder: Path, text: str = TEXT) -> Path:
    path = folder / "hospital.toml"
    path.write_text(text)
    path.chmod(0o644)
    return path


def test_all_that_it_says_is_read_and_paths_are_beside_the_file(tmp_path: Path) -> None:
    site = Site.read(written(tmp_path))
    assert site.center == "milan"
    assert (site.state, site.keys) == (tmp_path / "state", tmp_path / "state" / "keys")
    assert (site.data.folder, site.data.layout, site.data.contrasts) == (tmp_path / "images", Layout.bids, ("FLAIR",))
    assert site.coordinator is not None
    assert site.coordinator.root_certificate == tmp_path / "ca.crt"
    assert (site.coordinator.address, site.coordinator.enrolled_as) == ("coordinator.example:443", "milan")
    assert site.policy.role == "both" and site.policy.never == ("sub-07",)
    site.peers.check(BWH)


def test_what_is_left_out_allows_nothing(tmp_path: Path) -> None:
    site = Site.read(written(tmp_path, 'center = "milan"\nstate-dir = "/s"\n[data]\nfolder = "/d"\n'))
    assert site.state == Path("/s") and site.data.folder == Path("/d")
    assert site.data.layout is None and site.coordinator is None
    assert not site.policy.share_exemplars and site.policy.role == "evaluate"
    with pytest.raises(TrustError, match="no key of bwh is pinned"):
        site.peers.check(BWH)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('center = "milan"', 'center = "sub 07"', "center = 'sub 07': write a name of letters, digits"),
        ('center = "milan"', "", "center is missing"),
        ('folder = "images"', "folder = 7", "data.folder = 7"),
        ('layout = "bids"', 'layout = "dicom"', "data.layout = 'dicom'"),
        ('contrasts = ["FLAIR"]', "contrasts = []", "data.contrasts = \\[\\]"),
        ("state-dir", "state-folder", "state-dir is missing"),
        ('address = "coordinator.example:443"', 'adress = "x"', "coordinator.address is missing"),
        ("coordinator.example:443", "https://x", "coordinator.address = 'https://x': write HOST:PORT"),
        ('role = "both"', 'role = "all"', "the policy in .* is wrong at role"),
        ('role = "both"', "rolle = 1", "the policy in .* is wrong at rolle"),
        ("[data]", "[data", "is not TOML"),
    ],
)
def test_a_mistake_is_named_where_it_is_and_no_path_is_told_outside(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in TEXT
    with pytest.raises(SettingsError, match=said) as caught:
        Site.read(written(tmp_path, TEXT.replace(old, new)))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in caught.value.public


def refusal(path: Path) -> WardroundError:
    with pytest.raises(WardroundError) as caught:
        Site.read(path)
    assert str(path.parent) not in caught.value.public
    return caught.value


def test_a_file_that_anybody_can_write_is_not_relied_on(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.chmod(0o666)
    assert "can be written by every user" in str(refusal(path))


def test_a_file_that_is_not_there_and_a_pin_that_is_wrong(tmp_path: Path) -> None:
    assert "cannot be read" in str(refusal(tmp_path / "hospital.toml"))
    error = refusal(written(tmp_path, TEXT.replace(str(BWH), str(BWH)[:-4])))
    assert isinstance(error, TrustError) and "the pin of bwh" in str(error)
