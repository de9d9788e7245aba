"""Hospitals as simulated nodes have them: whoever simulates owns all data, and allows all that the run needs."""

from pathlib import Path

from client.governance.policy import Policy
from client.hospital.config import Data, Site
from client.hospital.node import NO_PINS
from scenarios.simulation.hospitals import data_of, make_hospital, phantom_settings
from shared.config.settings import Settings
from shared.paths import cache_folder, writable_folder


def simulated_site(center: str, settings: Settings) -> Site:
    """The hospital that whoever simulates makes of a center; its data are made where they are missing."""
    data, cache = settings.data, writable_folder(cache_folder(settings.data.cache_dir), "cache folder")
    if data.data_dir:
        own = data_of(Path(data.data_dir).expanduser() / center, data.contrasts)
    else:
        folder = make_hospital(center, phantom_settings(data), cache / "hospitals")
        own = Data(folder=folder, contrasts=data.contrasts)
    everything = Policy(
        role="evaluate" if center in settings.run.evaluators else "both",
        train_untested=True,
        least_steps=1,
        least_batch=1,
        least_subjects=1,
        report_subject_scores=True,
        share_exemplars=True,
        centers=settings.run.centers,
        subjects=10**6,
        megabytes=1e6,
        largest_crop_mm=1e6,
        expiry_days=3650,
        allow_unsealed=True,
    )
    return Site(
        center=center,
        state=cache / "state" / center,
        data=own,
        coordinator=None,
        peers=NO_PINS,
        policy=everything,
    )
