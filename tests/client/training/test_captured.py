"""Captured steps are the eager ones: the same patches by another way, the same optimiser, the same resume."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from client.training.arena import Arena
from client.training.captured import CapturedSteps
from client.training.eager import EagerSteps
from client.training.methods.base import Method
from client.training.optimisers import KernelMuon, Optimisation, orthogonalised
from client.training.plan import Plan, plan_stage
from client.training.sampler import Batch, Cut, PatchSampler, Recalled, Recipe, Source, batch_of
from client.training.trainer import Steps, steps_of
from shared.config.settings import Settings
from shared.model.network import LesionNet, network_with
from shared.replay.exemplar import Exemplar
from tests.conftest import Configured
from tests.support.examples import examples
from tests.support.training import same as same_weights
from tests.support.training import sources, weights

CPU = torch.device("cpu")


def source(shape: tuple[int, int, int] = (20, 18, 17), seed: int = 0, contrast: int = 0) -> Source:
    random = np.random.default_rng(seed)
    image = random.normal(size=shape).astype(np.float16)
    label = (random.random(shape) < 0.05).astype(np.uint8) * 255
    return Source(image, label, np.flatnonzero(label), float(image.min()), contrast)


def exemplar(seed: int, answer: bool) -> Exemplar:
    random = np.random.default_rng(seed)
    image = random.normal(size=(16, 17, 18)).astype(np.float32)
    label = (image > 1).astype(np.float32)
    packed = Exemplar.encode(image, label, center="milan", subject="0" * 16, contrast="FLAIR", spacing=1.0)
    return packed.carrying("answer", 1 - label) if answer else packed


@examples(0.3)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 2), max_size=3, unique=True), st.integers(0, 3))
def test_strides_turn_a_patch_as_numpy_does(seed: int, axes: list[int], turns: int) -> None:
    one = source(seed=seed)
    low = tuple(int(k) for k in np.random.default_rng(seed).integers(0, 9, 3))
    cut = Cut.at(one, low, 8)
    box = one.image[tuple(slice(k, k + 8) for k in low)]
    for axis in axes:
        cut, box = cut.flipped(axis), np.flip(box, axis)
    assert np.array_equal(cut.turned(turns).of(one.image), np.rot90(box, turns, (0, 1)))


def same(one: Batch, other: Batch) -> bool:
    pairs: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = {
        name: (getattr(one, name), getattr(other, name)) for name in ("images", "labels", "replayed", "contrast")
    }
    return (
        all(torch.equal(*pair) for pair in pairs.values())
        and one.extras.keys() == other.extras.keys()
        and all(torch.equal(one.extras[name], other.extras[name]) for name in one.extras)
    )


@pytest.mark.parametrize("answer", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_gathered_batch_is_the_batch_that_is_cut_out(seed: int, answer: bool) -> None:
    own = [source((20 + k, 17, 24 - k), k, contrast=k % 2) for k in range(3)]
    recalled = tuple(Recalled(exemplar(k, answer), 16, contrast=1) for k in range(3))
    recipe = Recipe(patches=8, patches_per_volume=1, patch_size=16, lesion_share=0.5, replayed=3)
    sampler = PatchSampler(own, [(recalled,)], recipe, np.random.default_rng(seed))
    arena = Arena.for_all([*own, *recalled], CPU)
    for _ in range(5):
        cuts = sampler.draw()
        assert same(arena.gather(torch.from_numpy(arena.table(cuts)), 16), batch_of(cuts))


def test_an_arena_has_room_for_what_was_said_to_come_and_no_more() -> None:
    arena = Arena.for_all([source()], CPU)
    arena.table([Cut.at(source(), (0, 0, 0), 8)])
    with pytest.raises(ValueError, match="room for"):
        arena.table([Cut.at(source(seed=1), (0, 0, 0), 8)])


def test_a_source_is_brought_there_once() -> None:
    one = source()
    arena = Arena.for_all([one, one], CPU)
    assert len(arena.images) == one.voxels
    first, again = (arena.table([Cut.at(one, (1, 2, 3), 8)]) for _ in range(2))
    assert np.array_equal(first, again)


RECIPES = [
    {"optimiser": "adamw", "schedule": "constant"},
    {"optimiser": "adamw", "schedule": "one-cycle", "loss": "dice-ce", "dice_over": "patch"},
    {"optimiser": "muon", "schedule": "one-cycle"},
    {"optimiser": "adamw", "schedule": "polynomial", "loss": "dice-ce"},
    {"optimiser": "adamw", "schedule": "step", "steps": 0, "epochs": 3, "decay_epochs": 1},
]


def planned(settings: Settings) -> Plan:
    return plan_stage(sources(3), [sources(2)], settings)


def steps_for(kind: type[Steps], settings: Settings, method: Method | None = None) -> tuple[LesionNet, Steps]:
    network = network_with(weights(settings), settings.network, CPU).train()
    steps = kind(network, method or Method(), planned(settings), settings.training, np.random.default_rng(7))
    return network, steps


@pytest.mark.parametrize("recipe", RECIPES)
def test_steps_by_tables_are_the_steps_by_batches(configured: Configured, recipe: dict[str, Any]) -> None:
    """Nothing differs but what PyTorch's optimiser rounds otherwise where its learning rate is a tensor."""
    settings = configured(**{"steps": 7, "batch_size": 2, "learning_rate": 0.002} | recipe)
    steps = planned(settings).steps
    (one, eager), (other, tables) = (steps_for(kind, settings) for kind in (EagerSteps, CapturedSteps))
    expected, got = eager.take(steps, 0), [*tables.take(3, steps - 3), *tables.take(steps - 3, 0)]
    np.testing.assert_allclose(got, expected, rtol=2e-3)
    assert expected[-1] != expected[0], "the weights move"
    if recipe["optimiser"] == "muon":
        return  # which makes whole directions of gradients that are rounding errors; the losses above are alike
    x = torch.randn((1, 1, 16, 16, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(other(x), one(x), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_the_capture_does_before_leaves_no_trace(configured: Configured, recipe: dict[str, Any]) -> None:
    settings = configured(**{"steps": 4} | recipe)
    network, steps = steps_for(CapturedSteps, settings)
    assert same_weights(network.state_dict(), weights(settings))
    assert all(
        not value.any() for state in steps.state_dict()["optimisation"]["optimisers"] for value in state.values()
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_captured_steps_go_on_where_others_were(configured: Configured, recipe: dict[str, Any]) -> None:
    settings = configured(**{"steps": 6} | recipe)
    total = planned(settings).steps
    network, steps = steps_for(CapturedSteps, settings)
    steps.take(2, total - 2)
    kept, there = copy.deepcopy(steps.state_dict()), copy.deepcopy(network.state_dict())
    rest = steps.take(total - 2, 0)
    again, other = steps_for(CapturedSteps, settings)
    again.load_state_dict(there)
    other.load_state_dict(kept, 2)
    assert other.take(total - 2, 0) == rest
    assert same_weights(again.state_dict(), network.state_dict())


def test_a_method_hears_of_each_step(configured: Configured) -> None:
    heard: list[int] = []

    class Listening(Method):
        def after_step(self, network: LesionNet, step: int) -> None:
            heard.append(step)

    for kind in (EagerSteps, CapturedSteps):
        _, steps = steps_for(kind, configured(steps=3), Listening())
        steps.take(2, 1)
        steps.take(1, 0)
    assert heard == [1, 2, 3] * 2


def test_steps_that_were_not_said_to_come_are_refused(configured: Configured) -> None:
    _, steps = steps_for(CapturedSteps, configured(steps=5))
    steps.take(2, 2)
    with pytest.raises(ValueError, match="others were said to come"):
        steps.take(3, 0)


def test_on_a_cpu_steps_are_taken_one_by_one(configured: Configured) -> None:
    settings = configured(steps=2)
    network = network_with(weights(settings), settings.network, CPU)
    taken = steps_of(network, Method(), planned(settings), settings.training, np.random.default_rng(0))
    assert isinstance(taken, EagerSteps) and taken.block == 1


@pytest.mark.parametrize("shape", [(6, 108), (108, 6), (8, 8)])
def test_the_orthogonalised_matrix_has_all_directions_alike(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrix).float())
    assert values.min() > 0.3 and values.max() < 1.4  # Jordan et al.: about 0.5 to 1.5


def test_muon_by_a_tensor_moves_as_pytorchs_does() -> None:
    kernels = [torch.nn.Parameter(torch.randn(6, 4, 3, 3, 3, generator=torch.Generator().manual_seed(0))) for _ in "ab"]
    usual, ours = (KernelMuon([kernel], lr=0.1, weight_decay=0.01) for kernel in kernels)
    ours.param_groups[0]["lr"] = torch.tensor(0.1)
    for seed in range(3):
        for kernel in kernels:
            kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(seed + 1))
        usual.step()
        ours.step()
    torch.testing.assert_close(kernels[1], kernels[0], atol=5e-3, rtol=0)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_learning_rates_of_all_steps_are_known_before(configured: Configured, recipe: dict[str, Any]) -> None:
    settings = configured(**{"steps": 8} | recipe)
    plan = planned(settings)

    def fresh() -> Optimisation:
        network = network_with(weights(settings), settings.network, CPU)
        return Optimisation(network, settings.training, plan.steps + 4, plan.steps_per_epoch, before=4)

    one = fresh()
    expected = []
    for _ in range(plan.steps):
        expected.append(one.learning_rates)
        one.step()
    assert [tuple(rate for rate, _ in step) for step in fresh().foreseen(plan.steps)] == expected
