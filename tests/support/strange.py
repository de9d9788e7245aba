"""Good messages in both directions, what a strange part of one is made of, and who refuses it."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ConfigRecord, Message, RecordDict

from client.app import hospital_app
from client.hospital.config import Data, Site
from scenarios.run_config import load_settings
from scenarios.simulation.sites import simulated_site
from server.reply_validation import inspect_reply
from shared.config.settings import Settings
from shared.errors import WardroundError
from shared.model.network import initial_weights
from shared.protocol.plan import RunPlan
from shared.replay.contribution import PlainContribution
from shared.replay.exemplar import Exemplar
from shared.wire.headers import CenterCard, TestFigures, TrainFigures, TrainTask
from shared.wire.messages import (
    TrainReply,
    TrainRequest,
    pack_train_reply,
    pack_train_request,
    unpack_train_reply,
)
from shared.wire.records import Refused, unpack_header
from tests.support.commands import SMOKE
from tests.support.fakes import FakeGrid

NOWHERE = Data(folder=Path("/nowhere"), contrasts=("FLAIR",))


NO_DATA = "/nowhere"
"""In the reason of a hospital that found nothing wrong with a message, and came to open its data."""


def _without_data(center: str, settings: Settings) -> Site:
    everything = simulated_site("amu", settings)
    return replace(everything, center=center, data=NOWHERE)


TINY = {"features": 2, "steps": 1, "batch-size": 1, "device": "cpu", "centers": "grace"}
RUN_NAME = "0" * 32


def npy(array: np.ndarray[Any, Any], **how: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


def npz(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, array)
    return file.getvalue()


def raw(data: bytes, stype: str = "numpy.ndarray") -> Array:
    """An array that claims to be the bias of the head."""
    return Array(dtype="float32", shape=(1,), stype=stype, data=data)


BIAS = np.array([-3.0], dtype=np.float32)
WHOLE = npy(BIAS)


def crop(voxels: int = 16, spacing: float = 4.0, contrast: str = "FLAIR") -> Exemplar:
    image = np.zeros((voxels,) * 3, dtype=np.float32)
    return Exemplar.encode(image, image, center="grace", subject="s", contrast=contrast, spacing=spacing)


CONFIG = load_settings(Path(SMOKE), [], None).to_run_config() | TINY | {"sealing": "off"}
SETTINGS = Settings.from_run_config(CONFIG)
WEIGHTS = initial_weights(SETTINGS.network, 0)
TASK = TrainTask(run=RUN_NAME, stage=0, center="grace", contribute=True, budget=10**6)
GOOD_FIGURES = TrainFigures(steps=1, subjects=2, final_loss=0.5, seconds=1.0, compute_seconds=0.5)
CARD = CenterCard(center="grace", training_subjects=2, test_subjects=1, contrasts=("FLAIR",), fingerprint="f")


def request(*exemplars: Exemplar) -> RecordDict:
    """A good train request, as it travels."""
    return pack_train_request(TrainRequest(TASK, dict(WEIGHTS), (PlainContribution(exemplars),) if exemplars else ()))


def reply(*exemplars: Exemplar) -> RecordDict:
    """A good train reply, as it travels."""
    return pack_train_reply(
        TrainReply(dict(WEIGHTS), PlainContribution(exemplars) if exemplars else None, GOOD_FIGURES)
    )


def by(method: str) -> Settings:
    """The settings of a run by another method."""
    return Settings.from_run_config(CONFIG | {"method": method, "rounds": 1})


def at_the_hospital(records: RecordDict, kind: str = "train", method: str = "replay") -> str:
    """The reason with which a hospital (without any data) refuses a message; anything else it raises is a fault."""
    config = CONFIG | {"cache-dir": "", "method": method, "rounds": 1}
    grid = FakeGrid(hospital_app(simulated=_without_data), config, {7: {"partition-id": 0, "num-partitions": 1}})
    (key,) = grid.push_messages([Message(records, 7, kind)])
    (answer,) = grid.pull_messages([key])
    with pytest.raises(Refused) as caught:
        unpack_header(answer.content, TestFigures)
    return str(caught.value)


def at_the_coordinator(records: RecordDict) -> str:
    """The reason with which the coordinator refuses a train reply; anything else it raises is a fault."""
    with pytest.raises(WardroundError) as caught:
        inspected(unpack_train_reply(records))
    return str(caught.value)


def inspected(reply: TrainReply, task: TrainTask = TASK, settings: Settings = SETTINGS) -> None:
    """As the coordinator inspects the reply of a simulated hospital."""
    plan = RunPlan(task.run, settings, ("grace",), {})
    inspect_reply(reply, TrainRequest(task, dict(WEIGHTS), ()), plan, CARD, simulated=True)


def with_header(records: RecordDict, content: Any) -> RecordDict:
    records["header"] = ConfigRecord({"json": content})
    return records
