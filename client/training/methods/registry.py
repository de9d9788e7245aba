"""Which class trains by each method of `shared.methods.METHODS`."""

from collections.abc import Mapping

import torch

from client.training.methods.base import Method
from client.training.methods.derpp import DERpp
from client.training.methods.ewc import EWC
from client.training.methods.lwf import LwF
from client.training.methods.mas import MAS
from shared.config.settings import Settings
from shared.wire.messages import TrainRequest

CLASSES: Mapping[str, type[Method]] = {
    "single": Method,
    "finetune": Method,
    "replay": Method,
    "pooled": Method,
    "fedavg": Method,
    "lwf": LwF,
    "ewc": EWC,
    "mas": MAS,
    "derpp": DERpp,
}


def begin_method(request: TrainRequest, settings: Settings, device: torch.device) -> Method:
    """The run's method, for the stage that is asked for."""
    return CLASSES[settings.run.method].begin(request, settings, device)
