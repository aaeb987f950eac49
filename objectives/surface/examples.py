"""What is kept of a few windows to be looked at: of each the slice that tells most, with its truth and probability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpo.objective import Batch, Outputs
from objectives.surface.data import FOREGROUND

#: Voxels of a side; of larger windows the middle is kept, or a report would hold megabytes.
LARGEST = 64


def examples(outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Of each window the slice with most foreground where it is seen, the middle one where there is none.

    Returns:
        `image` uint8, black to white from its first to its 99th percentile, `truth` uint8 (0, 1, 2 = ignored) and
        `probability` float32, `[row, h, w]`, at most LARGEST voxels of a side; `volume`, its name, and which `slice`
        of it that is, from 0.
    """
    image, label, logits = (_middle(array) for array in (batch["image"], batch["label"], outputs["logits"]))
    row, at = torch.arange(len(label), device=label.device), _telling(label)
    names = np.asarray([about["name"] for about in info["volumes"]])
    return {
        "image": _shown(image[row, at].cpu().numpy()),
        "truth": label[row, at].cpu().numpy(),
        "probability": torch.sigmoid(logits[row, at]).float().cpu().numpy(),
        "volume": names[batch["volume"].cpu().numpy()],
        "slice": (batch["corner"][:, 0] + at).cpu().numpy(),
    }


def _middle(windows: Tensor) -> Tensor:
    """`[row, d, h, w]` with at most LARGEST lines and columns."""
    top, left = (max(0, side - LARGEST) // 2 for side in windows.shape[2:])
    return windows[:, :, top : top + LARGEST, left : left + LARGEST]


def _telling(label: Tensor) -> Tensor:
    """int64 `[row]`: the slice of each window with most foreground, of several the one closest to the middle."""
    size = label.shape[1]
    off = (torch.arange(size, device=label.device) - size // 2).abs()
    return ((label == FOREGROUND).sum((2, 3)) * size - off).argmax(1)  # off is less than size: a voxel outweighs it


def _shown(slices: np.ndarray) -> np.ndarray:
    low, high = np.percentile(slices, (1, 99), axis=(1, 2), keepdims=True)
    return np.asarray(np.clip((slices - low) / np.maximum(high - low, 1) * 255, 0, 255), np.uint8)
