"""A window in time, cut at random out of every clip of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

#: Entries of a batch whose second dimension is the time.
TIMED = ("keypoints", "action", "frame", "video")


def window(batch: Mapping[str, Tensor], length: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Cut `length` neighbouring frames out of each clip, where the clips are longer.

    A window lies within the frames that a clip has, not in the padding behind them, as far as it has so many.

    Args:
        batch: `frame` int64 `[row, time]`, -1 = padding behind the end. All of TIMED are cut alike, the others pass.
        length: in frames.
        generator: one draw per clip; none where nothing is cut.
    """
    rows, time = batch["frame"].shape
    if time <= length:
        return dict(batch)
    draw = torch.rand(rows, generator=generator, device=generator.device).to(batch["frame"].device)
    room = ((batch["frame"] >= 0).sum(1) - length).clamp_min(0)
    first = (draw * (room + 1)).long().clamp_max(time - length)
    index = first[:, None] + torch.arange(length, device=first.device)
    row = torch.arange(rows, device=first.device)[:, None]
    return {**batch, **{name: batch[name][row, index] for name in TIMED if name in batch}}
