"""Flower's private names stand in one module, so that a new version of Flower is a change of one file."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

PUBLIC = {"flwr.app", "flwr.serverapp", "flwr.serverapp.strategy", "flwr.clientapp"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_private_names_of_flower_are_imported_by_one_module() -> None:
    files = [path for room in ("server", "client", "shared", "scenarios") for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 100
    found = {
        str(path.relative_to(ROOT))
        for path in files
        for name in imported(path)
        if name.partition(".")[0] == "flwr" and name not in PUBLIC
    }
    assert found == {"shared/flower_private.py"}
