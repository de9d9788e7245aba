"""A finished model as a file, with which anybody can segment: weights, and how images are prepared for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from safetensors.torch import save
from torch import Tensor

from shared.config.settings import Settings
from shared.errors import ResultsError
from shared.model.network import METADATA, Described, Inference, LesionNet, load_described
from shared.paths import MODEL


@dataclass(frozen=True)
class Model:
    """A network that is ready to segment, and how to."""

    network: LesionNet
    inference: Inference


def inference_of(settings: Settings, dice_by_contrast: Mapping[str, float]) -> Inference:
    """What a run's settings say of inference, and its tests of the contrasts."""
    return Inference(
        spacing=settings.data.spacing,
        patch_size=settings.training.patch_size,
        window_overlap=settings.training.window_overlap,
        contrasts=settings.data.contrasts,
        dice_by_contrast=dict(sorted(dice_by_contrast.items())),
    )


def model_bytes(
    weights: Mapping[str, Tensor], settings: Settings, dice_by_contrast: Mapping[str, float] = MappingProxyType({})
) -> bytes:
    """The content of a model file; the same model with the same scores is the same bytes."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    described = Described(network=settings.network, inference=inference_of(settings, dice_by_contrast))
    content: bytes = save(tensors, metadata={METADATA: described.model_dump_json()})
    return content


def open_model(path: Path) -> Model:
    """The model of a results folder or of a model file, on the CPU.

    Raises `ResultsError` where there is none, or the file does not say how to segment with it.
    """
    file = _model_in(path) if path.is_dir() else path
    network, described = load_described(file)
    if described.inference is None:
        raise ResultsError(
            f"{file} is a stage's model of a journal, without all that segmenting needs: give the "
            f"{MODEL} beside the journal, which a run writes at its end"
        )
    return Model(network, described.inference)


def _model_in(folder: Path) -> Path:
    if not (folder / MODEL).is_file():
        raise ResultsError(f"{folder} holds no {MODEL}: give the folder of a run that has finished, or a model file")
    return folder / MODEL
