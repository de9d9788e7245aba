"""Which exemplars a stage trains on."""

import numpy as np
import pytest

from client.training.replay import MOST, recall, recalled
from shared.replay.exemplar import Exemplar
from shared.replay.memory import ReplayMemory
from shared.wire.headers import TrainTask
from tests.conftest import Configured


def memory_of(*sizes: int) -> ReplayMemory:
    """So many exemplars of each center."""
    box = np.zeros((2, 2, 2), np.float32)
    return ReplayMemory(
        tuple(
            Exemplar.encode(box, box, center=f"c{c}", subject=f"{k:016x}", contrast="FLAIR", spacing=1.0)
            for c, size in enumerate(sizes)
            for k in range(size)
        )
    )


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("sizes", [(), (3,), (20,) * 7, (1, 9, 0, 4)])
def test_a_memory_that_is_not_large_is_recalled_whole_and_draws_no_number(sizes: tuple[int, ...]) -> None:
    memory, random = memory_of(*sizes), generator()
    found = recall(memory, MOST, random)
    assert [e for center in found for e in center] == list(memory.exemplars)
    assert random.integers(10**9) == generator().integers(10**9)


def test_of_a_large_memory_each_center_gives_the_same_share() -> None:
    found = recall(memory_of(*(20,) * 63), MOST, generator())
    assert [len(center) for center in found] == [3] * 63
    assert sum(map(len, found)) <= MOST
    for number, center in enumerate(found):
        assert {e.provenance.center for e in center} == {f"c{number}"}
        subjects = [e.provenance.subject for e in center]
        assert subjects == sorted(set(subjects)), "none twice, and in their order"


def test_a_small_center_gives_what_it_has() -> None:
    assert [len(center) for center in recall(memory_of(1, 30, 30), 30, generator())] == [1, 10, 10]


def test_each_center_is_recalled_however_many_there_are() -> None:
    assert [len(center) for center in recall(memory_of(*(2,) * 9), 4, generator())] == [1] * 9


def test_over_the_stages_every_exemplar_is_recalled() -> None:
    memory = memory_of(20, 20)
    seen = {e.provenance.subject for seed in range(40) for e in recall(memory, 8, generator(seed))[0]}
    assert len(seen) == 20


def test_another_stage_recalls_others_and_the_same_one_the_same(configured: Configured) -> None:
    memory, settings = memory_of(*(60,) * 4), configured(replay_mode="balanced")
    tasks = [TrainTask(run="0" * 32, stage=stage, center="milan", contribute=False) for stage in (4, 5, 4)]
    one, other, again = (recalled(memory, task, settings) for task in tasks)
    assert one == again and one != other


def test_paper_mode_recalls_all(configured: Configured) -> None:
    task = TrainTask(run="0" * 32, stage=4, center="milan", contribute=False)
    found = recalled(memory_of(*(60,) * 4), task, configured(replay_mode="paper"))
    assert [len(center) for center in found] == [60] * 4
