"""Centre and scale of training rows, by which a network scales what it reads and what it answers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def mean_std(values: np.ndarray) -> Tensor:
    """`[2, column]` over the rows that are not NaN; (0, 1) where there are none, 1 where all are equal."""
    result = np.zeros((2, values.shape[1]))
    for k, column in enumerate(values.T.astype(np.float64)):
        known = column[np.isfinite(column)]
        result[:, k] = (known.mean(), known.std()) if len(known) else (0.0, 1.0)
    result[1, result[1] < 1e-6] = 1.0
    return torch.from_numpy(result.astype(np.float32))


def median_spread(values: np.ndarray) -> Tensor:
    """Median and interquartile range in units of a normal distribution's standard deviation, `[2]` float32."""
    low, middle, high = np.percentile(values.astype(np.float64), [25, 50, 75])
    spread = (high - low) / 1.349
    return torch.tensor([middle, spread if spread > 1e-6 else 1.0], dtype=torch.float32)
