"""Which rows an epoch sees: a permutation, or draws in which rare classes come more often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def boosted_weights(labels: np.ndarray, sampling: Mapping[str, Any]) -> np.ndarray | None:
    """Probability of each training row, or None when every row is equally likely.

    A row of a class whose share of the labelled rows is under `rare_threshold_share` is drawn up to `rare_boost_cap`
    times as often as a common row, but its class never more often than the most frequent one. Unlabelled rows (-1)
    keep their share.

    Args:
        labels: `int64[rows]`, -1 where there is none.
        sampling: the group of the parameters.
    """
    present, counts = np.unique(labels[labels >= 0], return_counts=True)
    if sampling["rare_boost_cap"] <= 1 or len(present) < 2:
        return None
    rare = counts / counts.sum() < sampling["rare_threshold_share"]
    boost = np.where(rare, np.minimum(sampling["rare_boost_cap"], counts.max() / counts), 1.0)
    weights = np.ones(len(labels))
    for number, factor in zip(present, boost, strict=True):
        weights[labels == number] = factor
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
