"""How often a stage that begins with a fresh decoder collapses, by activation: what the key `restarts` is there for.

    python -m tests.oracles.collapsing_draws [DRAWS [STEPS [LEARNING_RATE]]]

trains a small network on volumes with a few small lesions, then goes on from its encoder with so many draws of the
decoder. It prints, for each activation, the draws whose Dice on the training patches is below `COLLAPSED`, and the
least Dice of the others. Two minutes of one core for 40 draws.
"""

import sys
import tomllib
from typing import Any

import numpy as np
import torch

from client.data.preprocessing import Volume
from client.training.attempts import COLLAPSED, dice_on_own
from client.training.plan import plan_stage
from client.training.sampler import Source
from client.training.trainer import train
from shared.config.settings import Settings
from shared.model.network import carry_over, initial_weights
from tests.conftest import ROOT

CPU = torch.device("cpu")
EDGE, RADIUS = 32, 1.8


def volume_of(seed: int) -> Source:
    """Three bright balls of five voxels across in noise."""
    random = np.random.default_rng(seed)
    grid = np.indices((EDGE,) * 3)
    middles = random.uniform(6, EDGE - 6, (3, 3, 1, 1, 1))
    lesion = np.any([np.linalg.norm(grid - middle, axis=0) < RADIUS for middle in middles], axis=0)
    image = random.normal(size=lesion.shape) * 0.5 + 2 * lesion
    label = np.where(lesion, 255, 0).astype(np.uint8)
    volume = Volume(image.astype(np.float16), label, np.eye(4), label, np.eye(4), -5.0)
    return Source.of_volume(volume, 16)


def settings_of(activation: str, steps: int, learning_rate: float) -> Settings:
    with (ROOT / "pyproject.toml").open("rb") as file:
        config: dict[str, Any] = tomllib.load(file)["tool"]["flwr"]["app"]["config"]
    tiny = {"features": 2, "batch-size": 4, "patch-size": 16, "steps": steps, "epochs": 0, "loss": "dice"}
    # As the paper has them, but for the length of a stage.
    recipe = {"norm": "instance", "dice-over": "batch", "optimiser": "adamw", "schedule": "constant"}
    return Settings.from_run_config(config | tiny | recipe | {"activation": activation, "learning-rate": learning_rate})


def collapsing(activation: str, draws: int, steps: int, learning_rate: float) -> str:
    settings = settings_of(activation, steps, learning_rate)
    own = [volume_of(seed) for seed in range(6)]
    plan = plan_stage(own, [], settings)
    first = train(initial_weights(settings.network, 0), plan, settings, 0, CPU)
    dice = []
    for draw in range(1, draws + 1):
        weights = carry_over(first.weights, "encoder", settings.network, draw)
        trained = train(weights, plan, settings, 0, CPU)
        dice.append(dice_on_own(trained.network, own, plan.recipe, 1))
    lost = [value for value in dice if value < COLLAPSED]
    least = min((value for value in dice if value >= COLLAPSED), default=float("nan"))
    return (
        f"{activation}: {len(lost)} of {draws} draws collapsed (Dice at most {max(lost, default=0):.4f}); "
        f"least Dice of the others {least:.3f}"
    )


def main(draws: int = 40, steps: int = 40, learning_rate: float = 0.02) -> None:
    torch.set_num_threads(1)
    for activation in ("normalised-relu", "sigmoid"):
        print(collapsing(activation, draws, steps, learning_rate), flush=True)


if __name__ == "__main__":
    main(*(kind(word) for kind, word in zip((int, int, float), sys.argv[1:], strict=False)))
