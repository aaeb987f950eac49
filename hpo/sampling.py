"""Which rows an epoch sees: a permutation, or draws in which rare classes come more often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def boosted_weights(counts: np.ndarray, sampling: Mapping[str, Any]) -> np.ndarray | None:
    """Probability of each training row, or None when every row is equally likely.

    A class is rare when its share of all labelled entries is under `rare_threshold_share`. A row that holds a rare
    class is drawn up to `rare_boost_cap` times as often as a common row, but never more often than would make up for
    how much rarer the class is than the most frequent one; of several rare classes in a row the largest boost counts.
    Unlabelled rows keep their share.

    Args:
        counts: `int64[rows, class]`, labelled entries of each class in each row; see `Objective.class_counts`.
        sampling: the group of the parameters.
    """
    entries = counts.sum(axis=0)
    present = entries > 0
    if sampling["rare_boost_cap"] <= 1 or present.sum() < 2:
        return None
    rare = present & (entries / entries.sum() < sampling["rare_threshold_share"])
    needed = entries.max() / np.maximum(entries, 1)
    boost = np.where(rare, np.minimum(sampling["rare_boost_cap"], needed), 1.0)
    weights = np.where(counts > 0, boost, 1.0).max(axis=1)
    return weights / weights.sum() if rare.any() else None


def part(rows: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """A fixed share of the rows, at least one of them, in their order."""
    size = min(len(rows), max(1, round(share * len(rows))))
    return np.sort(generator.choice(rows, size=size, replace=False))


def draw(rows: np.ndarray, weights: np.ndarray | None, generator: np.random.Generator) -> np.ndarray:
    """The rows of one epoch in order, as many as `rows`: each once, or drawn with replacement by weight."""
    if weights is None:
        return generator.permutation(rows)
    return generator.choice(rows, size=len(rows), p=weights)
