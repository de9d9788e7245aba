"""What would leave a hospital, before it joins: by the very code that would let it leave.

Where the model that a stage trains chooses the exemplars, whose they will be is not known yet: then all are shown among
which it would choose.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from client.governance.policy import unknown_never
from client.governance.release import AtMost, Release, describe
from client.hospital.center import open_hospital
from client.hospital.config import Site
from client.hospital.trust import Custody, open_custody
from client.qc.slices import View, slices_of
from client.sharing.eligibility import may_be_chosen, subjects_of
from client.sharing.exemplar_selection import Annotate, Choosing, Images, choose, release_chosen, unchanged
from client.sharing.recipients import Outlook
from client.training.methods.registry import begin_method
from shared.clock import Clock
from shared.config.settings import Settings
from shared.model.device import choose_device
from shared.model.network import initial_weights, network_with
from shared.paths import writable_folder
from shared.replay.exemplar import Exemplar
from shared.wire.headers import CenterCard, TrainTask
from shared.wire.messages import TrainRequest


@dataclass(frozen=True)
class Preview:
    """What a run with these settings would get of this hospital."""

    released: Release
    at_most: AtMost | None
    """How much of it leaves, where the model is yet to choose; None: all of it."""
    text: str
    """For the hospital to read."""


def preview(site: Site, settings: Settings, clock: Clock) -> Preview:
    """Choose and release exemplars as a stage would, for all centers of the policy; nothing is sent.

    Raises as a visit does: `DataError`, `TrustError`, `RecordError`.
    """
    custody = open_custody(site, settings, False, clock)
    # Whoever tests only has nobody to train on; it is shown what would be chosen, should it come to train.
    training = replace(site, policy=site.policy.model_copy(update={"role": "both"}))
    hospital = open_hospital(training, writable_folder(site.state / "prepared", "cache folder"), settings)
    subjects = subjects_of(site, hospital, custody.sent_before())
    good, _ = hospital.open(hospital.training)
    allowed = may_be_chosen(custody, subjects) if site.policy.share_exemplars else frozenset(subjects)
    candidates = [(case, volume) for case, volume in good if hospital.pseudonym(case.subject) in allowed]
    most = site.policy.subjects or settings.memory.memory_subjects
    budget = site.policy.nbytes or int(settings.memory.memory_megabytes * 1e6)
    others = tuple(center for center in site.policy.centers if center != site.center)
    annotate = _annotate(site, settings)
    if settings.memory.exemplar_choice == "random":
        chosen = choose(hospital, candidates, settings, budget, most, Choosing(annotate=annotate))
        released, at_most = release_chosen(custody, chosen, subjects, Outlook(others, ())), None
    else:
        chosen = choose(hospital, candidates, settings, sys.maxsize, most, Choosing(_all_of, annotate))
        anyone = site.policy.model_copy(update={"subjects": sys.maxsize, "megabytes": sys.maxsize / 1e6})
        released = release_chosen(replace(custody, policy=anyone), chosen, subjects, Outlook(others, ()))
        at_most = _limits(released, min(most, settings.memory.memory_subjects), budget)
    # Whoever tests only has all its subjects tested.
    card = custody.shown(hospital, settings)
    tested = card.test_subjects + (card.training_subjects if site.policy.role == "evaluate" else 0)
    notes = [*_notes(custody, released, card), *_mistyped(site, {subject.name for subject in subjects.values()})]
    return Preview(released, at_most, "\n".join([describe(site.policy, released, at_most, tested), *notes]))


def _all_of(images: Images, places: int, random: np.random.Generator) -> Images:
    """All images: any may be chosen."""
    return sorted(images, key=lambda image: (image[0].subject, image[0].contrast))


def _limits(released: Release, subjects: int, budget: int) -> AtMost:
    """How much of what may leave does: of so many subjects one exemplar each, within the budget."""
    largest: dict[str, int] = {}
    for exemplar in released.exemplars:
        known = exemplar.provenance.subject
        largest[known] = max(largest.get(known, 0), exemplar.payload.nbytes)
    most = sorted(largest.values(), reverse=True)[:subjects]
    return AtMost(len(most), min(sum(most), budget))


def _annotate(site: Site, settings: Settings) -> Annotate:
    """What a stage would add to an exemplar, but by a fresh network: it takes at least the room of a trained one's."""
    if not settings.run.spec.carries:
        return unchanged
    device = choose_device(settings.training.device)
    weights = initial_weights(settings.network, 0)
    task = TrainTask(run="0" * 32, stage=0, center=site.center, contribute=True)
    method = begin_method(TrainRequest(task, weights, ()), settings, device)
    network = network_with(weights, settings.network, device)
    return lambda exemplar: method.annotate(exemplar, network)


def views(exemplars: Sequence[Exemplar]) -> list[tuple[View, str, bool]]:
    """Pictures of the very crops, each under the pseudonym that its subject has at this hospital."""
    shown = []
    for exemplar in exemplars:
        image, label = exemplar.decode()
        about = exemplar.provenance
        affine = np.diag([about.spacing] * 3 + [1.0])
        shown.append((slices_of(image, affine, label), f"{about.subject} {about.contrast}", True))
    return shown


def _notes(custody: Custody, released: Release, card: CenterCard) -> list[str]:
    notes = []
    if card.untrained and custody.policy.role != "evaluate":
        notes.append(f"NOTE no model trains here by these settings: {card.untrained}")
    if unpinned := [c for c in released.recipients if c not in custody.peers.fingerprints]:
        notes.append(f"NOTE no key is pinned of {', '.join(unpinned)}: where one is in a run, training is refused")
    if released.sealed and custody.keys is None:
        notes.append("NOTE this hospital has no keys yet: make them with `wardround hospital keys`")
    return notes


def _mistyped(site: Site, names: set[str]) -> list[str]:
    unknown = unknown_never(site.policy, names)
    return [f"NOTE never lists {', '.join(unknown)}, whom the data do not have: see the spelling"] if unknown else []
