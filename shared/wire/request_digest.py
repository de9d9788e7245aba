"""What a request asks for, in one number: by it a repeated request is told from another one."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from shared.model.weights import State, digest_of, model_digest
from shared.replay.contribution import Contribution, PlainContribution
from shared.wire.headers import TOLD
from shared.wire.messages import EvaluateRequest, TrainRequest


@dataclass(frozen=True)
class Asked:
    """A request, as far as another one can be compared with it."""

    request: str
    """Digest of all that is asked for."""
    task: str
    """Digest of all but the memory."""
    crops: tuple[str, ...] = ()
    """A digest of each exemplar of the memory that is there, in its order."""

    @classmethod
    def of(cls, request: TrainRequest | EvaluateRequest) -> "Asked":
        """What a request asks for."""
        digest = _task_digest(request)
        task = digest.hexdigest()
        if isinstance(request, EvaluateRequest):
            return cls(task, task)
        return cls(_with_memory(digest, request), task, tuple(crop for c in request.memory for crop in _crops(c)))

    def again(self, earlier_task: str, earlier_crops: Iterable[str]) -> bool:
        """Whether this asks for the same as an earlier request, but for exemplars that were dropped since.

        The coordinator drops those that were withdrawn or have expired; the others keep their order.
        """
        left = iter(earlier_crops)
        return self.task == earlier_task and all(crop in left for crop in self.crops)


def request_digest(request: TrainRequest) -> str:
    """SHA-256 over all that a train request asks for: task, model, state and memory.

    Not over what it tells: which withdrawals were heard, and of which log.
    """
    return _with_memory(_task_digest(request), request)


def _task_digest(request: TrainRequest | EvaluateRequest) -> "hashlib._Hash":
    state: State = request.state if isinstance(request, TrainRequest) else {}
    digest = hashlib.sha256(request.task.model_dump_json(exclude=set(TOLD)).encode())
    digest.update(f"{model_digest(request.weights)} {digest_of(state)}".encode())
    return digest


def _with_memory(digest: "hashlib._Hash", request: TrainRequest) -> str:
    for contribution in request.memory:
        digest.update(contribution.document.model_dump_json().encode())
        digest.update("".join(sorted(contribution.payloads)).encode())
    return digest.hexdigest()


def _crops(given: Contribution) -> Iterable[str]:
    """What is dropped from a sealed contribution leaves its manifest as it was; a plain one is another then."""
    if isinstance(given, PlainContribution):
        return [hashlib.sha256(one.provenance.model_dump_json().encode()).hexdigest() for one in given.exemplars]
    whole = given.document.model_dump_json()
    return [hashlib.sha256(f"{whole} {entry.checksum}".encode()).hexdigest() for entry in given.present]
