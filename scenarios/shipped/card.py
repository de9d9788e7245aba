"""The shipped model and its card: how it was made and what it reaches, beside its weights in this folder.

`wardround ship` writes both (scenarios/inference/ship.py). An installed package holds them; an app bundle of Flower,
which takes no weights, does not: whoever starts a run reads them and hands the model over.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import ResultsError
from shared.metrics.scores import Share
from shared.paths import MODEL

CARD = "card.json"
"""Beside the weights."""

HERE = Path(__file__).resolve().parent

NOT_SHIPPED = (
    "no model is shipped in this build of Wardround, and none was named: give a run's folder or its model file "
    "(--model MODEL, or start = MODEL)"
)

Count = Annotated[int, Field(ge=0)]


class ContrastFigures(BaseModel):
    """What a shipped model reaches on the simulated test patients of one contrast, those without lesion left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: Count
    dice: Share
    """Mean, at the threshold."""
    lesion_f1: Share
    dice_as_trained: Share
    """Mean of the model as its run left it (float32), where 0.5 of its own soft values is the threshold."""
    dice_in_float32: Share
    """Mean at the threshold, before the weights were rounded to float16."""


class ShippedCard(BaseModel):
    """How a shipped model was made, and what it reaches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    """Trains it again."""
    method: str
    hospitals: tuple[str, ...]
    """The simulated ones that it learnt from."""
    training_subjects: Count
    seed: int
    commit: str
    """Of the checkout that trained it."""
    phantoms: int
    """VERSION of the simulated patients (shared/phantoms/settings.py)."""
    versions: dict[str, str]
    """Of Python and the packages that computed."""
    settings: dict[str, str | int | float | bool]
    """All keys that decide what is computed."""
    training_seconds: Annotated[float, Field(ge=0)]
    parameters: Count
    bytes: Count
    """Of the file."""
    sha256: str
    """Of the parameters: a run that starts from it has this `start-digest`."""
    threshold: Annotated[float, Field(gt=0, lt=1)]
    """Of the trained network's soft values, from which on a voxel is lesion; in the shipped model it lies at 0.5."""
    tried: dict[str, dict[str, Share]]
    """Mean Dice by contrast at each threshold that was tried."""
    figures: dict[str, ContrastFigures]
    """By contrast."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The card in a folder. Raises `ResultsError` where it is missing or damaged."""
        path = folder / CARD
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ResultsError(f"{path} cannot be read ({error.strerror}): make it by 'wardround ship'") from None
        except ValidationError as error:
            reason = str(error).splitlines()[0]
            raise ResultsError(f"{path} is damaged ({reason}): make it by 'wardround ship'") from None

    @property
    def document(self) -> str:
        """The file: JSON that people can read."""
        return self.model_dump_json(indent=1) + "\n"


def shipped_model() -> Path:
    """The folder of the model that this installation holds. Raises `ResultsError` where it holds none."""
    if not (HERE / MODEL).is_file():
        raise ResultsError(NOT_SHIPPED)
    return HERE
