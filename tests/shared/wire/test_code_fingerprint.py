"""The code fingerprint: it changes with the code, and with nothing else."""

from pathlib import Path

from shared.wire.code_fingerprint import code_fingerprint
from tests.conftest import ROOT


def written(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return code_fingerprint(root)


FILES = {"client/app.py": "a", "client/deep/er.py": "b", "shared/replay/exemplar.py": "c"}


def test_two_copies_of_one_version_have_one_fingerprint(tmp_path: Path) -> None:
    one = written(tmp_path / "one", FILES)
    assert one == written(tmp_path / "two", dict(reversed(FILES.items())))
    assert one == written(tmp_path / "three", FILES | {"server/app.py": "s", "client/notes.txt": "n"})
    assert len(one) == 64


def test_a_changed_added_or_renamed_file_changes_it(tmp_path: Path) -> None:
    others = [
        FILES | {"client/app.py": "A"},
        FILES | {"shared/new.py": ""},
        {"client/app2.py": "a", "client/deep/er.py": "b", "shared/replay/exemplar.py": "c"},
        {"client/app.py": "ab", "client/deep/er.py": "", "shared/replay/exemplar.py": "c"},
    ]
    found = {written(tmp_path / str(i), files) for i, files in enumerate([FILES, *others])}
    assert len(found) == 5


def test_the_running_app_has_one() -> None:
    assert code_fingerprint() == code_fingerprint(ROOT)
