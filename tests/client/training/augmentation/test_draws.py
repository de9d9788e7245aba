"""What is drawn: within its ranges, as often as it should be, and only what was asked for."""

import numpy as np
import pytest
from numpy.typing import NDArray

from client.training.augmentation import draws
from client.training.augmentation.draws import COLUMNS, IDENTITY, MATRIX, drawn, identities, within
from client.training.sampler import Cut
from shared.config.groups import AUGMENTATIONS
from tests.support.training import ball

DRAWN = {
    "bias": ("bias", draws.BIAS_SHARE, draws.BIAS),
    "gamma": ("gamma", draws.GAMMA_SHARE, draws.GAMMA),
    "inverted": ("gamma", draws.INVERTED_SHARE, draws.GAMMA),
    "brightness": ("brightness", draws.BRIGHTNESS_SHARE, draws.BRIGHTNESS),
    "contrast": ("contrast", draws.CONTRAST_SHARE, draws.CONTRAST),
    "noise": ("noise", draws.NOISE_SHARE, (0, draws.NOISE_VARIANCE[1] ** 0.5)),
    "blur": ("blur", draws.BLUR_SHARE, draws.BLUR),
    "thick": ("thick", draws.THICK_SHARE, draws.THICK),
    "elastic": ("elastic", draws.ELASTIC_SHARE, (0, 1)),
}
"""By column: the augmentation, its share and range."""

MANY, ROOM = 20_000, 1.5


def table(*names: str, count: int = MANY, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    rows = drawn([Cut.at(ball(), (0, 0, 0), 16)] * count, names, ROOM, np.random.default_rng(seed))
    return dict(zip(COLUMNS, rows.T, strict=True))


ABOUT_THE_SOURCE = {"floor", "edge", "seed"}


def matrices(columns: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.stack([columns[name] for name in MATRIX], 1).reshape(-1, 3, 3)


@pytest.mark.parametrize("column", DRAWN)
def test_a_column_is_drawn_as_often_and_as_far_as_it_is_said_to_be(column: str) -> None:
    name, share, (least, most) = DRAWN[column]
    values = table(name)[column]
    changed = values[values != IDENTITY[column]]
    assert len(changed) / MANY == pytest.approx(share, abs=0.015)
    assert (
        least <= changed.min() < least + 0.05 * (most - least) and most - 0.05 * (most - least) < changed.max() <= most
    )


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_nothing_is_drawn_but_what_was_asked_for(name: str) -> None:
    mine = {column for column, (of, _, _) in DRAWN.items() if of == name}
    mine |= {"thick": {"phase", "axis"}, "elastic": {"moved"}}.get(name, set())
    mine |= {"scale": {"moved", *MATRIX[::4]}, "rotate": {"moved", *MATRIX}}.get(name, set())
    for column, values in table(name, count=200).items():
        if column not in ABOUT_THE_SOURCE:
            assert (column in mine) == bool((values != IDENTITY[column]).any()), column


def test_nothing_asked_for_is_the_identity_with_what_the_source_is() -> None:
    columns = table(count=4)
    assert all((columns[name] == IDENTITY[name]).all() for name in COLUMNS if name not in ABOUT_THE_SOURCE)
    assert (columns["floor"] == float(ball().image.min())).all()
    assert (columns["edge"] >= columns["floor"] + draws.AIR - 1e-6).all()
    assert len(set(columns["seed"])) == 4
    assert np.array_equal(identities(2)[1], np.array(list(IDENTITY.values()), np.float32))


def test_air_ends_where_the_source_says() -> None:
    one = ball()
    assert one.air < one.floor, "as of a source in which there is none"
    columns = table(count=1)
    assert columns["edge"][0] == pytest.approx(one.floor + draws.AIR)


def test_half_of_the_scales_are_below_1_and_they_are_alike_along_the_axes() -> None:
    columns = table("scale")
    scale = matrices(columns)[:, 0, 0]
    assert np.allclose(matrices(columns), scale[:, None, None] * np.eye(3))
    changed = scale[columns["moved"] > 0]
    assert len(changed) / MANY == pytest.approx(draws.SCALE_SHARE, abs=0.01)
    assert (changed < 1).mean() == pytest.approx(0.5, abs=0.03)
    assert draws.SCALE[0] <= changed.min() < 0.72 and 1.38 < changed.max() <= draws.SCALE[1] + 1e-6


def test_rotations_turn_by_30_degrees_at_most_about_each_axis() -> None:
    columns = table("rotate")
    turned = matrices(columns)[columns["moved"] > 0]
    assert len(turned) / MANY == pytest.approx(draws.ROTATE_SHARE, abs=0.01)
    # Smaller where a corner would lie too far out, and else a rotation.
    size = np.cbrt(np.linalg.det(turned))
    assert np.allclose(turned @ turned.transpose(0, 2, 1), (size**2)[:, None, None] * np.eye(3), atol=1e-5)
    assert size.max() <= 1 + 1e-5 and np.median(size) > 0.98
    about_the_last = np.degrees(np.arctan2(turned[:, 1, 0], turned[:, 0, 0]))
    assert 25 < np.abs(about_the_last).max() <= 30.01


def test_no_place_lies_further_out_than_there_is_room() -> None:
    columns = table("scale", "rotate", "elastic")
    reach = np.abs(matrices(columns)).sum(2).max(1) + 2 * draws.ELASTIC / draws.ELASTIC_SPANS * columns["elastic"]
    assert reach.max() <= ROOM + 1e-5
    assert np.array_equal(within(np.eye(3)[None] * 2.0, np.array([1.5]))[0], np.eye(3) * 1.5)


def test_each_step_and_seed_draws_its_own() -> None:
    one, again, other = (table(*AUGMENTATIONS, count=8, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(one[name], again[name]) for name in COLUMNS)
    assert not np.array_equal(one["seed"], other["seed"])
