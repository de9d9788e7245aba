"""Which images give an exemplar where the trained model chooses: the scores of a crop, and the choice by them."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from client.data.inventory import Case
from client.sharing.exemplar_selection import AT_RANDOM, Choosing
from client.sharing.lesion_aware import (
    LesionScores,
    ScoredImage,
    binary_entropy,
    boundary,
    by_lesions,
    choose_images,
    prototypicality,
    score_crop,
    shares,
)
from shared.config.groups import MemorySettings, NetworkSettings
from shared.model.network import LesionNet
from tests.client.sharing.test_exemplar_selection import chosen, subjects, volume
from tests.support.examples import examples


def ball(radius: float, edge: int = 16) -> NDArray[np.float32]:
    """A lesion in the middle of a crop."""
    middle = np.indices((edge,) * 3) - (edge - 1) / 2
    return ((middle**2).sum(axis=0) <= radius**2).astype(np.float32)


def image(
    subject: str, contrast: str = "FLAIR", volume: float = 1, confidence: float = 1, uncertainty: float = 0
) -> ScoredImage:
    return ScoredImage(subject, contrast, LesionScores(volume, confidence, uncertainty))


def picked(images: list[ScoredImage], places: int, seed: int = 0) -> list[ScoredImage]:
    return [images[i] for i in choose_images(images, places, np.random.default_rng(seed))]


# The scores


def test_the_choices_are_those_of_the_key() -> None:
    assert get_args(MemorySettings.model_fields["exemplar_choice"].annotation) == ("random", "lesion-aware")


def test_a_model_without_doubt_is_confident_and_certain() -> None:
    label = ball(4)
    scores = score_crop(label, label)
    assert scores == LesionScores(volume=float(label.sum()), confidence=1.0, uncertainty=0.0)


def test_confidence_is_the_mean_probability_inside_the_true_lesions_alone() -> None:
    label = ball(4)
    inside = score_crop(np.where(label > 0, 0.75, 1).astype(np.float32), label)
    assert inside.confidence == pytest.approx(0.75)


def test_doubt_counts_at_the_boundary_and_nowhere_else() -> None:
    label = ball(5)
    edge = boundary(label > 0)
    doubting = np.where(edge, 0.5, label).astype(np.float32)
    assert score_crop(doubting, label).uncertainty == 1.0
    assert score_crop(np.where(edge, label, 0.5).astype(np.float32), label).uncertainty == 0.0


def test_volume_counts_fractions_and_a_faint_lesion_has_no_inside() -> None:
    faint = ball(4) * np.float32(0.25)
    assert score_crop(np.ones_like(faint), faint) == LesionScores(float(faint.sum()), 0.0, 0.0)


@examples(0.4)
@given(st.tuples(*[st.integers(1, 7)] * 3), st.floats(0, 1), st.integers(0, 999))
def test_the_boundary_is_what_dilation_adds_and_erosion_takes(
    shape: tuple[int, int, int], density: float, seed: int
) -> None:
    lesion = np.random.default_rng(seed).random(shape) < density
    # Beyond the crop there is more of the same: its faces are no boundary.
    expected = ndimage.binary_dilation(lesion) & ~ndimage.binary_erosion(lesion, border_value=1)
    np.testing.assert_array_equal(boundary(lesion), expected)


@pytest.mark.parametrize(("probability", "bits"), [(0.0, 0.0), (1.0, 0.0), (0.5, 1.0), (0.25, 0.8112781)])
def test_entropy_is_in_bits(probability: float, bits: float) -> None:
    assert binary_entropy(np.full((1, 1, 1), probability, dtype=np.float32)).item() == pytest.approx(bits, abs=1e-6)


def test_a_prototype_has_much_lesion_and_the_model_is_sure_of_it() -> None:
    scores = [LesionScores(1000, 0.9, 0), LesionScores(1000, 0.1, 0), LesionScores(10, 0.9, 0), LesionScores(5, 0, 0)]
    np.testing.assert_allclose(prototypicality(scores), [0.9, 0.1, 0.45, 0])


# The choice


def test_half_are_prototypes_and_half_have_uncertain_boundaries() -> None:
    large = [image(f"large-{i}", volume=100 + i) for i in range(4)]
    uncertain = [image(f"uncertain-{i}", confidence=0.1, uncertainty=0.5 + i / 10) for i in range(4)]
    names = [one.subject for one in picked([*uncertain, *large], 4)]
    assert names == ["large-3", "uncertain-3", "large-2", "uncertain-2"]
    assert [one.subject for one in picked([*uncertain, *large], 1)] == ["large-3"]


def test_who_leads_in_both_is_taken_once() -> None:
    images = [image("both", volume=9, uncertainty=0.9), image("second", volume=8), image("next", uncertainty=0.8)]
    assert [one.subject for one in picked(images, 2)] == ["both", "next"]


def test_a_rare_contrast_has_its_share_even_of_subjects_that_have_the_other_too() -> None:
    images = [image(f"{i:02d}", volume=100 - i, uncertainty=i / 20) for i in range(20)]
    images += [image(f"{i:02d}", "T2w", volume=1, confidence=0.01) for i in (0, 1, 19)]
    contrasts = [one.contrast for one in picked(images, 6)]
    assert contrasts == ["T2w", "FLAIR"] * 3
    assert [one.contrast for one in picked(images, 10)].count("T2w") == 3


def test_the_halves_hold_over_contrasts_and_in_each() -> None:
    images = []
    for contrast in ("FLAIR", "T2w", "T1w"):
        images += [image(f"{contrast}-large-{i}", contrast, volume=9 + i) for i in range(9)]
        images += [image(f"{contrast}-uncertain-{i}", contrast, confidence=0, uncertainty=1) for i in range(9)]
    for places in range(1, 18):
        found = picked(images, places)
        large = sum("large" in one.subject for one in found)
        assert abs(2 * large - places) <= 1
        for contrast in ("FLAIR", "T2w", "T1w"):
            mine = [one for one in found if one.contrast == contrast]
            assert abs(2 * sum("large" in one.subject for one in mine) - len(mine)) <= 1


@examples(0.5)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["FLAIR", "T2w", "T1w"]), st.integers(1, 3), st.integers(0, 3)),
        unique_by=lambda drawn: drawn[:2],
    ),
    st.integers(0, 12),
    st.integers(0, 99),
)
def test_no_subject_gives_two_and_no_place_stays_empty(
    drawn: list[tuple[int, str, int, int]], places: int, seed: int
) -> None:
    images = [image(f"{who}", what, volume=much, uncertainty=doubt / 3) for who, what, much, doubt in drawn]
    names = [one.subject for one in picked(images, places, seed)]
    assert len(set(names)) == len(names) == min(places, len({one.subject for one in images}))
    backwards = picked(images[::-1], places, seed)
    assert [(one.subject, one.contrast) for one in backwards] == [
        (one.subject, one.contrast) for one in picked(images, places, seed)
    ], "the order of the files decides nothing"


def test_between_equals_the_seed_decides() -> None:
    images = [image(f"{i}") for i in range(10)]
    first = {tuple(one.subject for one in picked(images, 3, seed)) for seed in range(9)}
    assert len(first) > 3
    assert picked(images, 3, 1) == picked(images, 3, 1)


@pytest.mark.parametrize(
    ("images", "places", "given"),
    [
        ({"FLAIR": 9, "T2w": 9}, 6, {"FLAIR": 3, "T2w": 3}),
        ({"FLAIR": 9, "T2w": 2}, 6, {"T2w": 2, "FLAIR": 4}),
        ({"FLAIR": 9, "T2w": 5}, 5, {"T2w": 3, "FLAIR": 2}),
        ({"FLAIR": 9, "T2w": 1}, 1, {"T2w": 1, "FLAIR": 0}),
        ({"FLAIR": 2, "T2w": 1}, 9, {"T2w": 1, "FLAIR": 2}),
        ({}, 4, {}),
    ],
)
def test_contrasts_share_the_places(images: dict[str, int], places: int, given: dict[str, int]) -> None:
    assert shares(images, places) == given


# With a network


def network() -> LesionNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LesionNet(NetworkSettings(features=2, activation="sigmoid", norm="instance"))


def names(exemplars: tuple) -> list[tuple[str, str]]:
    return [(one.provenance.subject.removeprefix("pseudonym of sub-"), one.provenance.contrast) for one in exemplars]


def test_by_the_model_no_subject_gives_two_and_contrasts_and_budget_are_kept() -> None:
    choosing = Choosing(by_lesions(network(), 16))
    found = chosen(volumes := subjects(8, ("FLAIR", "T2w")), 4, size=16, choosing=choosing)
    assert len({subject for subject, _ in names(found)}) == 4
    assert [contrast for _, contrast in names(found)] == ["FLAIR", "T2w"] * 2
    assert names(chosen(volumes[::-1], 4, size=16, choosing=choosing)) == names(found)
    fitting = found[0].payload.nbytes + found[1].payload.nbytes
    assert names(chosen(volumes, 4, size=16, choosing=choosing, budget=fitting)) == names(found)[:2]


def test_the_model_is_asked_of_the_crop_that_would_leave() -> None:
    label = np.zeros((12,) * 3)
    label[2:9, 2:9, 2:9] = 255
    large = (Case("sub-large", "FLAIR", Path("i"), Path("l")), volume(label))
    sure = network()
    with torch.no_grad():
        for parameter in sure.parameters():
            parameter.zero_()
    # Without weights each probability is 0.5: the volume alone decides, and then nothing.
    assert names(chosen([*subjects(5), large], 1, size=16, choosing=Choosing(by_lesions(sure, 16)))) == [
        ("large", "FLAIR")
    ]


def test_at_random_the_draws_are_those_of_ever() -> None:
    """The same runs as before there was a choice."""
    volumes = subjects(7, ("FLAIR", "T2w"))
    assert names(chosen(volumes, 4)) == [("02", "FLAIR"), ("04", "T2w"), ("03", "T2w"), ("06", "T2w")]
    assert names(chosen(volumes, 4, seed=1, choosing=AT_RANDOM)) == [
        ("05", "T2w"),
        ("00", "FLAIR"),
        ("01", "FLAIR"),
        ("04", "T2w"),
    ]
