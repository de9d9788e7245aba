"""How the command line started a run, noted in its results folder."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from scenarios.run_config import Value
from shared.errors import DamagedError, ResultsError
from shared.files import read_document, write_document
from shared.paths import LAUNCH


class HowLaunched(BaseModel):
    """How the command line started a run; it goes on in the same way, so that it rounds alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_config: dict[str, Value]
    supernodes: int | None = None
    """Simulated ones; none: one a center, and one an evaluator."""
    cpus: int = 2
    gpus: float | None = None
    """None: one where CUDA is there."""
    cores: int | None = None
    """Of all simulated hospitals together; none: the machine's."""
    superlink: str | None = None
    """A connection of Flower's configuration; none: a SuperLink of our own, with simulated hospitals."""
    coordinator: str | None = None
    """The folder that holds that configuration; none: the user's own."""

    def save(self, folder: Path) -> None:
        """Note it in the results folder. Raises `ResultsError`."""
        try:
            write_document(folder / LAUNCH, self.model_dump())
        except OSError as error:
            raise ResultsError(
                f"results folder {folder} cannot be written ({error.strerror or error}): choose another folder"
            ) from None

    @classmethod
    def load(cls, folder: Path) -> "HowLaunched | None":
        """What was noted in a results folder, or nothing where Flower's own command started the run."""
        try:
            return cls.model_validate(read_document(folder / LAUNCH))
        except FileNotFoundError:
            return None
        except (DamagedError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise ResultsError(
                f"{folder / LAUNCH} cannot be used ({reason}): delete it, then defaults are used"
            ) from None
