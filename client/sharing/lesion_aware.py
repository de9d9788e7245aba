"""Lesion-aware exemplars: half of them by lesion volume and confidence, half by uncertainty at the lesions' boundary.

After CLMU-Net (Sadegheih, Merhof & Kumari 2026, arXiv 2601.13927), half of whose replay buffer is prototypical and half
challenging. How both are measured, and that a center's contrasts share the places, is decided here. The scores are made
of the crops that would leave, by the model that the stage has trained; of them nothing leaves but whom they choose.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
import torch
from numpy.typing import NDArray

from client.data.lesions import LESION
from client.data.preprocessing import FloatArray
from client.evaluation.inference import segment
from client.sharing.exemplar_selection import Images, Pick, crop
from shared.model.network import LesionNet


@dataclass(frozen=True)
class LesionScores:
    """What a crop says of the model that segmented it."""

    volume: float
    """Lesion in voxels, by fractions of them."""
    confidence: float
    """Mean probability inside the lesions, in [0, 1]; 0 without lesion."""
    uncertainty: float
    """Mean entropy at the lesions' boundary, in bits, in [0, 1]; 0 without boundary."""


@dataclass(frozen=True)
class ScoredImage:
    """An image that may give an exemplar: whose, and with which scores."""

    subject: str
    contrast: str
    scores: LesionScores


def score_crop(probability: FloatArray, label: FloatArray) -> LesionScores:
    """The scores of one crop: the model's segmentation and the true soft label, both (D, H, W) in [0, 1]."""
    lesion = label >= LESION
    edge = boundary(lesion)
    return LesionScores(
        volume=float(label.sum(dtype=np.float64)),
        confidence=float(probability[lesion].mean(dtype=np.float64)) if lesion.any() else 0.0,
        uncertainty=float(binary_entropy(probability[edge]).mean()) if edge.any() else 0.0,
    )


def boundary(lesion: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The voxels on either side of a lesion's surface: those with a face neighbour of the other kind, (D, H, W).

    That a crop cuts through a lesion makes no surface.
    """
    found = np.zeros_like(lesion)
    for axis in range(lesion.ndim):
        along, edge = np.moveaxis(lesion, axis, 0), np.moveaxis(found, axis, 0)
        other = along[1:] != along[:-1]
        edge[1:] |= other
        edge[:-1] |= other
    return found


def binary_entropy(probability: FloatArray) -> NDArray[np.float64]:
    """Entropy of each voxel in bits: 1 where the probability is 0.5, 0 where it is 0 or 1; of the same shape."""
    both = np.stack([probability, 1 - probability]).astype(np.float64)
    bits: NDArray[np.float64] = np.log2(both, where=both > 0, out=np.zeros_like(both))
    entropy: NDArray[np.float64] = -np.sum(both * bits, axis=0)
    return entropy


def prototypicality(scores: Sequence[LesionScores]) -> NDArray[np.float64]:
    """Lesion volume times confidence, (images,) in [0, 1].

    The volume counts by its rank, as the share of the images that have no more of it: some lesions are a hundred times
    as large as others, and would leave the confidence without a say.
    """
    volumes = np.array([one.volume for one in scores])
    ranks = np.mean(volumes[:, None] >= volumes[None, :], axis=1)
    product: NDArray[np.float64] = ranks * np.array([one.confidence for one in scores])
    return product


def shares(images: Mapping[str, int], places: int) -> dict[str, int]:
    """How many of the places each contrast gets, by how many images there are of each; the rarest contrast first.

    Equal shares, what is left over to the rarer; a contrast with fewer images leaves the rest to the others.
    """
    given = {}
    order = sorted(images, key=lambda contrast: (images[contrast], contrast))
    for i, contrast in enumerate(order):
        given[contrast] = min(images[contrast], -(-places // (len(order) - i)))
        places -= given[contrast]
    return given


def choose_images(images: Sequence[ScoredImage], places: int, random: np.random.Generator) -> list[int]:
    """Which of the images give an exemplar, by number: at most `places`, one a subject.

    Each contrast fills its share, by its prototypes and by its most uncertain boundaries in turn, so that each has half
    of it; the rarest contrast chooses first among subjects that have several. Places that a contrast cannot fill go to
    the others. The result has the contrasts in turn, and so its beginning, where a budget ends it, is as balanced as
    the whole. Of equal scores `random` decides.
    """
    order = sorted(range(len(images)), key=lambda i: (images[i].subject, images[i].contrast))
    shuffled = [order[i] for i in random.permutation(len(order))]
    rankings = {contrast: _rankings(images, shuffled, contrast) for contrast in {one.contrast for one in images}}
    chosen: dict[str, list[int]] = {}
    taken: set[str] = set()
    turns = [0, 0]  # of prototypes, of uncertain boundaries

    def take(ranking: Sequence[int]) -> int | None:
        return next((i for i in ranking if images[i].subject not in taken), None)

    places = min(places, len({one.subject for one in images}))
    while len(taken) < places:
        free = [one.contrast for one in images if one.subject not in taken]
        for contrast, share in shares({name: free.count(name) for name in set(free)}, places - len(taken)).items():
            first = int(turns[1] < turns[0])
            for turn in range(first, first + share):
                found = take(rankings[contrast][turn % 2])
                if found is None:
                    break
                taken.add(images[found].subject)
                chosen.setdefault(contrast, []).append(found)
                turns[turn % 2] += 1
    return [i for i in chain.from_iterable(zip_longest(*chosen.values())) if i is not None]


def _rankings(images: Sequence[ScoredImage], order: Sequence[int], contrast: str) -> tuple[list[int], list[int]]:
    """The images of one contrast by number, the best first: as prototypes, and by uncertainty; else as in `order`."""
    mine = [i for i in order if images[i].contrast == contrast]
    scores = [images[i].scores for i in mine]
    measures = prototypicality(scores), np.array([one.uncertainty for one in scores])
    prototypes, uncertain = ([mine[k] for k in np.argsort(-measure, kind="stable")] for measure in measures)
    return prototypes, uncertain


def by_lesions(network: LesionNet, size: int) -> Pick:
    """Pick by what the trained network, on its device, says of each image's crop of `size` voxels an edge."""

    def pick(images: Images, places: int, random: np.random.Generator) -> Images:
        scored = [
            ScoredImage(case.subject, case.contrast, scores)
            for (case, _), scores in zip(images, _scores(network, images, size), strict=True)
        ]
        return [images[i] for i in choose_images(scored, places, random)]

    return pick


def _scores(network: LesionNet, images: Images, size: int) -> Iterator[LesionScores]:
    """The scores of each image's crop, which goes through the network as one window."""
    device = next(network.parameters()).device
    for _, volume in images:
        image, label = crop(volume, size)
        soft = segment(network, torch.from_numpy(image).to(device), patch=size, window_overlap=0.0)
        yield score_crop(np.asarray(soft.cpu(), dtype=np.float32), label)
