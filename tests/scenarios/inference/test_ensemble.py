"""Models that segment together: the mean of what each says of an image and of its mirror images."""

from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor

from scenarios.inference.ensemble import Ensemble
from scenarios.inference.external_validation import validate
from scenarios.inference.segment import STEP, plan_jobs, segment_image
from shared.config.settings import Settings
from shared.errors import ResultsError, SettingsError
from shared.model.model_file import Model, model_bytes
from shared.model.network import initial_weights
from tests.scenarios.inference.test_segment import CPU, bright, voxels
from tests.support.commands import call
from tests.support.datasets import grid, patient, write_dataset, write_image

IMAGE = torch.rand((24, 16, 32), generator=torch.Generator().manual_seed(1))


class Says(torch.nn.Module):
    """A network that answers with fixed scores, at each place its own, whatever it sees."""

    settings: Any = SimpleNamespace(activation="sigmoid", norm="channel", features=2)

    def __init__(self, soft: Tensor) -> None:
        super().__init__()
        self.scores = soft.logit()

    def forward(self, image: Tensor) -> Tensor:
        return self.scores[None, None]


def says(soft: Tensor) -> Model:
    return Model(Says(soft), bright().inference)  # type: ignore[arg-type]


def maps(number: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(7)
    return [torch.rand(IMAGE.shape, generator=random) for _ in range(number)]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_several_models_give_the_mean_of_their_soft_maps(number: int) -> None:
    known = maps(number)
    made = Ensemble(tuple(map(says, known))).soft(IMAGE)
    torch.testing.assert_close(made, torch.stack(known).mean(0), atol=1e-6, rtol=0)


def test_flips_give_the_mean_over_all_eight_mirror_images() -> None:
    (known,) = maps(1)
    made = Ensemble((says(known),), flips=True).soft(IMAGE)
    ways = [[axis for axis, flip in enumerate(way) if flip] for way in product((False, True), repeat=3)]
    # What is said of a mirrored image is mirrored back.
    torch.testing.assert_close(made, torch.stack([known.flip(axes) for axes in ways]).mean(0), atol=1e-6, rtol=0)


def test_a_network_that_knows_no_side_says_the_same_with_flips() -> None:
    plain, flipped = (Ensemble((bright(),), flips=flips).soft(IMAGE) for flips in (False, True))
    torch.testing.assert_close(flipped, plain, atol=1e-6, rtol=0)


def test_one_model_without_flips_is_itself_to_the_bit(run_config: dict[str, Any], tmp_path: Path) -> None:
    from client.evaluation.inference import segment

    settings = Settings.from_run_config(run_config)
    (tmp_path / "m.safetensors").write_bytes(model_bytes(initial_weights(settings.network, 1), settings))
    ensemble = Ensemble.opened([tmp_path / "m.safetensors"])
    alone = segment(ensemble.models[0].network, IMAGE, settings.training.patch_size, settings.training.window_overlap)
    assert torch.equal(ensemble.soft(IMAGE), alone)


def write_model(path: Path, run_config: dict[str, Any], seed: int, **changes: Any) -> Path:
    settings = Settings.from_run_config(run_config | {key.replace("_", "-"): value for key, value in changes.items()})
    path.write_bytes(model_bytes(initial_weights(settings.network, seed), settings, {"FLAIR": 0.2 * seed}))
    return path


def test_models_of_other_spacing_or_contrasts_are_not_averaged(run_config: dict[str, Any], tmp_path: Path) -> None:
    one, other = (write_model(tmp_path / f"{n}.safetensors", run_config, n) for n in (1, 2))
    assert Ensemble.opened([one, other]).inference.dice_by_contrast == {"FLAIR": pytest.approx(0.3)}
    write_model(other, run_config, 2, contrasts="FLAIR")
    with pytest.raises(SettingsError, match=r"2\.safetensors has contrasts \['FLAIR'\], and .*1\.safetensors has"):
        Ensemble.opened([one, other])
    write_model(other, run_config, 2, spacing=3.0)
    with pytest.raises(SettingsError, match=r"2\.safetensors has spacing 3\.0, and .* has 4\.0"):
        Ensemble.opened([one, other])


def test_without_a_model_the_shipped_one_is_taken(
    run_config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenarios.shipped.card.HERE", tmp_path)
    with pytest.raises(ResultsError, match="no model is shipped in this build of Wardround, and none was named"):
        Ensemble.opened([])
    write_model(tmp_path / "model.safetensors", run_config, 3)
    assert Ensemble.opened([]).inference.dice_by_contrast == {"FLAIR": pytest.approx(0.6)}


def test_segment_and_realism_find_the_same_voxels(tmp_path: Path) -> None:
    """The mask is what reaches a half before anything is rounded, and what is written reaches it at the same voxels."""
    folder = write_dataset(tmp_path / "data", ["sub-1"], voxel=1.5)
    image = folder / "sub-1" / "anat" / "sub-1_FLAIR.nii.gz"
    label = nibabel.load(next((folder / "derivatives").rglob("sub-1_*.nii.gz"))).get_fdata() >= 0.5
    ensemble = Ensemble((bright(spacing=2.0),), flips=True)
    (scored,) = validate(ensemble, {"here": folder}, CPU, lambda one: None).scored
    (tmp_path / "out").mkdir()
    (job,) = plan_jobs([image], tmp_path / "out", mask=True)
    made = segment_image(ensemble, job, CPU)
    mask = voxels(job.mask) >= 0.5
    np.testing.assert_array_equal(mask, voxels(job.soft) >= 0.5)
    assert sum(lesion.voxels for lesion in made.lesions) == mask.sum()
    assert 2 * (mask & label).sum() / (mask.sum() + label.sum()) == pytest.approx(scored.scores.dice, abs=1e-12)


def test_what_is_just_below_a_half_is_no_lesion(tmp_path: Path) -> None:
    shape, affine = grid((2.0, 2.0, 2.0))
    image = write_image(tmp_path / "a.nii.gz", patient(shape, affine)[0], affine)
    (job,) = plan_jobs([image], tmp_path, mask=True)

    class Nearly(Says):
        def forward(self, image: Tensor) -> Tensor:
            return torch.full_like(image, 0.5 - STEP / 4).logit()

    nearly = Model(Nearly(IMAGE), bright().inference)  # type: ignore[arg-type]
    assert segment_image(Ensemble((nearly,)), job, CPU).lesions == ()
    assert not voxels(job.mask).any() and voxels(job.soft).max() == 0.5 - STEP


# The command


def test_segment_takes_several_models_and_flips_and_by_default_the_shipped_one(
    run_config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (write_model(tmp_path / f"{n}.safetensors", run_config, n) for n in (1, 2))
    shape, affine = grid((3.0, 3.0, 3.0))
    image = str(write_image(tmp_path / "sub-1_FLAIR.nii.gz", patient(shape, affine)[0], affine))
    monkeypatch.setattr("scenarios.shipped.card.HERE", tmp_path)
    made = {}
    for name, words in {
        "one": ["--model", str(one)],
        "other": ["--model", str(other)],
        "both": ["--model", str(one), "--model", str(other)],
        "flips": ["--model", str(one), "--flips"],
    }.items():
        assert call(monkeypatch, capsys, "segment", image, *words, "--output", str(tmp_path / name)) == (0, "")
        made[name] = voxels(tmp_path / name / "sub-1_FLAIR_lesion.nii.gz")
    np.testing.assert_allclose(made["both"], (made["one"] + made["other"]) / 2, atol=2 * STEP)
    assert np.abs(made["flips"] - made["one"]).max() > 2 * STEP
    code, said = call(monkeypatch, capsys, "segment", image, "--output", str(tmp_path / "none"))
    assert code == 1 and "no model is shipped in this build of Wardround" in said and said.count("\n") == 1
    one.rename(tmp_path / "model.safetensors")
    assert call(monkeypatch, capsys, "segment", image, "--output", str(tmp_path / "shipped")) == (0, "")
    np.testing.assert_array_equal(voxels(tmp_path / "shipped" / "sub-1_FLAIR_lesion.nii.gz"), made["one"])


def test_a_model_among_the_images_is_told_the_new_way(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (untrained, untrained / "model.safetensors"):
        code, said = call(monkeypatch, capsys, "segment", str(path), "a.nii.gz", "--output", str(tmp_path / "out"))
        assert code == 1 and f"name it by --model {path}" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
