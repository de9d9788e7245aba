"""A stage's training as it is kept on disk, at the coordinator and at the hospital alike.

The folder of a visit holds the model, what the method hands on beside it, the exemplars that the
center contributed (as they travel: sealed ones stay sealed), and the document `visit.json`, which
names them all by their checksums. It appears whole or not at all.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from shared.config.groups import NetworkSettings
from shared.errors import DamagedError, MessageError
from shared.files import NEW, file_checksum, folder_whole, read_document, write_document
from shared.model.network import save_model
from shared.model.weights import State, Weights, state_bytes
from shared.replay.contribution import Contribution, Document, assemble
from shared.trust.signed_model import SignedModel
from shared.wire.headers import Header, TrainFigures
from shared.wire.messages import TrainReply, TrainRequest
from shared.wire.request_digest import request_digest

DOCUMENT, MODEL, EXEMPLARS = "visit.json", "model.safetensors", "exemplars.safetensors"
STATE = "state-{}.safetensors"
"""Name of the file with a part of the method's state."""


class Moved(Header):
    """The bytes of the messages' contents to and from centers.

    On the wire there may be fewer: an array that the other side has from an earlier message is
    sent no second time by Flower.
    """

    sent_bytes: int = Field(default=0, ge=0)
    received_bytes: int = Field(default=0, ge=0)

    def __add__(self, other: "Moved") -> "Moved":
        sent, received = self.sent_bytes + other.sent_bytes, self.received_bytes + other.received_bytes
        return Moved(sent_bytes=sent, received_bytes=received)


class Transit(Moved):
    """What it cost to ask a center to train, and to hear from it."""

    seconds: float = Field(default=0.0, ge=0)
    """Wall time beside what the center itself took."""


NO_TRANSIT = Transit()


class VisitDocument(Header):
    """What is known of a finished training, without its arrays."""

    stage: int = Field(ge=0)
    center: str
    request: str
    """Digest of what was asked for, by `request_digest`."""
    figures: TrainFigures
    signed: SignedModel | None = None
    """By whom the model was signed; None where it was averaged, and in simulation."""
    contribution: Document | None = None
    """Of the exemplars that the center contributed."""
    exemplars: int = Field(default=0, ge=0)
    """As they came; of subjects that were withdrawn since, none is left."""
    contribution_bytes: int = Field(default=0, ge=0)
    """As they came."""
    state: tuple[str, ...] = ()
    """The parts of the method's state that are there."""
    state_bytes: int = Field(default=0, ge=0)
    transit: Transit = NO_TRANSIT
    parts: dict[str, TrainFigures] = Field(default_factory=dict)
    """Figures by center, where the model is an average."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each file beside the document."""


@dataclass(frozen=True)
class KeptVisit:
    """A visit in its folder, checked to be whole when it was opened."""

    folder: Path
    visit: VisitDocument

    def weights(self) -> Weights:
        """The model as it was after the training."""
        return self._tensors(MODEL)

    def state(self) -> State:
        """What the method handed on beside the model. Raises `DamagedError`."""
        return {part: self._tensors(STATE.format(part)) for part in self.visit.state}

    def _tensors(self, name: str) -> Weights:
        try:
            return dict(load_tensors(self.folder / name))
        except (OSError, SafetensorError) as error:
            raise DamagedError(f"{self.folder / name} cannot be read ({error})") from None

    def contribution(self) -> Contribution | None:
        """What the center contributed to the memory, as far as it is still there."""
        if self.visit.contribution is None:
            return None
        path = self.folder / self._exemplars
        try:
            return assemble(self.visit.contribution, load_arrays(path) if self._exemplars else {})
        except (OSError, SafetensorError, MessageError) as error:
            raise DamagedError(f"{path} cannot be read ({error})") from None

    @property
    def _exemplars(self) -> str:
        """Name of the file with the exemplars' payloads; empty where there is none."""
        return next((name for name in self.visit.files if name.endswith(EXEMPLARS)), "")

    def without(self, subjects: Collection[str]) -> "KeptVisit":
        """Delete from the folder what the subjects (pseudonyms) contributed. Raises `OSError`, `DamagedError`.

        The new file is there before the document names it, and the old one goes after that.
        """
        given = self.contribution()
        if given is None or not set(given.subjects) & set(subjects):
            return self
        left, old = given.without(subjects), self._exemplars
        files = {name: checksum for name, checksum in self.visit.files.items() if name != old}
        if left.payloads:
            new = self.folder / f"{len(left.payloads)}-{EXEMPLARS}"
            save_arrays(dict(left.payloads), self.folder / f"{NEW}{EXEMPLARS}")
            (self.folder / f"{NEW}{EXEMPLARS}").replace(new)
            files[new.name] = file_checksum(new)
        document = left.document if left.payloads else None
        visit = self.visit.model_copy(update={"contribution": document, "files": files})
        write_document(self.folder / DOCUMENT, visit.model_dump(mode="json"))
        (self.folder / old).unlink(missing_ok=True)
        return KeptVisit(self.folder, visit)

    def reply(self) -> TrainReply:
        """The center's reply, as it came or is to be sent."""
        return TrainReply(self.weights(), self.contribution(), self.visit.figures, self.state(), self.visit.signed)


def keep_visit(
    folder: Path,
    request: TrainRequest,
    reply: TrainReply,
    network: NetworkSettings,
    transit: Transit = NO_TRANSIT,
    parts: Mapping[str, TrainFigures] | None = None,
) -> KeptVisit:
    """Write a training's outcome into the new folder `folder`. Raises `OSError` where the disk refuses."""
    given = reply.contribution
    with folder_whole(folder) as new:
        try:
            save_model(new / MODEL, reply.weights, network)
            for part, arrays in reply.state.items():
                save_tensors({name: value.contiguous() for name, value in arrays.items()}, new / STATE.format(part))
            if given is not None and given.payloads:
                save_arrays(dict(given.payloads), new / EXEMPLARS)
        except SafetensorError as error:
            raise OSError(None, str(error), str(new)) from None
        visit = VisitDocument(
            stage=request.task.stage,
            center=request.task.center,
            request=request_digest(request),
            figures=reply.figures,
            signed=reply.signed,
            contribution=None if given is None else given.document,
            exemplars=0 if given is None else len(given.subjects),
            contribution_bytes=0 if given is None else given.nbytes,
            state=tuple(reply.state),
            state_bytes=state_bytes(reply.state),
            transit=transit,
            parts=dict(parts or {}),
            files={path.name: file_checksum(path) for path in new.iterdir()},
        )
        write_document(new / DOCUMENT, visit.model_dump(mode="json"))
    return KeptVisit(folder, visit)


def read_visit(folder: Path) -> VisitDocument:
    """What is known of a visit that was kept, whatever became of its other files. Raises `DamagedError`."""
    try:
        return VisitDocument.model_validate_json(json.dumps(read_document(folder / DOCUMENT)))
    except FileNotFoundError:
        raise DamagedError(f"{folder / DOCUMENT} is missing") from None
    except ValidationError as error:
        raise DamagedError(f"{folder / DOCUMENT} is damaged ({error.errors()[0]['msg']})") from None


def open_visit(folder: Path) -> KeptVisit:
    """A visit that was kept. Raises `DamagedError` naming the file that is missing or changed."""
    visit = read_visit(folder)
    for name, expected in visit.files.items():
        path = folder / name
        try:
            found = file_checksum(path)
        except OSError as error:
            raise DamagedError(f"{path} cannot be read ({error.strerror})") from None
        if found != expected:
            raise DamagedError(f"{path} is damaged (it does not match its checksum)")
    return KeptVisit(folder, visit)
