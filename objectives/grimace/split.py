"""Folds that leave subjects out: those that the source names, or dealt so that every moment is in all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpo.objective import DataError, Split
from objectives import splits

if TYPE_CHECKING:
    from hpo.arrays import Arrays


def split(arrays: Arrays, folds: int, seed: int) -> Split:
    """Deal subjects to folds; none is set aside for a test, since there are few.

    Raises:
        DataError: fewer subjects than folds, or another number of folds than the source deals them to.
    """
    if "fold" in list(arrays):
        given = int(arrays["fold"].max()) + 1
        if given != folds:
            raise DataError(
                f"folds.csv deals the subjects to {given} folds, not {folds}: ask for folds: {{count: {given}}}, or "
                "take folds.csv out of the folder"
            )
        return splits.to_split(np.asarray(arrays["fold"]), folds)
    scored = np.isfinite(arrays["score"])
    kinds = (arrays["moment"][:, None] == np.arange(len(arrays.info["classes"]))) & scored[:, None]
    kinds = np.column_stack([kinds, scored])
    return splits.to_split(splits.grouped_folds(arrays["subject"], kinds, folds, seed, arrays.info["subjects"]), folds)
