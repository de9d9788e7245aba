"""The MONAI bundle: valid by MONAI's own checks, and segmenting as Wardround does, without Wardround."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle.scripts import verify_metadata, verify_net_in_out
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from scenarios.inference.ensemble import Ensemble
from scenarios.inference.monai_bundle import export_bundle
from scenarios.inference.segment import STEP, plan_jobs, segment_image
from shared.config.settings import Settings
from shared.errors import ResultsError, SettingsError
from shared.model.model_file import model_bytes
from shared.model.network import initial_weights
from shared.model.weights import Weights
from shared.paths import MODEL
from tests.support.commands import call
from tests.support.datasets import grid, patient
from tests.support.journals import written

ALONE = """
import runpy, sys

class Refused:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {"client", "scenarios", "server", "shared", "wardround"}:
            raise ImportError(f"{name} of Wardround was imported")

sys.meta_path.insert(0, Refused())
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
"""
"""`python -m monai.bundle` where Wardround cannot be imported."""

REQUIRED = (
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
    *("task", "description", "authors", "copyright", "network_data_format"),
)
TENSOR = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range")


def strings(*names: str) -> dict[str, Any]:
    return {name: {"type": "string"} for name in names}


def tensors(name: str) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: {"type": "object", "required": list(TENSOR)}}}


STAND_IN = {
    "type": "object",
    "required": list(REQUIRED),
    "properties": strings(*(name for name in REQUIRED if not name.endswith(("_packages_version", "_format"))))
    | {
        "required_packages_version": {"type": "object", "additionalProperties": {"type": "string"}},
        "references": {"type": "array", "items": {"type": "string"}},
        "eval_metrics": {"type": "object"},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {"inputs": tensors("image"), "outputs": tensors("pred")},
        },
    },
}
"""What MONAI's schema of 2024-07-25 asks for, which the checks without a network cannot download."""


def sure(settings: Settings) -> Weights:
    """Weights of a network that is untrained but says much: its scores are spread over the whole scale."""
    weights = initial_weights(settings.network, 3)
    return weights | {"head.weight": weights["head.weight"] * 20, "head.bias": weights["head.bias"] * 0}


@pytest.fixture
def run(tmp_path: Path, run_config: dict[str, Any]) -> Path:
    """A finished run's folder."""
    settings = Settings.from_run_config(run_config | {"features": 2})
    (tmp_path / "run").mkdir()
    written(tmp_path / "run", settings)
    (tmp_path / "run" / MODEL).write_bytes(model_bytes(sure(settings), settings))
    return tmp_path / "run"


@pytest.fixture
def bundle(run: Path, tmp_path: Path) -> Path:
    return export_bundle(run, tmp_path / "bundle")


def test_a_bundle_holds_what_monai_expects(bundle: Path) -> None:
    files = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert files == {
        *("LICENSE", "configs/inference.json", "configs/metadata.json", "docs/README.md", "models/model.pt"),
        *("scripts/channel_norm.py", "scripts/head.py"),
    }


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_monai_verifies_the_metadata(bundle: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(STAND_IN))
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(schema))
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    del metadata["network_data_format"]["outputs"]["pred"]["dtype"]
    (tmp_path / "less.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=str(tmp_path / "less.json"), filepath=str(schema))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("n", [1, 3])
def test_monai_verifies_what_goes_into_the_network_and_comes_out(
    bundle: Path, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(bundle))  # where its own scripts lie, as where MONAI is run in its folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "scripts"]:
        monkeypatch.delitem(sys.modules, name)
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        device="cpu",
        n=n,
    )


def monai_run(bundle: Path, images: Path, output: Path) -> None:
    words = ["run", "--config_file", "configs/inference.json", "--bundle_root", ".", "--device", "$torch.device('cpu')"]
    words += ["--dataset_dir", str(images), "--output_dir", str(output)]
    run = subprocess.run([sys.executable, "-c", ALONE, *words], cwd=bundle, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def differences(run: Path, images: Path, theirs: Path, ours: Path) -> dict[str, float]:
    """By image, the greatest difference between the bundle's soft segmentation and `wardround segment`'s."""
    ours.mkdir()
    found = {}
    for job in plan_jobs(sorted(images.iterdir()), ours, mask=False):
        segment_image(Ensemble.opened([run]), job, torch.device("cpu"))
        one, other = nibabel.load(theirs / job.soft.name), nibabel.load(job.soft)
        assert one.shape == other.shape
        np.testing.assert_allclose(one.affine, other.affine, atol=1e-5)
        assert np.ptp(other.get_fdata()) > 0.3, "or equality proves little"
        found[job.image.name] = float(np.abs(one.get_fdata() - other.get_fdata()).max())
    return found


@pytest.mark.parametrize(
    ("activation", "norm"),
    [
        ("sigmoid", "channel"),
        ("sigmoid", "instance"),
        pytest.param("normalised-relu", "instance", marks=pytest.mark.slow),
    ],
)
def test_the_bundle_segments_as_wardround_does_but_for_rounding(
    run: Path, run_config: dict[str, Any], tmp_path: Path, activation: str, norm: str
) -> None:
    # Windows that are larger than some of the images, and smaller than others.
    changed = {"features": 2, "activation": activation, "norm": norm, "loss": "dice", "spacing": 2.0}
    changed |= {"patch-size": 24, "exemplar-mm": 96.0}
    settings = Settings.from_run_config(run_config | changed)
    (run / MODEL).write_bytes(model_bytes(sure(settings), settings))
    (tmp_path / "images").mkdir()
    for axcodes, voxel, tilt in [
        ("RAS", (1.0, 1.0, 1.0), 0.0),
        ("LPS", (0.8, 1.2, 4.0), 12.0),
        ("SLA", (3.0, 3.0, 3.0), 0.0),
    ]:
        shape, affine = grid(voxel, tilt)
        image = nibabel.Nifti1Image(patient(shape, affine)[0], affine)
        turned = image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axcodes))))
        nibabel.save(turned, tmp_path / "images" / f"{axcodes}.nii.gz")
    monai_run(export_bundle(run, tmp_path / "bundle"), tmp_path / "images", tmp_path / "theirs")
    found = differences(run, tmp_path / "images", tmp_path / "theirs", tmp_path / "ours")
    assert len(found) == 3 and max(found.values()) <= 10 * STEP, found


def test_the_bundle_segments_a_real_patient_as_wardround_does(
    real_hospitals: Path, run: Path, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    for path in ("ljubljana/sub-07/anat/sub-07_FLAIR.nii.gz", "tabriz/sub-105074/anat/sub-105074_FLAIR.nii.gz"):
        (tmp_path / "images" / Path(path).name).symlink_to(real_hospitals.resolve() / path)
    monai_run(bundle, tmp_path / "images", tmp_path / "theirs")
    found = differences(run, tmp_path / "images", tmp_path / "theirs", tmp_path / "ours")
    assert len(found) == 2 and max(found.values()) <= 10 * STEP, found


# The command


def test_a_folder_that_holds_something_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(ResultsError, match="full exists, and nothing is overwritten"):
        export_bundle(run, tmp_path / "full")
    (tmp_path / "empty").mkdir()
    assert (export_bundle(run, tmp_path / "empty") / "LICENSE").is_file()


def test_a_run_that_has_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises((ResultsError, SettingsError), match=r"results\.json"):
        export_bundle(tmp_path, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_the_command_says_how_to_run_the_bundle(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, capsys, "export", "--model", str(run), "--output", str(tmp_path / "bundle")) == (0, "")
    code, said = call(monkeypatch, capsys, "export", "--model", str(run), "--output", str(tmp_path / "bundle"))
    assert code == 1 and "nothing is overwritten" in said
