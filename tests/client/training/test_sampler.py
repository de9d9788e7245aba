"""Patches: the right size, from the right place, and the label always on its image."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.data.preprocessing import Volume
from client.training.sampler import (
    Batch,
    Patches,
    PatchSampler,
    Recalled,
    Recipe,
    Source,
    Stratum,
    batch_of,
    decode_all,
)
from shared.replay.exemplar import Exemplar
from tests.support.examples import examples

CPU = torch.device("cpu")


def volume(image: NDArray, label: NDArray | None = None, air: float = -10.0) -> Volume:
    """A prepared volume of 1 mm; by default its label is its image above 0."""
    if label is None:
        label = np.where(image > 0, 255, 0)
    return Volume(image.astype(np.float16), label.astype(np.uint8), np.eye(4), label, np.eye(4), air)


def source(shape: tuple[int, int, int] = (12, 14, 10), patch: int = 8, seed: int = 0) -> Source:
    """Noise, with everything above 0 called lesion."""
    return Source.of_volume(volume(np.random.default_rng(seed).normal(size=shape)), patch)


def flat(value: float, patch: int = 8) -> Source:
    """A lesion-free source that its patches can be told by."""
    return Source.of_volume(volume(np.full((patch,) * 3, value), np.zeros((patch,) * 3)), patch)


def recipe(
    patches: int = 4, replayed: int = 0, per_volume: int = 1, size: int = 8, lesion_share: float = 0.5
) -> Recipe:
    return Recipe(patches, per_volume, size, lesion_share, replayed)


def values(images: torch.Tensor) -> list[float]:
    """Which flat source each patch is from."""
    return [float(image.mean()) for image in images]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def arrays(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of a batch."""
    return batch.images, batch.labels


@examples(0.3)
@given(st.tuples(*[st.integers(1, 20)] * 3), st.sampled_from([4, 8]), st.booleans(), st.integers(0, 99))
def test_a_patch_lies_whole_in_a_volume_of_any_shape(
    shape: tuple[int, int, int], size: int, on_lesion: bool, seed: int
) -> None:
    cut = source(shape, size, seed).cut(size, on_lesion, generator(seed))
    image, label = cut.of(cut.source.image), cut.of(cut.source.label)
    assert image.shape == label.shape == (size,) * 3


def test_a_patch_is_a_part_of_the_volume_as_it_is() -> None:
    numbers = np.arange(12 * 10 * 11).reshape(12, 10, 11) % 2048
    whole = Source.of_volume(volume(numbers), 8)
    for seed in range(10):
        image = whole.cut(8, False, generator(seed)).of(whole.image)
        there = [
            np.array_equal(image, whole.image[i : i + 8, j : j + 8, k : k + 8])
            for i, j, k in product(range(5), range(3), range(4))
        ]
        assert any(there)


@pytest.mark.parametrize("at", [(0, 0, 0), (15, 15, 15), (7, 0, 15)])
def test_every_patch_on_lesion_holds_lesion(at: tuple[int, int, int]) -> None:
    label = np.zeros((16, 16, 16))
    label[at] = 255
    sampler = PatchSampler([Source.of_volume(volume(label, label), 8)], [], recipe(16, lesion_share=1.0), generator())
    labels = sampler.batch().labels
    assert (labels.amax(dim=(1, 2, 3, 4)) == 1).all()


def test_a_patch_without_lesion_lies_on_the_head_where_it_can() -> None:
    image = np.full((64, 8, 8), -1.0)
    image[24:40] = 1.0
    half = Source.of_volume(volume(image, np.zeros_like(image), air=-0.5), 8)
    patches = [half.cut(8, False, generator(seed)).of(half.image) for seed in range(100)]
    # A quarter of the volume is head; by chance alone 0.75 of the patches would miss it, with 8 tries 0.1.
    assert sum(bool((patch > 0).any()) for patch in patches) > 80


@pytest.mark.parametrize("lesion_share", [0.0, 0.5, 1.0])
def test_a_volume_without_lesion_gives_patches_all_the_same(lesion_share: float) -> None:
    images, labels = arrays(PatchSampler([flat(1.0)], [], recipe(lesion_share=lesion_share), generator()).batch())
    assert images.shape == (4, 1, 8, 8, 8) and not labels.any()


def test_a_volume_of_nothing_but_air_does_not_hang() -> None:
    nothing = Source.of_volume(volume(np.zeros((8, 8, 8)), air=1.0), 8)
    images = PatchSampler([nothing], [], recipe(), generator()).batch().images
    assert not images.any()


def test_a_small_volume_is_padded_with_air_around_its_middle() -> None:
    padded = Source.of_volume(volume(np.where(np.eye(3)[None].repeat(4, 0) > 0, 2.0, -3.0)), 8)
    assert padded.image.shape == padded.label.shape == (8, 8, 8)
    assert padded.image[2:6, 2:5, 2:5].max() == 2 and padded.label[2:6, 2:5, 2:5].max() == 255
    assert (padded.image == 2).sum() == 12 == (padded.label == 255).sum() == len(padded.lesion)
    assert (padded.image[0] == -3).all()


def test_a_batch_is_normalised_float_images_and_labels_in_0_to_1() -> None:
    images, labels = arrays(PatchSampler([source()], [], recipe(6), generator()).batch())
    assert images.shape == labels.shape == (6, 1, 8, 8, 8)
    assert images.dtype == labels.dtype == torch.float32
    assert set(labels.unique().tolist()) == {0.0, 1.0}


def test_soft_labels_stay_soft() -> None:
    label = np.full((8, 8, 8), 51)
    labels = PatchSampler([Source.of_volume(volume(label, label), 8)], [], recipe(), generator()).batch().labels
    assert torch.allclose(labels, torch.tensor(0.2))


@pytest.mark.parametrize("seed", range(5))
def test_flips_and_turns_take_image_and_label_together(seed: int) -> None:
    sampler = PatchSampler([source()], [((source(seed=1),),)], recipe(32, replayed=8), generator(seed))
    images, labels = arrays(sampler.batch())
    assert torch.equal(labels == 1, images > 0)


def test_patches_are_flipped_along_every_axis_and_turned_in_the_axial_plane() -> None:
    ramp = np.zeros((8, 8, 8))
    ramp += np.arange(8)[:, None, None] + 10 * np.arange(8)[None, :, None] + 100 * np.arange(8)[None, None, :]
    sampler = PatchSampler([Source.of_volume(volume(ramp), 8)], [], recipe(400), generator())
    steps = [
        tuple(int(patch.diff(dim=axis).flatten()[0]) for axis in range(3)) for patch in sampler.batch().images[:, 0]
    ]
    upright = [step for step in steps if abs(step[0]) == 1]
    assert set(upright) == set(product((1, -1), (10, -10), (100, -100)))
    turned = [step for step in steps if abs(step[0]) == 10]
    assert len(upright) + len(turned) == 400
    assert all(abs(step[2]) == 100 for step in steps)
    # A tenth is turned, a third of that by half a turn, which looks like two flips.
    assert 10 <= len(turned) <= 50


@pytest.mark.parametrize("replayed", [0, 1, 3])
def test_exactly_the_asked_number_of_patches_is_replayed(replayed: int) -> None:
    sampler = PatchSampler([flat(1.0)], [((flat(2.0),),), ((flat(3.0),),)], recipe(4, replayed), generator())
    for _ in range(5):
        assert sum(value > 1 for value in values(sampler.batch().images)) == replayed


def test_strata_take_turns_and_within_them_their_centers() -> None:
    first: Stratum = ((flat(2.0),), (flat(3.0), flat(4.0)))
    sampler = PatchSampler([flat(1.0)], [first, ((flat(5.0),),)], recipe(5, replayed=4), generator())
    drawn = Counter(value for _ in range(10) for value in values(sampler.batch().images))
    assert (drawn[1.0], drawn[2.0], drawn[3.0] + drawn[4.0], drawn[5.0]) == (10, 10, 10, 20)


def test_past_centers_take_turns_whatever_they_contributed() -> None:
    past = [[flat(2.0)], [flat(3.0)] * 20, [flat(4.0)] * 3]
    sampler = PatchSampler([flat(1.0)], by_center(past), recipe(4, replayed=3), generator())
    drawn = Counter(value for _ in range(10) for value in values(sampler.batch().images))
    assert drawn == {1.0: 10, 2.0: 10, 3.0: 10, 4.0: 10}


def test_all_exemplars_of_a_center_serve() -> None:
    past = [[flat(float(value)) for value in range(2, 7)]]
    sampler = PatchSampler([flat(1.0)], by_center(past), recipe(4, replayed=3), generator())
    assert {value for _ in range(20) for value in values(sampler.batch().images)} == {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}


def test_own_volumes_serve_equally_often_in_changing_order() -> None:
    own = [flat(float(value)) for value in range(1, 7)]
    sampler = PatchSampler(own, [], recipe(3), generator())
    drawn = [value for _ in range(8) for value in values(sampler.batch().images)]
    passes = [drawn[start : start + 6] for start in range(0, 24, 6)]
    assert all(sorted(one) == [1, 2, 3, 4, 5, 6] for one in passes)
    assert len({tuple(one) for one in passes}) > 1


def test_a_volume_gives_several_patches_to_a_step() -> None:
    sampler = PatchSampler([flat(1.0), flat(2.0), flat(3.0)], [], recipe(8, per_volume=4), generator())
    assert sorted(Counter(values(sampler.batch().images)).values()) == [4, 4]


def test_the_seed_decides_every_batch() -> None:
    def batches(seed: int) -> list[torch.Tensor]:
        sampler = PatchSampler([source(), source(seed=1)], [((source(seed=2),),)], recipe(4, 1), generator(seed))
        return [part for _ in range(3) for part in arrays(sampler.batch())]

    assert all(map(torch.equal, batches(0), batches(0)))
    assert not all(map(torch.equal, batches(0), batches(1)))


def by_center(past: Sequence[Sequence[Patches]]) -> list[Stratum]:
    """Each past center as a stratum of its own."""
    return [(tuple(center),) for center in past]


def sampler_of(seed: int, replayed: int = 2) -> PatchSampler:
    """Five volumes in passes of four a batch, and three past centers in rounds of two."""
    past = [[source(seed=9)], [source(seed=8), source(seed=7)], [source(seed=6)]]
    return PatchSampler(
        [source(seed=n) for n in range(5)], by_center(past), recipe(4 + replayed, replayed), generator(seed)
    )


@examples(0.2)
@given(st.integers(0, 7), st.integers(0, 99), st.sampled_from([0, 2]))
def test_a_restored_sampler_goes_on_with_the_same_batches(drawn: int, seed: int, replayed: int) -> None:
    first = sampler_of(seed, replayed)
    for _ in range(drawn):
        first.batch()
    restored = sampler_of(seed + 1, replayed)
    restored.batch()
    restored.restore(first.state())
    assert restored.state() == first.state()
    for _ in range(6):
        assert all(map(torch.equal, arrays(first.batch()), arrays(restored.batch())))


def test_a_sampler_s_state_is_text_that_drawing_changes_and_looking_does_not() -> None:
    sampler = sampler_of(0)
    states = {sampler.state(), sampler.state()}
    assert len(states) == 1 and isinstance(json.loads(states.pop()), dict)
    seen = {sampler.state()}
    for _ in range(3):
        sampler.batch()
        seen.add(sampler.state())
    assert len(seen) == 4


def test_a_restored_sampler_does_not_share_its_state_with_the_first() -> None:
    first, restored = sampler_of(0), sampler_of(0)
    first.batch()
    kept = first.state()
    restored.restore(kept)
    restored.batch()
    assert first.state() == kept


def test_an_exemplar_is_a_source_like_its_volume() -> None:
    original = volume(np.random.default_rng(0).normal(size=(8, 8, 8)))
    exemplar = Exemplar.encode(
        original.image.astype(np.float32),
        original.label.astype(np.float32) / 255,
        center="milan",
        subject="0f",
        contrast="FLAIR",
        spacing=1.0,
    )
    back, there = Source.of_exemplar(exemplar, 8), Source.of_volume(original, 8)
    assert np.array_equal(back.image, there.image) and np.array_equal(back.label, there.label)
    np.testing.assert_array_equal(back.lesion, there.lesion)
    assert back.air == float(original.image.min())


def recallable(seed: int = 0) -> Exemplar:
    image = np.random.default_rng(seed).normal(size=(12, 12, 12)).astype(np.float32)
    return Exemplar.encode(
        image, (image > 1).astype(np.float32), center="milan", subject="0" * 16, contrast="FLAIR", spacing=1.0
    )


def test_a_recalled_exemplar_gives_the_patches_of_a_decoded_one() -> None:
    exemplar = recallable()
    there, recalled = Source.of_exemplar(exemplar, 8), Recalled(exemplar, 8)
    for seed in range(8):
        one, other = (batch_of([each.cut(8, seed % 2 == 0, generator(seed))]) for each in (there, recalled))
        assert all(map(torch.equal, arrays(one), arrays(other)))


def test_an_exemplar_is_decoded_when_it_is_drawn_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    unpack = Exemplar.unpack
    monkeypatch.setattr(Exemplar, "unpack", lambda self: decoded.append(self.provenance.checksum) or unpack(self))
    exemplars = [recallable(seed) for seed in range(30)]
    sampler = PatchSampler(
        [source()], [(tuple(Recalled(e, 8) for e in exemplars),)], recipe(4, replayed=2), generator()
    )
    assert decoded == [], "nothing before the first batch"
    for _ in range(3):
        sampler.batch()
    assert 1 <= len(decoded) <= 6, "two a batch at most"
    for _ in range(100):
        sampler.batch()
    assert len(decoded) == len(set(decoded)) == 30


def test_all_exemplars_are_decoded_at_once_and_then_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    unpack = Exemplar.unpack
    monkeypatch.setattr(Exemplar, "unpack", lambda self: decoded.append(self.provenance.checksum) or unpack(self))
    past = [[Recalled(recallable(seed), 8) for seed in part] for part in ((0, 1), (2,))]
    assert decoded == []
    decode_all(past)
    assert len(decoded) == len(set(decoded)) == 3
    past[0][0].cut(8, False, generator())
    decode_all(past)
    assert len(decoded) == 3


def test_a_source_is_kept_in_half_precision_and_loses_nothing_by_it() -> None:
    numbers = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float16)
    one = Source.of_volume(volume(numbers), 8)
    assert one.image.dtype == np.float16
    images = PatchSampler([one], [], recipe(1), generator()).batch().images
    assert sorted(images.flatten().tolist()) == sorted(numbers.astype(np.float32).ravel().tolist())


def test_a_batch_says_which_patches_are_replayed_and_of_which_contrast() -> None:
    own = [replace(flat(float(value)), contrast=value % 2) for value in range(4)]
    past = [[Recalled(recallable(), 8, contrast=1)]]
    batch = PatchSampler(own, by_center(past), recipe(6, replayed=2), generator()).batch()
    assert batch.replayed.tolist() == [False] * 4 + [True] * 2
    fresh = [int(image.flatten()[0]) % 2 for image in batch.images[:4]]
    assert batch.contrast.tolist() == [*fresh, 1, 1]
    assert batch.extras == {}


@pytest.mark.parametrize("seed", range(5))
def test_what_an_exemplar_carries_is_cut_out_and_turned_with_its_patch(seed: int) -> None:
    """The answer here is 1 less the label, so that it lies where the label does not."""
    exemplar = recallable()
    label = exemplar.decode()[1]
    past = [[Recalled(exemplar.carrying("answer", 1 - label), 8)]]
    batch = PatchSampler([source()], by_center(past), recipe(8, replayed=6), generator(seed)).batch()
    answer = batch.extras["answer"]
    assert answer.shape == batch.labels.shape and answer.dtype == torch.float32
    assert torch.equal(answer[2:], 1 - batch.labels[2:]) and batch.labels[2:].any()
    assert not answer[:2].any(), "the center's own patches carry none"
