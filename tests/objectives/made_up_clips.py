"""Clips of noise for the tests of augmentation, and how what comes of them is compared."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from objectives.clips import Strengths, augmented

ALL = Strengths(jitter=0.02, brightness=0.2, contrast=0.2, temporal_drop=0.1, noise=0.02, roll=5, flip=0.5)
#: Left and right swap in the first two pairs; the last point is its own mirror image.
MIRROR = [1, 0, 3, 2, 4]
POINTS, SIDE = len(MIRROR), 8
WIDE, HIGH = 1.0, 0.75
#: Clips drawn where a frequency or a distribution is compared.
MANY = 2000


def clips(rows: int, time: int, *, padded: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Clips of noise, some points unseen; the last clip ends in frames of padding."""
    source = torch.Generator().manual_seed(0)
    points = torch.rand((rows, time, POINTS, 2), generator=source, dtype=dtype) * torch.tensor([WIDE, HIGH])
    points[torch.rand((rows, time, POINTS), generator=source) < 0.1] = torch.nan
    frame = torch.arange(time).repeat(rows, 1)
    video = torch.randint(0, 256, (rows, time, SIDE, SIDE), generator=source, dtype=torch.uint8)
    if padded:
        points[-1, -padded:], frame[-1, -padded:], video[-1, -padded:] = torch.nan, -1, 0
    return {
        "keypoints": points,
        "extent": torch.tensor([[WIDE, HIGH]], dtype=dtype).repeat(rows, 1),
        "action": torch.randint(-1, 6, (rows, time), generator=source),
        "frame": frame,
        "mirror": torch.tensor(MIRROR).repeat(rows, 1),
        "video": video,
        "animal": torch.arange(rows),
        "sure": torch.rand((rows, time, POINTS), generator=source),
    }


def drawn(batch: dict[str, Tensor], strengths: Strengths, seed: int = 1, chosen: Tensor | None = None) -> Any:
    chosen = torch.ones(len(batch["frame"]), dtype=torch.bool) if chosen is None else chosen
    return augmented(batch, strengths, chosen, torch.Generator().manual_seed(seed))


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def assert_often(hits: Tensor, probability: float) -> None:
    """Within six standard deviations."""
    share, count = float(hits.double().mean()), hits.numel()
    assert abs(share - probability) < 6 * (probability * (1 - probability) / count) ** 0.5
