"""Scores of one whole volume: overlap, thin structure, surfaces, instances, topology, and the competition's of them.

The competition is Kaggle's "Vesuvius Challenge - Surface Detection" (2025). Its score is

    0.30 TopoScore + 0.35 SurfaceDice@2 + 0.35 VOI_score,

as its package `topometrics` computes it. `surface_dice@2` and `voi` are that package's numbers. `topology` differs
from it in one place, the number of tunnels that match, where it is an upper bound (`objectives.surface.topology` says
why). So `competition` is one too: by at most 0.10 where components, tunnels and cavities occur, 0.15 where tunnels and
one other kind do, and 0.30 where tunnels alone do.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from scipy import ndimage
from skimage.morphology import skeletonize

from objectives.surface.instances import instance_scores
from objectives.surface.surface_dice import surface_dice
from objectives.surface.topology import topology_score

#: Distances at which surface Dice is scored, in voxels; the competition's is the last.
TOLERANCES = (1, 2)

#: Voxels of the largest volume that is thinned as a whole, and edge of the blocks that are thinned of a larger one.
LARGEST, BLOCK = 128**3, 64

#: Weights of the competition's score.
COMPETITION = {"topology": 0.30, f"surface_dice@{TOLERANCES[-1]}": 0.35, "voi": 0.35}


def volume_scores(prediction: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """Score the prediction of one volume.

    Voxels that are not valid are background in both masks before anything is computed, as in the competition. All
    scores but `component_error` are better when larger and lie between 0 and 1. A score that cannot be computed is
    left out: `dice`, `iou`, `cldice` and `boundary_f1` where both masks are empty, `component_error` where the truth
    is; everything where no voxel is valid.

    Beware: the competition gives an empty prediction 0 for its surface, yet 1 for `voi` where the truth is a single
    component, and 1 for `topology` where that has no tunnel and no cavity: 0.65 in all.

    A volume of 32 x 32 x 64 takes some 40 ms, one of 512 x 512 x 128 some 15 s and 0.5 GiB of memory. There `cldice` is
    that of eight blocks: to thin all of it would take a minute or three, the longer the noisier a mask, every epoch.

    Args:
        prediction: bool `[z, y, x]`, True = foreground.
        truth: bool of the same shape.
        valid: bool of the same shape; False = ignored.

    Returns:
        `dice`, `iou`, `cldice`, `surface_dice@1`, `surface_dice@2`, `boundary_f1`, `component_error`, `voi`,
        `topology`, `competition`.
    """
    if not valid.any():
        return {}
    predicted, true = prediction & valid, truth & valid
    near = surface_dice(predicted, true, TOLERANCES)
    scores = {
        **_overlap(predicted, true),
        **{f"surface_dice@{distance}": score for distance, score in zip(TOLERANCES, near, strict=True)},
        **instance_scores(predicted, true),
        "topology": topology_score(predicted, true),
    }
    return {**scores, "competition": math.fsum(weight * scores[name] for name, weight in COMPETITION.items())}


def _overlap(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The scores that both masks empty leave undefined."""
    either, both = int(np.count_nonzero(prediction | truth)), int(np.count_nonzero(prediction & truth))
    if not either:
        return {}
    scores = {"dice": 2 * both / (either + both), "iou": both / either}
    scores |= {"cldice": cldice(prediction, truth), "boundary_f1": boundary_f1(prediction, truth)}
    return {name: value for name, value in scores.items() if not math.isnan(value)}


def cldice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Harmonic mean of the shares of each mask's skeleton that lie in the other mask (Shit et al. 2021, section 3).

    Of a volume of more than LARGEST voxels, those of eight blocks spread over it, each thinned by itself: an estimate.

    The skeleton is scikit-image's, thinned after Lee et al. 1994 with 26-connectivity: a sheet thins to the curves
    that keep its holes and its arms, not to a sheet. It erases a block whose edges are even; a mask of which it leaves
    nothing stands for its own skeleton.

    Args:
        prediction: bool `[z, y, x]`.
        truth: bool of the same shape; at least one of the masks has foreground.

    Returns:
        0 where exactly one of them has, NaN where the blocks of a large volume hold nothing of either.
    """
    if not prediction.any() or not truth.any():
        return 0.0
    inside = np.zeros((2, 2), np.int64)  # of the skeletons of prediction and truth: voxels in the other mask, all
    for block in _blocks(prediction.shape):
        masks = prediction[block], truth[block]
        for count, mask, other in zip(inside, masks, reversed(masks), strict=True):
            thinned = skeletonize(mask, method="lee")
            thinned = thinned if thinned.any() else mask
            count += np.count_nonzero(thinned & other), np.count_nonzero(thinned)
    if not inside[:, 1].any():
        return math.nan
    if not inside[:, 1].all():
        return 0.0
    return _harmonic(*(inside[:, 0] / inside[:, 1]).tolist())


def _blocks(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """What is thinned of a volume: all of it; of one larger than LARGEST eight blocks, a quarter from its ends."""
    if math.prod(shape) <= LARGEST:
        return [tuple(slice(size) for size in shape)]
    corners = [sorted({int(size * at) for at in (0.25, 0.75)}) for size in shape]
    return [tuple(slice(max(0, at - BLOCK // 2), at + BLOCK // 2) for at in middle) for middle in product(*corners)]


def boundary_f1(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Harmonic mean of precision and recall of boundary voxels (Csurka et al. 2013, section 3, in three dimensions).

    The boundary of a mask is the voxels of it that share a face with one outside it, beyond the volume included.
    Precision is the share of predicted boundary voxels within a distance of 1 voxel of a true one, recall the share
    of true ones within that distance of a predicted one.

    Args:
        prediction: bool `[z, y, x]`.
        truth: bool of the same shape; at least one of the masks has foreground.

    Returns:
        0 where exactly one of them has.
    """
    if not prediction.any() or not truth.any():
        return 0.0
    found, true = _boundary(prediction), _boundary(truth)
    return _harmonic(_share(found, ndimage.binary_dilation(true)), _share(true, ndimage.binary_dilation(found)))


def _boundary(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def _share(of: np.ndarray, within: np.ndarray) -> float:
    return float(np.count_nonzero(of & within) / np.count_nonzero(of))


def _harmonic(first: float, second: float) -> float:
    return 2 * first * second / (first + second) if first + second else 0.0
