"""What talks about the wire needs no library of images: a coordinator's tools read messages without MONAI."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

WITHOUT = """
import importlib, sys

class Refused:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {"monai", "nibabel", "scipy", "matplotlib", "nilearn", "ray"}:
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Refused())
importlib.import_module(sys.argv[1])
"""


@pytest.mark.parametrize("module", ["shared.wire.messages"])
def test_the_wire_format_is_imported_without_monai(module: str) -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT, module], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
