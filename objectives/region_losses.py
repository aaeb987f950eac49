"""Loss terms of segmented volumes that are ratios: how well what is said and what is true cover each other.

Each is worked out row by row, from 0 for full agreement to 1, and summed over the rows, so that any two batches can be
added: (sum of the losses, number of rows with a labelled voxel). A row without a labelled voxel adds 0 to both. Voxels
that are not labelled add nothing, in value and in gradient, whatever the network said there; where a term looks at
neighbours they are as outside the volume (`objectives.soft_morphology`). The terms work in float32 or better, whatever
the type of the logits, and run under `torch.func.vmap`, over rows and over lanes.

Every ratio is smoothed by 1 above and below: nothing said where there is nothing is full agreement. The size of 1 is
small beside the hundreds of voxels of a window, and large enough for a finite slope where there are none.

Shape legend: `row` any leading dimensions, `depth, line, column` the last three. Common arguments are `logits`, float
`[row, depth, line, column]`, of foreground; and `target`, int64 of the same shape: 1 foreground, 0 background, -1 = not
labelled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hpo.objective import Term
from objectives.soft_morphology import AXES, contour, neighbours, skeleton, widened


def dice(logits: Tensor, target: Tensor) -> Term:
    """Soft Dice loss (Milletari et al. 2016, V-Net), with plain sums below as in Drozdzal et al. 2016.

    `1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1)`.
    """
    p, t, labelled = _masked(logits, target)
    return _over_rows(_dice_loss(_total(p * t), _total(p) + _total(t)), labelled)


def connectivity(logits: Tensor, target: Tensor) -> Term:
    """Soft Dice loss of the affinities of neighbours: are two voxels that touch both foreground?

    What is said of a pair is `p_i p_j`, what is true `t_i t_j`, over all pairs of labelled voxels along the three axes.
    Affinities as the target of a segmentation are those of Turaga et al. 2010 and Funke et al. 2018; ConnNet
    (Kampffmeyer et al. 2018) predicts them on their own, here they follow from the voxels. A voxel taken out of a sheet
    costs every pair it is in, so that a hole inside costs more than as many voxels missing at the rim; but pairs are
    local, and whether a hole parts two pieces makes no difference to them.
    """
    p, t, labelled = _masked(logits, target)
    both, each = torch.zeros_like(_total(p)), torch.zeros_like(_total(p))
    for axis in AXES:
        said, true = (torch.mul(*neighbours(x, axis)) for x in (p, t))
        both, each = both + _total(said * true), each + _total(said) + _total(true)
    return _over_rows(_dice_loss(both, each), labelled)


def boundary(logits: Tensor, target: Tensor, tolerance: int = 1) -> Term:
    """1 - the F1 score of the boundary (Bokhovkin and Burnaev 2019, with theta 0 = 3, in three dimensions).

    Precision is the share of the boundary said that lies near the true one, recall the share of the true one with a
    boundary said near it. A predictor that says the same everywhere has no boundary, and a loss near 1. A boundary has
    no side: foreground and background exchanged cost nothing, so that another term must stand beside this one.

    Chosen over Kervadec et al. 2019, whose loss is a mean of distances: it has no bound to weigh it by, and needs a
    distance map of every window.

    Args:
        logits: see the module.
        target: see the module.
        tolerance: how many voxels away along each axis is near; theta is `2 tolerance + 1`. The authors allow theta no
            more than the distance of neighbouring segments. In sheets 2 or 3 voxels thick 1 is all there is room for:
            a theta of 5 takes one face for the other, and most of the volume lies near some boundary.
    """
    p, t, labelled = _masked(logits, target)
    said, true = contour(p, labelled), contour(t, labelled)
    precision = _smoothed(_total(said * widened(true, tolerance)), _total(said))
    recall = _smoothed(_total(true * widened(said, tolerance)), _total(true))
    return _over_rows(_f1_loss(precision, recall), labelled)


def cldice(logits: Tensor, target: Tensor, steps: int = 3) -> Term:
    """1 - soft clDice (Shit et al. 2021, algorithm 2): do the skeleton of each lie in the volume of the other?

    Topology precision is the share of the skeleton said that is truly foreground, topology sensitivity the share of the
    true skeleton said to be foreground. Sheets said too thick keep their skeleton: as in the paper, Dice must stand
    beside this term.

    Unlike in the authors' code, a skeleton that is empty, or nearly, is judged by the voxels: the 1 above becomes their
    precision, or recall. With the plain 1 an empty skeleton is perfectly precise, and to say foreground everywhere,
    which has none, costs nothing; here it costs what it costs in Dice.

    Args:
        logits: see the module.
        target: see the module.
        steps: erosions, see `skeleton`; 3 follow sheets up to 8 voxels thick.
    """
    p, t, labelled = _masked(logits, target)
    said, true = skeleton(p, labelled, steps), skeleton(t, labelled, steps)
    both = _total(p * t)
    precision = _smoothed(_total(said * t), _total(said), _smoothed(both, _total(p)))
    sensitivity = _smoothed(_total(true * p), _total(true), _smoothed(both, _total(t)))
    return _over_rows(_f1_loss(precision, sensitivity), labelled)


def _masked(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Probability, truth and whether labelled, of one float type; the first two 0 where a voxel is not labelled."""
    known = target >= 0
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    labelled = known.to(logits.dtype)
    # masked before the sigmoid, since NaN times 0 is NaN, in value and in gradient
    p = torch.sigmoid(torch.where(known, logits, torch.zeros_like(logits))) * labelled
    return p, target.to(logits.dtype) * labelled, labelled


def _total(x: Tensor) -> Tensor:
    return x.sum(AXES)


def _smoothed(part: Tensor, whole: Tensor, where_empty: float | Tensor = 1.0) -> Tensor:
    return (part + where_empty) / (whole + 1)


def _dice_loss(both: Tensor, each: Tensor) -> Tensor:
    return 1 - _smoothed(2 * both, each)


def _f1_loss(precision: Tensor, recall: Tensor) -> Tensor:
    return 1 - 2 * precision * recall / (precision + recall)


def _over_rows(loss: Tensor, labelled: Tensor) -> Term:
    return loss.sum(), labelled.amax(AXES).sum()
