"""Rows that are windows of something larger: boxes cut out of flat arrays when a batch is taken.

A volume with overlapping windows would take several times its size if every window were an array of its own; so
`prepare` writes the volume once, as a *field* without rows, and where in it each row's window lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Where in the flat fields the window of each row lies."""

    start: Tensor  #: int64 `[row]`, place of a window's first entry
    stride: Tensor  #: int64 `[row, axis]`, entries from one place along an axis to the next
    shape: tuple[int, ...]  #: of every window

    def to(self, device: torch.device) -> Windows:
        return Windows(self.start.to(device), self.stride.to(device), self.shape)

    def take(self, fields: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        """The windows of some rows.

        Args:
            fields: `[entry]`, any number of them, of equal length.
            rows: int64 `[batch]`.

        Returns:
            Of every field `[batch, *shape]`.
        """
        place = self.start.index_select(0, rows).view(-1, *[1] * len(self.shape))
        stride = self.stride.index_select(0, rows)
        for axis, size in enumerate(self.shape):
            along = [1] * len(self.shape)
            along[axis] = size
            steps = torch.arange(size, device=rows.device).view(1, *along)
            place = place + steps * stride[:, axis].view(-1, *[1] * len(self.shape))
        return {name: field[place] for name, field in fields.items()}
