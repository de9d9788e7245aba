"""What coordinator and hospital alike refuse in a message, before anything is done with it."""

import hashlib
from collections.abc import Collection, Iterable

import numpy as np
import torch

from shared.config.settings import Settings
from shared.errors import MessageError
from shared.model.weights import State, Weights
from shared.replay.exemplar import Exemplar


def model_problem(weights: Weights, expected: Weights, what: str = "a model") -> str:
    """How a model differs from what it must be in names, types and shapes, or that it is not finite; or nothing."""
    if differing := sorted(set(weights) ^ set(expected)):
        return f"{what} whose parameters differ from those of this run's network ({differing[0]})"
    for name, value in weights.items():
        if value.dtype != expected[name].dtype:
            return f"{what} with {name} of type {value.dtype} instead of {expected[name].dtype}"
        if value.shape != expected[name].shape:
            return f"{what} with {name} of shape {tuple(value.shape)} instead of {tuple(expected[name].shape)}"
        if not bool(torch.isfinite(value).all()):
            return f"{what} with NaN or infinity in {name}"
    return ""


def state_problem(state: State, expected: Collection[str], weights: Weights) -> str:
    """What is wrong with what a method hands on beside the model `weights`, or nothing.

    It must hold the parts `expected` (shared/methods.py) and no others, each of which fits the model.
    """
    if lacking := [part for part in expected if part not in state]:
        return f"no {lacking[0]} of the parameters, which this method needs"
    if surplus := sorted(set(state) - set(expected)):
        return f"{surplus[0]!r} of the parameters, which is not used here"
    for part, values in state.items():
        if problem := model_problem(values, weights, f"{part} of the parameters"):
            return problem
        if negative := sorted(name for name, value in values.items() if bool((value < 0).any())):
            return f"{part} of the parameters with negative values in {negative[0]}"
    return ""


def exemplars_problem(exemplars: Iterable[Exemplar], settings: Settings, decoding: bool = True) -> str:
    """What is wrong with the first exemplar that this run cannot have, or nothing.

    Without `decoding`, which takes most of the time, whoever decodes it finds out whether that can be done.
    """
    size, spacing = settings.exemplar_voxels, settings.data.spacing
    for exemplar in exemplars:
        about, payload = exemplar.provenance, exemplar.payload
        which = f"exemplar {about.checksum[:12]} of center {about.center}"
        if payload.dtype != np.uint8 or payload.ndim != 1:
            return f"{which} as {payload.dtype} of shape {payload.shape} instead of bytes"
        if hashlib.sha256(payload.tobytes()).hexdigest() != about.checksum:
            return f"{which}, which does not match its checksum"
        if about.shape != (size,) * 3 or about.spacing != spacing:
            return f"{which} of {about.shape} voxels at {about.spacing:g} mm instead of {(size,) * 3} at {spacing:g} mm"
        if about.carries != settings.run.spec.carries:
            carried = ", ".join(about.carries) or "image and label alone"
            return f"{which} with {carried}, which is not what method = {settings.run.method!r} needs"
        if about.contrast not in settings.data.contrasts:
            return f"{which} with contrast {about.contrast}, which this run does not use"
        try:
            if decoding:
                exemplar.decode()
        except MessageError as error:
            return f"{which}, which cannot be opened ({error})"
    return ""
