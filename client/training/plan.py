"""What a stage will do, known before it starts: how batches are drawn, and how many steps are taken."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from client.training.sampler import Patches, Recipe, Stratum
from shared.config.groups import Deal
from shared.config.settings import Settings


@dataclass(frozen=True)
class Plan:
    """What a stage will do, known before it starts."""

    own: tuple[Patches, ...]
    past: tuple[Stratum, ...]
    """Exemplars that share their part of each batch, drawn from in a fixed share; empty in `paper` mode."""
    recipe: Recipe
    steps: int
    steps_per_epoch: int
    before: int = 0
    after: int = 0
    """Steps of the center's earlier and later rounds, over which the learning rate follows its schedule."""


def plan_stage(
    own: Sequence[Patches],
    memory: Sequence[Sequence[Patches]],
    settings: Settings,
    contrasts: int = 1,
    rounds: int = 1,
    round_: int = 0,
) -> Plan:
    """Decide how batches are drawn and how many steps are taken, all of them or those of one of equal rounds.

    `balanced` replay keeps the number of steps and gives `replay-share` of each batch to the
    memory. `paper` merges the memory into the training set, which lengthens the stage by as
    much as it grows the set. `contrasts` counts the center's, for each of which `steps` are taken;
    pooled training those of all its centers.
    """
    training = settings.training
    volumes = len(own)
    past = dealt(memory, settings.memory.replay_deal)
    if settings.memory.replay_mode == "paper":
        own = [*own, *(source for center in memory for source in center)]
        past = ()
    replayed = round(training.patches * settings.memory.replay_share) if past else 0
    per_epoch = math.ceil(len(own) / training.batch_size)
    # Epochs over a pooled set count everybody's volumes by themselves; steps must be told.
    steps = training.epochs * per_epoch
    if training.steps:
        steps = math.ceil(training.steps * len(own) / volumes) * contrasts
    recipe = Recipe(
        patches=training.patches,
        patches_per_volume=training.patches_per_volume,
        patch_size=training.patch_size,
        lesion_share=training.lesion_share,
        replayed=min(replayed, training.patches - 1),
    )
    steps //= rounds
    return Plan(tuple(own), past, recipe, steps, per_epoch, before=steps * round_, after=steps * (rounds - round_ - 1))


def dealt(memory: Sequence[Sequence[Patches]], deal: Deal) -> tuple[Stratum, ...]:
    """The memory, given by center, as those among whom its part of a batch is shared: the centers, or the contrasts."""
    if deal == "centers":
        return tuple((tuple(center),) for center in memory if center)
    contrasts = sorted({exemplar.contrast for center in memory for exemplar in center})
    parts = [[tuple(one for one in center if one.contrast == contrast) for center in memory] for contrast in contrasts]
    return tuple(tuple(center for center in part if center) for part in parts)
