"""Folds that leave whole groups of volumes out, dealt so that each has windows of every share of foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpo.objective import Split
from objectives import splits

if TYPE_CHECKING:
    from hpo.arrays import Arrays


def split(arrays: Arrays, folds: int, seed: int) -> Split:
    """Deal groups to folds; none is set aside for a test, since there are few.

    Raises:
        DataError: fewer groups than folds.
    """
    kinds = arrays["stratum"][:, None] == np.arange(len(arrays.info["classes"]))
    number = splits.grouped_folds(arrays["group"], kinds, folds, seed, arrays.info["groups"])
    return splits.to_split(number, folds)
