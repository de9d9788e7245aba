"""What changes intensities alone. Air stays what it is in every prepared image: of one value, the least.

Images are z-scores of the head; an intensity above that of air stands for the signal that a scanner measured, of which
shading is a factor and gamma a power. Patches are (B, D, H, W) throughout.
"""

from torch import Tensor

from client.data.preprocessing import CLIP
from client.training.augmentation.draws import Parameters
from client.training.augmentation.fields import grown, normals

SHADING, NOISE = 0, 1
"""Streams of a patch's seed."""

BIAS_KNOTS = 4
"""Coefficients of a patch's shading along each axis: those of one cubic."""

TINY = 1e-6

SPACE = (1, 2, 3)


def shading(parameters: Parameters, size: int) -> Tensor:
    """The logarithm of a smooth factor, (B, size, size, size), of mean 0 in each patch."""
    coefficients = normals(parameters.flat("seed"), SHADING, BIAS_KNOTS**3).view(-1, *(BIAS_KNOTS,) * 3)
    field = grown(coefficients * parameters["bias"], size)
    return field - field.mean(SPACE, keepdim=True)


def bias(images: Tensor, parameters: Parameters) -> Tensor:
    """Shaded, as by the field of a coil (Billot et al. 2023, SynthSeg)."""
    floor = parameters["floor"]
    return _tissue((images - floor) * shading(parameters, images.shape[-1]).exp() + floor, images, parameters)


def gamma(images: Tensor, parameters: Parameters) -> Tensor:
    """The signal, as a share of the patch's brightest, to a power; the tissue's mean and deviation stay."""
    return _curved(images, parameters, parameters["gamma"], inverted=False)


def inverted_gamma(images: Tensor, parameters: Parameters) -> Tensor:
    """The same of what the signal lacks to the brightest."""
    return _curved(images, parameters, parameters["inverted"], inverted=True)


def _curved(images: Tensor, parameters: Parameters, power: Tensor, inverted: bool) -> Tensor:
    floor = parameters["floor"]
    span = (images.amax(SPACE, keepdim=True) - floor).clamp_min(TINY)
    share = ((images - floor) / span).clamp(0, 1)
    curved = 1 - (1 - share) ** power if inverted else share**power
    (mean, deviation), (its_mean, its_deviation) = (_moments(of, images, parameters) for of in (images, curved))
    return _tissue((curved - its_mean) * (deviation / its_deviation) + mean, images, parameters)


def brightness(images: Tensor, parameters: Parameters) -> Tensor:
    """Times a factor: farther from the head's mean, or nearer."""
    return _tissue(images * parameters["brightness"], images, parameters)


def contrast(images: Tensor, parameters: Parameters) -> Tensor:
    """Farther from the mean of the patch's tissue by a factor, or nearer."""
    mean, _ = _moments(images, images, parameters)
    return _tissue((images - mean) * parameters["contrast"] + mean, images, parameters)


def noise(images: Tensor, parameters: Parameters) -> Tensor:
    """With Gaussian noise on the tissue."""
    added = normals(parameters.flat("seed"), NOISE, images[0].numel()).view_as(images)
    return _tissue(images + added * parameters["noise"], images, parameters)


def _moments(values: Tensor, images: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor]:
    """Mean and deviation over each patch's tissue, (B, 1, 1, 1)."""
    tissue = images > parameters["edge"]
    count = tissue.sum(SPACE, keepdim=True).clamp_min(1)
    mean = (values * tissue).sum(SPACE, keepdim=True) / count
    variance = ((values - mean).square() * tissue).sum(SPACE, keepdim=True) / count
    return mean, variance.sqrt().clamp_min(TINY)


def _tissue(changed: Tensor, images: Tensor, parameters: Parameters) -> Tensor:
    """What was changed where there is tissue, within what a prepared image may be; the image elsewhere."""
    return changed.maximum(parameters["floor"]).clamp_max(CLIP).where(images > parameters["edge"], images)
