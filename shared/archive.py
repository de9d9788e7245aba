"""A stage's training as it is kept on disk, at the coordinator and at the hospital alike.

The folder of a visit holds the model, the exemplars that the center contributed, and the
document `visit.json`, which names both by their checksums. It appears whole or not at all.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file as load_tensors

from shared.durable import file_checksum, folder_whole, read_document, write_document
from shared.errors import DamagedError
from shared.memory import Exemplar, Provenance
from shared.messages import Header, TrainFigures, TrainReply, TrainRequest
from shared.network import Weights, save_model
from shared.settings import NetworkSettings

DOCUMENT, MODEL, EXEMPLARS = "visit.json", "model.safetensors", "exemplars.safetensors"


class Visit(Header):
    """What is known of a finished training, without its arrays."""

    stage: int = Field(ge=0)
    center: str
    request: str
    """Digest of what was asked for, by `request_digest`."""
    figures: TrainFigures
    manifest: tuple[Provenance, ...]
    """Of the exemplars that the center contributed."""
    contribution_bytes: int = Field(ge=0)
    transit_seconds: float = Field(default=0.0, ge=0)
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each file beside the document."""


@dataclass(frozen=True)
class KeptVisit:
    """A visit in its folder, checked to be whole when it was opened."""

    folder: Path
    visit: Visit

    def weights(self) -> Weights:
        """The model as it was after the training."""
        try:
            return dict(load_tensors(self.folder / MODEL))
        except (OSError, SafetensorError) as error:
            raise DamagedError(f"{self.folder / MODEL} cannot be read ({error})") from None

    def exemplars(self) -> tuple[Exemplar, ...]:
        """What the center contributed to the memory."""
        if not self.visit.manifest:
            return ()
        try:
            payloads = load_arrays(self.folder / EXEMPLARS)
            return tuple(Exemplar(p, payloads[p.checksum]) for p in self.visit.manifest)
        except (OSError, SafetensorError, KeyError) as error:
            raise DamagedError(f"{self.folder / EXEMPLARS} cannot be read ({error})") from None

    def reply(self) -> TrainReply:
        """The center's reply, as it came or is to be sent."""
        return TrainReply(self.weights(), self.exemplars(), self.visit.figures)


def request_digest(request: TrainRequest) -> str:
    """SHA-256 over all that a train request asks for: task, model and memory."""
    digest = hashlib.sha256(request.task.model_dump_json().encode())
    for name, value in sorted(request.weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    for exemplar in request.memory.exemplars:
        digest.update(exemplar.provenance.checksum.encode())
    return digest.hexdigest()


def keep_visit(
    folder: Path, request: TrainRequest, reply: TrainReply, network: NetworkSettings, transit_seconds: float = 0.0
) -> KeptVisit:
    """Write a training's outcome into the new folder `folder`. Raises `OSError` where the disk refuses."""
    with folder_whole(folder) as new:
        try:
            save_model(new / MODEL, reply.weights, network)
            if reply.contribution:
                save_arrays({e.provenance.checksum: e.payload for e in reply.contribution}, new / EXEMPLARS)
        except SafetensorError as error:
            raise OSError(None, str(error), str(new)) from None
        visit = Visit(
            stage=request.task.stage,
            center=request.task.center,
            request=request_digest(request),
            figures=reply.figures,
            manifest=tuple(e.provenance for e in reply.contribution),
            contribution_bytes=sum(e.payload.nbytes for e in reply.contribution),
            transit_seconds=transit_seconds,
            files={path.name: file_checksum(path) for path in new.iterdir()},
        )
        write_document(new / DOCUMENT, visit.model_dump(mode="json"))
    return KeptVisit(folder, visit)


def open_visit(folder: Path) -> KeptVisit:
    """A visit that was kept. Raises `DamagedError` naming the file that is missing or changed."""
    try:
        visit = Visit.model_validate(read_document(folder / DOCUMENT))
    except FileNotFoundError:
        raise DamagedError(f"{folder / DOCUMENT} is missing") from None
    except ValidationError as error:
        raise DamagedError(f"{folder / DOCUMENT} is damaged ({error.errors()[0]['msg']})") from None
    for name, expected in visit.files.items():
        path = folder / name
        try:
            found = file_checksum(path)
        except OSError as error:
            raise DamagedError(f"{path} cannot be read ({error.strerror})") from None
        if found != expected:
            raise DamagedError(f"{path} is damaged (it does not match its checksum)")
    return KeptVisit(folder, visit)
