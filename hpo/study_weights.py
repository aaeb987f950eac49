"""Files of weights that the trials of a study start from: there, as they were at the launch, and of the right network.

An objective that offers it has the parameter `model.weights`, see `Objective.initialise`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import shorten

import torch
from optuna.distributions import CategoricalDistribution

from hpo.arrays import Arrays, Feed
from hpo.objective import DataError, Fold, Objective, Params
from hpo.records import WEIGHTS, StudyRecord
from hpo.study import Study
from hpo.training import FoldRun


def require_weights(spec: Study) -> dict[str, str]:
    """SHA-256 of every file that trials may start from, by its path.

    Raises:
        DataError: with those that are not there.
    """
    named = {values.get(WEIGHTS) for values in (spec.fixed, *spec.configurations.values())} | set(_searched(spec))
    paths = sorted(str(path) for path in named if path)
    if missing := [path for path in paths if not Path(path).is_file()]:
        way = "paths are relative to the study file; '' stands for random weights"
        raise DataError(f"{WEIGHTS}: no such file: {', '.join(missing)}; {way}")
    return {path: _digest(Path(path)) for path in paths}


def changed_weights(record: StudyRecord, digests: Mapping[str, str]) -> list[str]:
    """A line for each file whose content is another one than when the study was launched."""
    changed = [path for path, digest in digests.items() if record.weights.get(path, digest) != digest]
    return [f"{WEIGHTS}: the content of {path} has changed since the study was launched" for path in changed]


def require_launched_weights(spec: Study, record: StudyRecord) -> None:
    """Every file that trials may start from is there, as it was at the launch.

    Raises:
        DataError: with those that are not.
    """
    if changed := changed_weights(record, require_weights(spec)):
        raise DataError(f"{'; '.join(changed)}: restore it, or launch the study with --new-name NAME")


def require_fit(spec: Study, objective: Objective, arrays: Arrays, fold: Fold) -> None:
    """Every training that the study is sure to try can start from its file; nothing is read where none names one.

    Raises:
        DataError: with every configuration and every searched file that cannot.
    """
    feed = Feed(arrays, torch.device("cpu"))
    wrong: list[str] = []
    tried: list[Mapping[str, object]] = []
    for where, params in _starts(spec):
        if not params.model.get("weights") or params.model in tried:
            continue
        tried.append(params.model)
        try:
            FoldRun(objective, arrays, feed, fold, params, spec.metric, epochs=spec.budget.epochs, seed=spec.seed)
        except DataError as error:
            wrong.append(f"  {where}, {shorten(str(error), 400, placeholder=' ...')}")
    if wrong:
        listed = "\n".join(wrong)
        raise DataError(f"{WEIGHTS}: trainings cannot start from these files:\n{listed}")


def _starts(spec: Study) -> Iterator[tuple[str, Params]]:
    """Where trainings are named, and their parameters: configurations, what is fixed, what is searched.

    Whether a searched file fits a network that is searched, too, depends on what is drawn: that is left to the trials.
    """
    for name, values in spec.configurations.items():
        yield f"configuration {name}", spec.params({key: values[key] for key in spec.space}, name)
    point = {key: spec.configurations[spec.baseline][key] for key in spec.space}
    if [key for key in spec.space if key.startswith("model.")] == [WEIGHTS]:
        for path in _searched(spec):
            yield f"space.{WEIGHTS}", spec.params({**point, WEIGHTS: path})
    elif WEIGHTS not in spec.space:
        yield f"fixed.{WEIGHTS}", spec.params(point)


def _searched(spec: Study) -> tuple[str, ...]:
    searched = spec.space.get(WEIGHTS)
    return tuple(map(str, searched.choices)) if isinstance(searched, CategoricalDistribution) else ()


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
