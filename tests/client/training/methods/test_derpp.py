"""DER++: exemplars carry what the model answered that chose them, and are drawn back to it."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from client.training.losses import distance
from client.training.methods.derpp import DERpp
from shared.config.settings import Settings
from shared.model.network import initial_weights, network_with, scores_of, soft_segmentation
from shared.replay.contribution import PlainContribution
from shared.replay.exemplar import Exemplar
from shared.wire.headers import TrainTask
from shared.wire.messages import TrainRequest
from shared.wire.validation import exemplars_problem
from tests.conftest import Configured
from tests.support.paper import batch_of, on_paper, voxels
from tests.support.training import CPU, weights

HERE, ELSEWHERE = torch.tensor([True]), torch.tensor([False])


def penalty(network: Any, images: torch.Tensor, weight: float = 1.0, **more: Any) -> torch.Tensor:
    cost = DERpp(weight).penalty(network, batch_of(images, **more), network(images))
    assert cost is not None
    return cost


def test_by_hand() -> None:
    """Scores log 3 are answers of 0.75, and 0.5 was stored, twice; the weight is 2.

    2 x (0.25^2 + 0.25^2) / (2 x 0.75^2 + 2 x 0.5^2 + 1)
    """
    stored = {"answer": voxels(0.5, 0.5)}
    found = penalty(on_paper(0, math.log(3)), voxels(1, 5), 2.0, replayed=HERE, extras=stored)
    assert found.item() == pytest.approx(2 * 0.125 / (1.125 + 0.5 + 1), rel=1e-5)


def test_only_replayed_patches_count() -> None:
    """A fresh patch in the same batch changes neither the penalty nor its pull."""
    stored = voxels(0.5, 0.25)
    alone, together = on_paper(0.3, 0.2), on_paper(0.3, 0.2)
    one = penalty(alone, voxels(1, 5), replayed=HERE, extras={"answer": stored})
    images = torch.cat([voxels(7, 9), voxels(1, 5)])
    answers = torch.cat([torch.zeros_like(stored), stored])
    both = penalty(together, images, replayed=torch.cat([ELSEWHERE, HERE]), extras={"answer": answers})
    assert one.item() == pytest.approx(both.item(), rel=1e-6)
    one.backward()  # type: ignore[no-untyped-call]
    both.backward()  # type: ignore[no-untyped-call]
    assert alone.gain.grad.item() == pytest.approx(together.gain.grad.item(), rel=1e-6)


def test_without_exemplars_there_is_no_penalty() -> None:
    assert DERpp(1.0).penalty(on_paper(0, 0), batch_of(voxels(1)), voxels(0)) is None


def test_where_the_answer_is_as_it_was_there_is_no_penalty_and_no_pull() -> None:
    network = on_paper(0.3, -1)
    images = voxels(1, 2, 3)
    stored = torch.sigmoid(network(images)).detach()
    found = penalty(network, images, replayed=HERE, extras={"answer": stored})
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() == 0
    assert (network.gain.grad.item(), network.bias.grad.item()) == pytest.approx((0, 0), abs=1e-7)


@pytest.fixture
def settings(configured: Configured) -> Settings:
    return configured(method="derpp", derpp_weight=3.0)


def crop(settings: Settings) -> Exemplar:
    size = settings.exemplar_voxels
    image = np.random.default_rng(0).normal(size=(size,) * 3).astype(np.float32)
    about = {"center": "amu", "subject": "0" * 16, "contrast": "FLAIR", "spacing": settings.data.spacing}
    return Exemplar.encode(image, (image > 2).astype(np.float32), **about)


def test_an_exemplar_is_handed_on_with_the_answer_of_the_model_that_was_trained(settings: Settings) -> None:
    task = TrainTask(run="0" * 32, stage=0, center="amu", contribute=True)
    hold = DERpp.begin(TrainRequest(task, weights(settings), ()), settings, CPU)
    assert hold.weight == 3.0
    network = network_with(initial_weights(settings.network, 1), settings.network, CPU).train()
    exemplar = crop(settings)
    carrying = hold.annotate(exemplar, network)
    image = torch.from_numpy(exemplar.decode()[0])[None, None]
    with torch.no_grad():
        expected = soft_segmentation(scores_of(network, image), settings.network.activation)[0, 0]
    np.testing.assert_allclose(carrying.unpack().extras["answer"] / 255, expected.numpy(), atol=0.5 / 255 + 1e-6)
    # What comes back is as near to the answer as bytes can be: the distance to it is next to nothing.
    back = torch.from_numpy(carrying.unpack().extras["answer"].astype(np.float32) / 255)[None, None]
    assert float(distance(expected[None, None], back)) < 1e-3


def test_exemplars_carry_the_answer_in_a_run_by_this_method_and_in_no_other(
    settings: Settings, configured: Configured
) -> None:
    plain = crop(settings)
    carrying = plain.carrying("answer", np.zeros(plain.provenance.shape, dtype=np.float32))
    assert exemplars_problem([carrying], settings) == ""
    assert "with image and label alone, which is not what method = 'derpp' needs" in exemplars_problem(
        [plain], settings
    )
    replay = configured(method="replay")
    assert exemplars_problem([plain], replay) == ""
    assert "with answer, which is not what method = 'replay' needs" in exemplars_problem([carrying], replay)
    assert PlainContribution((carrying,)).document.exemplars[0].carries == ("answer",), "and it says so on its way"
