"""What the data of a study hold, fold by fold: classes, groups, labels, and what is missing where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpo.arrays import Arrays
from hpo.check_study import limits
from hpo.objective import Fold, Objective, Params, Split
from hpo.study import Study


@dataclass(frozen=True, kw_only=True)
class FoldRows:
    """Rows of one fold, and the labelled entries of each class in them: one per row, or those of its frames."""

    fold: int
    train: int
    validation: int
    labelled: int  #: validation rows that hold a class
    train_classes: dict[str, int]  #: class -> labelled entries
    validation_classes: dict[str, int]
    groups: tuple[str, ...]  #: whose rows are validated on; empty where the objective names no groups


@dataclass(frozen=True, kw_only=True)
class DataFindings:
    """What the prepared data hold."""

    source: str
    synthetic: bool
    rows: int
    test_rows: int
    fingerprint: str
    notes: tuple[str, ...]  #: what `prepare` did to the data
    counts: dict[str, dict[str, int]]  #: heading -> what -> how many, as the objective counts
    folds: tuple[FoldRows, ...]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]


def look_at_data(spec: Study, objective: Objective, arrays: Arrays, split: Split, params: Params) -> DataFindings:
    """Count what there is to learn from, and what is missing where."""
    counts = objective.class_counts(arrays)
    names = _class_names(counts, arrays.info)
    groups = _groups(objective, arrays)
    folds = tuple(_fold_rows(fold, counts, names, groups) for fold in split.folds)
    return DataFindings(
        source=spec.data or str(arrays.info.get("source", f"{spec.objective}'s own")),
        synthetic=bool(arrays.info.get("synthetic")),
        rows=len(arrays),
        test_rows=len(split.test),
        fingerprint=arrays.fingerprint,
        notes=tuple(map(str, arrays.info.get("notes", ()))),
        counts=objective.counts(arrays),
        folds=folds,
        warnings=(
            *(_absent_classes(folds) if objective.predicts_classes else ()),
            *_smallfold_list(folds, largest_batch(spec, params)),
        ),
        problems=tuple(_overlaps(split)),
    )


def _class_names(counts: np.ndarray, info: Mapping[str, Any]) -> dict[int, str]:
    """Class -> its name: all that the data name, or those that occur."""
    named = info.get("classes")
    return dict(enumerate(map(str, named))) if named else {int(n): str(n) for n in np.flatnonzero(counts.any(axis=0))}


def _groups(objective: Objective, arrays: Arrays) -> np.ndarray | None:
    """The group of each row, by the column that identifies it."""
    columns = objective.identify(arrays)
    return next((np.asarray(columns[name]) for name in ("group", "subject", "session") if name in columns), None)


def _fold_rows(fold: Fold, counts: np.ndarray, names: Mapping[int, str], groups: np.ndarray | None) -> FoldRows:
    def by_class(rows: np.ndarray) -> dict[str, int]:
        entries = counts[rows].sum(axis=0)
        return {name: int(entries[number]) for number, name in names.items()}

    return FoldRows(
        fold=fold.index,
        train=len(fold.train),
        validation=len(fold.validation),
        labelled=int(counts[fold.validation].any(axis=1).sum()),
        train_classes=by_class(fold.train),
        validation_classes=by_class(fold.validation),
        groups=() if groups is None else tuple(map(str, np.unique(groups[fold.validation]).tolist())),
    )


def _absent_classes(folds: tuple[FoldRows, ...]) -> Iterator[str]:
    """Parts without any class in one sentence each; single classes only of parts that have others."""
    classes = folds[0].train_classes
    blank_train = [f.fold for f in folds if classes and not any(f.train_classes.values())]
    blank = [f.fold for f in folds if classes and not any(f.validation_classes.values())]
    if blank_train:
        yield f"no row in the training part of {fold_list(blank_train)} has a class: none can be learnt"
    if blank:
        yield f"no row in the validation part of {fold_list(blank)} has a class: scores of classes are missing there"
    for name in classes:
        untrained = [f.fold for f in folds if not f.train_classes[name] and f.fold not in blank_train]
        unseen = [f.fold for f in folds if not f.validation_classes[name] and f.fold not in blank]
        if len(untrained) == len(unseen) == len(folds):
            yield f"class '{name}' has no row in any fold"
            continue
        if untrained:
            yield f"class '{name}' has no row in the training part of {fold_list(untrained)}: none can learn it"
        if unseen:
            yield f"class '{name}' has no row in the validation part of {fold_list(unseen)}: its score is missing there"


def _smallfold_list(folds: tuple[FoldRows, ...], batch: int) -> Iterator[str]:
    few = [f.fold for f in folds if f.train < batch]
    if few:
        rows = min(f.train for f in folds)
        yield f"{fold_list(few)}: {rows} training rows are fewer than a batch of {batch}; lower data.batch_size"


def largest_batch(spec: Study, params: Params) -> int:
    """Of all trials of a study."""
    return int(limits(spec.space.get("data.batch_size"), params.data["batch_size"])[1])


def _overlaps(split: Split) -> Iterator[str]:
    """A row on two sides would be remembered, not recognised: scores would be too good."""
    for fold in split.folds:
        for side, rows, other in (
            ("training and validation", fold.train, fold.validation),
            ("training and test", fold.train, split.test),
            ("validation and test", fold.validation, split.test),
        ):
            if shared := len(np.intersect1d(rows, other)):
                yield f"fold {fold.index}: {shared} rows are both {side} rows; mend the objective's split"


def fold_list(numbers: Iterable[int]) -> str:
    """`fold 2`, or `folds 1, 3`."""
    listed = [str(number) for number in numbers]
    return f"fold{'s' * (len(listed) > 1)} {', '.join(listed)}"
