"""How much of two surfaces lies near the other: surface Dice (Nikolov et al. 2018, arXiv 1809.04430, section 3.3).

A mask's surface is cut into pieces at the corners where eight voxels meet. What lies at a corner depends on which of
the eight are foreground (256 cases), and its area is that of marching cubes. DeepMind's `surface-distance` does the
same and is what the competition calls; here its numbers come out without its distances and without its sorted Python
lists of pieces: near is what a dilation by a ball reaches, and areas are added by counting the cases.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import ndimage
from skimage.morphology import ball

#: Area, in squares of a voxel's edge, of the surface at a corner. Bit i of a case stands for voxel i of the 2 x 2 x 2
#: around it (last axis fastest); turned, mirrored and complementary cases have equal areas, and one of them is listed.
AREAS = {
    0b00000000: 0.0,
    0b00000001: math.sqrt(3) / 8,
    0b00000011: math.sqrt(2) / 2,
    0b00000110: math.sqrt(3) / 4,
    0b00000111: 1 / 2 + 3 * math.sqrt(3) / 8,
    0b00001111: 1.0,
    0b00010110: 3 * math.sqrt(3) / 8,
    0b00010111: 3 * math.sqrt(3) / 4,
    0b00011000: math.sqrt(3) / 4,
    0b00011001: math.sqrt(2) / 2 + math.sqrt(3) / 8,
    0b00011011: math.sqrt(2) / 2 + math.sqrt(3) / 2,
    0b00011110: 1 / 2 + math.sqrt(3) / 2,
    0b00111100: math.sqrt(2),
    0b01101001: math.sqrt(3) / 2,
}


def surface_dice(prediction: np.ndarray, truth: np.ndarray, tolerances: Sequence[int]) -> list[float]:
    """The share of both surfaces, by area, that lies within a distance of the other.

    Beyond the volume there is background, so that a mask that fills it has its box as surface.

    Args:
        prediction: bool `[z, y, x]`.
        truth: bool of the same shape.
        tolerances: distances between corners, in voxels; a distance equal to one is near.

    Returns:
        A score per tolerance; 1 where both masks are empty, 0 where exactly one is.
    """
    if not prediction.any() or not truth.any():
        return [float(prediction.any() == truth.any())] * len(tolerances)
    cases = [_cases(prediction), _cases(truth)]
    surfaces = [(case != 0) & (case != 255) for case in cases]
    total = sum(_area(case[own]) for case, own in zip(cases, surfaces, strict=True))
    scores = []
    for tolerance in tolerances:
        reach = ball(tolerance, dtype=bool)
        near = [ndimage.binary_dilation(other, reach) for other in reversed(surfaces)]
        met = sum(_area(case[own & by]) for case, own, by in zip(cases, surfaces, near, strict=True))
        scores.append(met / total)
    return scores


def _cases(mask: np.ndarray) -> np.ndarray:
    """The case of every corner, uint8 `[z + 1, y + 1, x + 1]`."""
    padded = np.pad(mask, 1).view(np.uint8)
    corners = tuple(length + 1 for length in mask.shape)
    cases = np.zeros(corners, np.uint8)
    for bit, start in enumerate(itertools.product((0, 1), repeat=3)):
        cases |= padded[tuple(slice(s, s + n) for s, n in zip(start, corners, strict=True))] << np.uint8(bit)
    return cases


def _area(cases: np.ndarray) -> float:
    return float(np.bincount(cases, minlength=256) @ _areas())


@lru_cache(maxsize=1)
def _areas() -> np.ndarray:
    """float64 `[case]`: `AREAS` for all 256."""
    areas = np.full(256, np.nan)
    bits = 1 << np.arange(8)
    for case, area in AREAS.items():
        block = (case & bits > 0).reshape(2, 2, 2)
        for axes, steps in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
            turned = int(block.transpose(axes)[tuple(slice(None, None, step) for step in steps)].ravel() @ bits)
            areas[turned] = areas[255 - turned] = area
    return areas
