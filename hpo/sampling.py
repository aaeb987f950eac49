"""Which rows an epoch sees: a permutation, or draws in which rare or emphasised classes come more often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.objective import DataError, Objective, Params
from hpo.strict_yaml import shown

if TYPE_CHECKING:
    from hpo.arrays import Arrays


def trained_rows(objective: Objective, arrays: Arrays, rows: np.ndarray, params: Params) -> np.ndarray:
    """Those of a fold's training rows that are trained on: what the objective leaves, of the class `sampling.only`.

    Raises:
        DataError: there is no such class, or no row is left.
    """
    kept = objective.training_rows(arrays, rows, params)
    if not params.sampling["only"]:
        return kept
    found = kept[_held(objective, arrays, kept, params.sampling, "only")]
    if not len(found):
        raise DataError(f"sampling.only is {params.sampling['only']!r}: none of {len(kept)} training rows holds it")
    return found


def row_weights(
    objective: Objective, arrays: Arrays, rows: np.ndarray, sampling: Mapping[str, Any]
) -> np.ndarray | None:
    """Probability of each training row by the group of the parameters, or None when every row is equally likely.

    Raises:
        DataError: there is no such class as `emphasis` names.
    """
    classes = {"rare_boost_cap": np.inf, "rare_threshold_share": 1.0} if sampling["balanced"] else {}
    weights = boosted_weights(objective.class_counts(arrays)[rows], {**sampling, **classes})
    if not sampling["emphasis"]:
        return weights
    held = _held(objective, arrays, rows, sampling, "emphasis")
    if held.all() or not held.any() or sampling["emphasis_factor"] == 1:
        return weights
    return boosted(weights, np.where(held, sampling["emphasis_factor"], 1.0))


def boosted(weights: np.ndarray | None, factors: np.ndarray) -> np.ndarray:
    """Probabilities of rows, None = all alike, times factors `[row]`."""
    found = factors if weights is None else weights * factors
    return np.asarray(found / found.sum())


def require_class(objective: Objective, arrays: Arrays, sampling: Mapping[str, Any], key: str) -> int:
    """The number of the class that `sampling.KEY` names.

    Raises:
        DataError: there is none of that name; with the names that there are.
    """
    classes = [str(name) for name in arrays.info.get("classes") or range(objective.class_counts(arrays).shape[1])]
    if sampling[key] not in classes:
        known = f"the classes are {', '.join(classes)}" if classes else "these data have no classes"
        raise DataError(f"sampling.{key} is {shown(sampling[key])}: {known}")
    return classes.index(sampling[key])


def require_emphasised(objective: Objective, arrays: Arrays, rows: np.ndarray, sampling: Mapping[str, Any]) -> None:
    """What `sampling.only` has left holds the class that is emphasised, where both are wanted.

    Raises:
        DataError: an emphasis could have no effect.
    """
    if not (sampling["only"] and sampling["emphasis"]):
        return
    if not _held(objective, arrays, rows, sampling, "emphasis").any():
        rest = f"sampling.only {shown(sampling['only'])} leaves {len(rows)} training rows, and none holds it"
        way = "leave one of the two out (--set sampling.emphasis= turns it off)"
        raise DataError(f"sampling.emphasis is {shown(sampling['emphasis'])}: {rest}; {way}")


def _held(objective: Objective, arrays: Arrays, rows: np.ndarray, sampling: Mapping[str, Any], key: str) -> np.ndarray:
    """`bool[row]`: whether a row holds the class that `sampling.KEY` names, perhaps among others, as a clip may."""
    number = require_class(objective, arrays, sampling, key)
    return np.asarray(objective.class_counts(arrays)[rows, number] > 0)


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


def fast_rows(
    objective: Objective, arrays: Arrays, rows: np.ndarray, share: float, generator: np.random.Generator
) -> np.ndarray:
    """Those validation rows that a fast validation looks at; where rows are parts of wholes, neighbours with labels."""
    if objective.whole(arrays) is None:
        return part(rows, share, generator)
    return part(rows, share, generator, labelled=objective.class_counts(arrays)[rows].any(axis=1))


def part(
    rows: np.ndarray, share: float, generator: np.random.Generator, *, labelled: np.ndarray | None = None
) -> np.ndarray:
    """A fixed share of the rows, at least one of them, in their order.

    Args:
        rows: `int64[row]`.
        share: of them.
        generator: of the draw.
        labelled: `bool[row]`, to take neighbours: which rows hold a label. As large a share of the neighbours holds one
            as of all rows; where no neighbours have so many, as large a share as there is.
    """
    size = min(len(rows), max(1, round(share * len(rows))))
    if labelled is None or not size:
        return np.sort(generator.choice(rows, size=size, replace=False))
    before = np.concatenate([[0], np.cumsum(labelled, dtype=np.int64)])
    held = before[size:] - before[:-size]
    expected = -(-size * int(labelled.sum()) // len(rows))
    firsts = np.flatnonzero(held >= min(held.max(), expected))
    first = int(firsts[generator.integers(len(firsts))])
    return rows[first : first + size]


def draw(rows: np.ndarray, weights: np.ndarray | None, generator: np.random.Generator) -> np.ndarray:
    """The rows of one epoch in order, as many as `rows`: each once, or drawn with replacement by weight."""
    if weights is None:
        return generator.permutation(rows)
    return generator.choice(rows, size=len(rows), p=weights)
