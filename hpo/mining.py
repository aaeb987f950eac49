"""Hard example mining: rows are drawn more often while the network is bad at them.

After Shrivastava et al. 2016 ("Training region-based object detectors with online hard example mining"), with the loss
that a row had when it was last trained on in the place of a forward pass over all rows, as Loshchilov and Hutter 2016
("Online batch selection for faster training of neural networks") keep it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from hpo.measure import weighted_means
from hpo.objective import Batch, Objective, Outputs, Params, Term


def losses_of_rows(
    objective: Objective,
    outputs: Outputs,
    batch: Batch,
    params: Params,
    statistics: Mapping[str, Tensor],
    weights: Mapping[str, float],
) -> Tensor:
    """The weighted loss of every row, as if it were a batch by itself, `[row]`; 0 of a term it is not labelled for."""

    def of_row(outputs: Outputs, batch: Batch) -> dict[str, Term]:
        said, given = ({name: value[None] for name, value in part.items()} for part in (outputs, batch))
        return objective.losses(said, given, params, statistics)

    terms = torch.func.vmap(of_row)(outputs, batch)
    return torch.stack(list(weighted_means(terms, weights).values())).sum(0)


class RowLosses:
    """The last loss of each training row, and how much more often each is drawn for it.

    Args:
        rows: of the fold, ascending.
        cap: `sampling.hard_boost_cap`, above 1.
    """

    def __init__(self, rows: np.ndarray, cap: float) -> None:
        self._rows, self._cap = rows, cap
        self.last = torch.full((len(rows),), torch.nan, dtype=torch.float64)  #: NaN = not trained on yet

    def learn(self, rows: np.ndarray, losses: Tensor) -> None:
        """Take the losses `[row]` of an epoch in the order of its rows; of those of a row that came twice the last."""
        where = np.searchsorted(self._rows, rows)
        self.last.numpy()[where] = losses.double().cpu().numpy()

    def factors(self) -> np.ndarray:
        """`[row]`: the loss in units of the median one, at least 1 and at most `cap`; a row not yet seen has `cap`."""
        last = self.last.numpy()
        seen = np.isfinite(last)
        middle = np.median(last[seen]) if seen.any() else 0.0
        if middle <= 0:  # nothing is known, or nothing is left to learn in half of the rows
            return np.ones(len(last))
        return np.where(seen, np.clip(last / middle, 1.0, self._cap), self._cap)
