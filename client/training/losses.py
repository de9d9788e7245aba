"""What each step of a training computes: the network's scores for a batch, and their loss."""

from monai.losses.dice import DiceLoss
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from client.training.methods.base import Method
from client.training.sampler import Batch
from shared.config.groups import DiceOver, Loss, TrainingSettings
from shared.model.network import LesionNet, scores_of, soft_segmentation

# Smoothed by 1, so that a patch without lesion is defined.
_dice: dict[DiceOver, DiceLoss] = {
    "batch": DiceLoss(batch=True, smooth_nr=1.0, smooth_dr=1.0),
    "patch": DiceLoss(batch=False, smooth_nr=1.0, smooth_dr=1.0),
}
_squared_dice = DiceLoss(batch=True, squared_pred=True, smooth_nr=1.0, smooth_dr=1.0)


def loss_of(
    network: LesionNet,
    scores: Tensor,
    labels: Tensor,
    kind: Loss = "dice",
    over: DiceOver = "batch",
    lesion_weight: float = 0.0,
) -> Tensor:
    """The loss of the network's scores against soft labels, both (B, 1, D, H, W).

    In the cross-entropy, -[(1 + w) y log p + (1 - y) log(1 - p)], lesions count by 1 + `lesion_weight`.
    """
    loss: Tensor = _dice[over](soft_segmentation(scores, network.settings.activation), labels)
    if kind == "dice":
        return loss
    weight = scores.new_full((), 1 + lesion_weight) if lesion_weight else None
    return loss + binary_cross_entropy_with_logits(scores, labels, pos_weight=weight)


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Between two soft segmentations of one shape, over all of their voxels; in [0, 1), zero where they agree.

    sum (p - q)^2 / (sum p^2 + sum q^2 + 1), the Dice loss with squares in its denominator (Milletari et al. 2016).
    """
    apart: Tensor = _squared_dice(one, other)
    return apart


def cost(network: LesionNet, method: Method, batch: Batch, options: TrainingSettings) -> Tensor:
    """The loss of a batch with the method's penalty, whose gradients are then the network's."""
    scores = scores_of(network, batch.images)
    loss = loss_of(network, scores, batch.labels, options.loss, options.dice_over, options.lesion_weight)
    penalty = method.penalty(network, batch, scores)
    if penalty is not None:
        loss = loss + penalty
    loss.backward()  # type: ignore[no-untyped-call]
    method.adjust_gradients(network, batch)
    return loss.detach()
