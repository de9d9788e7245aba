"""The pages: links lead somewhere, files that are named exist, and pages stay as short as was promised."""

import re
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from client.governance.policy import Policy
from tests.conftest import ROOT
from tests.support.pages import PAGES, ROOMS, anchors, blocks, links, name_of, prose

DOCS = ROOT / "docs"

TOYS = {
    "client/data/flat.py",
    "client/training/methods/prox.py",
    "scenarios/cli/show.py",
    "scenarios/prox.toml",
    "tests/client/data/test_flat.py",
    "tests/client/training/methods/test_prox.py",
    "tests/scenarios/cli/test_show.py",
}
"""Files that extending.md has its reader make."""

FILE = re.compile(rf"\b(?:{'|'.join(ROOMS)}|tests|docs)/[\w/.-]+\.(?:py|toml|md|svg|png)\b")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_what_is_there(page: Path) -> None:
    wrong: list[str] = []
    for link in links(page):
        target, _, anchor = link.partition("#")
        if target.startswith("https://"):
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            wrong.append(link)
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_exist(page: Path) -> None:
    named = set(FILE.findall(prose(page))) - (TOYS if page.name == "extending.md" else set())
    # A link's path starts at its page, and is looked at above.
    assert not [name for name in named if not (ROOT / name).exists() and not (page.parent / name).exists()]


def test_what_a_page_shows_as_toml_is_toml_and_a_policy_a_policy() -> None:
    shown = [tomllib.loads(block.text) for page in PAGES for block in blocks(page) if block.language == "toml"]
    policies = [Policy.of(table["policy"], "the page") for table in shown if "policy" in table]
    assert policies and all(policy.share_exemplars for policy in policies)


def test_every_page_is_listed() -> None:
    listed = {link for link in links(DOCS / "index.md") if "/" not in link}
    assert listed == {page.name for page in DOCS.glob("*.md")} - {"index.md"}


def test_readme_is_short_and_the_rooms_are_shorter() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
    assert all(len((ROOT / room / "README.md").read_text().splitlines()) <= 25 for room in ROOMS)


def test_the_command_that_passes_the_tests_is_that_of_ci() -> None:
    assert all("\nbash .ci/run\n" in (ROOT / page).read_text() for page in ("README.md", "CONTRIBUTING.md"))
    assert (ROOT / ".ci" / "run").is_file()


def test_pictures_are_small_and_the_architecture_is_well_formed() -> None:
    assert all(path.stat().st_size < 300_000 for path in (DOCS / "images").iterdir())
    drawn = ElementTree.parse(DOCS / "images" / "architecture.svg").getroot()
    said = " ".join(drawn.itertext())
    assert not [room for room in ROOMS if f"{room}/" not in said]


def test_the_citation_has_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
