"""Folds: rows by class, or whole groups by the labels they carry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpo.objective import DataError, Fold, Split

#: The fold number of a test row.
TEST = -1
#: Random assignments to climb from, and proposals in each climb: 0.06 s for ten groups, a second for hundreds.
_STARTS = 8
_PROPOSALS_PER_GROUP, _PROPOSALS_MOST = 60, 4000


def stratified_folds(labels: np.ndarray, folds: int, seed: int, names: Sequence[str] | None = None) -> np.ndarray:
    """Deal rows to folds so that each class is spread evenly, to within one row.

    Own lines rather than scikit-learn's StratifiedKFold, whose random stream is not promised to stay as it is.

    Args:
        labels: int `[rows]`.
        folds: 2 or more.
        seed: of the order in which the rows of a class are dealt.
        names: of the classes, for errors.

    Returns:
        The fold in whose validation part each row lies, int64 `[rows]`.

    Raises:
        DataError: when a class has fewer rows than there are folds.
    """
    _check_folds(folds)
    classes, counts = np.unique(labels, return_counts=True)
    few = [f"{names[c] if names else c} ({n})" for c, n in zip(classes, counts, strict=True) if n < folds]
    if few:
        listed = ", ".join(few)
        raise DataError(f"{folds} folds need {folds} rows of every class; fewer have: {listed}. Ask for fewer folds")
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    number = np.empty(len(labels), np.int64)
    number[order] = np.arange(len(labels)) % folds
    return number


def grouped_folds(
    groups: np.ndarray, kinds: np.ndarray, folds: int, seed: int, names: Sequence[str] | None = None
) -> np.ndarray:
    """Deal whole groups to folds so that every kind of label is validated in as many folds as can be.

    A hill climb from random assignments: move a group or swap two while the cost falls. First come the (fold, kind)
    pairs without a row, then how unevenly the rows of each kind, and all rows, are spread. A kind that only two groups
    have cannot be in three folds: there its score is missing. Folds are numbered so that those with most kinds come
    first: a study searches on fold 0 unless it says otherwise, and can optimise only what is labelled there.

    Why not scikit-learn's StratifiedGroupKFold: it takes one stratum per row, while a row here may have a class and a
    peak; it deals greedily, and in 54 of 150 random tables (6-11 groups, 6 kinds, 2-5 folds) left a kind out of a fold
    that could have had it; and its seed changes nothing unless two groups have equal spread. The climb was never worse
    than an exhaustive one over all moves and swaps.

    Args:
        groups: `[rows]`, the group of each row (subject, session, ...), of any type that sorts.
        kinds: bool `[rows, kind]`, which kinds of label a row has (class 0, class 1, a picked peak, ...).
        folds: 2 or more.
        seed: of the climb; equal seeds give equal folds.
        names: of the groups, for errors, where `groups` are their numbers.

    Returns:
        The fold in whose validation part each row lies, int64 `[rows]`.

    Raises:
        DataError: when there are fewer groups than folds.
    """
    _check_folds(folds)
    found, member = np.unique(groups, return_inverse=True)
    if len(found) < folds:
        few = ", ".join(str(names[g] if names else g) for g in found)
        text = f"{folds} folds need at least {folds} groups, the data have {len(found)}: {few}"
        fewer = f"ask for fewer, folds: {{count: {len(found)}}}, or " if len(found) > 1 else ""
        raise DataError(f"{text}; {fewer}add recordings of more groups")
    table = np.stack([kinds[member == g].sum(0) for g in range(len(found))])
    sizes = np.bincount(member)
    climbs = [_climb(table, sizes, folds, np.random.default_rng([seed, start])) for start in range(_STARTS)]
    best = min(climbs, key=lambda climb: climb[0])[1]
    kinds_of_fold = np.array([(table[best == k] > 0).any(0).sum() for k in range(folds)])
    rank = np.argsort(np.argsort(-kinds_of_fold, kind="stable"))
    return np.asarray(rank[best][member], np.int64)


def _climb(
    table: np.ndarray, sizes: np.ndarray, folds: int, generator: np.random.Generator
) -> tuple[float, np.ndarray]:
    """One local optimum: its cost and the fold of each group."""
    cost = _Cost(table, sizes, folds)
    number = generator.permutation(np.arange(len(table)) % folds)
    lowest = cost(number)
    for _ in range(min(_PROPOSALS_PER_GROUP * len(table), _PROPOSALS_MOST)):
        one, other = generator.integers(len(table), size=2)
        proposal = number.copy()
        if generator.random() < 0.5:
            proposal[one] = generator.integers(folds)
        else:
            proposal[[one, other]] = proposal[[other, one]]
        value = cost(proposal)
        if value < lowest - 1e-12:
            number, lowest = proposal, value
    return lowest, number


class _Cost:
    """How bad an assignment of groups is; 0 is a perfect spread.

    Args:
        table: `[group, kind]`, rows of each kind.
        sizes: `[group]`, rows.
        folds: how many.
    """

    def __init__(self, table: np.ndarray, sizes: np.ndarray, folds: int) -> None:
        self._folds = np.eye(folds)
        self._has = (table > 0).astype(np.float64)
        self._wanted = np.minimum(folds, self._has.sum(0)).sum()
        columns = np.concatenate([table, sizes[:, None]], axis=1)
        self._shares = columns / np.maximum(columns.sum(0), 1)

    def __call__(self, number: np.ndarray) -> float:
        membership = self._folds[number].T
        missing = self._wanted - (membership @ self._has > 0).sum()
        empty = (membership.sum(1) == 0).sum()
        uneven = ((membership @ self._shares - 1 / len(self._folds)) ** 2).sum()
        return float(1e6 * empty + 1e3 * missing + uneven)


def to_split(number: np.ndarray, folds: int) -> Split:
    """Folds from fold numbers.

    Args:
        number: int `[rows]`, the fold in whose validation part a row lies; TEST for test rows.
        folds: how many there are.

    Raises:
        DataError: when a fold would have no validation rows.
    """
    empty = [str(k) for k in range(folds) if not (number == k).any()]
    if empty:
        raise DataError(f"no rows would validate fold {', '.join(empty)} of {folds}; ask for fewer folds")
    parts = [
        Fold(k, np.flatnonzero((number != k) & (number != TEST)), np.flatnonzero(number == k)) for k in range(folds)
    ]
    return Split(tuple(parts), np.flatnonzero(number == TEST))


def _check_folds(folds: int) -> None:
    if folds < 2:
        raise DataError(f"cross-validation needs at least 2 folds, got {folds}")
