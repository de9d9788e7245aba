"""A model that a run begins with in place of a fresh network: read from its file, and held to the run's settings."""

from pathlib import Path

from shared.config.settings import Settings
from shared.errors import SettingsError
from shared.model.model_file import open_model
from shared.model.weights import Weights, model_digest


def read_start(path: Path, settings: Settings) -> Weights:
    """The weights of a model file, or of a run's folder, as the first model of a run with these settings.

    Raises `ResultsError` where there is none, and `SettingsError`, with both values, where the run's network is another
    one or the run uses a contrast that the model was not trained on. Of other spacing it may be.
    """
    model = open_model(path)
    theirs, ours = model.network.settings.model_dump(), settings.network.model_dump()
    if differing := [f"{key} = {theirs[key]!r} there, {ours[key]!r} here" for key in ours if theirs[key] != ours[key]]:
        raise SettingsError(
            f"the model that the run is to start from ({path}) has another network: {'; '.join(differing)}; take the "
            "model's, or start = 'fresh'"
        )
    known, wanted = model.inference.contrasts, settings.data.contrasts
    if set(wanted) - set(known):
        raise SettingsError(
            f"the model that the run is to start from ({path}) was trained on contrasts = {','.join(known)!r}, and the "
            f"run has contrasts = {','.join(wanted)!r}: leave out what it does not know, or set start = 'fresh'"
        )
    return dict(model.network.state_dict())


def check_digest(weights: Weights, settings: Settings) -> None:
    """Raise `SettingsError`, with both, where a start is not the model that `start-digest` names."""
    found, named = model_digest(weights), settings.run.start_digest
    if found != named:
        raise SettingsError(
            f"start = {settings.run.start!r} is the model of SHA-256 {found}, but the run begins with start-digest = "
            f"{named!r}: name the file of that one, or begin a new run"
        )
