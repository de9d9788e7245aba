"""Withdrawing a subject at its hospital: by its name, for good, and never by a misspelt one."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from client.data.layouts import Layout
from client.governance.audit_log import AuditLog
from client.governance.hash_chain import Facts
from client.governance.pseudonyms import pseudonym, pseudonym_key
from client.governance.records import Records
from client.governance.withdrawals import Withdrawals
from client.hospital.center import open_hospital
from client.hospital.config import Site
from client.hospital.withdraw import withdraw
from shared.config.settings import Settings
from shared.errors import DataError
from tests.support.datasets import write_dataset

NOON = datetime(2030, 5, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    write_dataset(tmp_path / "images", ["sub-a", "sub-b"])
    path = tmp_path / "hospital.toml"
    path.write_text('center = "grace"\nstate-dir = "state"\n[data]\nfolder = "images"\n')
    site = Site.read(path)
    Records(site.state, site.center)
    return site


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


def call(site: Site, subject: str, otherwise: str) -> None:
    """Have a list of the images call a subject otherwise."""
    folder = site.data.folder
    entries = []
    for image in sorted(folder.glob("sub-*/anat/*.nii.gz")):
        (label,) = folder.glob(f"derivatives/*/{image.parts[-3]}/anat/*.nii.gz")
        name = otherwise if image.parts[-3] == subject else image.parts[-3]
        entry = {"image": str(image.relative_to(folder)), "label": str(label.relative_to(folder)), "subject": name}
        entries.append(entry)
    (folder / "datalist.json").write_text(json.dumps({"training": entries}))


def test_a_withdrawn_subject_that_comes_to_be_called_otherwise_is_known_by_its_images(
    site: Site, run_config: dict[str, Any], tmp_path: Path
) -> None:
    listed = replace(site, data=site.data.model_copy(update={"layout": Layout.decathlon}))
    settings = Settings.from_run_config(run_config | {"contrasts": "FLAIR"})
    call(listed, "sub-a", "P02")
    opened = open_hospital(listed, tmp_path / "prepared", settings, ("0" * 32,))
    assert {case.subject for case in (*opened.training, *opened.test)} == {"P02", "sub-b"}
    call(listed, "sub-a", "P2")
    assert withdraw(listed, "P2", lambda: NOON)
    listed_names = Withdrawals(site.state, lambda name: known(site, name)).subjects()
    assert listed_names == {known(site, "P2"), known(site, "P02")}, "its exemplars may have left under the old name"
    call(listed, "sub-a", "patient 2")
    again = open_hospital(listed, tmp_path / "prepared", settings, ("1" * 32,))
    assert known(site, "patient 2") in again.withdrawn and known(site, "sub-b") not in again.withdrawn
