"""Loss terms as (sum, count) pairs, so that any two batches can be added before anyone divides.

Shape legend: `...` any leading dimensions (rows, frames, voxels), `class` the last one. Strengths (`gamma`,
`label_smoothing`) may be Python numbers or 0-d tensors: they are only used in arithmetic, and no shape depends on a
value, so that everything here runs under `torch.func.vmap`. A missing label is masked: it adds 0 to both parts of the
pair, in value and in gradient, whatever the network said there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hpo.objective import Term

#: Smallest 1 - p that focal losses raise to a power: below 1 the power has no finite slope at 0.
EPSILON = 1e-6

#: A Python number in a plain run, a 0-d tensor in a lane.
Strength = float | Tensor


def focal_cross_entropy(logits: Tensor, target: Tensor, gamma: Strength = 0.0, label_smoothing: Strength = 0.0) -> Term:
    """Focal loss over exclusive classes (Lin et al. 2017, equation 4, without alpha).

    The cross entropy against the smoothed target, times `(1 - p)^gamma` of the true class. Gamma 0 is exactly
    `torch.nn.CrossEntropyLoss(label_smoothing=...)`.

    Args:
        logits: float `[..., class]`.
        target: int64 `[...]`; -1 = not labelled.
        gamma: 0 or more; how much easy rows are discounted.
        label_smoothing: 0 to below 1; share of the target spread evenly over all classes.

    Returns:
        Sum over the labelled entries, and their number.
    """
    labelled = target >= 0
    logits = torch.where(labelled[..., None], logits, torch.zeros_like(logits))
    log_p = F.log_softmax(logits, dim=-1)
    true = log_p.gather(-1, target.clamp_min(0)[..., None]).squeeze(-1)
    cross_entropy = -(1 - label_smoothing) * true - label_smoothing * log_p.mean(-1)
    loss = _modulation(-torch.expm1(true), gamma) * cross_entropy
    return _masked_sum(loss, labelled)


def binary_focal(
    logits: Tensor,
    target: Tensor,
    gamma: Strength = 0.0,
    alpha: Strength | None = None,
    label_smoothing: Strength = 0.0,
) -> Term:
    """Focal loss of a yes/no question (Lin et al. 2017, equation 5), as `torchvision.ops.sigmoid_focal_loss`.

    Args:
        logits: float `[...]`.
        target: 0 or 1, `[...]`, of any dtype; below 0 or NaN = not labelled.
        gamma: 0 or more; 0 is the plain binary cross entropy.
        alpha: weight of the yes, 1 - alpha of the no; None weighs both by 1.
        label_smoothing: 0 to below 1; moves the targets to `label_smoothing / 2` and 1 minus that.

    Returns:
        Sum over the labelled entries, and their number.
    """
    labelled = target >= 0  # False for NaN
    logits = torch.where(labelled, logits, torch.zeros_like(logits))
    truth = torch.where(labelled, target, torch.zeros_like(target)).to(logits.dtype)
    smooth = truth * (1 - label_smoothing) + 0.5 * label_smoothing
    cross_entropy = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
    wrong = torch.sigmoid(logits) * (1 - truth) + torch.sigmoid(-logits) * truth
    loss = _modulation(wrong, gamma) * cross_entropy
    if alpha is not None:
        loss = loss * (alpha * truth + (1 - alpha) * (1 - truth))
    return _masked_sum(loss, labelled)


def smooth_l1(prediction: Tensor, target: Tensor, beta: float = 1.0) -> Term:
    """Smooth L1 (Girshick 2015, equation 3), as `torch.nn.SmoothL1Loss`.

    Args:
        prediction: float `[...]`.
        target: float `[...]`; NaN = not labelled.
        beta: where the square turns into the absolute value, in the unit of the arguments.

    Returns:
        Sum over the labelled entries, and their number.
    """
    labelled = torch.isfinite(target)
    zeros = torch.zeros_like(prediction)
    prediction = torch.where(labelled, prediction, zeros)
    target = torch.where(labelled, target.to(prediction.dtype), zeros)
    return _masked_sum(F.smooth_l1_loss(prediction, target, reduction="none", beta=beta), labelled)


def _modulation(wrong: Tensor, gamma: Strength) -> Tensor:
    """`wrong^gamma` with a finite slope everywhere; exactly 1 for gamma 0."""
    return wrong.clamp_min(EPSILON) ** gamma


def _masked_sum(loss: Tensor, labelled: Tensor) -> Term:
    return torch.where(labelled, loss, torch.zeros_like(loss)).sum(), labelled.to(loss.dtype).sum()
