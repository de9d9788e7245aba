"""The augmentation of a stage: the same in both engines and after a fault, and none of it where it is off."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from client.training.arena import Arena
from client.training.augmentation.augment import Augmentation
from client.training.augmentation.draws import identities
from client.training.captured import CapturedSteps
from client.training.eager import EagerSteps
from client.training.methods.base import Method
from client.training.plan import Plan, plan_stage
from client.training.sampler import Batch, PatchSampler, Recalled, Recipe, Source, batch_of
from client.training.trainer import Steps, train
from shared.config.groups import AUGMENTATIONS, SPATIAL
from shared.config.settings import Settings
from shared.model.network import LesionNet, network_with
from tests.client.training.test_captured import exemplar
from tests.client.training.test_captured import same as same_batch
from tests.conftest import Configured
from tests.support.training import CPU, STEPS, gone_on, interrupted, same, sources, weights

SIZE, MARGIN = 16, 4
RECIPE = Recipe(patches=24, patches_per_volume=2, patch_size=SIZE, lesion_share=0.5, replayed=12)
INTENSITY = tuple(name for name in AUGMENTATIONS if name not in SPATIAL)


def augmentation(names: tuple[str, ...] = AUGMENTATIONS, whole: bool = False, key: int = 1) -> Augmentation:
    return Augmentation(names, SIZE, MARGIN if set(names) & set(SPATIAL) else 0, key, whole)


def sampler(margin: int = MARGIN) -> tuple[PatchSampler, list[Source | Recalled]]:
    recalled = tuple(Recalled(exemplar(k, answer=True), SIZE, 1, margin) for k in range(2))
    own = sources(2, margin)
    return PatchSampler(own, [(recalled,)], RECIPE, np.random.default_rng(0)), [*own, *recalled]


def batches(names: tuple[str, ...] = AUGMENTATIONS, whole: bool = False, count: int = 3) -> list[Batch]:
    """As the engine for CPUs makes them."""
    one = augmentation(names, whole)
    drawn, _ = sampler(MARGIN if set(names) & set(SPATIAL) else 0)
    steps = [drawn.draw() for _ in range(count)]
    return [one.apply(batch_of(cuts), torch.from_numpy(one.table(cuts, k))) for k, cuts in enumerate(steps)]


def test_a_gathered_batch_is_augmented_as_one_that_is_cut_out() -> None:
    one = augmentation()
    drawn, patches = sampler()
    arena = Arena.for_all(patches, CPU)
    for step, expected in enumerate(batches()):
        cuts = drawn.draw()
        gathered = arena.gather(torch.from_numpy(arena.table(cuts)), SIZE + 2 * MARGIN)
        assert same_batch(one.apply(gathered, torch.from_numpy(one.table(cuts, step))), expected)


@pytest.mark.parametrize("names", [AUGMENTATIONS, INTENSITY, SPATIAL, *((name,) for name in AUGMENTATIONS)])
def test_it_is_the_same_computed_for_all_patches_or_for_those_that_it_was_drawn_for(names: tuple[str, ...]) -> None:
    for some, whole in zip(batches(names), batches(names, whole=True), strict=True):
        for name in ("images", "labels"):
            torch.testing.assert_close(getattr(some, name), getattr(whole, name), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(some.extras["answer"], whole.extras["answer"], atol=1e-5, rtol=1e-5)
        assert torch.equal(some.replayed, whole.replayed) and torch.equal(some.contrast, whole.contrast)


@pytest.mark.parametrize("names", [(name,) for name in AUGMENTATIONS])
def test_each_changes_images_and_those_that_move_labels_with_them(names: tuple[str, ...]) -> None:
    plain, _ = sampler(0)
    for augmented in batches(names):
        before = plain.batch()
        assert augmented.images.shape == before.images.shape and augmented.images.is_contiguous()
        assert not torch.equal(augmented.images, before.images)
        assert torch.equal(augmented.labels, before.labels) == (names[0] not in SPATIAL)
        untouched = (augmented.images == before.images).flatten(1).all(1)
        assert untouched.any(), "some patches are as they were, to the bit"


def test_labels_and_answers_stay_on_their_images() -> None:
    """Exemplars whose answer is their label's inverse, wherever a patch lies in them whole."""
    for batch in batches(SPATIAL):
        recalled, there = batch.replayed, batch.extras["answer"] + batch.labels
        inside = (there[recalled] > 0.999).float().mean()
        assert inside > 0.5 and not batch.extras["answer"][~recalled].any()
        assert there[recalled].max() < 1.01
        bright = batch.images[~recalled] > 2
        assert ((batch.labels[~recalled] > 0.5) == bright).float().mean() > 0.99, "balls of 4 in noise about 0"


@pytest.mark.parametrize("names", [AUGMENTATIONS, INTENSITY])
def test_nothing_asks_the_device_for_a_value(names: tuple[str, ...]) -> None:
    """On PyTorch's meta device, which has none: whatever a captured step may not do, such as `.item()`, fails there."""
    size = SIZE + (2 * MARGIN if names == AUGMENTATIONS else 0)
    meta = torch.device("meta")
    patches = torch.empty(4, 1, size, size, size, device=meta)
    batch = Batch(patches, patches, torch.empty(4, device=meta), torch.empty(4, device=meta), {"answer": patches})
    table = torch.from_numpy(identities(4)).to(meta)
    got = augmentation(names, whole=True).apply(batch, table)
    assert got.images.shape == got.labels.shape == got.extras["answer"].shape == (4, 1, SIZE, SIZE, SIZE)
    with pytest.raises((RuntimeError, NotImplementedError)):
        augmentation(names, whole=False).apply(batch, table)


def test_the_identity_of_all_is_the_middle_of_each_patch_to_the_bit() -> None:
    cuts = sampler()[0].draw()
    for whole in (False, True):
        got = augmentation(whole=whole).apply(batch_of(cuts), torch.from_numpy(identities(len(cuts))))
        assert same_batch(got, batch_of([cut.middle() for cut in cuts]))


def test_patches_without_a_margin_are_not_moved_but_refused() -> None:
    with pytest.raises(ValueError, match="patches of 16 voxels came, but 24 are needed"):
        augmentation().table(sampler(0)[0].draw(), 0)


def test_steps_draw_by_seed_and_number_alone(configured: Configured) -> None:
    options = configured(augment="all").training
    one, again = (Augmentation.of(options, np.random.default_rng(3), CPU) for _ in range(2))
    other = Augmentation.of(options, np.random.default_rng(4), CPU)
    cuts = sampler()[0].draw()
    assert np.array_equal(one.table(cuts, 5), again.table(cuts, 5))
    assert not np.array_equal(one.table(cuts, 5), one.table(cuts, 6))
    assert not np.array_equal(one.table(cuts, 5), other.table(cuts, 5))


def test_off_it_is_nothing_and_on_it_leaves_the_places_as_they_are(configured: Configured) -> None:
    random = np.random.default_rng(3)
    assert not configured().training.augmentations
    Augmentation.of(configured(augment="all").training, random, CPU)
    assert random.random() == np.random.default_rng(3).random()


def planned(settings: Settings) -> Plan:
    margin = settings.training.margin
    return plan_stage(sources(3, margin), [sources(2, margin)], settings)


def steps_for(kind: type[Steps], settings: Settings) -> tuple[LesionNet, Steps]:
    network = network_with(weights(settings), settings.network, CPU).train()
    return network, kind(network, Method(), planned(settings), settings.training, np.random.default_rng(7))


@pytest.mark.parametrize("augment", ["all", "bias,noise", "rotate"])
def test_both_engines_take_the_same_steps(configured: Configured, augment: str) -> None:
    settings = configured(steps=6, augment=augment, optimiser="adamw", schedule="constant", learning_rate=0.002)
    (_, eager), (_, tables) = (steps_for(kind, settings) for kind in (EagerSteps, CapturedSteps))
    expected, got = eager.take(6, 0), [*tables.take(2, 4), *tables.take(4, 0)]
    np.testing.assert_allclose(got, expected, rtol=2e-3)
    _, plain = steps_for(EagerSteps, settings.with_changes({"augment": ""}))
    assert plain.take(6, 0) != expected


def test_captured_steps_go_on_where_others_were(configured: Configured) -> None:
    settings = configured(steps=6, augment="all")
    network, steps = steps_for(CapturedSteps, settings)
    steps.take(2, 4)
    kept, there = steps.state_dict(), {name: value.clone() for name, value in network.state_dict().items()}
    kept = {**kept, "optimisation": {"optimisers": [cloned(one) for one in kept["optimisation"]["optimisers"]]}}
    rest = steps.take(4, 0)
    again, other = steps_for(CapturedSteps, settings)
    again.load_state_dict(there)
    other.load_state_dict(kept, 2)
    assert other.take(4, 0) == rest
    assert same(again.state_dict(), network.state_dict())


def cloned(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value.clone() for name, value in state.items()}


def test_an_augmented_training_that_was_interrupted_ends_with_the_same_weights(
    tmp_path: Path, configured: Configured
) -> None:
    settings = configured(schedule="polynomial", steps=STEPS, augment="all")
    plan = planned(settings)
    whole = train(weights(settings), plan, settings, 3, CPU)
    for step in range(1, STEPS):
        interrupted(tmp_path / str(step), settings, plan, dies_after=step)
        trained, _ = gone_on(tmp_path / str(step), settings, plan)
        assert same(trained.weights, whole.weights)
    plain = settings.with_changes({"augment": ""})
    assert not same(whole.weights, train(weights(settings), plan, plain, 3, CPU).weights)


def test_patches_as_they_are_do_not_hang_on_the_margin() -> None:
    """So that what is measured on a center's own patches after its training is measured on the same ones."""
    plain, _ = sampler(0)
    roomy, _ = sampler(MARGIN)
    for _ in range(5):
        assert same_batch(plain.batch(), roomy.batch())


def test_a_margin_is_air_around_image_label_and_answer() -> None:
    one = Recalled(exemplar(0, answer=True), SIZE, margin=MARGIN)
    source, plain = one.decoded(), Recalled(exemplar(0, answer=True), SIZE).decoded()
    assert one.voxels == source.voxels == source.image.size
    inner = (slice(MARGIN, -MARGIN),) * 3
    for array, bare, air in (
        (source.image, plain.image, plain.floor),
        (source.label, plain.label, 0),
        (source.extras["answer"], plain.extras["answer"], 0),
    ):
        assert np.array_equal(array[inner], bare)
        assert (array[:MARGIN] == air).all() and (array[:, :, -MARGIN:] == air).all()
    assert source.floor == plain.floor == float(plain.image.min())
