"""The rules of CONTRIBUTING that no linter keeps."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import ROOT

ROOMS = ("server", "client", "shared", "scenarios")


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("room", ROOMS)
def test_no_class_name_stands_twice_in_one_room(room: str) -> None:
    found = defaultdict(list)
    for path in modules(room):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in modules(*ROOMS, "tests")}
    assert {path.relative_to(ROOT).as_posix(): n for path, n in lengths.items() if n > 400} == {}
