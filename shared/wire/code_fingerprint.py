"""Which code runs: coordinator and hospitals must run the same, and each can see that it does."""

import hashlib
from functools import cache
from pathlib import Path

PACKAGES = ("client", "shared")
"""What handles a hospital's data, and what both sides agree on."""

HERE = Path(__file__).resolve().parent.parent.parent
"""Where the packages of the running app lie."""


@cache
def code_fingerprint(root: Path = HERE) -> str:
    """SHA-256 over the names and contents of the Python files of `client/` and `shared/` below `root`.

    It guards against two versions that do not fit, not against a hospital that lies: who runs
    other code can also say another fingerprint.
    """
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
