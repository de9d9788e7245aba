"""The way of a message through the hospital, module by module, as a measure of how straight the code can be read.

Each public function of `client/` counts where it is first called, so that a loop over patients does not lengthen the
way; private ones, lambdas and comprehensions are parts of the function around them. A *stay* is a run of such calls
within one module; a *return* is a stay in a module that was left before.

    pytest -s tests/client/test_way_of_a_message.py

prints the way of a train message.
"""

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tests.conftest import ROOT

PACKAGE = ROOT / "client"


def _private(name: str) -> bool:
    return name.rpartition(".")[2].startswith("_")


@dataclass(frozen=True)
class Way:
    """The modules that a message came through, one for each stay."""

    stays: tuple[str, ...]

    @property
    def returns(self) -> int:
        """Stays in a module that was left before."""
        return len(self.stays) - len(set(self.stays))

    def __str__(self) -> str:
        return f"{len(self.stays)} stays, {self.returns} returns: {' > '.join(self.stays)}"


def way_of(act: Callable[[], Any]) -> Way:
    """The way that `act` takes through the hospital's modules, in all threads that it starts."""
    called: dict[tuple[str, str], None] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        path = frame.f_code.co_filename
        name = frame.f_code.co_qualname
        if event == "call" and path.startswith(f"{PACKAGE}/") and "<" not in name and not _private(name):
            called.setdefault((path, name))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    stays: list[str] = []
    for path, _ in called:
        name = Path(path).relative_to(PACKAGE).with_suffix("").as_posix()
        if not stays or stays[-1] != name:
            stays.append(name)
    return Way(tuple(stays))
