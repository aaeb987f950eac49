"""The folds of a study: dealt by its objective, refused with the file that asked for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hpo.arrays import Arrays
from hpo.files import SHIPPED
from hpo.objective import DataError, Objective, Params, Split
from hpo.sampling import trained_rows
from hpo.study import Study


def split_of(spec: Study, objective: Objective, arrays: Arrays) -> Split:
    """The folds of a study that is launched now.

    Raises:
        DataError: when the data do not allow them, with the file that asks for so many.
    """
    try:
        split = objective.split(arrays, spec.folds.count, spec.seed)
    except DataError as error:
        raise DataError(f"{error}\n  {_where(spec)}") from None
    if len(split.folds) != spec.folds.count:
        raise DataError(f"{spec.objective} made {len(split.folds)} folds where {spec.folds.count} were asked for")
    return split


def trained_on(split: Split, objective: Objective, arrays: Arrays, params: Params) -> Split:
    """The folds with the training rows that a trial of these parameters would train on.

    Raises:
        DataError: when it would have none.
    """
    folds = (replace(fold, train=trained_rows(objective, arrays, fold.train, params)) for fold in split.folds)
    return replace(split, folds=tuple(folds))


def _where(spec: Study) -> str:
    """Which file to edit; one that ships with hpo is not the user's."""
    path = Path(spec.source)
    folds = f"folds: {{count: {spec.folds.count}}} stands in {path}"
    if path.parent == SHIPPED:
        return f"{folds}, which ships with hpo: copy it, edit the copy and give that instead"
    return folds
