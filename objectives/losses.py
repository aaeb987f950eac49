"""Loss terms as (sum, count) pairs, so that any two batches can be added before anyone divides.

With class weights the count is the sum of the weights, so that the mean is the weighted mean, as in torch.

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


def focal_cross_entropy(
    logits: Tensor,
    target: Tensor,
    gamma: Strength = 0.0,
    label_smoothing: Strength = 0.0,
    class_weights: Tensor | None = None,
) -> Term:
    """Focal loss over exclusive classes (Lin et al. 2017, equation 5, whose alpha is here a weight per class).

    The cross entropy against the smoothed target, times `(1 - p)^gamma` of the true class. Gamma 0 is exactly
    `torch.nn.CrossEntropyLoss(weight=class_weights, label_smoothing=...)`.

    Args:
        logits: float `[..., class]`.
        target: int64 `[...]`; -1 = not labelled.
        gamma: 0 or more; how much easy rows are discounted.
        label_smoothing: 0 to below 1; share of the target spread evenly over all classes.
        class_weights: `[class]`, 0 or more (see `objectives.class_weights`); None weighs all by 1.

    Returns:
        Sum over the labelled entries, and the sum of the weights of their classes: their number without weights.
    """
    labelled = target >= 0
    classes = logits.shape[-1]
    weights = logits.new_ones(classes) if class_weights is None else class_weights.to(logits.dtype)
    logits = torch.where(labelled[..., None], logits, torch.zeros_like(logits))
    log_p = F.log_softmax(logits, dim=-1)
    index = target.clamp_min(0)[..., None]
    true = log_p.gather(-1, index).squeeze(-1)
    weight = weights.expand_as(log_p).gather(-1, index).squeeze(-1)
    cross_entropy = -(1 - label_smoothing) * weight * true - label_smoothing * (weights * log_p).mean(-1)
    loss = _modulation(-torch.expm1(true), gamma) * cross_entropy
    return _masked_sum(loss, labelled, weight)


def binary_focal(
    logits: Tensor,
    target: Tensor,
    gamma: Strength = 0.0,
    alpha: Strength | None = None,
    label_smoothing: Strength = 0.0,
    class_weights: Tensor | None = None,
) -> Term:
    """Focal loss of yes/no questions (Lin et al. 2017, equation 5), as `torchvision.ops.sigmoid_focal_loss`.

    Args:
        logits: float `[...]`.
        target: 0 or 1, `[...]`, of any dtype; below 0 or NaN = not labelled.
        gamma: 0 or more; 0 is the plain binary cross entropy.
        alpha: factor of the yes, 1 - alpha of the no, in the sum alone; None leaves both at 1. In torchvision's
            convention it weighs the positive class: where foreground is the yes and two thirds of a volume, 0.34
            leaves background, the minority, the weight of 0.66.
        label_smoothing: 0 to below 1; moves the targets to `label_smoothing / 2` and 1 minus that.
        class_weights: of no and yes, `[2]`, or `[2, question]` where the last dimension of `logits` is the question;
            they weigh sum and count. None weighs both by 1.

    Returns:
        Sum over the labelled entries, and the sum of their weights: their number without `class_weights`.
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
    weight = torch.ones_like(loss)
    if class_weights is not None:
        no, yes = class_weights.to(loss.dtype)
        weight = yes * truth + no * (1 - truth)
    return _masked_sum(weight * loss, labelled, weight)


def smooth_l1(
    prediction: Tensor,
    target: Tensor,
    beta: float = 1.0,
    weights: Tensor | None = None,
    gamma: Strength = 0.0,
) -> Term:
    """Smooth L1 (Girshick 2015, equation 3), as `torch.nn.SmoothL1Loss`.

    Args:
        prediction: float `[...]`.
        target: float `[...]`; NaN = not labelled.
        beta: where the square turns into the absolute value, in the unit of the arguments.
        weights: of the entries, a shape that broadcasts to theirs; None weighs all by 1.
        gamma: 0 or more; how much small errors are discounted, by the factor `(2 sigmoid(|error|) - 1)^gamma` (Focal-R
            of Yang et al. 2021, "Delving into deep imbalanced regression", section 4, with their beta at 1 and the
            error in the unit of the arguments). 0 discounts nothing.

    Returns:
        Sum over the labelled entries, and the sum of their weights: their number without.
    """
    labelled = torch.isfinite(target)
    zeros = torch.zeros_like(prediction)
    prediction = torch.where(labelled, prediction, zeros)
    target = torch.where(labelled, target.to(prediction.dtype), zeros)
    loss = F.smooth_l1_loss(prediction, target, reduction="none", beta=beta)
    weight = torch.ones_like(loss) if weights is None else weights.to(loss.dtype).expand_as(loss)
    # 2 sigmoid(x) - 1 is tanh(x / 2)
    return _masked_sum(
        weight * _modulation(torch.tanh((prediction - target).abs() / 2), gamma) * loss, labelled, weight
    )


def truncated_smoothness(logits: Tensor, valid: Tensor, most: float = 4.0) -> Term:
    """How much what is said of a frame differs from the frame before (Farha and Gall 2019, equations 9 to 11).

    The mean over the classes of the squared step of the log-probability, steps above `most` counted as `most`: a real
    change of action costs so much and no more. As there, the frame before is taken as given and has no gradient.

    Args:
        logits: float `[..., time, class]`.
        valid: bool `[..., time]`; a pair of frames counts where both do.
        most: the truncation.

    Returns:
        Sum over the pairs of neighbouring frames that count, and their number.
    """
    log_p = F.log_softmax(torch.where(valid[..., None], logits, torch.zeros_like(logits)), dim=-1)
    step = (log_p[..., 1:, :] - log_p[..., :-1, :].detach()).abs().clamp_max(most)
    loss = (step**2).mean(-1)
    return _masked_sum(loss, valid[..., 1:] & valid[..., :-1], torch.ones_like(loss))


def _modulation(wrong: Tensor, gamma: Strength) -> Tensor:
    """`wrong^gamma` with a finite slope everywhere; exactly 1 for gamma 0."""
    return wrong.clamp_min(EPSILON) ** gamma


def _masked_sum(loss: Tensor, labelled: Tensor, weight: Tensor) -> Term:
    nothing = torch.zeros_like(loss)
    return torch.where(labelled, loss, nothing).sum(), torch.where(labelled, weight, nothing).sum()
