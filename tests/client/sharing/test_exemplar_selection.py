"""What a center contributes: the crop with most lesion, few subjects, few bytes."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.data.inventory import Case
from client.data.preprocessing import Volume
from client.sharing.exemplar_selection import AT_RANDOM, Choosing, choose_exemplars, crop
from shared.replay.exemplar import Exemplar
from tests.support.examples import examples


def volume(label: NDArray, image: NDArray | None = None) -> Volume:
    """A prepared volume; the image is noise unless given."""
    if image is None:
        image = np.random.default_rng(int(label.sum())).normal(size=label.shape)
    return Volume(image.astype(np.float16), label.astype(np.uint8), np.eye(4), label, np.eye(4), -1.0)


def lesion_at(*center: int, edge: int = 12) -> NDArray:
    label = np.zeros((edge,) * 3)
    label[center] = 255
    return label


def subjects(n: int, contrasts: tuple[str, ...] = ("FLAIR",)) -> list[tuple[Case, Volume]]:
    """So many subjects with a lesion, each at its own place."""
    return [
        (Case(f"sub-{i:02d}", contrast, Path("i"), Path("l")), volume(lesion_at(i % 12, 5, k)))
        for i in range(n)
        for k, contrast in enumerate(contrasts)
    ]


def chosen(
    volumes: list[tuple[Case, Volume]],
    subjects: int = 20,
    budget: int = 10**9,
    size: int = 8,
    seed: int = 0,
    choosing: Choosing = AT_RANDOM,
) -> tuple[Exemplar, ...]:
    return choose_exemplars(
        "milan",
        volumes,
        lambda name: f"pseudonym of {name}",
        size=size,
        spacing=2.0,
        subjects=subjects,
        budget=budget,
        random=np.random.default_rng(seed),
        choosing=choosing,
    )


@examples(0.4)
@given(st.tuples(*[st.integers(3, 9)] * 3), st.integers(1, 3), st.floats(0, 0.3), st.integers(0, 999))
def test_no_cube_holds_more_lesion_than_the_crop(
    shape: tuple[int, int, int], size: int, density: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    label = np.where(random.random(shape) < density, random.integers(1, 256, shape), 0)
    cubes = product(*(range(edge - size + 1) for edge in shape))
    most = max(label[i : i + size, j : j + size, k : k + size].sum() for i, j, k in cubes)
    image, kept = crop(volume(label), size)
    assert image.shape == kept.shape == (size,) * 3
    assert kept.sum(dtype=np.float64) * 255 == pytest.approx(most, abs=0.01)


def test_image_and_label_of_a_crop_belong_together() -> None:
    label = np.where(np.random.default_rng(0).random((12, 13, 14)) < 0.05, 255, 0)
    image, kept = crop(volume(label, image=label * 3.0 / 255), 8)
    np.testing.assert_array_equal(image, kept * 3)


def test_where_a_crop_overhangs_there_is_air() -> None:
    image = np.full((4, 12, 6), 1.5)
    image[0, 0, 0] = -2
    cut, label = crop(volume(np.full((4, 12, 6), 255), image), 8)
    assert cut.shape == label.shape == (8, 8, 8)
    assert label.sum() == 4 * 8 * 6
    assert (cut[label == 0] == -2).all()
    assert (label[2:6, :, 1:7] == 1).all()


def test_each_exemplar_is_a_crop_with_its_provenance() -> None:
    ((case, original),) = subjects(1)
    (exemplar,) = chosen([(case, original)])
    provenance = exemplar.provenance
    assert (provenance.center, provenance.subject) == ("milan", "pseudonym of sub-00")
    assert (provenance.contrast, provenance.spacing, provenance.shape) == ("FLAIR", 2.0, (8, 8, 8))
    for part, cut in zip(exemplar.decode(), crop(original, 8), strict=True):
        np.testing.assert_array_equal(part, cut)


@pytest.mark.parametrize(("there", "asked", "sent"), [(5, 3, 3), (5, 5, 5), (2, 20, 2), (0, 20, 0)])
def test_at_most_so_many_subjects(there: int, asked: int, sent: int) -> None:
    assert len(chosen(subjects(there), asked)) == sent


def test_a_subject_with_two_contrasts_gives_one_of_them() -> None:
    exemplars = chosen(subjects(12, ("FLAIR", "T2w")))
    assert len({exemplar.provenance.subject for exemplar in exemplars}) == len(exemplars) == 12
    assert {exemplar.provenance.contrast for exemplar in exemplars} == {"FLAIR", "T2w"}


@pytest.mark.parametrize("most", [0.0, 0.3, 127 / 255])
def test_a_subject_without_lesion_gives_none(most: float) -> None:
    faint = lesion_at(6, 6, 6) * most
    nothing = (Case("sub-free", "FLAIR", Path("i"), Path("l")), volume(faint))
    exemplars = chosen([nothing, *subjects(2), nothing])
    assert {exemplar.provenance.subject for exemplar in exemplars} == {"pseudonym of sub-00", "pseudonym of sub-01"}
    assert chosen([nothing]) == ()


@examples(0.2)
@given(st.integers(0, 12_000))
def test_the_budget_is_kept_and_used(budget: int) -> None:
    everything = chosen(subjects(8))
    sizes = [exemplar.payload.nbytes for exemplar in everything]
    sent = chosen(subjects(8), budget=budget)
    assert sum(exemplar.payload.nbytes for exemplar in sent) <= budget
    assert len(sent) == sum(total <= budget for total in np.cumsum(sizes))


def test_the_seed_decides_who_is_chosen_and_not_the_order_of_the_files() -> None:
    def checksums(volumes: list[tuple[Case, Volume]], seed: int) -> list[str]:
        return [exemplar.provenance.checksum for exemplar in chosen(volumes, 3, seed=seed)]

    assert checksums(subjects(10), 0) == checksums(subjects(10), 0) == checksums(subjects(10)[::-1], 0)
    assert checksums(subjects(10), 0) != checksums(subjects(10), 1)
