"""Folds of whole groups of sessions, with every action spread over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpo.objective import Split
from objectives import splits

if TYPE_CHECKING:
    from hpo.arrays import Arrays


def split(arrays: Arrays, held: np.ndarray, folds: int, seed: int) -> Split:
    """Deal groups to folds; where one group is all there is, its clips.

    Test groups are set aside, as many as validate a fold, only where that costs no fold an action: every action must
    occur in at least two more groups than there are folds.

    Args:
        arrays: with `group`, int64 `[row]`.
        held: bool `[row, class]`, which actions a clip holds.
        folds: 2 or more.
        seed: of the dealing.

    Raises:
        DataError: fewer groups (or clips) than folds.
    """
    group, names = np.asarray(arrays["group"]), arrays.info["groups"]
    if len(np.unique(group)) == 1:  # of those that have clips
        group, names = np.arange(len(arrays)), [f"clip {row}" for row in range(len(arrays))]
    reach = [len(np.unique(group[one])) for one in held.T if one.any()]
    testing = bool(reach) and min(reach) >= folds + 2
    number = splits.grouped_folds(group, held, folds + testing, seed, names)
    return splits.to_split(np.where(number == folds, splits.TEST, number), folds)
