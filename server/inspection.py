"""What the coordinator refuses to accept from a center."""

import torch

from shared.errors import CenterError
from shared.messages import TrainReply, TrainTask
from shared.network import Weights


def inspect_reply(reply: TrainReply, task: TrainTask, sent: Weights, most_subjects: int) -> None:
    """Raise `CenterError`, naming the center, where a train reply is not what was asked for."""
    problem = _model_problem(reply.weights, sent) or _contribution_problem(reply, task, most_subjects)
    if problem:
        raise CenterError(f"center {task.center} sent {problem}: refused; look at its client's log")


def _model_problem(weights: Weights, sent: Weights) -> str:
    if differing := sorted(set(weights) ^ set(sent)):
        return f"a model whose parameters differ from those asked for ({differing[0]})"
    for name, value in weights.items():
        if value.dtype != sent[name].dtype:
            return f"a model with {name} of type {value.dtype} instead of {sent[name].dtype}"
        if value.shape != sent[name].shape:
            return f"a model with {name} of shape {tuple(value.shape)} instead of {tuple(sent[name].shape)}"
        if not bool(torch.isfinite(value).all()):
            return f"a model with NaN or infinity in {name}"
    return ""


def _contribution_problem(reply: TrainReply, task: TrainTask, most_subjects: int) -> str:
    given = reply.contribution
    if given and not task.contribute:
        return "exemplars that it was not asked for"
    if foreign := {e.provenance.center for e in given} - {task.center}:
        return f"exemplars of {', '.join(sorted(foreign))}"
    if len({e.provenance.subject for e in given}) != len(given) or len(given) > most_subjects:
        return f"{len(given)} exemplars, but one from each of at most {most_subjects} subjects was asked for"
    if (size := sum(e.payload.nbytes for e in given)) > task.budget:
        return f"exemplars of {size} bytes, but {task.budget} were allowed"
    return ""
