"""Folds of faces: by groups, by a partition file, or by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpo.objective import DataError, Split
from objectives import splits
from objectives.expression.data import TEST, TRAIN

if TYPE_CHECKING:
    from hpo.arrays import Arrays


def split(arrays: Arrays, folds: int, seed: int) -> Split:
    """Folds and test rows of prepared faces.

    - With groups (persons, code points) whole groups are dealt, so that every class and unit is validated in as many
      folds as can be.
    - Without, but with a partition: fold 0 trains and validates on the parts that the partition names; the training
      part is dealt to the other folds by class.
    - With neither, rows are dealt by class.

    The test part of a partition is set aside for the final model. Without a partition test rows are set aside, as many
    as validate a fold, only where that costs no fold a class or unit: each must occur in at least two more groups (or
    rows) than there are folds.

    Raises:
        DataError: when the data do not allow that many folds.
    """
    emotion, names = arrays["emotion"], arrays.info["classes"]
    part = arrays["part"] if "part" in list(arrays) else None
    number = np.full(len(arrays), splits.TEST)
    rows = np.arange(len(arrays)) if part is None else np.flatnonzero(part != TEST)
    if "group" in list(arrays):
        group, kinds = arrays["group"][rows], _kinds(arrays)[rows]
        reach = [len(np.unique(group[kind])) for kind in kinds.T if kind.any()]
        dealt = folds + (part is None and min(reach, default=0) >= folds + 2)
        number[rows] = splits.grouped_folds(group, kinds, dealt, seed, arrays.info["groups"])
    elif part is not None:
        trained = np.flatnonzero(part == TRAIN)
        number[rows] = 0
        if folds > 2:
            number[trained] = 1 + _beside_the_partition(emotion[trained], folds - 1, seed, names)
        else:
            number[trained] = folds - 1
        dealt = folds
    else:
        fewest = np.unique(emotion, return_counts=True)[1].min()
        dealt = folds + (fewest >= folds + 2)
        number[rows] = splits.stratified_folds(emotion, dealt, seed, names)
    return splits.to_split(np.where(number == folds, splits.TEST, number), folds)


def _beside_the_partition(emotion: np.ndarray, folds: int, seed: int, names: Sequence[str]) -> np.ndarray:
    """Folds of the training part, said to be so where it is too small for them."""
    try:
        return splits.stratified_folds(emotion, folds, seed, names)
    except DataError as error:
        text = f"beside fold 0, which the partition makes, its part {TRAIN} (train) is dealt to the other {folds} folds"
        raise DataError(f"{text}: {error}") from None


def _kinds(arrays: Arrays) -> np.ndarray:
    """Which kinds of label a row has, bool `[rows, kind]`: each class, each unit that is active."""
    classes = arrays["emotion"][:, None] == np.arange(len(arrays.info["classes"]))
    return np.concatenate([classes, arrays["au"] == 1], axis=1)
