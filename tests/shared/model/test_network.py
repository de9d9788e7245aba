"""The network that travels: how it starts, what is carried over, and how it lies on disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from shared.config.groups import NetworkSettings
from shared.errors import ResultsError
from shared.model.network import (
    METADATA,
    PRIOR,
    LesionNet,
    carry_over,
    initial_weights,
    is_encoder,
    load_model,
    save_model,
    soft_segmentation,
)
from shared.model.weights import Weights

SIGMOID = NetworkSettings(features=2, activation="sigmoid", norm="instance")
RELU = NetworkSettings(features=2, activation="normalised-relu", norm="instance")


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def network(weights: Weights, settings: NetworkSettings = SIGMOID) -> LesionNet:
    net = LesionNet(settings)
    net.load_state_dict(weights)
    return net.eval()


def bottleneck(net: LesionNet, image: Tensor) -> Tensor:
    """What the lowest level, where the way down ends, makes of an image."""
    levels = [module for name, module in net.named_modules() if name.endswith("1.submodule")]
    heard: list[Tensor] = []
    hook = levels[-1].register_forward_hook(lambda module, given, made: heard.append(made))
    with torch.no_grad():
        net(image)
    hook.remove()
    return heard[0]


@pytest.fixture
def image() -> Tensor:
    return torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_same_seed_gives_the_same_weights() -> None:
    assert same(initial_weights(SIGMOID, 7), initial_weights(SIGMOID, 7))
    assert not same(initial_weights(SIGMOID, 7), initial_weights(SIGMOID, 8))


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    initial_weights(SIGMOID, 7)
    carry_over(initial_weights(SIGMOID, 7), "encoder", SIGMOID, 8)
    assert torch.equal(torch.get_rng_state(), before)


def test_with_32_features_it_has_the_paper_s_number_of_parameters() -> None:
    weights = initial_weights(NetworkSettings(features=32, activation="normalised-relu", norm="instance"), 0)
    assert 4.7e6 < sum(value.numel() for value in weights.values()) < 4.8e6


def test_every_voxel_gets_one_score(image: Tensor) -> None:
    with torch.no_grad():
        assert network(initial_weights(SIGMOID, 0))(image).shape == image.shape
        assert network(initial_weights(SIGMOID, 0))(image[..., :8]).shape == (1, 1, 16, 16, 8)


def test_a_sigmoid_network_starts_with_lesions_rare(image: Tensor) -> None:
    weights = initial_weights(SIGMOID, 0)
    with torch.no_grad():
        probability = network(weights)(image).sigmoid()
    assert probability.median() < 0.2
    assert sum(bool((value == PRIOR).all()) for value in weights.values()) == 1
    assert not any(bool((value == PRIOR).all()) for value in initial_weights(RELU, 0).values())


def parameters(encoder: bool) -> Iterator[str]:
    return (name for name in initial_weights(SIGMOID, 0) if is_encoder(name) is encoder)


def test_the_decoder_does_not_change_what_reaches_the_bottom(image: Tensor) -> None:
    weights = initial_weights(SIGMOID, 0)
    before = bottleneck(network(weights), image)
    changed = {name: value if is_encoder(name) else value + 1 for name, value in weights.items()}
    assert torch.equal(bottleneck(network(changed), image), before)
    with torch.no_grad():
        assert not torch.allclose(network(changed)(image), network(weights)(image))


def test_exactly_the_encoder_learns_from_the_bottom(image: Tensor) -> None:
    net = LesionNet(SIGMOID)
    heard: list[Tensor] = []
    levels = [module for name, module in net.named_modules() if name.endswith("1.submodule")]
    levels[-1].register_forward_hook(lambda module, given, made: heard.append(made))
    net(image)
    heard[0].square().sum().backward()
    reached = {name for name, value in net.named_parameters() if value.grad is not None}
    assert reached == set(parameters(encoder=True))
    assert set(net.state_dict()) - reached == set(parameters(encoder=False))
    assert set(parameters(encoder=False))


def test_a_whole_model_is_carried_over_as_it_is() -> None:
    weights = initial_weights(SIGMOID, 0)
    assert same(carry_over(weights, "model", SIGMOID, 1), weights)


def test_an_encoder_is_carried_over_with_a_fresh_decoder() -> None:
    trained = {name: value + 1 for name, value in initial_weights(SIGMOID, 0).items()}
    carried = carry_over(trained, "encoder", SIGMOID, 5)
    assert carried.keys() == trained.keys()
    fresh = initial_weights(SIGMOID, 5)
    for name, value in carried.items():
        assert torch.equal(value, (trained if is_encoder(name) else fresh)[name])
    assert same(carry_over(trained, "encoder", SIGMOID, 5), carried)
    assert not same(carry_over(trained, "encoder", SIGMOID, 6), carried)


scores = st.lists(st.floats(-50, 50, width=32, allow_subnormal=False), min_size=8, max_size=8)


@given(st.lists(scores, min_size=1, max_size=3))
def test_normalised_relu_reaches_one_in_every_sample_that_has_a_positive_score(values: list[list[float]]) -> None:
    given_scores = torch.tensor(values).reshape(-1, 1, 2, 2, 2)
    made = soft_segmentation(given_scores, "normalised-relu")
    assert made.shape == given_scores.shape
    assert bool(((made >= 0) & (made <= 1)).all())
    for one, score in zip(made, given_scores, strict=True):
        assert one.max() == (1 if score.max() > 0 else 0)
        assert bool((one[score <= 0] == 0).all())
        alone = soft_segmentation(score[None], "normalised-relu")[0]
        assert torch.equal(one, alone)


@given(scores)
def test_normalised_relu_does_not_change_with_the_scale_of_the_scores(values: list[float]) -> None:
    given_scores = torch.tensor(values).reshape(1, 1, 2, 2, 2)
    made = soft_segmentation(given_scores, "normalised-relu")
    assert torch.allclose(soft_segmentation(given_scores * 4, "normalised-relu"), made)


@given(scores)
def test_a_sigmoid_keeps_the_order_of_the_scores_and_the_half_at_zero(values: list[float]) -> None:
    given_scores = torch.tensor(values).reshape(1, 1, 2, 2, 2)
    made = soft_segmentation(given_scores, "sigmoid")
    assert bool(((made >= 0) & (made <= 1)).all())
    assert bool((made[given_scores > 1e-3] > 0.5).all())
    assert bool((made[given_scores < -1e-3] < 0.5).all())


@pytest.mark.parametrize("activation", ["sigmoid", "normalised-relu"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_no_score_at_all_is_no_lesion_and_not_nan(activation: str, dtype: torch.dtype) -> None:
    empty = torch.full((2, 1, 2, 2, 2), -5.0, dtype=dtype)
    made = soft_segmentation(empty, activation)  # type: ignore[arg-type]
    assert bool((made < 0.01).all())
    nothing = soft_segmentation(torch.zeros(1, 1, 2, 2, 2, dtype=dtype), "normalised-relu")
    assert torch.equal(nothing, torch.zeros_like(nothing))


@pytest.mark.parametrize("settings", [SIGMOID, RELU], ids=lambda settings: settings.activation)
def test_a_saved_model_segments_as_before(tmp_path: Path, image: Tensor, settings: NetworkSettings) -> None:
    weights = initial_weights(settings, 3)
    save_model(tmp_path / "model.safetensors", weights, settings)
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.settings == settings
    assert not loaded.training
    assert same(loaded.state_dict(), weights)
    with torch.no_grad():
        assert torch.equal(loaded(image), network(weights, settings)(image))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, initial_weights(SIGMOID, 0), SIGMOID)
    return path


def refused(path: Path) -> None:
    with pytest.raises(ResultsError) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


def test_a_missing_model_is_refused_by_its_path(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    refused(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_model_is_refused(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    refused(saved)


def test_another_program_s_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(initial_weights(SIGMOID, 0), path)
    with pytest.raises(ResultsError, match="not written by this version of Wardround"):
        load_model(path)


def test_a_model_whose_weights_are_not_its_network_s_is_refused(saved: Path) -> None:
    save_model(saved, initial_weights(SIGMOID, 0), NetworkSettings(features=4, activation="sigmoid", norm="instance"))
    refused(saved)


def test_a_model_that_lacks_a_parameter_is_refused(saved: Path) -> None:
    _, *rest = initial_weights(SIGMOID, 0).items()
    save_model(saved, dict(rest), SIGMOID)
    refused(saved)


@pytest.mark.parametrize("described", ["", "{}", '{"network": {"features": 2, "activation": "tanh"}}'])
def test_a_model_whose_network_is_not_described_is_refused(saved: Path, described: str) -> None:
    save_file(initial_weights(SIGMOID, 0), saved, metadata={METADATA: described})
    refused(saved)
