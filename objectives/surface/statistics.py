"""What the training windows of a fold say of all others: brightness, and how much of them is foreground."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from hpo.arrays import Arrays

#: Training windows by which brightness is scaled.
SAMPLED = 64


def statistics(arrays: Arrays, rows: np.ndarray) -> dict[str, Tensor]:
    """`pixels` `[2]`, mean and standard deviation of the voxels of some windows, spread over the rows.

    `voxels` `[2]`, labelled as background and as foreground, of all windows; overlapping ones count their voxels again.
    """
    assert arrays.windows is not None
    image = {"image": torch.from_numpy(arrays.fields["image"])}
    some = rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLED).round().astype(np.int64))]
    moments = torch.zeros(3, dtype=torch.float64)
    for row in torch.from_numpy(some):
        values = arrays.windows.take(image, row[None])["image"].double()
        moments += torch.stack([torch.tensor(float(values.numel())), values.sum(), values.square().sum()])
    count, mean, square = moments[0], moments[1] / moments[0], moments[2] / moments[0]
    spread = (square - mean**2).clamp_min(0).sqrt() if count else mean
    foreground, labelled = (int(arrays[name][rows].sum()) for name in ("foreground", "labelled"))
    return {
        "pixels": torch.stack([mean, spread if spread > 0 else torch.ones_like(spread)]).float(),
        "voxels": torch.tensor([labelled - foreground, foreground], dtype=torch.float32),
    }


def share(found: Mapping[str, Tensor]) -> Tensor:
    """The share of foreground among the labelled training voxels, 0-d, never quite 0 or 1."""
    return (found["voxels"][1] / found["voxels"].sum().clamp_min(1)).clamp(1e-3, 1 - 1e-3)
