"""Components of a mask as instances: whether their number is right, and whether the right voxels are kept together."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.stats import entropy

#: Voxels belong together where they share a face, an edge or a corner (26-connectivity).
TOUCHING = np.ones((3, 3, 3), bool)

#: What a bit of variation of information costs, as in the competition.
VOI_COST = 0.3

#: Pairs of labels counted at once: sorting them all would take several times the memory of the labels.
PAIRS = 2**22


def instance_scores(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Compare the components of two masks.

    `component_error` is the difference of their numbers over the number of true ones, left out where there is no true
    one: nothing says then what a false one should cost. `voi` is 1 / (1 + 0.3 VOI) with the variation of information
    (Meila 2007) H(truth | prediction) + H(prediction | truth) in bits, over the voxels that are foreground in at least
    one mask, where background is one more component; 1 where both masks are empty. It is the competition's VOI_score,
    whose package takes the bits from scikit-image's `variation_of_information`.

    Args:
        prediction: bool `[z, y, x]`.
        truth: bool of the same shape.
    """
    parts, predicted = ndimage.label(prediction, TOUCHING)  # int32, or int64 where that is too small
    true_parts, true = ndimage.label(truth, TOUCHING)
    scores = {"component_error": abs(predicted - true) / true} if true else {}
    foreground = prediction | truth
    voi = _variation_of_information(parts[foreground], true_parts[foreground])
    return {**scores, "voi": 1 / (1 + VOI_COST * voi)}


def _variation_of_information(first: np.ndarray, second: np.ndarray) -> float:
    """2 H(first, second) - H(first) - H(second), in bits, of two labellings `[voxel]`."""
    if not len(first):
        return 0.0
    labels = int(second.max()) + 1
    counted = []
    for start in range(0, len(first), PAIRS):
        pairs = first[start : start + PAIRS].astype(np.int64) * labels + second[start : start + PAIRS]
        counted.append(np.unique(pairs, return_counts=True))
    pairs, part_of = np.unique(np.concatenate([pairs for pairs, _ in counted]), return_inverse=True)
    together = np.bincount(part_of, weights=np.concatenate([counts for _, counts in counted]))
    alone = np.bincount(pairs // labels, weights=together), np.bincount(pairs % labels, weights=together)
    bits = 2 * entropy(together, base=2) - sum(entropy(counts, base=2) for counts in alone)
    return max(0.0, float(bits))  # equal labellings may differ from 0 by a rounding
