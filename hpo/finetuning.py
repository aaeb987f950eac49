"""Fine-tuning a model: which rows of which data it is trained on, with which values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpo.arrays import Arrays, open_arrays
from hpo.final_model import FinalModel, trusted
from hpo.objective import DataError, Fold, Metric, Params
from hpo.retrained_model import differs
from hpo.retraining import Retraining, start_of
from hpo.settings import settings
from hpo.strict_yaml import nearest
from hpo.study_parameters import measure

#: Of the command, for what a study file has outside of its parameters.
OPTIONS = ("data", "epochs", "folds", "metric", "seed")
#: Where a model's folder does not say into how many folds its data were dealt.
FOLDS = 5


def new_values(model: FinalModel, words: Sequence[str]) -> Params:
    """The values of the model but for those that are set.

    Args:
        model: to start from.
        words: parameters, `GROUP.KEY=VALUE`.

    Raises:
        DataError: with everything that is wrong with the words; the weights do not fit a network of these values.
    """
    start = start_of(model)
    params = Params.from_flat({**start.params.flat(), **settings(model.objective, words, OPTIONS)})
    start.network(model.objective, params, seed=0)  # before data are read, which may take long
    return params


def finetuning(
    model: FinalModel,
    folder: Path,
    *,
    params: Params,
    data: Path | None,
    cache: Path,
    metric: str | None,
    folds: int | None,
    epochs: int,
    seed: int,
    output: Path | None,
    objective: str | None,
) -> Retraining:
    """What `hpo finetune` trains.

    Args:
        model: to start from.
        folder: of the model.
        params: see `new_values`.
        data: raw data; None for those that it was trained on.
        cache: of prepared data.
        metric: a loss or score; None for that of the model's study.
        folds: to deal new data into; None for as many as the study had.
        epochs: the most to train.
        seed: of order, augmentation and dropout, and of the folds of new data.
        output: folder of the outcome; None for one beside the model.
        objective: as the user names it; None for a built-in one.

    Raises:
        DataError: with what is wrong and the way out.
    """
    output = (output or folder.with_name(f"{folder.name}-finetuned")).absolute()
    judged = _metric(model, metric)
    arrays, source = _arrays(model, data, cache)
    fold, test, count = _rows(model, folder, arrays, folds, seed)
    what = Retraining(
        model=model,
        folder=folder,
        params=params,
        arrays=arrays,
        data=source,
        fold=fold,
        test=test,
        folds=count,
        metric=judged,
        epochs=epochs,
        seed=seed,
        output=output,
        objective=trusted(model.config, objective, folder),
    )
    _require_new(what)
    _require_measured(what, metric)
    return what


def _require_new(what: Retraining) -> None:
    """Nothing is at the place of the outcome; of a model that is there, what it was trained with otherwise is said."""
    if not what.output.exists():
        return
    values = differs(what) if (what.output / "config.yaml").is_file() else ""
    other = f" with other values ({values})" if values else ""
    raise DataError(f"{what.output} exists{other}, and a model is never overwritten: name another folder with --output")


def _require_measured(what: Retraining, asked: str | None) -> None:
    """The model itself has the metric on the rows that judge it: one more forward pass, before anything is trained."""
    part, rows = what.scored()
    if part == "train":
        if asked is not None:
            why = "has neither validation nor test rows of these data to be judged on"
            raise DataError(f"--metric {asked}: {what.folder} {why}, so it has no effect; leave it out")
        return
    found, name = what.model.evaluate(what.arrays, rows), what.metric.name
    if name not in found:
        hint = nearest(name, found)
        near = f"{hint} " if hint.startswith("did") else ""
        where = f"cannot be measured on the {len(rows)} {part} rows: {near}There are {', '.join(found)}"
        if asked is None:
            raise DataError(f"{name}, the metric of the model's study, {where}; name one with --metric")
        raise DataError(f"--metric {name} {where}")


def _metric(model: FinalModel, name: str | None) -> Metric:
    if name is None:
        return Metric(**model.config["metric"])
    try:
        found = measure(model.objective, name)
    except ValueError as error:
        raise DataError(f"--metric {error}") from None
    if found is None or name.startswith("train."):
        raise DataError(f"--metric {name}: models are judged on rows that they are not trained on; leave train. out")
    return found


def _arrays(model: FinalModel, data: Path | None, cache: Path) -> tuple[Arrays, str | None]:
    """The prepared data and the absolute path of the raw ones."""
    if data is not None:
        return model.arrays(data, cache), str(data.resolve())
    source, known = model.config["data"], model.config["fingerprint"]
    path = Path(source) if source else None
    try:
        return open_arrays(model.objective, path, model.params.flat(), cache, known), source
    except DataError as error:
        raise DataError(f"{error}\n  --data names other data, which are trained on as new ones") from None


def _rows(
    model: FinalModel, folder: Path, arrays: Arrays, folds: int | None, seed: int
) -> tuple[Fold, np.ndarray, int]:
    """The model's own rows where it has seen these data, else those of the first fold; test rows; number of folds."""
    config: Any = model.config
    count = int(folds or config.get("folds") or FOLDS)
    seen = model.rows_of(arrays)
    if seen is not None:
        if folds is not None:
            raise DataError(f"--folds {folds}: {folder} was trained on these data and keeps its own rows; leave it out")
        index = max(int(config["fold"]), 0) if len(seen["validation"]) else -1
        return Fold(index, seen["train"], seen["validation"]), seen["test"], count
    if arrays.fingerprint == config["fingerprint"]:
        way = "it was made before models said so; promote its study again, or name other data with --data"
        raise DataError(f"{folder} does not say which rows of these data it was trained on: {way}")
    try:
        split = model.objective.split(arrays, count, seed)
    except DataError as error:
        way = f"the data are new to the model and are dealt into {count} folds; --folds N asks for others"
        raise DataError(f"{error}\n  {way}") from None
    return split.folds[0], split.test, count
