"""The grid of overlapping windows over a volume, as a sliding window visits them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np


def corners(shape: Sequence[int], patch: int, overlap: float) -> np.ndarray:
    """First voxels of the windows, int64 `[window, 3]`, slice by slice.

    As few windows along an axis as overlap by at least that share, spread evenly from end to end (Isensee et al. 2021,
    nnU-Net, section "Inference").

    Args:
        shape: slices, lines, columns; each at least `patch`.
        patch: voxels along each edge of a window.
        overlap: share of a window that the next one covers again, 0 to below 1.
    """
    return np.asarray(list(product(*(_starts(size, patch, overlap) for size in shape))), np.int64)


def padded(shape: Sequence[int], patch: int) -> tuple[int, int, int]:
    """The shape of a volume that holds a whole window."""
    slices, lines, columns = (max(size, patch) for size in shape)
    return slices, lines, columns


def importance(patch: int) -> np.ndarray:
    """How much a window says of each of its voxels, float32 `[patch, patch, patch]`, 1 in its middle.

    A Gaussian with a standard deviation of an eighth of the window: what lies at its rim was seen with less around it
    (Isensee et al. 2021, section "Inference").
    """
    along = np.exp(-0.5 * ((np.arange(patch) - (patch - 1) / 2) / (patch / 8)) ** 2)
    found = along[:, None, None] * along[:, None] * along
    return np.asarray(np.maximum(found, 1e-6), np.float32)  # corners weigh little, never nothing


def _starts(size: int, patch: int, overlap: float) -> list[int]:
    last = size - patch
    step = max(1, math.floor(patch * (1 - overlap) + 1e-9))  # 20 * (1 - 0.9) is a little less than 2
    count = 1 + math.ceil(last / step)
    return np.linspace(0, last, count).round().astype(int).tolist()
