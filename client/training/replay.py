"""Which exemplars of the replay memory a stage trains on: all, or of a large memory an even draw.

A stage takes a fixed number of patches from the memory, however many hospitals filled it. To spread
them over every exemplar would mean to decode nearly all of a large memory for a patch or two each.
So each center's share is drawn anew for each stage, as even as can be over the centers.
"""

from collections.abc import Sequence

import numpy as np

from shared.config.settings import Settings
from shared.replay.exemplar import Exemplar
from shared.replay.memory import ReplayMemory
from shared.seeds import generator
from shared.wire.headers import TrainTask

MOST = 192
"""Exemplars that one stage decodes; above the 140 of the paper's last stage, 7 centers of 20."""


def recall(memory: ReplayMemory, most: int, random: np.random.Generator) -> list[Sequence[Exemplar]]:
    """By center, in the memory's order: all exemplars where there are at most `most`, else an equal draw.

    Each center keeps at least one, and those it keeps stay in their order.
    """
    centers = [memory.of(center) for center in memory.centers]
    if sum(map(len, centers)) <= most:
        return list(centers)
    share = max(1, most // len(centers))
    return [[given[k] for k in sorted(random.permutation(len(given))[:share])] for given in centers]


def recalled(memory: ReplayMemory, task: TrainTask, settings: Settings) -> list[Sequence[Exemplar]]:
    """By center, the exemplars that a stage trains on: in `paper` mode all of them, as the paper does."""
    most = MOST if settings.memory.replay_mode == "balanced" else len(memory.exemplars)
    return recall(memory, most, generator(settings.run.seed, "recall", task.stage, task.center))
