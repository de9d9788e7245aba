"""Hospitals that the red team writes to, and how its messages reach them: nothing else is known to an attack."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from flwr.app import RecordDict
from flwr.clientapp import ClientApp

from client.app import hospital_app
from client.governance.policy import Policy
from client.hospital.config import Site
from scenarios.simulation.clientapp import app
from scenarios.simulation.sites import simulated_site
from shared.config.settings import Settings
from tests.conftest import ROOT
from tests.support.datasets import grid, patient, write_dataset, write_image
from tests.support.fakes import FakeGrid
from tests.support.hospital_messages import ask as send
from tests.support.joined import Study

RunConfig = Mapping[str, Any]

TWO = ("grace", "mercy")
"""The hospitals of an attack on crops: the first gives them, the second may open them."""


def default_config() -> dict[str, Any]:
    """The run-config of a run that changes nothing."""
    config: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    return config


def smoke_config() -> dict[str, Any]:
    """That of the smoke scenario."""
    return default_config() | tomllib.loads((ROOT / "scenarios" / "smoke.toml").read_text())


class Ask(Protocol):
    """A coordinator's way to a hospital."""

    def __call__(self, center: str, kind: str, content: RecordDict, run_config: RunConfig) -> RecordDict:
        """What the node of `center` replies to one message of a type of Flower's, sent with this run-config."""


@dataclass
class Nodes:
    """Nodes in this process; an `Ask`."""

    client: ClientApp
    run_config: RunConfig
    """What the run-config of a message is completed by: where data and cache lie, who takes part."""
    nodes: Mapping[str, Mapping[str, Any]]
    """Node config of each center's node."""
    asked: list[str] = field(default_factory=list)
    """Type of each message that was sent."""

    def __call__(self, center: str, kind: str, content: RecordDict, run_config: RunConfig) -> RecordDict:
        self.asked.append(kind)
        place = 100 + list(self.nodes).index(center)
        wire = FakeGrid(self.client, {**self.run_config, **run_config}, {place: self.nodes[center]})
        return send(wire, kind, content, place)


def simulated(folder: Path, run_config: RunConfig, client: ClientApp = app) -> Nodes:
    """Simulated nodes over small data sets that lie below a folder, one for each center: they act on any message."""
    centers = sorted(path.name for path in folder.iterdir() if path.is_dir())
    where = {"centers": ",".join(centers), "data-dir": str(folder), "cache-dir": str(folder.with_name("cache"))}
    nodes = {c: {"partition-id": k, "num-partitions": len(centers)} for k, c in enumerate(centers)}
    return Nodes(client, {**run_config, **where}, nodes)


def deployed(study: Study) -> Nodes:
    """The nodes of hospitals that joined, each of which reads its own hospital.toml."""
    nodes = {center: {"hospital": str(study.toml(center))} for center in study.keys}
    return Nodes(hospital_app(), study.config, nodes)


def write_hospitals(folder: Path, centers: Sequence[str] = TWO, subjects: int = 5) -> Path:
    """A small data set for each center."""
    for place, center in enumerate(centers):
        names = [f"sub-{center}{number:02d}" for number in range(subjects)]
        write_dataset(folder / center, names, first=place * subjects)
    return folder


def write_unlike_lesions(folder: Path) -> list[float]:
    """A data set of eight subjects, each with another lesion volume; the volumes in ml, by the subjects' names."""
    shape, affine = grid((4.0,) * 3)
    away = ((np.indices(shape) - 6) ** 2).sum(axis=0)
    volumes = []
    for number, farthest in enumerate((1, 2, 3, 4, 5, 6, 8, 9)):
        image, _ = patient(shape, affine, number)
        lesion = away <= farthest
        name = f"sub-{number:02d}"
        write_image(folder / name / "anat" / f"{name}_FLAIR.nii.gz", image + 80 * lesion.astype(np.float32), affine)
        labels = folder / "derivatives" / "labels" / name / "anat"
        write_image(labels / f"{name}_FLAIR_label-lesion_seg.nii.gz", lesion.astype(np.float32), affine)
        volumes.append(float(lesion.sum()) * 4.0**3 / 1000)
    return volumes


def reporting_means() -> ClientApp:
    """A ClientApp whose simulated hospitals report means alone, as a hospital does that says nothing of scores."""

    means = Policy(role="both", least_steps=1, least_batch=1, least_subjects=1)

    def find(center: str, settings: Settings) -> Site:
        return replace(simulated_site(center, settings), policy=means)

    return hospital_app(simulated=find)
