"""Withdrawing a subject at its hospital: by its name, for good, and never by a misspelt one."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Facts
from client.governance.pseudonyms import pseudonym, pseudonym_key
from client.governance.withdrawals import Withdrawals
from client.hospital.config import Site
from client.hospital.withdraw import withdraw
from shared.errors import DataError
from tests.support.datasets import write_dataset

NOON = datetime(2030, 5, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    write_dataset(tmp_path / "images", ["sub-a", "sub-b"])
    path = tmp_path / "hospital.toml"
    path.write_text('center = "grace"\nstate-dir = "state"\n[data]\nfolder = "images"\n')
    return Site.read(path)


def known(site: Site, name: str) -> str:
    return pseudonym(pseudonym_key(site.state, site.center), name)


@pytest.mark.parametrize("name", ["sub-a", "a"])
def test_a_subject_is_withdrawn_once_and_the_audit_log_says_so(site: Site, name: str) -> None:
    assert withdraw(site, name, lambda: NOON)
    assert not withdraw(site, name, lambda: NOON)
    assert Withdrawals(site.state, lambda name: known(site, name)).subjects() == {known(site, "sub-a")}
    (entry,) = AuditLog(site.state / "audit").entries()
    assert (entry.kind, entry.facts.subjects, entry.time) == ("withdrawn", (known(site, "sub-a"),), f"{NOON:%FT%TZ}")


def test_a_misspelt_name_withdraws_nobody_and_says_so(site: Site) -> None:
    with pytest.raises(DataError, match=r"has no subject 'sub-A': .* such as sub-a; nobody was withdrawn"):
        withdraw(site, "sub-A", lambda: NOON)
    assert AuditLog(site.state / "audit").entries() == ()


def test_one_whose_images_were_deleted_can_be_withdrawn_where_its_exemplars_left(site: Site) -> None:
    AuditLog(site.state / "audit").append("sent", Facts(message="exemplars", subjects=(known(site, "sub-b"),)))
    shutil.rmtree(site.data.folder / "sub-b")
    shutil.rmtree(site.data.folder / "derivatives" / "labels" / "sub-b")
    assert withdraw(site, "sub-b", lambda: NOON)
