"""What a center contributes to the replay memory: crops around the lesions of a few subjects, as its policy allows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from client.data.inventory import Case
from client.data.lesions import LESION
from client.data.preprocessing import FloatArray, Volume
from client.governance.policy import Subject
from client.governance.release import Release, Request, release
from client.hospital.center import Hospital
from client.hospital.trust import Custody
from client.sharing.recipients import Outlook
from client.training.sampler import pad_to
from shared.config.settings import Settings
from shared.log import say
from shared.replay.exemplar import Exemplar
from shared.seeds import generator

Images = Sequence[tuple[Case, Volume]]
"""Prepared images, each with whose it is."""

Pick = Callable[[Images, int, np.random.Generator], Images]
"""Of images that show lesion, those that give an exemplar: at most so many, one a subject, the first ones first."""

Annotate = Callable[[Exemplar], Exemplar]
"""What a method adds to an exemplar before it leaves."""


def at_random(images: Images, places: int, random: np.random.Generator) -> Images:
    """Subjects in random order, and one of each subject's images at random."""
    by_subject: dict[str, list[tuple[Case, Volume]]] = {}
    for case, volume in images:
        by_subject.setdefault(case.subject, []).append((case, volume))
    names = sorted(by_subject)
    picked = []
    for i in random.permutation(len(names))[:places]:
        contrasts = by_subject[names[int(i)]]
        picked.append(contrasts[int(random.integers(len(contrasts)))])
    return picked


def unchanged(exemplar: Exemplar) -> Exemplar:
    """The exemplar, to which the method adds nothing."""
    return exemplar


@dataclass(frozen=True)
class Choosing:
    """How exemplars are made: of which images, and with what beside image and label."""

    pick: Pick = at_random
    annotate: Annotate = unchanged


AT_RANDOM = Choosing()


def choose(
    hospital: Hospital,
    candidates: Images,
    settings: Settings,
    budget: int,
    most: int,
    choosing: Choosing = AT_RANDOM,
) -> tuple[Exemplar, ...]:
    """The exemplars that the hospital would give, before its policy is asked."""
    return choose_exemplars(
        hospital.center,
        candidates,
        hospital.pseudonym,
        size=settings.exemplar_voxels,
        spacing=settings.data.spacing,
        subjects=min(settings.memory.memory_subjects, most),
        budget=budget,
        random=generator(settings.run.seed, "exemplars", hospital.center),
        choosing=choosing,
    )


def choose_exemplars(
    center: str,
    volumes: Images,
    pseudonym: Callable[[str], str],
    *,
    size: int,
    spacing: float,
    subjects: int,
    budget: int,
    random: np.random.Generator,
    choosing: Choosing = AT_RANDOM,
) -> tuple[Exemplar, ...]:
    """One crop of `size` voxels an edge from each of at most `subjects` subjects, in the order of the pick.

    Stops before the payloads exceed `budget` bytes. A subject without lesion gives none.
    """
    with_lesion = [(case, volume) for case, volume in volumes if volume.label.max() >= LESION * 255]
    chosen: list[Exemplar] = []
    left = budget
    for case, volume in choosing.pick(with_lesion, subjects, random):
        image, label = crop(volume, size)
        exemplar = choosing.annotate(
            Exemplar.encode(
                image,
                label,
                center=center,
                subject=pseudonym(case.subject),
                contrast=case.contrast,
                spacing=spacing,
            )
        )
        left -= exemplar.payload.nbytes
        if left < 0:
            break
        chosen.append(exemplar)
    return tuple(chosen)


def crop(volume: Volume, size: int) -> tuple[FloatArray, FloatArray]:
    """The cube of `size` voxels an edge that holds most lesion, filled with air where it overhangs."""
    image: FloatArray = np.asarray(volume.image, dtype=np.float32)
    label: FloatArray = np.asarray(volume.label, dtype=np.float32) / np.float32(255)
    image, label = pad_to(image, size, float(image.min())), pad_to(label, size, 0.0)
    load = _box_sums(label, size)
    low = np.unravel_index(int(load.argmax()), load.shape)
    box = tuple(slice(int(start), int(start) + size) for start in low)
    return image[box], label[box]


def _box_sums(array: FloatArray, size: int) -> FloatArray:
    """The sum over every cube of `size` voxels an edge, by differences of running sums."""
    sums = array.astype(np.float64)
    for axis in range(3):
        running = np.moveaxis(np.cumsum(sums, axis=axis), axis, 0)
        sums = running[size - 1 :].copy()
        sums[1:] -= running[:-size]
        sums = np.moveaxis(sums, 0, axis)
    return sums.astype(np.float32)


def release_chosen(
    custody: Custody, chosen: tuple[Exemplar, ...], subjects: Mapping[str, Subject], outlook: Outlook
) -> Release:
    """What the policy lets leave of the chosen exemplars; aloud, what stays and why."""
    request = Request(outlook.recipients, custody.sealed, custody.clock())
    released = release(custody.policy, chosen, subjects, request)
    for reason in dict.fromkeys(released.withheld.values()):
        say(f"{custody.center}: {sum(why == reason for why in released.withheld.values())} exemplars stay: {reason}")
    for center, reason in released.refused.items():
        say(f"{custody.center}: nothing goes to {center}: {reason}")
    return released
