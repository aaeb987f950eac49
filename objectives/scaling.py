"""Centre and scale of training rows, by which a network scales what it reads and what it answers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: Of images that are counted at a time.
_PIECE_BYTES = 2**25


def mean_std(values: np.ndarray) -> Tensor:
    """`[2, column]` over the rows that are not NaN; (0, 1) where there are none, 1 where all are equal."""
    result = np.zeros((2, values.shape[1]))
    for k, column in enumerate(values.T.astype(np.float64)):
        known = column[np.isfinite(column)]
        result[:, k] = (known.mean(), known.std()) if len(known) else (0.0, 1.0)
    result[1, result[1] < 1e-6] = 1.0
    return torch.from_numpy(result.astype(np.float32))


def channels_mean_std(images: np.ndarray, rows: np.ndarray) -> Tensor:
    """Of the channels of uint8 images `[rows, channel, height, width]`, over the given rows; 0 to 1; `[2, channel]`.

    From a histogram of the 256 grey levels, which is exact, takes each image once and needs no copy of all of them. A
    channel of one grey level throughout has a spread of 1.
    """
    levels, found = np.arange(256) / 255, np.zeros((images.shape[1], 256))
    for part in np.array_split(rows, max(1, images[0].nbytes * len(rows) // _PIECE_BYTES)):
        piece = images[part]
        found += [np.bincount(piece[:, k].ravel(), minlength=256) for k in range(images.shape[1])]
    share = found / np.maximum(found.sum(1, keepdims=True), 1)
    mean = share @ levels
    std = np.sqrt(np.maximum(share @ levels**2 - mean**2, 0))
    std[std < 1e-3] = 1.0
    return torch.from_numpy(np.stack([mean, std]).astype(np.float32))


def median_spread(values: np.ndarray) -> Tensor:
    """Median and interquartile range in units of a normal distribution's standard deviation, `[2]` float32."""
    low, middle, high = np.percentile(values.astype(np.float64), [25, 50, 75])
    spread = (high - low) / 1.349
    return torch.tensor([middle, spread if spread > 1e-6 else 1.0], dtype=torch.float32)
