"""Small volumes, and what is expected of them by scipy and by plain loops.

A window clipped to the labelled voxels sees elsewhere what never wins: of values from 0 to 1, a 1 is never the only
lowest and a 0 never the only highest.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
from scipy.ndimage import generate_binary_structure, grey_dilation, grey_erosion
from torch import Tensor

CROSS, CUBE = generate_binary_structure(3, 1), generate_binary_structure(3, 3)
ROUNDING = 1e-9  #: float64, over the few thousand additions of a small volume


def drawn(seed: int, *shape: int, lowest: int = -1) -> tuple[Tensor, Tensor]:
    """Logits without ties, and labels of which a third are missing where `lowest` is -1."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)
    return logits, torch.randint(lowest, 2, shape, generator=generator)


def certain(foreground: Tensor) -> Tensor:
    return torch.where(foreground, 50.0, -50.0).double()


def sheet(thickness: int, size: int = 20) -> Tensor:
    """A flat sheet of 16 x 16 voxels, away from the border."""
    volume = torch.zeros(size, size, size, dtype=torch.bool)
    volume[9 : 9 + thickness, 2:18, 2:18] = True
    return volume


def eroded(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.asarray(grey_erosion(np.where(known, x, 1), footprint=CROSS, mode="constant", cval=1))


def dilated(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.asarray(grey_dilation(np.where(known, x, 0), footprint=CUBE, mode="constant", cval=0))


def expected_skeleton(x: np.ndarray, known: np.ndarray, steps: int) -> np.ndarray:
    """Algorithm 1 of Shit et al., line by line."""
    opened = dilated(eroded(x, known), known)
    found = np.maximum(x - opened, 0)
    for _ in range(steps):
        x = eroded(x, known)
        opened = dilated(eroded(x, known), known)
        found = found + (1 - found) * np.maximum(x - opened, 0)
    return np.where(known, found, 0)


def expected_contour(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.where(known, dilated(1 - x, known) - (1 - x), 0)


def pairs(known: np.ndarray) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Labelled voxels that touch, each pair once."""
    for at in product(*(range(n) for n in known.shape)):
        for axis in range(3):
            beside = tuple(i + (k == axis) for k, i in enumerate(at))
            if beside[axis] < known.shape[axis] and known[at] and known[beside]:
                yield at, beside


def expected_dice(p: np.ndarray, t: np.ndarray, known: np.ndarray) -> float:
    both = each = 0.0
    for at in zip(*np.nonzero(known), strict=True):
        both, each = both + p[at] * t[at], each + p[at] + t[at]
    return float(1 - (2 * both + 1) / (each + 1))


def expected_connectivity(p: np.ndarray, t: np.ndarray, known: np.ndarray) -> float:
    both = each = 0.0
    for i, j in pairs(known):
        both, each = both + p[i] * p[j] * t[i] * t[j], each + p[i] * p[j] + t[i] * t[j]
    return float(1 - (2 * both + 1) / (each + 1))


def expected_boundary(p: np.ndarray, t: np.ndarray, known: np.ndarray) -> float:
    said, true = expected_contour(p, known), expected_contour(t, known)
    everywhere = np.ones_like(known)
    precision = ((said * dilated(true, everywhere)).sum() + 1) / (said.sum() + 1)
    recall = ((true * dilated(said, everywhere)).sum() + 1) / (true.sum() + 1)
    return float(1 - 2 / (1 / precision + 1 / recall))


def expected_cldice(p: np.ndarray, t: np.ndarray, known: np.ndarray) -> float:
    said, true = expected_skeleton(p, known, 3), expected_skeleton(t, known, 3)
    p, t = p * known, t * known
    precision = ((said * t).sum() + ((p * t).sum() + 1) / (p.sum() + 1)) / (said.sum() + 1)
    sensitivity = ((true * p).sum() + ((p * t).sum() + 1) / (t.sum() + 1)) / (true.sum() + 1)
    return float(1 - 2 / (1 / precision + 1 / sensitivity))
