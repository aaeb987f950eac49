"""Scores of something larger than a row: the windows of a volume, put together before anything is scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hpo.objective import Batch, Outputs, Sums


class Whole(ABC):
    """Takes what a network says of rows that are parts of wholes, for one pass over some rows.

    Rows come in their order, and those of one whole are neighbours in it. Of a whole of which only some rows come, as
    in a validation on a part of the rows, the rest is not there.
    """

    @abstractmethod
    def add(self, outputs: Outputs, batch: Batch) -> Sums:
        """Take a batch; what the wholes that it completes come to, as `Objective.sums`, perhaps nothing."""

    @abstractmethod
    def finish(self) -> Sums:
        """After the last batch: what the last whole comes to."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that have been written, of each whole; each appears complete, by rename."""
        return ()

    def columns(self) -> dict[str, np.ndarray]:
        """After `finish`: further columns `[row]` of the predictions, a line per row that came, of their wholes."""
        return {}
