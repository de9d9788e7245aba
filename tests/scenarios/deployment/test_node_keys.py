"""A node's key pair: as Flower takes it, and never open to others."""

import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.cli.supernode.register import try_load_public_key

from scenarios.deployment.node_keys import PRIVATE, load_node_key, make_node_key, read_public, short
from shared.errors import TrustError


def test_flower_reads_the_public_key_as_we_do(tmp_path: Path) -> None:
    public = make_node_key(tmp_path / "flower", "milan")
    assert try_load_public_key(public) == read_public(public)
    assert isinstance(load_node_key(public.with_name(PRIVATE)).curve, ec.SECP384R1)


def test_the_private_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    private = make_node_key(tmp_path / "flower", "milan").with_name(PRIVATE)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    private.chmod(0o644)
    with pytest.raises(TrustError, match=r"open to other users .mode 644.: chmod 600"):
        load_node_key(private)


def test_a_key_that_is_there_stays(tmp_path: Path) -> None:
    first = read_public(make_node_key(tmp_path, "milan"))
    assert read_public(make_node_key(tmp_path, "milan")) == first


def test_the_fingerprint_is_the_one_that_ssh_keygen_shows(tmp_path: Path) -> None:
    public = make_node_key(tmp_path, "milan")
    try:
        shown = subprocess.run(["ssh-keygen", "-lf", str(public)], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not here")
    assert short(read_public(public)) in shown


def test_a_private_key_that_was_sent_by_mistake_is_refused(tmp_path: Path) -> None:
    private = make_node_key(tmp_path, "milan").with_name(PRIVATE)
    with pytest.raises(TrustError, match="must never leave the hospital"):
        read_public(private)


@pytest.mark.parametrize(
    "text", ["", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f x"]
)
def test_what_is_no_key_of_its_kind_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "key.pub").write_text(text)
    with pytest.raises(TrustError, match="no ECDSA public key"):
        read_public(tmp_path / "key.pub")
    (tmp_path / "key").write_text(text)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(TrustError, match="no ECDSA key"):
        load_node_key(tmp_path / "key")
