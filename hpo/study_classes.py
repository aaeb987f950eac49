"""Classes that a study names in its parameters: known only when its data are, and looked at before any trial."""

from __future__ import annotations

from collections.abc import Iterator

from optuna.distributions import CategoricalDistribution

from hpo.arrays import Arrays
from hpo.objective import DataError, Objective
from hpo.sampling import require_class
from hpo.study import Study

#: Of the group `sampling`.
KEYS = ("emphasis", "only")


def require_classes(spec: Study, objective: Objective, arrays: Arrays) -> None:
    """Every class that trials may name is one of the data's.

    Raises:
        DataError: with every one that is not, and where it is named.
    """
    wrong: list[str] = []
    for where, key, name in _named(spec):
        try:
            require_class(objective, arrays, {key: name}, key)
        except DataError as error:
            wrong.append(f"{where}: {error}")
    if wrong:
        raise DataError("\n  ".join(wrong))


def _named(spec: Study) -> Iterator[tuple[str, str, str]]:
    """Where a class is named, by which parameter, and its name."""
    for key in KEYS:
        full = f"sampling.{key}"
        searched = spec.space.get(full)
        choices = searched.choices if isinstance(searched, CategoricalDistribution) else ()
        places = [("fixed", spec.fixed.get(full)), *(("space", choice) for choice in choices)]
        places += [(f"configurations.{name}", values.get(full)) for name, values in spec.configurations.items()]
        for where, name in places:
            if name:
                yield where, key, str(name)
