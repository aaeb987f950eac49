"""The folds of a study: dealt by its objective, refused with the file that asked for them."""

from __future__ import annotations

from pathlib import Path

from hpo.arrays import Arrays
from hpo.files import SHIPPED
from hpo.objective import DataError, Objective, Split
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


def _where(spec: Study) -> str:
    """Which file to edit; one that ships with hpo is not the user's."""
    path = Path(spec.source)
    folds = f"folds: {{count: {spec.folds.count}}} stands in {path}"
    if path.parent == SHIPPED:
        return f"{folds}, which ships with hpo: copy it, edit the copy and give that instead"
    return folds
